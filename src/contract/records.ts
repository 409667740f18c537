import type { ErrorCode } from './errors.ts';

/** The steps of an attempt, in the order of a full upgrade. */
export const stepNames = [
  'find',
  'connect',
  'check-unit',
  'read-state',
  'clear-pending',
  'upload',
  'verify-upload',
  'activate',
  'reset',
  'reconnect',
  'verify-running',
  'confirm',
  'verify-confirmed',
] as const;
export type StepName = (typeof stepNames)[number];

/** How an attempt ended. `fail`: device or image did not meet what was asked; `error`: station, radio or link could not finish. */
export type Outcome = 'pass' | 'fail' | 'error' | 'skipped' | 'staged' | 'aborted';

const failCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'WRONG_PRODUCT',
  'NOT_ON_JOB',
  'DUPLICATE_IDENTITY',
  'IDENTITY_UNREADABLE',
  'UNIT_QUARANTINED',
  'BATTERY_LOW',
  'BATTERY_UNREADABLE',
  'SIGNAL_WEAK',
  'DOWNGRADE_REFUSED',
  'SERVICE_NOT_FOUND',
  'ENCRYPTION_REQUIRED',
  'DEVICE_REJECTED_IMAGE',
  'DEVICE_ERROR',
  'DEVICE_BUSY',
  'DEVICE_FLASH_ERROR',
  'DEVICE_NONSENSE',
  'IMAGE_TOO_LARGE',
  'IMAGE_SLOT_UNKNOWN',
  'IMAGE_HASH_MISMATCH',
  'MODE_REFUSED',
  'RESET_FAILED',
  'NOT_BACK_AFTER_RESET',
  'SWAP_REVERTED',
  'BOOTLOADER_REJECTED',
  'NOT_CONFIRMED',
  'WRONG_IMAGE_RUNNING',
]);

/** The outcome that an error code stands for. */
export function outcomeOf(code: ErrorCode): 'fail' | 'error' | 'aborted' {
  if (code === 'STOPPED' || code === 'STATION_INTERRUPTED') return 'aborted';
  return failCodes.has(code) ? 'fail' : 'error';
}
