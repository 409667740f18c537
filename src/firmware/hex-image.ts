import { StationError } from '../contract/errors.ts';
import type { UnpackedFirmware } from './firmware-package.ts';
import { type MemoryRun, parseIntelHex } from './intel-hex.ts';
import { findMagic, kindOfLeftOver, type LeftOut } from './left-out.ts';
import { formatVersion, hasTlvsInPlace, type McubootImage, parseMcubootImage } from './mcuboot-image.ts';
import { NETWORK_CORE_FLASH } from './other-formats.ts';

/** Holes up to a flash page are filled with 0xff, as the erased flash would read. */
const PAGE_BYTES = 4096;
/** Damaged images that are worth a look each: a file of nothing else is given up. */
const MOST_DAMAGED = 16;
/** Headers begin with a word of flash. */
const HEADER_ALIGNMENT_BYTES = 4;
interface FoundImage {
  readonly address: number;
  readonly bytes: Buffer;
  readonly image: McubootImage;
}

/**
 * Finds the one MCUboot image in an Intel HEX file (`zephyr.signed.hex`, `merged.hex`): at its header, whatever lies beside it. The
 * bootloader, UICR, padding and trailers are left out.
 * @throws StationError HEX_INVALID, FIRMWARE_SEVERAL_IMAGES, FIRMWARE_INDEX_UNKNOWN, IMAGE_BAD_MAGIC, and what is wrong with an image
 */
export function readHexImage(file: Buffer): UnpackedFirmware {
  const runs = fillHoles(parseIntelHex(file));
  const images: FoundImage[] = [];
  const leftOut: LeftOut[] = [];
  const damaged: StationError[] = [];
  for (const { address, bytes } of runs) {
    let done = 0;
    for (let at = findMagic(bytes); at >= 0; at = findMagic(bytes, at + 1)) {
      if (at < done || (address + at) % HEADER_ALIGNMENT_BYTES !== 0) continue;
      if (at > 0 && !hasTlvsInPlace(bytes, at)) continue;
      const image = tryParse(bytes.subarray(at));
      if (image instanceof StationError) {
        damaged.push(image);
        if (damaged.length > MOST_DAMAGED) throw image;
      } else {
        leaveOut(leftOut, address + done, bytes.subarray(done, at));
        done = at + image.totalBytes;
        images.push({ address: address + at, bytes: bytes.subarray(at, done), image });
      }
    }
    leaveOut(leftOut, address + done, bytes.subarray(done));
  }
  const [only] = images;
  if (!only)
    throw damaged[0] ?? new StationError('IMAGE_BAD_MAGIC', 'nothing in the HEX file begins with an image header');
  if (images.length > 1) throw new StationError('FIRMWARE_SEVERAL_IMAGES', describe(images));
  // The whole one may be the other core's.
  if (damaged[0]) throw damaged[0];
  if (onNetworkCore(only))
    throw new StationError('FIRMWARE_INDEX_UNKNOWN', `it lies at 0x${only.address.toString(16)}`);
  return { format: 'intel-hex', hardware: [], parts: [{ index: 0, slot: null, bytes: only.bytes }], leftOut };
}

function fillHoles(runs: readonly MemoryRun[]): MemoryRun[] {
  const filled: { address: number; parts: Buffer[]; end: number }[] = [];
  for (const { address, bytes } of runs) {
    const last = filled.at(-1);
    const gap = last ? address - last.end : Number.POSITIVE_INFINITY;
    if (last && gap <= PAGE_BYTES) {
      last.parts.push(Buffer.alloc(gap, 0xff), bytes);
      last.end = address + bytes.length;
    } else {
      filled.push({ address, parts: [bytes], end: address + bytes.length });
    }
  }
  return filled.map(({ address, parts }) => ({ address, bytes: Buffer.concat(parts) }));
}

/** The image at a header, or why it cannot be used. */
function tryParse(bytes: Buffer): McubootImage | StationError {
  try {
    return parseMcubootImage(bytes);
  } catch (error) {
    if (error instanceof StationError) return error;
    throw error;
  }
}

function leaveOut(leftOut: LeftOut[], at: number, bytes: Buffer): void {
  if (bytes.length > 0) leftOut.push({ image: null, at, bytes: bytes.length, what: kindOfLeftOver(bytes) });
}

function onNetworkCore({ address }: FoundImage): boolean {
  return address >= NETWORK_CORE_FLASH.from && address < NETWORK_CORE_FLASH.to;
}

function describe(images: readonly FoundImage[]): string {
  const twoCores = images.some(onNetworkCore) && !images.every(onNetworkCore);
  return images
    .map((found) => {
      const core = onNetworkCore(found) ? 'network core' : 'application core';
      return `${formatVersion(found.image.version)} at 0x${found.address.toString(16)}${twoCores ? `, ${core}` : ''}`;
    })
    .join('; ');
}
