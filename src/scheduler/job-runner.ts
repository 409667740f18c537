import type { Clock } from '../clock.ts';
import { asStationError, type ErrorCode, StationError } from '../contract/errors.ts';
import type { JobEvent, JobSummary, UnitSummary } from '../contract/job-events.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import { proofOf } from '../contract/records.ts';
import type { FirmwarePackage } from '../firmware/firmware-package.ts';
import type { DfuDriver } from '../protocols/driver.ts';
import type { BondStore, Radio } from '../radio/radio.ts';
import { onRadioEnded, type RadioShelf } from '../radio/radio-shelf.ts';
import type { LessonStore } from '../records/lesson-store.ts';
import type { AttemptStart, AttemptWriter, JobWriter } from '../records/record-writer.ts';
import { AddressBook } from './address-book.ts';
import { AirWatch } from './air-watch.ts';
import { intervalFor, MOST_LINKS, QUESTIONS_INTERVAL_MS } from './link-plan.ts';
import { type PlannedInterval, RadioPool } from './radio-pool.ts';
import { RestartTimes } from './restart-times.ts';
import { SerialSearch } from './serial-search.ts';
import { DUPLICATE_WATCH_MS, UnitIdentity } from './unit-identity.ts';
import { type IdentifiedDevice, type RejectedUnit, type Selection, selectUnits } from './unit-selection.ts';
import { type AttemptResult, type SessionSetting, type Unit, UnitSession } from './unit-session.ts';

/** After the last new device this long nothing more is expected of a tray of unknown size. */
const SETTLE_MS = 2000;
/** How long a job without radios waits for one to come back. */
const RADIO_PATIENCE_MS = 20_000;
/** Codes for which the unit is not to blame: they end its attempts, but put it in no quarantine. */
const blameless: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'STOPPED',
  'UNIT_NOT_FOUND',
  'NOT_ON_JOB',
  'DUPLICATE_IDENTITY',
  'IDENTITY_CHANGED',
  'ADDRESS_NOT_PROVEN',
  'BATTERY_LOW',
  'SIGNAL_WEAK',
  'DOWNGRADE_REFUSED',
  'VERSION_UNKNOWN',
  'MODE_REFUSED',
  'MTU_TOO_SMALL',
  'DEVICE_BUSY',
  'DEVICE_NOT_READY',
  'DEVICE_TOO_SLOW',
  'RADIO_LOST',
  'RECORDING_OVER',
  'DISK_FULL',
  'INTERNAL',
]);

/** Codes that are the unit's own only when attempt after attempt ends by them. */
const blamedWhenRepeated: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['DEVICE_FLASH_ERROR']);

/** A unit of the allow-list; with `repeats` its attempts go on from an earlier run's last one. */
export interface ListedUnit {
  readonly serial: string;
  readonly slot: string | null;
  readonly repeats?: { readonly attemptId: string; readonly number: number } | undefined;
  /** The batch that the unit's label names. */
  readonly batch?: string | undefined;
}

/** What a job is to do. */
export interface JobOrder {
  readonly job: string;
  readonly firmware: FirmwarePackage;
  readonly profile: ProductProfile;
  readonly driver: DfuDriver;
  readonly radios: RadioShelf;
  /** The allow-list; null when every unit of the product may be written. */
  readonly units: readonly ListedUnit[] | null;
  /** How many units are expected; null when that is not known. */
  readonly expected: number | null;
  readonly findTimeoutMs: number;
  readonly practice: boolean;
  /** Units that are in quarantine, with the code that put them there. */
  readonly quarantined: ReadonlyMap<string, string>;
  /** Where bonds are kept for good. */
  readonly bonds: BondStore;
  /** What earlier units of the product taught. */
  readonly lessons: LessonStore;
  /** The address of each unit's last attempt, by serial. */
  readonly lastAddresses: ReadonlyMap<string, string>;
}

/** What a job runs with. */
export interface JobSurroundings {
  readonly clock: Clock;
  readonly record: JobWriter;
  readonly signal: AbortSignal;
  readonly emit: (event: JobEvent) => void;
}

interface Tally {
  readonly unit: Unit;
  /** Attempts of earlier runs that this one goes on from. */
  readonly before: number;
  attempts: number;
  previous: string | null;
  /** The code that the attempt before ended by. */
  previousCode: ErrorCode | null;
  bytes: number;
  uploadMs: number;
  resumedFrom: number | null;
  readonly startedMs: number;
}

/**
 * Runs a job: finds the units, upgrades them side by side, tries again what may help, and sums up. One unit's failure touches no
 * other; what cannot be recorded stops the job.
 */
export async function runJob(order: JobOrder, surroundings: JobSurroundings): Promise<JobSummary> {
  return new JobRun(order, surroundings).run();
}

class JobRun {
  readonly #order: JobOrder;
  readonly #clock: Clock;
  readonly #record: JobWriter;
  readonly #emit: (event: JobEvent) => void;
  readonly #watch: AirWatch;
  readonly #book = new AddressBook();
  readonly #pool: RadioPool;
  readonly #restarts = new RestartTimes();
  /** Aborts when the operator stops the job, and when it cannot go on. */
  readonly #stop = new AbortController();
  #fatal: StationError | null = null;
  #cancelPatience: () => void = () => undefined;
  readonly #stopAttending: (() => void)[] = [];
  /** Units that are upgraded together. */
  #together = 1;
  /** The job has ended: what becomes of the radios does not matter any more. */
  #over = false;
  /** How many devices were heard when the last new one was, and when that was. */
  #heardCount = 0;
  #lastNewMs = 0;

  constructor(order: JobOrder, { clock, record, signal, emit }: JobSurroundings) {
    this.#order = order;
    this.#clock = clock;
    this.#record = record;
    this.#emit = emit;
    this.#pool = new RadioPool(
      () => this.#linksPlanned(),
      ({ name }, load) => {
        emit({ type: 'radio-load', radio: name, ...load });
        this.#watch.steer();
      },
      () => this.#watch.listen(),
    );
    this.#watch = new AirWatch(
      order.profile,
      clock,
      () => this.#pool.serve(),
      (radio) => this.#pool.isBusy(radio),
    );
    const stop = () => this.#stop.abort(new StationError('STOPPED'));
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  }

  async run(): Promise<JobSummary> {
    const { job, practice, firmware, radios } = this.#order;
    this.#emit({
      type: 'job-started',
      job,
      practice,
      firmware: firmware.fileName,
      radios: radios.places().flatMap(({ name, radio }) => (radio ? [name] : [])),
    });
    this.#attendAll();
    const stopAttending = radios.onChange(() => this.#attendAll());
    try {
      const found = await this.#findUnits();
      this.#reportRefused();
      const rejected = found.rejected.map((each) => this.#rejected(each));
      this.#together = found.units.length;
      const running = found.units.map(({ serial, slot, address }) => {
        const identity = new UnitIdentity(serial, address, this.#order.profile, this.#book);
        const never = Number.NEGATIVE_INFINITY;
        const unheard = { reportsNothing: false, heardSinceMs: never, linkEndedMs: never };
        return this.#upgradeUnit({ serial, slot, address, identity, ...unheard });
      });
      return this.#sum([...(await Promise.all(running)), ...rejected], found.code);
    } finally {
      this.#over = true;
      stopAttending();
      for (const stop of this.#stopAttending) stop();
      this.#cancelPatience();
      this.#watch.stop();
    }
  }

  /** Takes on every radio that is there: also one that comes back, or is plugged in, while the job runs. */
  #attendAll(): void {
    for (const { radio } of this.#order.radios.places())
      if (radio && !this.#pool.radios.includes(radio)) this.#attend(radio);
  }

  #attend(radio: Radio): void {
    this.#cancelPatience();
    this.#pool.add(radio);
    this.#watch.add(radio);
    const stop = onRadioEnded(radio, (reason) => {
      if (this.#over) return;
      this.#watch.forget(radio);
      this.#pool.remove(radio);
      if (reason) this.#emit({ type: 'radio-lost', radio: radio.name, detail: reason.detail });
      if (this.#pool.radios.length === 0) this.#withoutRadio(reason ?? new StationError('RADIO_LOST'));
    });
    this.#stopAttending.push(stop);
  }

  /** Without any radio the job ends; where somebody brings lost ones back, it waits a while for that. */
  #withoutRadio(reason: StationError): void {
    const comesBack = this.#order.radios.places().some(({ radio }) => radio === null);
    if (!comesBack) return this.#stop.abort(reason);
    this.#cancelPatience = this.#clock.after(RADIO_PATIENCE_MS, () => this.#stop.abort(reason));
  }

  /** Listens until all expected units are heard, or for as long as the order says. */
  async #findUnits(): Promise<Selection> {
    const { units, expected, profile, practice, quarantined } = this.#order;
    const wanted = units?.length ?? expected;
    try {
      const devices = profile.identity.from === 'dis-serial' ? await this.#search(wanted) : await this.#hear(wanted);
      for (const { serial, device } of devices) if (serial !== null) this.#book.enter(device.address, serial);
      const held = practice ? new Map<string, string>() : quarantined;
      const selection = selectUnits(devices, { profile, units, wanted, quarantined: held });
      this.#announce(selection);
      return selection;
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error;
      return { units: [], rejected: [], strangers: [], code: null };
    }
  }

  /** The devices that advertise their serial. */
  async #hear(wanted: number | null): Promise<IdentifiedDevice[]> {
    await this.#watch.until(() => (this.#allHeard(wanted) ? true : null), this.#order.findTimeoutMs, this.#stop.signal);
    await this.#watch.until(() => null, DUPLICATE_WATCH_MS, this.#stop.signal);
    return this.#watch.devices().map((device) => ({ device, serial: device.serial }));
  }

  #allHeard(wanted: number | null): boolean {
    const serials = new Set(this.#watch.devices().map(({ serial }) => serial));
    if (this.#order.units) return this.#order.units.every(({ serial }) => serials.has(serial));
    return wanted === null ? this.#quiet(serials.size) : serials.size >= wanted;
  }

  /** Whether nothing new has come for a while. */
  #quiet(count: number): boolean {
    if (count !== this.#heardCount) {
      this.#heardCount = count;
      this.#lastNewMs = this.#clock.now();
    }
    return count > 0 && this.#clock.now() - this.#lastNewMs > SETTLE_MS;
  }

  /** The devices that have to be asked for their serial. */
  async #search(wanted: number | null): Promise<IdentifiedDevice[]> {
    const { units, profile, findTimeoutMs, lastAddresses } = this.#order;
    const complete = (serials: ReadonlySet<string>, open: number) => {
      if (units) return units.every(({ serial }) => serials.has(serial));
      return wanted === null ? open === 0 && this.#quiet(serials.size) : serials.size >= wanted;
    };
    const search = new SerialSearch({
      profile,
      clock: this.#clock,
      watch: this.#watch,
      radios: () => this.#pool.radios,
      complete,
      expected: new Set(units?.flatMap(({ serial }) => lastAddresses.get(serial) ?? [])),
      refused: (address, { code, detail }) =>
        this.#emit({ type: 'unit-refused', unit: address, address, code, detail }),
      signal: this.#stop.signal,
    });
    const answers = await search.run(findTimeoutMs);
    return this.#watch.devices().flatMap((device) => {
      const serial = answers.get(device.address);
      return serial === undefined ? [] : [{ device, serial }];
    });
  }

  /** Tells who was found and who is refused. */
  #announce({ units, strangers }: Selection): void {
    for (const { serial, address } of strangers) {
      this.#emit({ type: 'unit-refused', unit: serial, address, code: 'NOT_ON_JOB', detail: '' });
    }
    for (const { serial, slot, address, rssi } of units)
      this.#emit({ type: 'unit-found', unit: serial, slot, address, rssi });
  }

  /** Devices in the air that are not this job's, told once. */
  #reportRefused(): void {
    for (const { address, code, detail } of this.#watch.refused()) {
      this.#emit({ type: 'unit-refused', unit: address, address, code, detail });
    }
  }

  /** A unit that was refused before anything was sent to it: that, too, is an attempt on record. */
  #rejected({ serial, slot, address, code, detail }: RejectedUnit): UnitSummary {
    const error = new StationError(code, detail);
    const repeats = this.#repeats(serial);
    const attempt = this.#openAttempt({
      serial,
      slot,
      number: (repeats?.number ?? 0) + 1,
      repeats: repeats?.attemptId ?? null,
      address,
    });
    const outcome = code === 'UNIT_NOT_FOUND' ? 'error' : 'fail';
    const link = {
      facts: null,
      rssi: null,
      window: null,
      resends: 0,
      reconnects: 0,
      bytes: 0,
      bytesPerSecond: null,
    };
    attempt.finish(
      {
        outcome,
        code,
        detail: error.detail || null,
        address,
        radio: null,
        images: [],
        link,
        resumedFrom: null,
        uploadMs: 0,
      },
      null,
    );
    const ended = {
      type: 'attempt-ended',
      unit: serial,
      attemptId: attempt.id,
      outcome,
      proof: null,
      code,
      detail,
      willRetry: false,
    } as const;
    this.#emit(ended);
    return {
      unit: serial,
      slot,
      address,
      outcome,
      proof: null,
      code,
      detail: detail || null,
      attempts: 1,
      images: [],
      resumedFrom: null,
      bytes: 0,
      durationMs: 0,
      uploadMs: 0,
      bytesPerSecond: null,
      attemptId: attempt.id,
    };
  }

  #repeats(serial: string): ListedUnit['repeats'] {
    return this.#listed(serial)?.repeats;
  }

  #listed(serial: string): ListedUnit | undefined {
    return this.#order.units?.find((unit) => unit.serial === serial);
  }

  /** An attempt on record, with what the unit's label says beside the serial. */
  #openAttempt(start: AttemptStart): AttemptWriter {
    const attempt = this.#record.openAttempt(start);
    const batch = this.#listed(start.serial)?.batch;
    if (batch !== undefined) attempt.remark({ code: 'LABEL_BATCH', values: { batch } });
    return attempt;
  }

  /** Links that each radio is to carry at a time: an equal share of the units, so that each has its slot. */
  #linksPlanned(): number {
    return Math.min(MOST_LINKS, Math.ceil(this.#together / Math.max(1, this.#pool.radios.length)));
  }

  #intervalMs(radio: Radio, questions: boolean): PlannedInterval {
    const { intervalMs } = this.#order.profile.link;
    if (intervalMs !== 'auto') return { bulkMs: intervalMs, questionsMs: null };
    const bulkMs = intervalFor(this.#linksPlanned(), radio.controller);
    return { bulkMs, questionsMs: questions ? Math.min(QUESTIONS_INTERVAL_MS, bulkMs) : null };
  }

  async #upgradeUnit(unit: Unit): Promise<UnitSummary> {
    const { profile, firmware, driver, bonds, lessons } = this.#order;
    const setting: SessionSetting = {
      firmware,
      profile,
      driver,
      clock: this.#clock,
      watch: this.#watch,
      pool: this.#pool,
      intervalMs: (radio, questions) => this.#intervalMs(radio, questions),
      restarts: this.#restarts,
      bonds,
      lessons,
      signal: this.#stop.signal,
      emit: this.#emit,
    };
    const repeats = this.#repeats(unit.serial);
    const tally: Tally = {
      unit,
      before: repeats?.number ?? 0,
      attempts: 0,
      previous: repeats?.attemptId ?? null,
      previousCode: null,
      bytes: 0,
      uploadMs: 0,
      resumedFrom: null,
      startedMs: this.#clock.now(),
    };
    for (;;) {
      const result = await this.#attempt(tally, setting);
      if ('summary' in result) return result.summary;
    }
  }

  async #attempt(tally: Tally, setting: SessionSetting): Promise<{ summary: UnitSummary } | { retry: true }> {
    const { unit } = tally;
    tally.attempts += 1;
    let id: string | null = null;
    let result: AttemptResult;
    try {
      const { serial, slot, address } = unit;
      const record = this.#openAttempt({
        serial,
        slot,
        number: tally.before + tally.attempts,
        repeats: tally.previous,
        address,
      });
      id = record.id;
      const radio = this.#pool.radios.map((each) => each.name).join(', ');
      this.#emit({
        type: 'attempt-started',
        unit: serial,
        attemptId: id,
        number: tally.before + tally.attempts,
        radio,
      });
      const lastTry = tally.attempts > this.#order.profile.retries;
      const blamed = (code: ErrorCode) =>
        !blameless.has(code) && (!blamedWhenRepeated.has(code) || tally.previousCode === code);
      result = await new UnitSession(unit, setting, record).run(blamed, lastTry);
    } catch (error) {
      result = this.#unrecorded(asStationError(error));
    }
    tally.bytes += result.bytes;
    tally.uploadMs += result.uploadMs;
    tally.resumedFrom = result.resumedFrom ?? tally.resumedFrom;
    const tryAgain =
      result.retryable && tally.attempts <= this.#order.profile.retries && !this.#stop.signal.aborted && !this.#fatal;
    this.#emit({
      type: 'attempt-ended',
      unit: unit.serial,
      attemptId: id ?? '',
      outcome: result.outcome,
      proof: proofOf(result.outcome, result.images),
      code: result.code,
      detail: result.detail,
      willRetry: tryAgain,
    });
    tally.previous = id;
    tally.previousCode = result.code;
    if (tryAgain) return { retry: true };
    if (result.quarantined) this.#emit({ type: 'unit-quarantined', unit: unit.serial, code: result.code! });
    return { summary: this.#unitSummary(tally, result, id) };
  }

  /** What cannot be recorded must not go on: the job is stopped, and says why. */
  #unrecorded(error: StationError): AttemptResult {
    this.#fatal ??= error;
    this.#stop.abort(error);
    const { code, detail } = error;
    return {
      outcome: 'error',
      code,
      detail,
      retryable: false,
      quarantined: false,
      images: [],
      bytes: 0,
      uploadMs: 0,
      resumedFrom: null,
    };
  }

  #unitSummary(tally: Tally, result: AttemptResult, attemptId: string | null): UnitSummary {
    const { unit, attempts, bytes, uploadMs, resumedFrom, startedMs } = tally;
    return {
      unit: unit.serial,
      slot: unit.slot,
      address: unit.address,
      outcome: result.outcome,
      proof: proofOf(result.outcome, result.images),
      code: result.code,
      detail: result.detail,
      attempts,
      images: result.images,
      resumedFrom,
      bytes,
      durationMs: Math.round(this.#clock.now() - startedMs),
      uploadMs: Math.round(uploadMs),
      bytesPerSecond: uploadMs > 0 ? Math.round((bytes / uploadMs) * 1000) : null,
      attemptId,
    };
  }

  #sum(units: readonly UnitSummary[], code: ErrorCode | null): JobSummary {
    const { job, practice, profile } = this.#order;
    const wanted = profile.upgrade.mode === 'upload-only' ? ['staged', 'skipped'] : ['pass', 'skipped'];
    const stopped = this.#stop.signal.aborted;
    const good = code === null && units.length > 0 && units.every(({ outcome }) => wanted.includes(outcome));
    const outcome = stopped ? 'aborted' : good ? 'pass' : 'fail';
    const sorted = units.toSorted((a, b) =>
      (a.slot ?? a.unit).localeCompare(b.slot ?? b.unit, 'en', { numeric: true }),
    );
    const why = stopped ? asStationError(this.#stop.signal.reason).code : code;
    // Where nothing can be written any more the job stays open, and is closed as interrupted at the next start.
    if (!this.#fatal) this.#record.finish(outcome, why);
    const summary: JobSummary = { type: 'summary', job, practice, outcome, code: why, units: sorted };
    this.#emit(summary);
    return summary;
  }
}
