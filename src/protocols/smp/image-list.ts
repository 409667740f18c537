import { StationError } from '../../contract/errors.ts';
import type { SlotState } from '../driver.ts';

/**
 * Reads the answer to "image state" (SMP specification, group 1 command 0). Servers leave out what is false and, with one image, its
 * index.
 * @throws StationError DEVICE_NONSENSE
 */
export function readImageList(body: Readonly<Record<string, unknown>>): SlotState[] {
  if (!Array.isArray(body.images)) throw new StationError('DEVICE_NONSENSE', 'an image list without images');
  return body.images.map((entry: unknown) => {
    if (typeof entry !== 'object' || entry === null) throw new StationError('DEVICE_NONSENSE', 'an image list entry');
    const { image = 0, slot, version = '', hash, ...flags } = entry as Record<string, unknown>;
    if (typeof image !== 'number' || typeof slot !== 'number' || typeof version !== 'string') {
      throw new StationError('DEVICE_NONSENSE', 'an image list entry');
    }
    return {
      image,
      slot,
      version,
      hash: hash instanceof Uint8Array ? Buffer.from(hash).toString('hex') : '',
      pending: flags.pending === true,
      confirmed: flags.confirmed === true,
      active: flags.active === true,
      permanent: flags.permanent === true,
    };
  });
}
