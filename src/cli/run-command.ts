import { dirname, resolve } from 'node:path';
import { systemClock } from '../clock.ts';
import { StationError } from '../contract/errors.ts';
import type { JobEvent, JobSummary } from '../contract/job-events.ts';
import { type JobFile, jobFile } from '../contract/job-file.ts';
import { type ProductProfile, productFile } from '../contract/product-file.ts';
import { type TrayFile, trayFile } from '../contract/tray-file.ts';
import { type FirmwarePackage, readFirmware } from '../firmware/firmware-package.ts';
import { dataDirectory } from '../host/data-directory.ts';
import { forkOnNode } from '../host/fork.ts';
import { chooseRadios, ISOLATE_BY_DEFAULT, openRadios } from '../host/radios.ts';
import { appVersion } from '../host/version.ts';
import { RecordWriter } from '../records/record-writer.ts';
import { checkOrder, Station } from '../station/station.ts';
import { readYamlFile } from '../station/yaml-file.ts';

/** Options of `run` as commander hands them over. */
export interface RunOptions {
  readonly product?: string;
  readonly firmware?: string;
  readonly units?: number;
  readonly radio: readonly string[];
  readonly tray?: string;
  readonly deviceLogs?: string;
  readonly data?: string;
  readonly practice?: boolean;
  readonly findTimeout?: number;
  readonly isolate?: boolean;
}

/** A run that has been prepared: everything is read and checked, nothing has been sent. */
export interface PreparedRun {
  readonly job: JobFile;
  readonly profile: ProductProfile;
  readonly firmware: FirmwarePackage;
  readonly tray: TrayFile;
  readonly units: number | undefined;
}

/** The product of this project's own virtual devices: what is used when no product file is named. Other devices do not match it. */
export const virtualProduct: ProductProfile = productFile.parse({
  product: 'dfu-station-virtual',
  protocol: 'smp',
  discover: { namePrefix: 'DFU-' },
  identity: { from: 'name', pattern: '^DFU-(.+)$' },
});

/** Reads job, product, firmware and tray. @throws StationError for each file that cannot be used */
export async function prepareRun(jobPath: string | undefined, options: RunOptions): Promise<PreparedRun> {
  const job: JobFile = jobPath ? await readYamlFile(jobPath, jobFile) : { job: 'run' };
  const beside = (path: string | undefined) => path && resolve(dirname(jobPath ?? '.'), path);
  const productPath = options.product ?? beside(job.product);
  const profile = productPath ? await readYamlFile(productPath, productFile) : virtualProduct;
  const firmwarePath = options.firmware ?? beside(job.firmware);
  if (!firmwarePath) throw new StationError('ARGUMENT_INVALID', 'name the firmware with --firmware or in the job file');
  const firmware = await readFirmware(firmwarePath);
  checkOrder(profile, firmware);
  const tray = options.tray ? await readYamlFile(options.tray, trayFile) : virtualTrayFor(job, profile, options.units);
  const units = options.units ?? (job.tray || job.units ? undefined : options.tray ? tray.units : undefined);
  return { job, profile, firmware, tray, units };
}

/** Opens records and radios, runs the job and lets go of everything again. */
export async function executeRun(
  prepared: PreparedRun,
  options: RunOptions,
  signal: AbortSignal,
  emit: (event: JobEvent) => void,
): Promise<{ summary: JobSummary; followUp: string }> {
  const specs = await chooseRadios(options.radio);
  const virtual = specs.some((spec) => spec.kind === 'virtual');
  const practice = options.practice === true || virtual || specs.some((spec) => spec.kind === 'replay');
  const records = new RecordWriter(dataDirectory({ data: options.data, practice }), systemClock);
  try {
    const { tray, units: named } = prepared;
    const units = named ?? (virtual && !prepared.job.tray && !prepared.job.units ? tray.units : undefined);
    const fork = forkOnNode(process.argv[1]!);
    const { deviceLogs, isolate = ISOLATE_BY_DEFAULT } = options;
    const opening = { clock: systemClock, tray, fork, isolate, deviceLogs };
    const { rack, stop } = await openRadios(specs, opening, { strict: true });
    try {
      const station = new Station({ radios: rack, records, clock: systemClock, practice, appVersion });
      const findTimeoutMs = options.findTimeout === undefined ? undefined : options.findTimeout * 1000;
      const summary = await station.run({ ...prepared, units, findTimeoutMs }, signal, emit);
      return { summary, followUp: followUpCommand(summary, practice, options.data) };
    } finally {
      await stop();
    }
  } finally {
    records.close();
  }
}

/** A tray of virtual devices that has what the job lists and speaks what the profile does. */
function virtualTrayFor(job: JobFile, { protocol, fus }: ProductProfile, units: number | undefined): TrayFile {
  const slots = job.tray ? job.tray.rows * job.tray.columns : undefined;
  const overrides = job.units?.map(({ serial }, index) => ({ unit: index + 1, serial })) ?? [];
  const device = { protocol, ...(fus ? { fus } : {}) };
  return trayFile.parse({ units: units ?? job.units?.length ?? slots ?? 8, device, overrides });
}

/** The exact command that shows the records of a run. */
function followUpCommand(summary: JobSummary, practice: boolean, data: string | undefined): string {
  const interesting = summary.units.find((unit) => unit.code !== null) ?? summary.units[0];
  const where = `${practice ? ' --practice' : ''}${data ? ` --data ${data}` : ''}`;
  return interesting?.attemptId
    ? `npx dfu-station records show ${interesting.attemptId}${where}`
    : `npx dfu-station records list${where}`;
}
