import type { Clock } from '../clock.ts';
import { StationError } from '../contract/errors.ts';
import type { JobEvent, JobSummary } from '../contract/job-events.ts';
import type { JobFile } from '../contract/job-file.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import type { FirmwarePackage } from '../firmware/firmware-package.ts';
import { hardwareLabel, hardwareMatches } from '../firmware/hardware.ts';
import type { DfuDriver } from '../protocols/driver.ts';
import { fusDriver } from '../protocols/fus/fus-driver.ts';
import { smpDriver } from '../protocols/smp/smp-driver.ts';
import type { RadioShelf } from '../radio/radio-shelf.ts';
import type { RecordWriter } from '../records/record-writer.ts';
import { runJob } from '../scheduler/job-runner.ts';

/** The driver of each protocol. */
export const drivers: Readonly<Record<ProductProfile['protocol'], DfuDriver>> = { smp: smpDriver, fus: fusDriver };
const FIND_TIMEOUT_MS = 15_000;

/** A job with its files read. */
export interface StationJob {
  readonly job: JobFile;
  readonly profile: ProductProfile;
  readonly firmware: FirmwarePackage;
  /** Units expected, when neither list nor tray says. */
  readonly units?: number | undefined;
  readonly findTimeoutMs?: number | undefined;
  /** The last attempt of each unit that is tried again, by serial. */
  readonly repeats?: ReadonlyMap<string, { readonly attemptId: string; readonly number: number }> | undefined;
  /** The batch that a unit's label names, by serial. */
  readonly batches?: ReadonlyMap<string, string> | undefined;
}

/** What a station is made of: it is handed its radios and its records, and builds neither. */
export interface StationParts {
  readonly radios: RadioShelf;
  readonly records: RecordWriter;
  readonly clock: Clock;
  readonly practice: boolean;
  readonly appVersion: string;
}

/** Commands in, events out. */
export class Station {
  readonly #parts: StationParts;

  constructor(parts: StationParts) {
    this.#parts = parts;
  }

  /**
   * Runs a job to its end; the signal stops it. Every attempt is on record when its end is announced.
   * @throws StationError NO_RADIO, as checkOrder, or why the records cannot be written
   */
  async run(order: StationJob, signal: AbortSignal, emit: (event: JobEvent) => void): Promise<JobSummary> {
    const { radios, records, clock, practice, appVersion } = this.#parts;
    const { job, profile, firmware } = order;
    if (!radios.places().some(({ radio }) => radio)) throw new StationError('NO_RADIO');
    checkOrder(profile, firmware);
    const record = records.openJob({
      name: job.job,
      profile,
      firmware,
      operator: job.operator ?? null,
      practice,
      appVersion,
    });
    const slots = job.tray ? job.tray.rows * job.tray.columns : null;
    return runJob(
      {
        job: job.job,
        firmware,
        profile,
        driver: drivers[profile.protocol],
        radios,
        units:
          job.units?.map(({ serial, slot }) => ({
            serial,
            slot: slot ?? null,
            repeats: order.repeats?.get(serial),
            batch: order.batches?.get(serial),
          })) ?? null,
        expected: order.units ?? slots,
        findTimeoutMs: order.findTimeoutMs ?? FIND_TIMEOUT_MS,
        practice,
        quarantined: records.quarantined(profile.product),
        bonds: records.bonds,
        lessons: records.lessons,
        lastAddresses: records.lastAddresses(
          profile.product,
          (job.units ?? []).map(({ serial }) => serial),
        ),
      },
      { clock, record, signal, emit },
    );
  }
}

/** What can be said of a job before any radio is used. @throws StationError FIRMWARE_FOR_OTHER_HARDWARE, FIRMWARE_ENCRYPTED, FIRMWARE_DIRECT_XIP */
export function checkOrder(profile: ProductProfile, firmware: FirmwarePackage): void {
  const { hardware: product } = profile;
  const other = product === undefined ? undefined : firmware.hardware.find((file) => !hardwareMatches(product, file));
  if (other) {
    const detail = `image ${other.image}: ${hardwareLabel([other])}, the product is ${product}`;
    throw new StationError('FIRMWARE_FOR_OTHER_HARDWARE', detail);
  }
  const encrypted = firmware.images.find(({ image }) => image.encrypted);
  if (encrypted && profile.firmware?.encrypted !== 'allow') {
    throw new StationError('FIRMWARE_ENCRYPTED', `image ${encrypted.index}`);
  }
  // FUS does not tell which slot runs.
  if (profile.protocol === 'fus' && firmware.images.some(({ slot }) => slot !== null)) {
    throw new StationError('FIRMWARE_DIRECT_XIP');
  }
}
