import { StationError } from '../../contract/errors.ts';
import type { SlotState } from '../driver.ts';

/**
 * Reads the answer to "image state" (group 1, command 0). Servers leave out what is false, with one image its index, and hashes where the
 * bootloader keeps none; they add keys of their own. Sources: Zephyr "Application/software image management group" and
 * `img_mgmt_state.c`; the Python library `smp`, `image_management.py`.
 * @throws StationError DEVICE_NONSENSE, also for two active slots of one image and for a slot that is listed twice
 */
export function readImageList(body: Readonly<Record<string, unknown>>): SlotState[] {
  if (!Array.isArray(body.images)) throw new StationError('DEVICE_NONSENSE', 'an image list without images');
  const slots = body.images.map(readEntry);
  slots.forEach((slot, index) => {
    const twin = slots.slice(0, index).find(({ image, ...rest }) => image === slot.image && rest.slot === slot.slot);
    if (twin) throw new StationError('DEVICE_NONSENSE', `slot ${slot.slot} of image ${slot.image} is listed twice`);
    const other = slots.slice(0, index).find(({ image, active }) => image === slot.image && active && slot.active);
    if (other) throw new StationError('DEVICE_NONSENSE', `two active slots of image ${slot.image}`);
  });
  return slots;
}

function readEntry(entry: unknown): SlotState {
  if (typeof entry !== 'object' || entry === null) throw new StationError('DEVICE_NONSENSE', 'an image list entry');
  const { image = 0, slot, version = '', hash, ...flags } = entry as Record<string, unknown>;
  if (!isIndex(image) || !isIndex(slot) || typeof version !== 'string') {
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
}

function isIndex(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 256;
}

/**
 * Reads the answer to "slot info" (group 1, command 6): by image index the most bytes that an upload to it may have, as far as the server
 * tells; what does not look like it tells nothing. Sources: Zephyr "Application/software image management group", "Slot info"; the Rust
 * crate `mcumgr-toolkit`, `commands/image.rs`.
 */
export function readSlotSizes(body: Readonly<Record<string, unknown>>): ReadonlyMap<number, number> {
  const sizes = new Map<number, number>();
  for (const entry of Array.isArray(body.images) ? body.images : []) {
    if (typeof entry !== 'object' || entry === null) continue;
    const { image = 0, slots, max_image_size: most } = entry as Record<string, unknown>;
    if (!isIndex(image)) continue;
    const known = (Array.isArray(slots) ? slots : []).flatMap((each: unknown) => {
      const { slot, size } = typeof each === 'object' && each !== null ? (each as Record<string, unknown>) : {};
      return isIndex(slot) && isSize(size) ? [{ slot, size }] : [];
    });
    // Uploads go to the slot that does not run; where it is not told which that is, the larger one bounds them.
    const second = known.find(({ slot }) => slot === 1)?.size;
    const bytes = isSize(most) ? most : (second ?? known.map(({ size }) => size).sort((a, b) => b - a)[0] ?? null);
    if (bytes !== null) sizes.set(image, bytes);
  }
  return sizes;
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}
