import type { ProductProfile } from '../contract/product-file.ts';
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
    return { kind: 'wrong-product', detail: `${advertisement.name} is no ${namePrefix}…` };
  }
  const source = {
    name: advertisement.name,
    address: advertisement.address,
    'manufacturer-data': advertisement.manufacturerData?.toString('hex') ?? null,
    'dis-serial': '',
  }[profile.identity.from];
  if (profile.identity.from === 'dis-serial') return { kind: 'unit', serial: null };
  if (source === null) return { kind: 'other' };
  const serial = extractSerial(profile, source);
  if (serial === null) return { kind: 'unreadable', detail: `${source} does not match ${profile.identity.pattern}` };
  return { kind: 'unit', serial };
}

/** The serial in what the profile names as its source: the pattern's first group or whole match. */
export function extractSerial(profile: ProductProfile, source: string): string | null {
  const { pattern } = profile.identity;
  if (pattern === undefined) return source;
  const match = new RegExp(pattern).exec(source);
  return match ? (match[1] ?? match[0]) : null;
}
