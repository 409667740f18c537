import MemoryMap from 'nrf-intel-hex';
import { StationError } from '../contract/errors.ts';
import type { UnpackedFirmware } from './firmware-package.ts';
import { looksLikeMcubootImage } from './mcuboot-image.ts';

/**
 * Finds the one MCUboot image in an Intel HEX file (`zephyr.signed.hex`). Holes up to a flash page are filled with 0xff, as the erased
 * flash would read.
 * @throws StationError HEX_INVALID, IMAGE_BAD_MAGIC
 */
export function readIntelHex(file: Buffer): UnpackedFirmware {
  let blocks: [number, Uint8Array][];
  try {
    blocks = [...MemoryMap.fromHex(file.toString('latin1')).join().entries()];
  } catch (error) {
    throw new StationError('HEX_INVALID', error instanceof Error ? error.message : '', { cause: error });
  }
  blocks.sort(([a], [b]) => a - b);
  const runs: { address: number; bytes: Buffer }[] = [];
  for (const [address, bytes] of blocks) {
    const last = runs.at(-1);
    const gap = last ? address - (last.address + last.bytes.length) : Number.POSITIVE_INFINITY;
    if (last && gap <= PAGE_BYTES) last.bytes = Buffer.concat([last.bytes, Buffer.alloc(gap, 0xff), bytes]);
    else runs.push({ address, bytes: Buffer.from(bytes) });
  }
  if (runs.length === 0) throw new StationError('HEX_INVALID', 'no data');
  const images = runs.filter((run) => looksLikeMcubootImage(run.bytes));
  const [image] = images;
  if (!image) throw new StationError('IMAGE_BAD_MAGIC', 'no block of the HEX file begins with an image header');
  if (images.length > 1)
    throw new StationError('HEX_INVALID', `${images.length} images; give them as a dfu_application.zip`);
  return { format: 'intel-hex', hardware: null, parts: [{ index: 0, bytes: image.bytes }] };
}

const PAGE_BYTES = 4096;
