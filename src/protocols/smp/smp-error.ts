import { type ErrorCode, StationError } from '../../contract/errors.ts';
import { GROUP, IMAGE, IMAGE_RC, RC } from './codec.ts';

const imageCodes: ReadonlyMap<number, ErrorCode> = new Map<number, ErrorCode>([
  [IMAGE_RC.NO_FREE_SLOT, 'DEVICE_BUSY'],
  [IMAGE_RC.IMAGE_ALREADY_PENDING, 'DEVICE_BUSY'],
  [IMAGE_RC.FLASH_WRITE_FAILED, 'DEVICE_FLASH_ERROR'],
  [IMAGE_RC.FLASH_ERASE_FAILED, 'DEVICE_FLASH_ERROR'],
  [IMAGE_RC.INVALID_SLOT, 'IMAGE_SLOT_UNKNOWN'],
  [IMAGE_RC.INVALID_IMAGE_HEADER, 'DEVICE_REJECTED_IMAGE'],
  [IMAGE_RC.INVALID_IMAGE_HEADER_MAGIC, 'DEVICE_REJECTED_IMAGE'],
  [IMAGE_RC.INVALID_HASH, 'IMAGE_HASH_MISMATCH'],
  [IMAGE_RC.INVALID_FLASH_ADDRESS, 'DEVICE_REJECTED_IMAGE'],
  [IMAGE_RC.CURRENT_VERSION_IS_NEWER, 'DOWNGRADE_REFUSED'],
  [IMAGE_RC.IMAGE_TOO_LARGE, 'IMAGE_TOO_LARGE'],
  [IMAGE_RC.CONFIRMATION_DENIED, 'MODE_REFUSED'],
  [IMAGE_RC.SETTING_TEST_TO_ACTIVE_DENIED, 'MODE_REFUSED'],
]);

/** What version 1 servers mean by their few codes depends on the command. */
const uploadCodes: ReadonlyMap<number, ErrorCode> = new Map<number, ErrorCode>([
  [RC.NO_MEMORY, 'IMAGE_TOO_LARGE'],
  [RC.INVALID, 'DEVICE_REJECTED_IMAGE'],
  [RC.NO_ENTRY, 'DEVICE_BUSY'],
  [RC.BAD_STATE, 'DEVICE_BUSY'],
  [RC.BUSY, 'DEVICE_BUSY'],
]);

/** The error in an answer: `rc` of version 1, `err: {group, rc}` of version 2; null when there is none. */
export function smpError(
  request: { readonly group: number; readonly command: number },
  body: Readonly<Record<string, unknown>>,
): StationError | null {
  const { rc, err } = body;
  if (typeof err === 'object' && err !== null && 'rc' in err && 'group' in err && err.rc !== 0) {
    const code = err.group === GROUP.IMAGE ? imageCodes.get(Number(err.rc)) : undefined;
    return new StationError(code ?? 'DEVICE_ERROR', `SMP group ${err.group}, code ${err.rc}`);
  }
  if (rc === undefined || rc === 0) return null;
  const upload = request.group === GROUP.IMAGE && request.command === IMAGE.UPLOAD;
  const state = request.group === GROUP.IMAGE && request.command === IMAGE.STATE;
  const code = upload ? uploadCodes.get(Number(rc)) : state && rc === RC.BAD_STATE ? 'MODE_REFUSED' : undefined;
  return new StationError(code ?? 'DEVICE_ERROR', `SMP rc ${rc}`);
}

/** Whether an answer says that the server does not know the command. */
export function notSupported(error: unknown): boolean {
  return (
    error instanceof StationError && error.code === 'DEVICE_ERROR' && error.detail.endsWith(`rc ${RC.NOT_SUPPORTED}`)
  );
}
