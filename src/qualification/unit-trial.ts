import { userInfo } from 'node:os';
import type { Clock } from '../clock.ts';
import { type ErrorCode, StationError } from '../contract/errors.ts';
import type { JobEvent } from '../contract/job-events.ts';
import { jobFile } from '../contract/job-file.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import type { AttemptDetail, Outcome } from '../contract/records.ts';
import type { FirmwarePackage } from '../firmware/firmware-package.ts';
import type { RadioShelf } from '../radio/radio-shelf.ts';
import type { RecordReader } from '../records/record-reader.ts';
import type { RecordWriter } from '../records/record-writer.ts';
import { Station } from '../station/station.ts';
import { CuttableShelf } from './cuttable-shelf.ts';

/** What a trial does to an attempt: cuts its link, or stops it as an operator does, once, when an event says that it is time. */
export interface Interference {
  readonly at: (event: JobEvent) => boolean;
  readonly do: 'cut' | 'stop';
}

/** How an attempt at the unit is to differ from the profile's own way. */
export interface TrialOptions {
  readonly allowDowngrade?: boolean;
  /** Left out: the profile's. */
  readonly retries?: number;
  readonly interference?: Interference;
}

/** What an attempt at the unit came to. */
export interface TrialResult {
  readonly outcome: Outcome;
  readonly code: ErrorCode | null;
  readonly detail: string | null;
  readonly bytes: number;
  readonly bytesPerSecond: number | null;
  readonly resumedFrom: number | null;
  readonly attempts: number;
  /** Whether the interference came to be. */
  readonly interfered: boolean;
  readonly record: AttemptDetail | null;
}

/** What trials are run with. */
export interface TrialSetting {
  readonly radios: RadioShelf;
  readonly records: RecordWriter;
  readonly reader: RecordReader;
  readonly clock: Clock;
  readonly practice: boolean;
  readonly appVersion: string;
  readonly profile: ProductProfile;
  readonly serial: string;
  readonly signal: AbortSignal;
  readonly emit: (event: JobEvent) => void;
}

/**
 * Attempts at one unit by the station's own way, with something done to them from outside. What a trial provokes is no fault of the unit: it
 * is let out of quarantine again, on record.
 */
export class UnitTrial {
  readonly #setting: TrialSetting;
  readonly #shelf: CuttableShelf;

  constructor(setting: TrialSetting) {
    this.#setting = setting;
    this.#shelf = new CuttableShelf(setting.radios);
  }

  /** @throws StationError STOPPED when the operator stops it all, NO_RADIO, or why the records cannot be written */
  async attempt(firmware: FirmwarePackage, options: TrialOptions = {}): Promise<TrialResult> {
    const { records, reader, clock, practice, appVersion, serial, signal, emit } = this.#setting;
    signal.throwIfAborted();
    const own = new AbortController();
    const { interference } = options;
    let interfered = false;
    const hear = (event: JobEvent) => {
      emit(event);
      if (!interference || interfered || !interference.at(event)) return;
      interfered = true;
      if (interference.do === 'stop') own.abort(new StationError('STOPPED'));
      else this.#shelf.cut();
    };
    const station = new Station({ radios: this.#shelf, records, clock, practice, appVersion });
    const job = jobFile.parse({ job: 'qualify product', units: [{ serial }] });
    const order = { job, profile: this.#profile(options), firmware };
    const summary = await station.run(order, AbortSignal.any([signal, own.signal]), hear);
    signal.throwIfAborted();
    if (!practice) records.releaseQuarantine(serial, userInfo().username, 'provoked by a qualification');
    const unit = summary.units[0];
    if (!unit) throw new StationError(summary.code ?? 'NO_UNIT_FOUND', serial);
    const { outcome, code, detail, bytes, bytesPerSecond, resumedFrom, attempts, attemptId } = unit;
    const record = attemptId ? reader.show(attemptId) : null;
    return { outcome, code, detail, bytes, bytesPerSecond, resumedFrom, attempts, interfered, record };
  }

  #profile({ allowDowngrade = true, retries }: TrialOptions): ProductProfile {
    const { profile } = this.#setting;
    const upgrade = { ...profile.upgrade, allowDowngrade };
    return { ...profile, upgrade, retries: retries ?? profile.retries };
  }
}
