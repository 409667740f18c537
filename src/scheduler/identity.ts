import { visible } from '../contract/foreign-text.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import { serialProblem } from '../contract/serial.ts';
import type { Advertisement } from '../radio/radio.ts';

/** What an advertisement says of a device, measured by a product profile. */
export type Recognition =
  | { readonly kind: 'other' }
  | { readonly kind: 'wrong-product'; readonly detail: string }
  | { readonly kind: 'unreadable'; readonly detail: string }
  /** `serial` is null when it can only be read from the device (`dis-serial`). */
  | { readonly kind: 'unit'; readonly serial: string | null };

/**
 * Whether a device belongs to the product, and which unit it is. A device that shows the service but another name is of another product;
 * one that shows neither is none of the station's business.
 */
export function recognise(profile: ProductProfile, advertisement: Advertisement): Recognition {
  const { service, namePrefix } = profile.discover;
  if (!advertisement.services.includes(service)) return { kind: 'other' };
  if (namePrefix !== undefined && !advertisement.name?.startsWith(namePrefix)) {
    // Without a name the scan response has not been heard yet.
    if (advertisement.name === null) return { kind: 'other' };
    return { kind: 'wrong-product', detail: `${visible(advertisement.name)} is no ${namePrefix}…` };
  }
  const source = {
    name: advertisement.name,
    address: advertisement.address,
    'manufacturer-data': advertisement.manufacturerData?.toString('hex') ?? null,
    'dis-serial': '',
  }[profile.identity.from];
  if (profile.identity.from === 'dis-serial') return { kind: 'unit', serial: null };
  if (source === null) return { kind: 'other' };
  const read = readSerial(profile, source);
  if (read.serial === null) return { kind: 'unreadable', detail: read.problem };
  return { kind: 'unit', serial: read.serial };
}

/**
 * The serial in what the profile names as its source: the pattern's first group or whole match, if it follows the rule for serials; else
 * why there is none, in words that are safe to show.
 */
export function readSerial(
  { identity: { pattern } }: ProductProfile,
  source: string,
): { readonly serial: string } | { readonly serial: null; readonly problem: string } {
  const match = pattern === undefined ? null : new RegExp(pattern).exec(source);
  if (pattern !== undefined && !match) return { serial: null, problem: `${visible(source)} does not match ${pattern}` };
  const serial = match ? (match[1] ?? match[0]) : source;
  const problem = serialProblem(serial);
  return problem === null ? { serial } : { serial: null, problem: `"${visible(serial)}": ${problem}` };
}
