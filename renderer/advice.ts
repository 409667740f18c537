import type { ErrorCode } from '../src/contract/errors.ts';
import { endedWell, type Outcome, outcomeOf } from '../src/contract/records.ts';

/** What an operator does with a unit that failed; its words are in the catalogue under `advice`. */
export type Advice =
  | 'retry'
  | 'closer'
  | 'power'
  | 'charge'
  | 'wrong'
  | 'quarantine'
  | 'separate'
  | 'engineer'
  | 'station';

const known: Partial<Record<ErrorCode, Advice>> = {
  CONNECT_TIMEOUT: 'closer',
  CONNECT_FAILED: 'closer',
  LINK_LOST: 'closer',
  SIGNAL_WEAK: 'closer',
  UNIT_NOT_FOUND: 'power',
  NO_UNIT_FOUND: 'power',
  NOT_BACK_AFTER_RESET: 'power',
  DEVICE_SILENT: 'power',
  ATT_TIMEOUT: 'power',
  RESET_FAILED: 'power',
  BATTERY_LOW: 'charge',
  WRONG_PRODUCT: 'wrong',
  NOT_ON_JOB: 'wrong',
  IDENTITY_CHANGED: 'wrong',
  SERVICE_NOT_FOUND: 'wrong',
  IMAGE_TOO_LARGE: 'wrong',
  IMAGE_SLOT_UNKNOWN: 'wrong',
  LABEL_OF_OTHER_PRODUCT: 'wrong',
  DUPLICATE_IDENTITY: 'separate',
  UNIT_QUARANTINED: 'quarantine',
  DEVICE_FLASH_ERROR: 'quarantine',
  WRONG_IMAGE_RUNNING: 'quarantine',
  STOPPED: 'retry',
  STATION_INTERRUPTED: 'retry',
  RADIO_LOST: 'station',
  NO_RADIO: 'station',
  DISK_FULL: 'station',
  DATABASE_DAMAGED: 'station',
  INTERNAL: 'station',
  BOOTLOADER_REJECTED: 'engineer',
  SWAP_REVERTED: 'engineer',
  DEVICE_REJECTED_IMAGE: 'engineer',
  DOWNGRADE_REFUSED: 'engineer',
};

/** What to do with a unit that ended like this; null when it passed. */
export function adviceFor(outcome: Outcome | null, code: ErrorCode | null, quarantined: boolean): Advice | null {
  if (outcome === null || endedWell(outcome)) return null;
  if (quarantined) return 'quarantine';
  if (code === null) return 'engineer';
  return known[code] ?? (outcomeOf(code) === 'error' ? 'retry' : 'engineer');
}
