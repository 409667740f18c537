import { StationError } from '../contract/errors.ts';
import { hasTlvsInPlace, IMAGE_MAGIC, parseMcubootImage } from './mcuboot-image.ts';

/**
 * Bytes of a firmware file that belong to no image and are not sent.
 *
 * - `padding`: erased flash. `trailer`: the end of a slot that asks the bootloader for a trial; `confirmed-trailer`: one that says the
 *   image is confirmed (imgtool `--pad`, `--pad --confirm`). `data`: anything else.
 * - `image`: the index of the image that they lie behind, then `at` counts from that image's beginning; null when they lie elsewhere in
 *   the file, then `at` is the address.
 */
export interface LeftOut {
  readonly image: number | null;
  readonly at: number;
  readonly bytes: number;
  readonly what: 'padding' | 'trailer' | 'confirmed-trailer' | 'data';
}

/**
 * What a bootloader with a write alignment of up to 8 octets looks for at the end of a slot. With a larger one it looks for the
 * alignment, 16 bit, and `ALIGNED_TRAILER_MAGIC` (imgtool `image.py`, `boot_magic`; MCUboot `boot/bootutil/src/bootutil_public.c`).
 */
const TRAILER_MAGIC = Buffer.from('77c295f360d2ef7f3552500f2cb67980', 'hex');
const ALIGNED_TRAILER_MAGIC = Buffer.from('2de15d29410b8d77679c110f1f8a', 'hex');
const TRAILER_MAGIC_BYTES = 16;
const IMAGE_OK = 1;

/** What bytes are that belong to no image. */
export function kindOfLeftOver(bytes: Buffer): LeftOut['what'] {
  const trailer = findTrailer(bytes);
  if (trailer) return bytes[trailer.imageOkAt] === IMAGE_OK ? 'confirmed-trailer' : 'trailer';
  const first = bytes[0];
  return (first === 0xff || first === 0) && bytes.every((octet) => octet === first) ? 'padding' : 'data';
}

/** `image_ok` stands before the magic, each on a multiple of the alignment (imgtool `image.py`, `pad_to`). */
function findTrailer(bytes: Buffer): { imageOkAt: number } | null {
  const plain = bytes.lastIndexOf(TRAILER_MAGIC);
  if (plain >= 0) return { imageOkAt: imageOkAt(plain, 8) };
  const aligned = bytes.lastIndexOf(ALIGNED_TRAILER_MAGIC);
  if (aligned < 2) return null;
  const alignment = bytes.readUInt16LE(aligned - 2);
  return { imageOkAt: imageOkAt(aligned - 2, Math.max(alignment, 1)) };
}

function imageOkAt(magicAt: number, alignment: number): number {
  const magicField = Math.ceil(TRAILER_MAGIC_BYTES / alignment) * alignment;
  return magicAt + TRAILER_MAGIC_BYTES - magicField - alignment;
}

/** Damaged images that are worth a look each: a file of nothing else is given up. */
const MOST_DAMAGED = 16;
const magicBytes = Buffer.alloc(4);
magicBytes.writeUInt32LE(IMAGE_MAGIC);

/** Where the bytes hold something that begins like an image, from `from` on; -1 for nowhere. */
export function findMagic(bytes: Buffer, from = 0): number {
  return bytes.indexOf(magicBytes, from);
}

/** Where a whole image lies inside bytes that do not begin with one, as in what was read out of a flash; null for nowhere. */
export function findWholeImage(bytes: Buffer): number | null {
  let damaged = 0;
  for (let at = findMagic(bytes); at >= 0 && damaged < MOST_DAMAGED; at = findMagic(bytes, at + 1)) {
    if (!hasTlvsInPlace(bytes, at)) continue;
    try {
      parseMcubootImage(bytes.subarray(at));
      return at;
    } catch (error) {
      if (!(error instanceof StationError)) throw error;
      damaged++;
    }
  }
  return null;
}
