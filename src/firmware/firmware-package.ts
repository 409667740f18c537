import { createHash, type KeyObject } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { StationError } from '../contract/errors.ts';
import type { FirmwareHardware } from './hardware.ts';
import { readHexImage } from './hex-image.ts';
import { looksLikeIntelHex } from './intel-hex.ts';
import { findMagic, findWholeImage, kindOfLeftOver, type LeftOut } from './left-out.ts';
import {
  formatVersion,
  looksLikeMcubootImage,
  type McubootImage,
  parseMcubootImage,
  verifySignature,
} from './mcuboot-image.ts';
import { looksLikeZip, readNcsZip } from './ncs-zip.ts';
import { refuseNetworkCore, refuseOtherFormats } from './other-formats.ts';

/** The largest firmware file and the most that an archive may unpack to, in bytes. */
export const MAX_FIRMWARE_BYTES = 32 * 1024 * 1024;

/**
 * One image of a package: the bytes that are sent, and what they say of themselves. `bytes` are header, payload and TLVs and nothing
 * else. A device that has them lists `image.hash` for the second slot; when it runs them, `image.runsAs` for the active one.
 */
export interface FirmwareImage {
  /** MCUboot's image index: 0 the application core; on an nRF5340 1 is the network core. */
  readonly index: number;
  /**
   * The slot that the image was built to run in (direct-XIP: 0 or 1; a package then has one image for each). Only the image of the slot
   * that does not run may be sent. Null where images run in the first slot, as they usually do.
   */
  readonly slot: number | null;
  readonly bytes: Buffer;
  readonly image: McubootImage;
}

/** A firmware file whose every image has been checked. */
export interface FirmwarePackage {
  readonly fileName: string;
  readonly format: 'mcuboot' | 'ncs-zip' | 'intel-hex';
  /** SHA-256 of the whole file, hexadecimal: the package's identity in the records. */
  readonly sha256: string;
  readonly file: Buffer;
  /** What each file of the manifest was built for; empty when nothing says. */
  readonly hardware: readonly FirmwareHardware[];
  /** By index and slot. At least one; one an index, or one a slot of it. */
  readonly images: readonly FirmwareImage[];
  /** `not-checked` without a key; `not-checkable` when an image is encrypted. */
  readonly signature: 'not-checked' | 'valid' | 'not-checkable';
  /** What is in the file and is not sent. */
  readonly leftOut: readonly LeftOut[];
}

/**
 * Reads and verifies a firmware file: MCUboot image, NCS `dfu_application.zip` or Intel HEX. With `key` every image must be signed
 * by it.
 * @throws StationError FILE_NOT_FOUND, FILE_UNREADABLE, FIRMWARE_TOO_LARGE and whatever the formats throw
 */
export async function readFirmware(path: string, key?: KeyObject): Promise<FirmwarePackage> {
  return parseFirmware(await readBounded(path), basename(path), key);
}

/** The same for bytes at hand. */
export async function parseFirmware(file: Buffer, fileName: string, key?: KeyObject): Promise<FirmwarePackage> {
  if (file.length > MAX_FIRMWARE_BYTES) throw new StationError('FIRMWARE_TOO_LARGE', `${file.length} bytes`);
  const { format, hardware, parts, leftOut: elsewhere } = await unpack(file, fileName);
  const leftOut = [...elsewhere];
  let signature: FirmwarePackage['signature'] = key ? 'valid' : 'not-checked';
  const images = parts
    .toSorted((a, b) => a.index - b.index || (a.slot ?? 0) - (b.slot ?? 0))
    .map(({ index, slot, bytes }) => {
      const image = parseMcubootImage(bytes);
      const behind = bytes.subarray(image.totalBytes);
      refuseSecondImage(image, behind);
      if (behind.length > 0) {
        leftOut.push({ image: index, at: image.totalBytes, bytes: behind.length, what: kindOfLeftOver(behind) });
      }
      const sent = bytes.subarray(0, image.totalBytes);
      if (index === 0) refuseNetworkCore(sent, image);
      if (key && verifySignature(sent, image, key) === 'not-checkable') signature = 'not-checkable';
      return { index, slot, bytes: sent, image };
    });
  const sha256 = createHash('sha256').update(file).digest('hex');
  return { fileName, format, sha256, file, hardware, images, signature, leftOut };
}

/** What a container yields: images by index, not yet verified, each with whatever lies behind it in its file. */
export interface UnpackedFirmware {
  readonly format: FirmwarePackage['format'];
  readonly hardware: readonly FirmwareHardware[];
  readonly parts: readonly { readonly index: number; readonly slot: number | null; readonly bytes: Buffer }[];
  readonly leftOut: readonly LeftOut[];
}

async function unpack(file: Buffer, fileName: string): Promise<UnpackedFirmware> {
  if (file.length === 0) throw new StationError('FIRMWARE_EMPTY', fileName);
  if (looksLikeZip(file)) return readNcsZip(file, MAX_FIRMWARE_BYTES);
  if (looksLikeIntelHex(file)) return readHexImage(file);
  if (looksLikeMcubootImage(file)) {
    refuseOtherFormats(file, fileName);
    return { format: 'mcuboot', hardware: [], parts: [{ index: 0, slot: null, bytes: file }], leftOut: [] };
  }
  refuseOtherFormats(file, fileName);
  const image = findWholeImage(file);
  if (image !== null) throw new StationError('FIRMWARE_IS_FLASH_DUMP', `an image begins at 0x${image.toString(16)}`);
  if (fileName.toLowerCase().endsWith('.bin')) {
    const first = file.subarray(0, 4).toString('hex');
    throw new StationError('IMAGE_BAD_MAGIC', `it begins with ${first}, an image with 3db8f396`);
  }
  throw new StationError('FIRMWARE_UNKNOWN_FORMAT', fileName);
}

/** A second image behind the first (two joined files, a dump of both slots): which of them is meant is not for the station to guess. */
function refuseSecondImage(image: McubootImage, behind: Buffer): void {
  const at = findMagic(behind);
  if (at < 0) return;
  const second = behind.subarray(at);
  const version = second.length >= 28 ? `${second[20]}.${second[21]}.${second.readUInt16LE(22)}` : 'cut short';
  const detail = `${formatVersion(image.version)} at 0x0; ${version} at 0x${(image.totalBytes + at).toString(16)}`;
  throw new StationError('FIRMWARE_SEVERAL_IMAGES', detail);
}

async function readBounded(path: string): Promise<Buffer> {
  try {
    const info = await stat(path);
    if (!info.isFile()) throw new StationError('FILE_UNREADABLE', path);
    if (info.size > MAX_FIRMWARE_BYTES) throw new StationError('FIRMWARE_TOO_LARGE', `${info.size} bytes`);
    return await readFile(path);
  } catch (error) {
    if (error instanceof StationError) throw error;
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw new StationError(missing ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE', path, { cause: error });
  }
}
