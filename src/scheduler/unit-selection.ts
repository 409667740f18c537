import type { ErrorCode } from '../contract/errors.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import type { HeardDevice } from './air-watch.ts';

/** A device whose identity has been read; `serial` is null when it could not be. */
export interface IdentifiedDevice {
  readonly device: HeardDevice;
  readonly serial: string | null;
}

/** What decides who may be written. */
export interface SelectionRules {
  readonly profile: ProductProfile;
  /** The allow-list; null when every unit of the product may be written. */
  readonly units: readonly { readonly serial: string; readonly slot: string | null }[] | null;
  /** How many units are wanted; null when that is not known. */
  readonly wanted: number | null;
  /** Units in quarantine, with the code that put them there. */
  readonly quarantined: ReadonlyMap<string, string>;
}

/** A unit that may be written. */
export interface SelectedUnit {
  readonly serial: string;
  readonly slot: string | null;
  readonly address: string;
  readonly rssi: number;
}

/** A unit of the job that is not written; `address` is null when it was not found. */
export interface RejectedUnit {
  readonly serial: string;
  readonly slot: string | null;
  readonly address: string | null;
  readonly code: ErrorCode;
  readonly detail: string;
}

/** Who is written, who of the job is not, and which devices are not the job's at all. */
export interface Selection {
  readonly units: readonly SelectedUnit[];
  readonly rejected: readonly RejectedUnit[];
  readonly strangers: readonly { readonly serial: string; readonly address: string }[];
  /** NO_UNIT_FOUND or UNITS_MISSING when the tray as a whole is not as wanted. */
  readonly code: ErrorCode | null;
}

/** Decides, of the devices that were heard, who may be written. Pure. */
export function selectUnits(found: readonly IdentifiedDevice[], rules: SelectionRules): Selection {
  const { units: listed, wanted } = rules;
  const slots = new Map(listed?.map(({ serial, slot }) => [serial, slot]));
  const bySerial = Map.groupBy(found, ({ serial, device }) => serial ?? device.address);
  const units: SelectedUnit[] = [];
  const rejected: RejectedUnit[] = [];
  const strangers: { serial: string; address: string }[] = [];
  for (const [serial, devices] of [...bySerial].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }))) {
    const { address, heard } = devices[0]!.device;
    const slot = slots.get(serial) ?? null;
    const rssi = Math.max(...[...heard.values()].map((each) => each.rssi));
    const full = listed === null && wanted !== null && units.length + rejected.length >= wanted;
    if (full || (listed && !slots.has(serial))) {
      strangers.push({ serial, address });
      continue;
    }
    const refusal = refuse(serial, devices, rssi, rules);
    if (refusal) rejected.push({ serial, slot, address, ...refusal });
    else units.push({ serial, slot, address, rssi });
  }
  const present = units.length + rejected.length;
  for (const { serial, slot } of listed ?? []) {
    if (!bySerial.has(serial)) rejected.push({ serial, slot, address: null, code: 'UNIT_NOT_FOUND', detail: '' });
  }
  const code = present === 0 ? 'NO_UNIT_FOUND' : wanted !== null && present < wanted ? 'UNITS_MISSING' : null;
  return { units, rejected, strangers, code };
}

function refuse(
  serial: string,
  devices: readonly IdentifiedDevice[],
  rssi: number,
  { profile, quarantined }: SelectionRules,
): { code: ErrorCode; detail: string } | null {
  if (devices.some((each) => each.serial === null))
    return { code: 'IDENTITY_UNREADABLE', detail: 'asked the device itself' };
  if (devices.length > 1) {
    return { code: 'DUPLICATE_IDENTITY', detail: devices.map(({ device }) => device.address).join(', ') };
  }
  const serials = [...(devices[0]?.device.serials ?? [])];
  if (serials.length > 1) return { code: 'IDENTITY_CHANGED', detail: `it said that it was ${serials.join(', ')}` };
  const held = quarantined.get(serial);
  if (held !== undefined) return { code: 'UNIT_QUARANTINED', detail: held };
  if (profile.rssiMin !== undefined && rssi < profile.rssiMin) return { code: 'SIGNAL_WEAK', detail: `${rssi} dBm` };
  return null;
}
