import { z } from 'zod';
import { StationError } from '../contract/errors.ts';
import type { FirmwareHardware } from './hardware.ts';
import type { ImageVersion } from './mcuboot-image.ts';
import { isBootloaderUpdate } from './other-formats.ts';

/**
 * One file of a manifest. `slot` is null where the manifest names none; `bytes` and `version` are what it says of the file, null where it
 * says nothing. A version without a build number is compared without.
 */
export interface ManifestFile {
  readonly file: string;
  readonly index: number;
  readonly slot: number | null;
  readonly bytes: number | null;
  readonly version: (Omit<ImageVersion, 'build'> & { readonly build: number | null }) | null;
  readonly hardware: FirmwareHardware;
}

const KNOWN_FORMATS = [0, 1];
const MOST_FILES = 16;
const HIGHEST_INDEX = 15;
/** Kinds of file that hold an image; a file without a kind is taken for one, and the image itself is checked. */
const IMAGE_KINDS = ['application', 'bin'];
const SUIT_KINDS = ['suit-envelope', 'cache'];

const text = z.union([z.string(), z.number(), z.null()]).transform((value) => (value === null ? null : String(value)));
const manifestSchema = z.looseObject({
  'format-version': text.optional(),
  files: z
    .array(
      z.looseObject({
        file: z.string().min(1),
        type: z.string().nullish(),
        size: text.optional(),
        board: z.string().nullish(),
        soc: z.string().nullish(),
      }),
    )
    .min(1)
    .max(MOST_FILES),
});
type ManifestEntry = z.infer<typeof manifestSchema>['files'][number];

/**
 * Reads the `manifest.json` of nRF Connect SDK's `dfu_application.zip`: which file is for which image. An index is never guessed.
 *
 * Keys that say it: `image_index` (number or digits), `image`, `partition`; in their absence `slot_index_primary`, which is
 * 2 × index + 1. A single file of which nothing at all says it is image 0. `slot` is the slot that a direct-XIP image runs in, not an image.
 * Sources: sdk-nrf `scripts/bootloader/generate_zip.py` and `cmake/sysbuild/zip.cmake`; Nordic's nRF Connect Device Manager for iOS,
 * `McuMgrManifest.swift`; fwupd `fu-nordic-hid-archive.c` (format versions 0 and 1).
 * @throws StationError MANIFEST_INVALID, MANIFEST_VERSION_UNKNOWN, MANIFEST_KIND_UNKNOWN, MANIFEST_INDEX_UNKNOWN, PACKAGE_SUIT,
 * PACKAGE_NORDIC_DFU, PACKAGE_BOOTLOADER
 */
export function readManifest(bytes: Buffer): ManifestFile[] {
  const json = parseJson(bytes);
  refuseOthersManifests(json);
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new StationError('MANIFEST_INVALID', `${issue?.path.join('.')}: ${issue?.message}`);
  }
  const { 'format-version': format, files: entries } = parsed.data;
  if (format !== undefined && format !== null && !KNOWN_FORMATS.includes(Number(format))) {
    throw new StationError('MANIFEST_VERSION_UNKNOWN', `format-version ${format}`);
  }
  for (const { file, type } of entries) {
    if (type && !IMAGE_KINDS.includes(type)) throw new StationError('MANIFEST_KIND_UNKNOWN', `${file}: type ${type}`);
  }
  const files = entries.map((entry) => asFile(entry, entries.length === 1));
  refuseAmbiguous(files);
  return files;
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8').replace(/^\ufeff/, ''));
  } catch (error) {
    throw new StationError('MANIFEST_INVALID', error instanceof Error ? error.message : '', { cause: error });
  }
}

/**
 * Other people's packages are named for what they are, before any rule of ours is held against them. Nordic's SDK bootloaders:
 * `nrfutil` (`manifest.py`), the manifest's parts have a `dat_file` or an `init_packet_data`.
 */
function refuseOthersManifests(json: unknown): void {
  const object = asObject(json);
  const parts = asObject(object.manifest ?? json);
  for (const part of ['application', 'bootloader', 'softdevice', 'softdevice_bootloader']) {
    const { bin_file: bin, dat_file: dat, init_packet_data: init } = asObject(parts[part]);
    if (bin !== undefined || dat !== undefined || init !== undefined)
      throw new StationError('PACKAGE_NORDIC_DFU', part);
  }
  const files = (Array.isArray(object.files) ? object.files : []).map(asObject);
  for (const { file, type } of files) {
    const name = typeof file === 'string' ? file : '';
    if (SUIT_KINDS.includes(String(type)) || /\.suit$/i.test(name)) throw new StationError('PACKAGE_SUIT', name);
    if (type === 'mcuboot' || isBootloaderUpdate(name)) throw new StationError('PACKAGE_BOOTLOADER', name);
  }
}

function asObject(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function asFile(entry: ManifestEntry, alone: boolean): ManifestFile {
  const { file, size, board, soc } = entry;
  const bytes = size === undefined || size === null ? null : Number(size);
  if (bytes !== null && !Number.isInteger(bytes)) throw new StationError('MANIFEST_INVALID', `${file}: size ${size}`);
  const index = indexOf(entry, alone);
  return {
    file: file.replace(/^\.\//, ''),
    index,
    slot: entry.slot === undefined || entry.slot === null ? null : wholeNumber(file, 'slot', entry.slot),
    bytes,
    version: versionOf(entry),
    hardware: { image: index, board: board || null, soc: soc || null },
  };
}

const INDEX_KEYS = ['image_index', 'image', 'partition'];
const KNOWN_KEYS = [...INDEX_KEYS, 'slot', 'slot_index_primary', 'slot_index_secondary'];
/** Words that a key has which could say which image a file is for. */
const INDEX_WORDS = /index|idx|image|img|slot|partition|core|cpu|bank/i;

function indexOf(entry: ManifestEntry, alone: boolean): number {
  const { file } = entry;
  const given = INDEX_KEYS.filter((key) => entry[key] !== undefined && entry[key] !== null);
  const indexes = new Set(given.map((key) => wholeNumber(file, key, entry[key])));
  if (indexes.size > 1) throw new StationError('MANIFEST_INDEX_UNKNOWN', `${file}: ${given.join(' and ')} differ`);
  const strange = Object.entries(entry).find(([key, value]) => couldBeIndex(key, value, given.length > 0));
  if (strange) throw new StationError('MANIFEST_INDEX_UNKNOWN', `${file}: ${strange[0]}: ${String(strange[1])}`);
  const [index] = indexes;
  if (index !== undefined) return index;
  const primary = entry.slot_index_primary;
  if (primary !== undefined && primary !== null) {
    const number = wholeNumber(file, 'slot_index_primary', primary);
    if (number % 2 !== 1) throw new StationError('MANIFEST_INDEX_UNKNOWN', `${file}: slot_index_primary: ${number}`);
    return (number - 1) / 2;
  }
  if (alone && KNOWN_KEYS.every((key) => entry[key] === undefined || entry[key] === null)) return 0;
  throw new StationError('MANIFEST_INDEX_UNKNOWN', `${file}: no image_index`);
}

/** A small number under such a key is taken for an index that is not understood; where no index is known, any value is. */
function couldBeIndex(key: string, value: unknown, indexIsKnown: boolean): boolean {
  if (KNOWN_KEYS.includes(key) || !INDEX_WORDS.test(key) || value === null || /version/i.test(key)) return false;
  const small = (typeof value === 'number' || typeof value === 'string') && /^\d+$/.test(String(value));
  return small ? Number(value) <= HIGHEST_INDEX : !indexIsKnown && typeof value !== 'number';
}

function wholeNumber(file: string, key: string, value: unknown): number {
  const digits = typeof value === 'number' ? String(value) : typeof value === 'string' ? value.trim() : '';
  if (/^\d{1,3}$/.test(digits) && Number(digits) <= HIGHEST_INDEX) return Number(digits);
  throw new StationError('MANIFEST_INDEX_UNKNOWN', `${file}: ${key}: ${JSON.stringify(value)}`);
}

/** `1`, `1.2`, `1.2.3` or `1.2.3+4` (imgtool `version.py`); anything else is no version that could contradict the image. */
function versionOf(entry: ManifestEntry): ManifestFile['version'] {
  const said = entry['version_MCUBOOT+XIP'] ?? entry.version_MCUBOOT;
  const match = typeof said === 'string' ? /^(\d+)(?:\.(\d+)(?:\.(\d+)(?:\+(\d+))?)?)?$/.exec(said.trim()) : null;
  if (!match) return null;
  const [, major, minor, revision, build] = match;
  return {
    major: Number(major),
    minor: Number(minor ?? 0),
    revision: Number(revision ?? 0),
    build: build === undefined ? null : Number(build),
  };
}

/** Two files for one image are a pair only where each runs in a slot of its own. */
function refuseAmbiguous(files: readonly ManifestFile[]): void {
  for (const { index } of files) {
    const same = files.filter((each) => each.index === index);
    if (same.length === 1) continue;
    const slots = new Set(same.map(({ slot }) => slot));
    if (slots.size !== same.length || ![...slots].every((slot) => slot === 0 || slot === 1)) {
      throw new StationError(
        'MANIFEST_INVALID',
        `${same.map(({ file }) => file).join(' and ')} are both image ${index}`,
      );
    }
  }
}
