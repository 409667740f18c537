import { readFile, writeFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { systemClock } from '../clock.ts';
import { StationError } from '../contract/errors.ts';
import type { JobEvent } from '../contract/job-events.ts';
import { jobFile } from '../contract/job-file.ts';
import { type ProductProfile, productFile } from '../contract/product-file.ts';
import type { Qualification, QualificationSection } from '../contract/qualification.ts';
import { type TrayFile, trayFile } from '../contract/tray-file.ts';
import { readCapture } from '../diagnostics/capture-file.ts';
import { readFirmware } from '../firmware/firmware-package.ts';
import { dataDirectory } from '../host/data-directory.ts';
import { forkOnNode } from '../host/fork.ts';
import { ISOLATE_BY_DEFAULT, openRadios } from '../host/radios.ts';
import { appVersion } from '../host/version.ts';
import { startVirtualTray } from '../host/virtual-radio.ts';
import { onlyUnit } from '../qualification/only-unit.ts';
import { type ProductFirmware, qualifyProduct } from '../qualification/qualify-product.ts';
import { qualifyRadio, qualifyRecording } from '../qualification/qualify-radio.ts';
import { reportPdf } from '../qualification/report-pdf.ts';
import { reportText } from '../qualification/report-text.ts';
import { openRadio, openRadioOver, openTransport } from '../radio/open-radio.ts';
import type { Radio } from '../radio/radio.ts';
import { fixedShelf } from '../radio/radio-shelf.ts';
import { parseRadioSpec, type RadioSpec } from '../radio/radio-spec.ts';
import { RecordReader } from '../records/record-reader.ts';
import { RecordWriter } from '../records/record-writer.ts';
import { keepQualification } from '../station/qualifications.ts';
import { checkOrder, Station } from '../station/station.ts';
import { readYamlFile } from '../station/yaml-file.ts';
import { type PreparedRun, prepareRun, virtualProduct } from './run-command.ts';

/** Options that both kinds of `qualify` have. */
export interface QualifyOptions {
  readonly radio: string;
  readonly product?: string;
  readonly unit?: string;
  readonly tray?: string;
  readonly data?: string;
  readonly practice?: boolean;
  readonly output?: string;
}

/** Options of `qualify radio`. */
export interface QualifyRadioOptions extends QualifyOptions {
  readonly firmware?: string;
  readonly units?: number;
}

/** How a report is written, by the end of the file's name. */
const writers: Readonly<Record<string, (report: Qualification) => string | Promise<Buffer>>> = {
  '.json': (report) => `${JSON.stringify(report, null, 2)}\n`,
  '.txt': (report) => `${reportText(report)}\n`,
  '.pdf': reportPdf,
};

/** @throws StationError ARGUMENT_INVALID for a name that says no format */
function writerFor(path: string): (typeof writers)[string] {
  const writer = writers[extname(path).toLowerCase()];
  if (!writer) throw new StationError('ARGUMENT_INVALID', `--output ${path}: name a .json, .txt or .pdf file`);
  return writer;
}

/** A radio as `qualify` opens it, and what it started for that. */
interface OpenedRadio {
  readonly spec: Exclude<RadioSpec, { kind: 'virtual' | 'replay' }>;
  readonly stop: () => Promise<void>;
}

/** One radio, with a virtual tray in front of a virtual one. @throws StationError */
async function openedRadio(spec: RadioSpec, options: QualifyOptions): Promise<OpenedRadio> {
  if (spec.kind === 'replay') throw new StationError('ARGUMENT_INVALID', 'a recording cannot be written to');
  if (spec.kind !== 'virtual') return { spec, stop: async () => undefined };
  const tray = options.tray
    ? await readYamlFile(options.tray, trayFile)
    : trayFile.parse({ units: options.unit ? 8 : 1 });
  const virtual = await startVirtualTray(tray, { fork: forkOnNode(process.argv[1]!) });
  return { spec: { kind: 'h4', name: spec.name, path: virtual.path }, stop: () => virtual.stop() };
}

/** What stands in front of a virtual radio: one device, or as many as are numbered where one is named. */
async function trayFor({ tray, unit }: QualifyOptions): Promise<TrayFile> {
  return tray ? readYamlFile(tray, trayFile) : trayFile.parse({ units: unit ? 8 : 1 });
}

/** Whether records are those of practice: virtual and replayed radios are. */
function isPractice(spec: RadioSpec, options: QualifyOptions): boolean {
  return options.practice === true || spec.kind === 'virtual' || spec.kind === 'replay';
}

/** Writes and keeps a report. */
async function finishReport(
  report: Omit<Qualification, 'takenAt' | 'appVersion'>,
  directory: string,
  output: string | undefined,
): Promise<Qualification> {
  const whole = { ...report, takenAt: systemClock.wall().toISOString(), appVersion };
  await keepQualification(directory, whole);
  if (output) await writeFile(output, await writerFor(output)(whole));
  return whole;
}

/** Checks what can be checked before anything is opened. @throws StationError ARGUMENT_INVALID, RADIO_SPEC_INVALID */
function readTarget(options: QualifyOptions): RadioSpec {
  if (options.output) writerFor(options.output);
  const spec = parseRadioSpec(options.radio);
  if (spec.kind === 'virtual' && spec.count > 1) throw new StationError('ARGUMENT_INVALID', 'name one radio');
  return spec;
}

/** Qualifies a radio, or what a recording holds of one. @throws StationError for what cannot be used */
export async function qualifyRadioCommand(
  options: QualifyRadioOptions,
  signal: AbortSignal,
  emit: (event: JobEvent) => void,
): Promise<Qualification> {
  const spec = readTarget(options);
  const { firmware, product, unit, units } = options;
  const upgrades = firmware !== undefined || product !== undefined;
  if (upgrades && spec.kind === 'replay') throw new StationError('ARGUMENT_INVALID', 'a recording cannot be upgraded');
  if (upgrades && unit === undefined && units === undefined)
    throw new StationError(
      'ARGUMENT_INVALID',
      'an upgrade writes to devices: say which with --unit, or how many with --units',
    );
  const practice = isPractice(spec, options);
  const directory = dataDirectory({ data: options.data, practice });
  const finish = (sections: readonly QualificationSection[]) =>
    finishReport(
      { kind: 'radio', subject: options.radio, practice, sections, profile: null, left: null },
      directory,
      options.output,
    );
  if (spec.kind === 'replay') return finish(qualifyRecording(await readRecording(spec.path)));
  const prepared = upgrades ? await prepareRun(undefined, { ...options, radio: [options.radio] }) : null;
  const opened = await openedRadio(spec, options);
  try {
    const { spec: real } = opened;
    const transport = real.kind === 'system' ? null : await openTransport(real);
    const open = (observed: typeof transport) =>
      observed ? openRadioOver(spec.name, observed, systemClock) : openRadio(real, systemClock);
    const baudRate = real.kind === 'serial' ? real.baudRate : null;
    const upgrade =
      prepared && ((radio: Radio) => runOver(radio, prepared, options, directory, practice, signal, emit));
    return await finish(await qualifyRadio({ transport, open, clock: systemClock, baudRate, upgrade }, signal));
  } finally {
    await opened.stop();
  }
}

async function readRecording(path: string) {
  let file: Buffer;
  try {
    file = await readFile(path);
  } catch (error) {
    throw new StationError('FILE_NOT_FOUND', path, { cause: error });
  }
  const { taken, packets } = readCapture(file);
  if (taken === 'air') throw new StationError('CAPTURE_LINK_TYPE', 'a capture of the air holds no controller');
  return packets;
}

/** Upgrades units as `run` does, over this radio alone. */
async function runOver(
  radio: Radio,
  { profile, firmware }: PreparedRun,
  { unit, units }: QualifyRadioOptions,
  directory: string,
  practice: boolean,
  signal: AbortSignal,
  emit: (event: JobEvent) => void,
) {
  const records = new RecordWriter(directory, systemClock);
  try {
    const station = new Station({ radios: fixedShelf([radio]), records, clock: systemClock, practice, appVersion });
    const job = jobFile.parse({ job: 'qualify radio', ...(unit ? { units: [{ serial: unit }] } : {}) });
    return await station.run({ job, profile, firmware, units: unit ? undefined : units }, signal, emit);
  } finally {
    records.close();
  }
}

/** Options of `qualify product`. */
export interface QualifyProductOptions extends QualifyOptions {
  readonly firmware: readonly string[];
  readonly isolate?: boolean;
}

/** Drives one unit of a product through everything, and tells how it did. @throws StationError for what cannot be used */
export async function qualifyProductCommand(
  options: QualifyProductOptions,
  signal: AbortSignal,
  emit: (event: JobEvent) => void,
): Promise<Qualification> {
  const spec = readTarget(options);
  if (spec.kind === 'replay') throw new StationError('ARGUMENT_INVALID', 'a recording cannot be upgraded');
  const profile = await readProduct(options);
  const firmware = await readPair(options.firmware, profile);
  const practice = isPractice(spec, options);
  const directory = dataDirectory({ data: options.data, practice });
  const tray = await trayFor(options);
  const fork = forkOnNode(process.argv[1]!);
  const opening = { clock: systemClock, tray, fork, isolate: options.isolate ?? ISOLATE_BY_DEFAULT };
  const records = new RecordWriter(directory, systemClock);
  try {
    const { rack, stop } = await openRadios([spec], opening, { strict: true });
    const reader = new RecordReader(directory);
    try {
      const serial = options.unit ?? (await onlyUnit(profile, rack, systemClock, signal));
      const setting = {
        radios: rack,
        records,
        reader,
        clock: systemClock,
        practice,
        appVersion,
        profile,
        serial,
        signal,
        emit,
      };
      const findings = await qualifyProduct(setting, firmware);
      const subject = `${profile.product}, unit ${serial}, ${firmware.a.fileName} and ${firmware.b.fileName}`;
      return await finishReport({ kind: 'product', subject, practice, ...findings }, directory, options.output);
    } finally {
      reader.close();
      await stop();
    }
  } finally {
    records.close();
  }
}

async function readProduct({ product, radio }: QualifyOptions): Promise<ProductProfile> {
  if (product === undefined && !radio.startsWith('virtual'))
    throw new StationError('ARGUMENT_INVALID', 'name the product with --product');
  const profile = product === undefined ? virtualProduct : await readYamlFile(product, productFile);
  if (profile.upgrade.mode === 'upload-only')
    throw new StationError('ARGUMENT_INVALID', 'the profile says mode: upload-only: nothing would be started');
  return profile;
}

/** @throws StationError ARGUMENT_INVALID when there are not two that differ */
async function readPair(paths: readonly string[], profile: ProductProfile): Promise<ProductFirmware> {
  const [a, b] = await Promise.all(paths.map((path) => readFirmware(path)));
  if (!a || !b || paths.length > 2)
    throw new StationError('ARGUMENT_INVALID', 'name two firmwares that the unit can run: --firmware A --firmware B');
  for (const firmware of [a, b]) checkOrder(profile, firmware);
  const hashes = [a, b].map(({ images }) => images.map(({ image }) => image.hash).join(' '));
  if (hashes[0] === hashes[1]) throw new StationError('ARGUMENT_INVALID', 'both firmwares are the same');
  return { a, b };
}
