import { configure, type Entry, ERR_INVALID_CRC32, type FileEntry, Uint8ArrayReader, ZipReader } from '@zip.js/zip.js';
import { z } from 'zod';
import { StationError } from '../contract/errors.ts';
import type { UnpackedFirmware } from './firmware-package.ts';

configure({ useWebWorkers: false });

const numeric = z.union([z.int().min(0), z.string().regex(/^\d+$/).transform(Number)]);

/** The manifest of nRF Connect SDK's `dfu_application.zip` (`scripts/bootloader/generate_zip.py`); unknown keys are left alone. */
const manifestSchema = z.looseObject({
  files: z
    .array(
      z.looseObject({
        file: z.string().min(1),
        image_index: numeric.default(0),
        board: z.string().optional(),
        soc: z.string().optional(),
      }),
    )
    .min(1)
    .max(16),
});

/** Whether the bytes begin like a zip archive (APPNOTE 4.3.7). */
export function looksLikeZip(file: Buffer): boolean {
  return file.length >= 4 && file.readUInt32LE(0) === 0x04034b50;
}

/**
 * Unpacks a `dfu_application.zip`, at most `maxBytes` in all.
 * @throws StationError ZIP_DAMAGED, ZIP_BAD_CRC, ZIP_TOO_LARGE, MANIFEST_MISSING, MANIFEST_INVALID, MANIFEST_FILE_MISSING,
 * MANIFEST_PATH_UNSAFE
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
    const budget = { bytes: maxBytes };
    const manifestEntry = find(entries, 'manifest.json');
    if (!manifestEntry) throw new StationError('MANIFEST_MISSING');
    const manifest = parseManifest(await extract(manifestEntry, budget));
    const parts = [];
    for (const item of manifest.files) {
      if (isUnsafe(item.file)) throw new StationError('MANIFEST_PATH_UNSAFE', item.file);
      const entry = find(entries, item.file);
      if (!entry) throw new StationError('MANIFEST_FILE_MISSING', item.file);
      parts.push({ index: item.image_index, bytes: await extract(entry, budget) });
    }
    if (new Set(parts.map((part) => part.index)).size !== parts.length) {
      throw new StationError('MANIFEST_INVALID', 'two files for one image_index');
    }
    const first = manifest.files[0];
    return { format: 'ncs-zip', hardware: first?.board ?? first?.soc ?? null, parts };
  } finally {
    await reader.close();
  }
}

function parseManifest(bytes: Buffer): z.infer<typeof manifestSchema> {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new StationError('MANIFEST_INVALID', message(error), { cause: error });
  }
  const parsed = manifestSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new StationError('MANIFEST_INVALID', `${issue?.path.join('.')}: ${issue?.message}`);
}

function find(entries: Entry[], name: string): FileEntry | undefined {
  return entries.find((entry): entry is FileEntry => !entry.directory && entry.filename === name);
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
