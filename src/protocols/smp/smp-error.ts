import { type ErrorCode, StationError } from '../../contract/errors.ts';
import { quoted } from '../../contract/foreign-text.ts';
import { GROUP, IMAGE, IMAGE_RC, RC } from './codec.ts';

/**
 * What an error of a server asks for.
 *
 * - `passing`: usually gone a moment later (memory, flash busy): the request is sent again.
 * - `frame`: the frame arrived incomplete: a server that does not join writes says so of one that is longer than a write.
 * - `state`: what is pending or on trial in the device forbids it: looked at again, not sent again.
 * - `final`: the same request has the same answer for ever.
 */
export type RefusalKind = 'passing' | 'frame' | 'state' | 'final';

/** A server's error: what it said, and what that asks for. */
export class SmpRefusal extends StationError {
  readonly kind: RefusalKind;
  /** The group that the code belongs to; null for codes of version 1 and of SMP itself. */
  readonly group: number | null;
  readonly rc: number;

  constructor(row: RefusalRow, detail: string, said: { readonly group: number | null; readonly rc: number }) {
    super(row.code, detail, { retryable: row.kind !== 'final' });
    this.kind = row.kind;
    this.group = said.group;
    this.rc = said.rc;
  }

  /** Whether the server does not know the command. */
  get unsupported(): boolean {
    return this.group === null && this.rc === RC.NOT_SUPPORTED;
  }
}

interface RefusalRow {
  readonly kind: RefusalKind;
  readonly code: ErrorCode;
}

const row = (kind: RefusalKind, code: ErrorCode): RefusalRow => ({ kind, code });

/**
 * Which errors of the image group pass and which are final. Sources: Zephyr `img_mgmt.c` and `zephyr_img_mgmt.c` (which of them is answered
 * when); Zephyr `img_mgmt.h` and the Rust crate `mcumgr-toolkit`, `smp_errors.rs` (what each means). Of the failures of flash only those that
 * a second try mends on real devices pass: they come from memory that is short and flash that is busy.
 */
const imageRows: ReadonlyMap<number, RefusalRow> = new Map([
  [IMAGE_RC.UNKNOWN, row('passing', 'DEVICE_NOT_READY')],
  [IMAGE_RC.NO_FREE_SLOT, row('state', 'DEVICE_BUSY')],
  [IMAGE_RC.FLASH_OPEN_FAILED, row('passing', 'DEVICE_NOT_READY')],
  [IMAGE_RC.FLASH_READ_FAILED, row('passing', 'DEVICE_FLASH_ERROR')],
  [IMAGE_RC.FLASH_WRITE_FAILED, row('passing', 'DEVICE_FLASH_ERROR')],
  [IMAGE_RC.FLASH_ERASE_FAILED, row('passing', 'DEVICE_FLASH_ERROR')],
  [IMAGE_RC.INVALID_SLOT, row('final', 'IMAGE_SLOT_UNKNOWN')],
  [IMAGE_RC.NO_FREE_MEMORY, row('passing', 'DEVICE_NOT_READY')],
  [IMAGE_RC.FLASH_CONTEXT_ALREADY_SET, row('passing', 'DEVICE_NOT_READY')],
  [IMAGE_RC.FLASH_CONTEXT_NOT_SET, row('passing', 'DEVICE_NOT_READY')],
  [IMAGE_RC.INVALID_IMAGE_HEADER, row('final', 'DEVICE_REJECTED_IMAGE')],
  [IMAGE_RC.INVALID_IMAGE_HEADER_MAGIC, row('final', 'DEVICE_REJECTED_IMAGE')],
  [IMAGE_RC.HASH_NOT_FOUND, row('final', 'IMAGE_HASH_MISMATCH')],
  [IMAGE_RC.INVALID_HASH, row('final', 'IMAGE_HASH_MISMATCH')],
  [IMAGE_RC.INVALID_FLASH_ADDRESS, row('final', 'DEVICE_REJECTED_IMAGE')],
  [IMAGE_RC.CURRENT_VERSION_IS_NEWER, row('final', 'DOWNGRADE_REFUSED')],
  [IMAGE_RC.IMAGE_ALREADY_PENDING, row('state', 'DEVICE_BUSY')],
  [IMAGE_RC.INVALID_VECTOR_TABLE, row('final', 'DEVICE_REJECTED_IMAGE')],
  [IMAGE_RC.IMAGE_TOO_LARGE, row('final', 'IMAGE_TOO_LARGE')],
  [IMAGE_RC.CONFIRMATION_DENIED, row('final', 'MODE_REFUSED')],
  [IMAGE_RC.SETTING_TEST_TO_ACTIVE_DENIED, row('final', 'MODE_REFUSED')],
]);

/**
 * The same for codes of version 1, of which a server has few: Zephyr's `img_mgmt_translate_error_code` and Apache Mynewt's `img_mgmt.c` say
 * which cause becomes which. NO_MEMORY is also what any command is answered when the buffer for its answer is still taken (Zephyr `smp.c`).
 */
const rows: ReadonlyMap<number, RefusalRow> = new Map([
  [RC.UNKNOWN, row('passing', 'DEVICE_NOT_READY')],
  [RC.NO_MEMORY, row('passing', 'DEVICE_NOT_READY')],
  [RC.TIMEOUT, row('passing', 'DEVICE_NOT_READY')],
  [RC.MESSAGE_SIZE, row('frame', 'DEVICE_ERROR')],
  [RC.CORRUPT, row('frame', 'DEVICE_ERROR')],
  [RC.BUSY, row('passing', 'DEVICE_NOT_READY')],
]);

const uploadRows: ReadonlyMap<number, RefusalRow> = new Map([
  [RC.INVALID, row('final', 'DEVICE_REJECTED_IMAGE')],
  [RC.NO_ENTRY, row('state', 'DEVICE_BUSY')],
  [RC.BAD_STATE, row('state', 'DEVICE_BUSY')],
]);

/** What servers put in `rsn` when they are built to (Zephyr and Apache Mynewt `img_mgmt.c`, `img_mgmt_err_str_…`): it tells more than the code. */
const reasons: ReadonlyMap<string, RefusalRow> = new Map([
  ['header malformed', row('final', 'DEVICE_REJECTED_IMAGE')],
  ['magic mismatch', row('final', 'DEVICE_REJECTED_IMAGE')],
  ['img addr mismatch', row('final', 'DEVICE_REJECTED_IMAGE')],
  ['app reject', row('final', 'DEVICE_REJECTED_IMAGE')],
  ['img too large', row('final', 'IMAGE_TOO_LARGE')],
  ['downgrade', row('final', 'DOWNGRADE_REFUSED')],
  ['no slot', row('state', 'DEVICE_BUSY')],
  ['fa erase fail', row('passing', 'DEVICE_FLASH_ERROR')],
  ['fa write fail', row('passing', 'DEVICE_FLASH_ERROR')],
]);

const UNKNOWN_ERROR = row('final', 'DEVICE_ERROR');

/**
 * The error in an answer: `rc` of version 1, `err: {group, rc}` of version 2; null when there is none. What the server says of its reason
 * (`rsn`) is part of the detail.
 */
export function smpError(
  request: { readonly group: number; readonly command: number; readonly body?: Readonly<Record<string, unknown>> },
  body: Readonly<Record<string, unknown>>,
): SmpRefusal | null {
  const { rc, err, rsn } = body;
  const reason = typeof rsn === 'string' && rsn !== '' ? `: ${quoted(rsn)}` : '';
  if (typeof err === 'object' && err !== null && 'rc' in err && 'group' in err && err.rc !== 0) {
    const said = { group: Number(err.group), rc: Number(err.rc) };
    const known = said.group === GROUP.IMAGE ? imageRows.get(said.rc) : undefined;
    const unknown =
      said.group === GROUP.OS && said.rc === RC.UNKNOWN ? row('passing', 'DEVICE_NOT_READY') : UNKNOWN_ERROR;
    return new SmpRefusal(known ?? unknown, `SMP group ${said.group}, code ${said.rc}${reason}`, said);
  }
  if (rc === undefined || rc === 0) return null;
  const said = { group: null, rc: Number(rc) };
  const known = (typeof rsn === 'string' ? reasons.get(rsn) : undefined) ?? rowOf(request, said.rc);
  return new SmpRefusal(known, `SMP rc ${said.rc}${reason}`, said);
}

function rowOf(request: Parameters<typeof smpError>[0], rc: number): RefusalRow {
  if (request.group === GROUP.IMAGE && request.command === IMAGE.UPLOAD) {
    return uploadRows.get(rc) ?? rows.get(rc) ?? UNKNOWN_ERROR;
  }
  if (request.group === GROUP.IMAGE && request.command === IMAGE.STATE && rc === RC.BAD_STATE) {
    return request.body?.confirm === false ? row('final', 'MODE_REFUSED') : row('state', 'DEVICE_BUSY');
  }
  if (request.group === GROUP.IMAGE && request.command === IMAGE.ERASE && rc === RC.BAD_STATE) {
    return row('state', 'DEVICE_BUSY');
  }
  return rows.get(rc) ?? UNKNOWN_ERROR;
}
