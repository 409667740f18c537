import { configure, type Entry, ERR_INVALID_CRC32, type FileEntry, Uint8ArrayReader, ZipReader } from '@zip.js/zip.js';
import { StationError } from '../contract/errors.ts';
import { type ManifestFile, readManifest } from './dfu-manifest.ts';
import type { UnpackedFirmware } from './firmware-package.ts';
import {
  compareVersions,
  formatVersion,
  IMAGE_HEADER_BYTES,
  looksLikeMcubootImage,
  readVersion,
} from './mcuboot-image.ts';

configure({ useWebWorkers: false });

/** Whether the bytes begin like a zip archive (APPNOTE 4.3.7). */
export function looksLikeZip(file: Buffer): boolean {
  return file.length >= 4 && file.readUInt32LE(0) === 0x04034b50;
}

/**
 * Unpacks a `dfu_application.zip`, at most `maxBytes` in all. The manifest lies at its root or in a folder with the files.
 * @throws StationError ZIP_DAMAGED, ZIP_BAD_CRC, ZIP_TOO_LARGE, MANIFEST_MISSING, MANIFEST_FILE_MISSING, MANIFEST_PATH_UNSAFE,
 * MANIFEST_CONTRADICTS, PACKAGE_SUIT, and what `readManifest` throws
 */
export async function readNcsZip(file: Buffer, maxBytes: number): Promise<UnpackedFirmware> {
  const reader = new ZipReader(new Uint8ArrayReader(file), { checkCrc32: true });
  try {
    const entries = await reader.getEntries().catch((error: unknown) => {
      throw new StationError('ZIP_DAMAGED', message(error), { cause: error });
    });
    const declared = entries.reduce((sum, entry) => sum + entry.uncompressedSize, 0);
    if (declared > maxBytes || entries.length > 1000) {
      throw new StationError('ZIP_TOO_LARGE', `${entries.length} entries, ${declared} bytes`);
    }
    const files = new Map<string, FileEntry>();
    for (const entry of entries) {
      if (entry.directory) continue;
      if (files.has(pathOf(entry))) throw new StationError('ZIP_DAMAGED', `two files are called ${pathOf(entry)}`);
      files.set(pathOf(entry), entry);
    }
    const budget = { bytes: maxBytes };
    const { folder, entry: manifest } = findManifest(files);
    const parts = [];
    const listed = readManifest(await extract(manifest, budget));
    for (const item of listed) {
      if (isUnsafe(item.file)) throw new StationError('MANIFEST_PATH_UNSAFE', item.file);
      const entry = files.get(folder + item.file);
      if (!entry) throw new StationError('MANIFEST_FILE_MISSING', item.file);
      const bytes = await extract(entry, budget);
      refuseContradiction(item, bytes);
      parts.push({ index: item.index, slot: item.slot, bytes });
    }
    const hardware = listed.map((item) => item.hardware).filter(({ board, soc }) => board !== null || soc !== null);
    return { format: 'ncs-zip', hardware, parts, leftOut: [] };
  } finally {
    await reader.close();
  }
}

/** Some programs write backslashes. */
const pathOf = (entry: Entry) => entry.filename.replaceAll('\\', '/');

const MANIFEST = 'manifest.json';

function findManifest(files: ReadonlyMap<string, FileEntry>): { folder: string; entry: FileEntry } {
  const paths = [...files.keys()].filter((path) => !path.startsWith('__MACOSX/'));
  const manifests = paths.filter((path) => path === MANIFEST || path.endsWith(`/${MANIFEST}`));
  const path = manifests.includes(MANIFEST) ? MANIFEST : manifests[0];
  const entry = path === undefined ? undefined : files.get(path);
  if (path === undefined || !entry) {
    const suit = paths.find((each) => /\.suit$/i.test(each));
    throw suit ? new StationError('PACKAGE_SUIT', suit) : new StationError('MANIFEST_MISSING');
  }
  if (path !== MANIFEST && manifests.length > 1) {
    throw new StationError('MANIFEST_INVALID', `more than one: ${manifests.slice(0, 4).join(', ')}`);
  }
  return { folder: path.slice(0, -MANIFEST.length), entry };
}

/** Size and version of a file are in the manifest and in the file: where they differ, one of the two is not the right one. */
function refuseContradiction({ file, bytes: size, version }: ManifestFile, bytes: Buffer): void {
  if (size !== null && size !== bytes.length) {
    throw new StationError('MANIFEST_CONTRADICTS', `${file}: size ${size}, it has ${bytes.length} bytes`);
  }
  if (!version || !looksLikeMcubootImage(bytes) || bytes.length < IMAGE_HEADER_BYTES) return;
  const found = readVersion(bytes, 20);
  const same = compareVersions({ ...version, build: version.build ?? found.build }, found) === 0;
  if (!same) {
    const said = formatVersion({ ...version, build: version.build ?? 0 });
    throw new StationError('MANIFEST_CONTRADICTS', `${file}: version ${said}, it has ${formatVersion(found)}`);
  }
}

function isUnsafe(path: string): boolean {
  return path.includes('\\') || path.startsWith('/') || /^[a-z]:/i.test(path) || path.split('/').includes('..');
}

async function extract(entry: FileEntry, budget: { bytes: number }): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  const sink = new WritableStream<Uint8Array>({
    write(chunk) {
      budget.bytes -= chunk.length;
      if (budget.bytes < 0) throw new StationError('ZIP_TOO_LARGE', entry.filename);
      chunks.push(chunk);
    },
  });
  try {
    await entry.getData(sink);
  } catch (error) {
    if (error instanceof StationError) throw error;
    if (message(error) === ERR_INVALID_CRC32) throw new StationError('ZIP_BAD_CRC', entry.filename, { cause: error });
    throw new StationError('ZIP_DAMAGED', `${entry.filename}: ${message(error)}`, { cause: error });
  }
  return Buffer.concat(chunks);
}

const message = (error: unknown) => (error instanceof Error ? error.message : String(error));
