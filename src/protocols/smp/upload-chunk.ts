import { StationError } from '../../contract/errors.ts';
import { SMP_HEADER_BYTES } from './codec.ts';

/** Chunks begin at multiples of this: flash of many devices is written in words. */
const ALIGNMENT_BYTES = 4;
/**
 * The first chunk has to hold the image header. Sources: Zephyr `zephyr_img_mgmt.c` (`img_mgmt_upload_inspect`); Apache Mynewt mcumgr,
 * `zephyr_img_mgmt.c` (`img_mgmt_impl_upload_inspect`).
 */
const IMAGE_HEADER_BYTES = 32;
/** Shorter, a `sha` could be another upload's. Servers take it at any length (Zephyr and Apache Mynewt `img_mgmt.c`, "trimmed"). */
const SHORTEST_SHA_BYTES = 8;
/** The one-letter map head, and a key of three letters with its head (RFC 8949, 3). */
const MAP_BYTES = 1;
const OFF_KEY_BYTES = 4;
const LEN_KEY_BYTES = 4;
const SHA_KEY_BYTES = 4;
const DATA_KEY_BYTES = 5;
const IMAGE_KEY_BYTES = 6;

/** What is said of an image in the first request, and how many of its bytes go along. */
export interface UploadOpening {
  readonly fields: { readonly len: number; readonly sha?: Buffer; readonly image?: number };
  readonly dataBytes: number;
  readonly fullSha: boolean;
}

/**
 * The first request in a frame of at most `frameBytes`: with the whole `sha` where that and an image header fit, else with its beginning,
 * else without it, which costs the resumption and nothing more. Null when even then the header does not fit.
 */
export function openingOf(
  frameBytes: number,
  { total, index, sha }: { readonly total: number; readonly index: number; readonly sha: Buffer },
): UploadOpening | null {
  const named = index > 0 ? IMAGE_KEY_BYTES + unsignedBytes(index) : 0;
  const fixed =
    SMP_HEADER_BYTES + MAP_BYTES + OFF_KEY_BYTES + unsignedBytes(0) + LEN_KEY_BYTES + unsignedBytes(total) + named;
  const room = frameBytes - fixed - DATA_KEY_BYTES;
  const least = Math.min(IMAGE_HEADER_BYTES, total);
  const image = index > 0 ? { image: index } : {};
  for (let shaBytes = sha.length; shaBytes >= SHORTEST_SHA_BYTES; shaBytes--) {
    const dataBytes = stringBytes(room - SHA_KEY_BYTES - unsignedBytes(shaBytes) - shaBytes);
    if (dataBytes < least) continue;
    const fields = { len: total, sha: sha.subarray(0, shaBytes), ...image };
    return { fields, dataBytes: aligned(dataBytes, total), fullSha: shaBytes === sha.length };
  }
  const dataBytes = stringBytes(room);
  return dataBytes < least
    ? null
    : { fields: { len: total, ...image }, dataBytes: aligned(dataBytes, total), fullSha: false };
}

/**
 * Image bytes that fit a later frame of `frameBytes`: the header and the CBOR around them taken off, cut to whole words.
 * @throws StationError MTU_TOO_SMALL
 */
export function chunkBytes(frameBytes: number, offset: number): number {
  const room = frameBytes - SMP_HEADER_BYTES - MAP_BYTES - OFF_KEY_BYTES - unsignedBytes(offset) - DATA_KEY_BYTES;
  const whole = Math.floor(stringBytes(room) / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
  if (whole <= 0)
    throw new StationError('MTU_TOO_SMALL', `a frame of ${frameBytes} bytes carries no image`, { retryable: true });
  return whole;
}

function aligned(bytes: number, total: number): number {
  return bytes >= total ? total : Math.floor(bytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
}

/** Bytes of a byte string that fit into `room` together with its head. */
function stringBytes(room: number): number {
  for (const head of [1, 2, 3, 5]) {
    const bytes = room - head;
    if (bytes >= 0 && unsignedBytes(bytes) <= head) return bytes;
  }
  return 0;
}

/** Octets of a CBOR unsigned integer, or of a string's head (RFC 8949, 3). */
function unsignedBytes(value: number): number {
  if (value < 24) return 1;
  if (value < 0x100) return 2;
  if (value < 0x10000) return 3;
  return 5;
}
