import { createHash, type KeyObject } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { StationError } from '../contract/errors.ts';
import { readIntelHex } from './intel-hex.ts';
import { looksLikeMcubootImage, type McubootImage, parseMcubootImage, verifySignature } from './mcuboot-image.ts';
import { looksLikeZip, readNcsZip } from './ncs-zip.ts';

/** The largest firmware file and the most that an archive may unpack to, in bytes. */
export const MAX_FIRMWARE_BYTES = 32 * 1024 * 1024;

/** One image of a package: its bytes as they are sent, and what they say of themselves. */
export interface FirmwareImage {
  /** MCUboot's image index: 0 the application core; on an nRF5340 1 is the network core. */
  readonly index: number;
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
  /** The board or SoC that the manifest names, if it does. */
  readonly hardware: string | null;
  readonly images: readonly FirmwareImage[];
  readonly signature: 'not-checked' | 'valid';
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
  const { format, hardware, parts } = await unpack(file, fileName);
  const images = parts.map(({ index, bytes }) => {
    const image = parseMcubootImage(bytes);
    if (key) verifySignature(bytes, image, key);
    return { index, bytes, image };
  });
  return {
    fileName,
    format,
    sha256: createHash('sha256').update(file).digest('hex'),
    file,
    hardware,
    images,
    signature: key ? 'valid' : 'not-checked',
  };
}

/** What a container yields: images by index, not yet verified. */
export interface UnpackedFirmware {
  readonly format: FirmwarePackage['format'];
  readonly hardware: string | null;
  readonly parts: readonly { index: number; bytes: Buffer }[];
}

async function unpack(file: Buffer, fileName: string): Promise<UnpackedFirmware> {
  if (looksLikeZip(file)) return readNcsZip(file, MAX_FIRMWARE_BYTES);
  if (file[0] === 0x3a) return readIntelHex(file);
  if (looksLikeMcubootImage(file) || fileName.endsWith('.bin')) {
    return { format: 'mcuboot', hardware: null, parts: [{ index: 0, bytes: file }] };
  }
  throw new StationError('FIRMWARE_UNKNOWN_FORMAT', fileName);
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
