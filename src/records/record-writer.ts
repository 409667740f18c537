import { createHash, randomUUID } from 'node:crypto';
import type { Clock } from '../clock.ts';
import type { QuarantinedUnit } from '../contract/commands.ts';
import type { ErrorCode } from '../contract/errors.ts';
import type { Finding } from '../contract/findings.ts';
import type { ImageSummary } from '../contract/job-events.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import type {
  LinkIdentity,
  LinkRecord,
  OrderAnomaly,
  OrderVerdict,
  Outcome,
  SlotRecord,
  StepName,
} from '../contract/records.ts';
import type { FirmwarePackage } from '../firmware/firmware-package.ts';
import { hardwareLabel } from '../firmware/hardware.ts';
import { imageTraits } from '../firmware/image-traits.ts';
import { KeptBonds, noSealer, type Sealer } from './bond-store.ts';
import { openForWriting, translated, type WritableDatabase } from './database.ts';
import { type Frame, FramePacker } from './frame-log.ts';
import { LessonStore } from './lesson-store.ts';
import { GOOD } from './outcome-sets.ts';

/** Frames that are packed and committed together. */
const SEGMENT_FRAMES = 2048;

/** What a job is recorded with. */
export interface JobRecord {
  readonly name: string;
  readonly profile: ProductProfile;
  readonly firmware: FirmwarePackage;
  readonly operator: string | null;
  readonly practice: boolean;
  readonly appVersion: string;
}

/** What is known of an attempt when it begins. */
export interface AttemptStart {
  readonly serial: string;
  readonly slot: string | null;
  readonly number: number;
  readonly repeats: string | null;
  readonly address: string | null;
}

/** How an attempt ended. */
export interface AttemptEnd {
  readonly outcome: Outcome;
  readonly code: ErrorCode | null;
  readonly detail: string | null;
  readonly address: string | null;
  readonly radio: { readonly name: string; readonly address: string | null } | null;
  readonly images: readonly ImageSummary[];
  readonly link: LinkRecord;
  readonly resumedFrom: number | null;
  readonly uploadMs: number;
  /** Who broke the order, if it was broken. */
  readonly verdict?: OrderVerdict | null;
  /** Signal strength over time: milliseconds since the attempt began, dBm. */
  readonly signal?: readonly (readonly [number, number])[];
}

/** The records of one data directory, held for writing. Everything is committed when a call returns. */
export class RecordWriter {
  readonly #directory: string;
  readonly #database: WritableDatabase;
  readonly #release: () => void;
  readonly #clock: Clock;
  readonly stationId: string;
  /** Bonds that are kept for good. */
  readonly bonds: KeptBonds;
  /** What units taught of their products. */
  readonly lessons: LessonStore;
  /** Attempts of an earlier run that were still open and have been closed as interrupted. */
  readonly interrupted: number;

  /** `sealer` keeps the keys of bonds from whoever reads the disk. @throws StationError as openForWriting */
  constructor(directory: string, clock: Clock, sealer: Sealer = noSealer) {
    const { database, release } = openForWriting(directory);
    this.#directory = directory;
    this.#database = database;
    this.#release = release;
    this.#clock = clock;
    this.stationId = this.#ownStation();
    this.bonds = new KeptBonds(this.port, sealer);
    this.lessons = new LessonStore(this.port);
    this.interrupted = this.#closeInterrupted();
  }

  close(): void {
    this.#release();
  }

  /** Begins a job; keeps firmware and profile by their content if they are not known yet. */
  openJob(job: JobRecord): JobWriter {
    const profileJson = JSON.stringify(job.profile);
    const profile = createHash('sha256').update(profileJson).digest('hex');
    const id = this.#write(() => {
      this.#keepFirmware(job.firmware);
      this.#run('INSERT OR IGNORE INTO profile VALUES (?, ?, ?)', profile, job.profile.product, profileJson);
      return this.#run(
        `INSERT INTO job (name, profile, firmware, operator, practice, station, app_version, started_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
        job.name,
        profile,
        job.firmware.sha256,
        job.operator,
        job.practice ? 1 : 0,
        this.stationId,
        job.appVersion,
        this.#now(),
      );
    });
    return new JobWriter(Number(id), job.profile.product, this.port);
  }

  /** Serials of a product that are in quarantine now, with the code that put them there. */
  quarantined(product: string): Map<string, string> {
    const rows = this.#database
      .prepare<[string], { serial: string; code: string }>(
        `SELECT serial, code FROM quarantine JOIN unit ON unit.id = quarantine.unit
         WHERE product = ? AND quarantine.id NOT IN (SELECT quarantine FROM quarantine_release)`,
      )
      .all(product);
    return new Map(rows.map(({ serial, code }) => [serial, code]));
  }

  /** Every unit in quarantine, the latest first. */
  quarantinedUnits(): QuarantinedUnit[] {
    return this.port
      .all(
        `SELECT serial, product, code, since, attempt AS attemptId FROM quarantine JOIN unit ON unit.id = quarantine.unit
         WHERE quarantine.id NOT IN (SELECT quarantine FROM quarantine_release) ORDER BY quarantine.id DESC LIMIT 1000`,
      )
      .map((row) => row as unknown as QuarantinedUnit);
  }

  /** Which of the serials have passed on a work order with this firmware. */
  passedOn(job: string, firmware: string): Set<string> {
    const rows = this.port.all(
      `SELECT DISTINCT unit.serial FROM job JOIN attempt ON attempt.job = job.id JOIN unit ON unit.id = attempt.unit
       WHERE job.name = ? AND job.firmware = ? AND attempt.outcome IN ${GOOD}`,
      job,
      firmware,
    );
    return new Set(rows.map(({ serial }) => String(serial)));
  }

  /** The address of the last attempt at each of the serials, where there was one. */
  lastAddresses(product: string, serials: readonly string[]): Map<string, string> {
    const sql = `SELECT attempt.address FROM attempt JOIN unit ON unit.id = attempt.unit
      WHERE unit.product = ? AND unit.serial = ? AND attempt.address IS NOT NULL ORDER BY attempt.sequence DESC LIMIT 1`;
    return new Map(
      serials.flatMap((serial) => {
        const address = this.port.get(sql, product, serial)?.address;
        return address ? [[serial, String(address)] as const] : [];
      }),
    );
  }

  /** Lets a unit out of quarantine. Returns false when it is in none. */
  releaseQuarantine(serial: string, actor: string, reason: string): boolean {
    return this.#write(() => {
      const rows = this.#database
        .prepare<[string], { id: number }>(
          `SELECT quarantine.id FROM quarantine JOIN unit ON unit.id = quarantine.unit
           WHERE serial = ? AND quarantine.id NOT IN (SELECT quarantine FROM quarantine_release)`,
        )
        .all(serial);
      for (const { id } of rows) {
        this.#run('INSERT INTO quarantine_release VALUES (?, ?, ?, ?)', id, actor, reason, this.#now());
      }
      return rows.length > 0;
    });
  }

  /** What the stores that share this connection write with. */
  get port(): WriterPort {
    return {
      clock: this.#clock,
      now: () => this.#now(),
      write: (work) => this.#write(work),
      run: (sql, ...values) => this.#run(sql, ...values),
      get: (sql, ...values) => this.#database.prepare<unknown[], Row>(sql).get(...values),
      all: (sql, ...values) => this.#database.prepare<unknown[], Row>(sql).all(...values),
      keepFirmware: (firmware) => this.#keepFirmware(firmware),
    };
  }

  #write<T>(work: () => T): T {
    return translated(this.#directory, () => this.#database.transaction(work)());
  }

  #run(sql: string, ...values: unknown[]): number | bigint {
    return this.#database.prepare(sql).run(...values).lastInsertRowid;
  }

  #now(): string {
    return this.#clock.wall().toISOString();
  }

  #ownStation(): string {
    const row = this.#database.prepare<[], { id: string }>('SELECT id FROM station').get();
    if (row) return row.id;
    const id = randomUUID();
    this.#write(() => this.#run('INSERT INTO station VALUES (?, ?)', id, this.#now()));
    return id;
  }

  #closeInterrupted(): number {
    return this.#write(() => {
      const { changes } = this.#database
        .prepare(
          `UPDATE attempt SET outcome = 'aborted', code = 'STATION_INTERRUPTED', ended_at = ? WHERE outcome IS NULL`,
        )
        .run(this.#now());
      this.#database
        .prepare(`UPDATE job SET outcome = 'aborted', code = 'STATION_INTERRUPTED', ended_at = ? WHERE outcome IS NULL`)
        .run(this.#now());
      return changes;
    });
  }

  #keepFirmware(firmware: FirmwarePackage): void {
    const known = this.#database.prepare('SELECT 1 FROM firmware WHERE sha256 = ?').get(firmware.sha256);
    if (known) return;
    this.#run(
      'INSERT INTO firmware (sha256, file_name, format, hardware, signature, added_at, file) VALUES (?, ?, ?, ?, ?, ?, ?)',
      firmware.sha256,
      firmware.fileName,
      firmware.format,
      hardwareLabel(firmware.hardware),
      firmware.signature,
      this.#now(),
      firmware.file,
    );
    for (const { index, slot, image, bytes } of firmware.images) {
      const version = `${image.version.major}.${image.version.minor}.${image.version.revision}+${image.version.build}`;
      this.#run(
        'INSERT INTO firmware_image VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
        firmware.sha256,
        index,
        slot ?? 0,
        version,
        image.hash,
        image.keyHash,
        bytes.length,
        image.runsAs,
        JSON.stringify(imageTraits(image)),
      );
    }
  }
}

/** A row as SQLite hands it over. */
export type Row = Readonly<Record<string, string | number | bigint | Buffer | null>>;

/** What everything that writes to the one connection shares. */
export interface WriterPort {
  readonly clock: Clock;
  now(): string;
  write<T>(work: () => T): T;
  run(sql: string, ...values: unknown[]): number | bigint;
  get(sql: string, ...values: unknown[]): Row | undefined;
  all(sql: string, ...values: unknown[]): Row[];
  /** Keeps a package by its content, if it is not known yet. Call it inside `write`. */
  keepFirmware(firmware: FirmwarePackage): void;
}

/** The record of one job while it runs. */
export class JobWriter {
  readonly #id: number;
  readonly #product: string;
  readonly #port: WriterPort;

  constructor(id: number, product: string, port: WriterPort) {
    this.#id = id;
    this.#product = product;
    this.#port = port;
  }

  openAttempt(start: AttemptStart): AttemptWriter {
    const { run, get, now, clock } = this.#port;
    const id = randomUUID();
    const startedMs = clock.now();
    const { unit, sequence } = this.#port.write(() => {
      run(
        'INSERT OR IGNORE INTO unit (serial, product, first_seen_at) VALUES (?, ?, ?)',
        start.serial,
        this.#product,
        now(),
      );
      const row = get('SELECT id FROM unit WHERE product = ? AND serial = ?', this.#product, start.serial);
      const sequence = run(
        `INSERT INTO attempt (id, job, unit, number, repeats, slot, address, started_at, started_monotonic_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        id,
        this.#id,
        row?.id,
        start.number,
        start.repeats,
        start.slot,
        start.address,
        now(),
        startedMs,
      );
      return { unit: Number(row?.id), sequence: Number(sequence) };
    });
    return new AttemptWriter(id, sequence, unit, startedMs, this.#port);
  }

  finish(outcome: 'pass' | 'fail' | 'aborted', code: ErrorCode | null): void {
    const { write, run, now } = this.#port;
    write(() => run('UPDATE job SET outcome = ?, code = ?, ended_at = ? WHERE id = ?', outcome, code, now(), this.#id));
  }
}

/** The record of one attempt while it runs. */
export class AttemptWriter {
  readonly id: string;
  readonly #sequence: number;
  readonly #unit: number;
  readonly #startedMs: number;
  readonly #port: WriterPort;
  readonly #channels: string[] = [];
  readonly #frames = new FramePacker();
  #anomalies: OrderAnomaly[] = [];
  #anomalyCount = 0;
  #segments = 0;
  #steps = 0;
  #slotStates = 0;
  #remarks = 0;

  constructor(id: string, sequence: number, unit: number, startedMs: number, port: WriterPort) {
    this.id = id;
    this.#sequence = sequence;
    this.#unit = unit;
    this.#startedMs = startedMs;
    this.#port = port;
  }

  /** The number of a channel (a characteristic's UUID) in this attempt's frames. */
  channel(name: string): number {
    const known = this.#channels.indexOf(name);
    return known >= 0 ? known : this.#channels.push(name) - 1;
  }

  /** Takes a frame into the log; segments are committed as they fill. `atMs` is the clock's time. */
  frame(atMs: number, frame: Omit<Frame, 'timeUs'>): void {
    this.#frames.add(Math.round((atMs - this.#startedMs) * 1000), frame);
    if (this.#frames.count >= SEGMENT_FRAMES) this.#port.write(() => this.#flushFrames());
  }

  /** A step that has ended. */
  step(name: StepName, startedMs: number, error: { code: ErrorCode; detail: string } | null): void {
    const { run, clock } = this.#port;
    this.#port.write(() => {
      this.#flushFrames();
      run(
        'INSERT INTO step VALUES (?, ?, ?, ?, ?, ?, ?)',
        this.#sequence,
        this.#steps++,
        name,
        startedMs - this.#startedMs,
        clock.now() - startedMs,
        error?.code ?? null,
        error?.detail ?? null,
      );
    });
  }

  /** Who was at the other end of a link; `atMs` is the clock's. */
  identity({ link, atMs, address, name, advertised, reported, proof, code, detail }: LinkIdentity): void {
    const { write, run } = this.#port;
    const columns = [address, name, advertised, reported, proof, code, detail];
    write(() =>
      run(
        'INSERT INTO link_identity VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
        this.#sequence,
        link,
        atMs - this.#startedMs,
        ...columns,
      ),
    );
  }

  /** A departure from the order; `atMs` is the clock's. Committed with the frames around it. */
  anomaly(anomaly: OrderAnomaly): void {
    this.#anomalies.push({ ...anomaly, atMs: anomaly.atMs - this.#startedMs });
  }

  /** The HCI capture of the attempt's links, packed. */
  capture(packed: Buffer, packets: number, leftOut: number): void {
    const sha256 = createHash('sha256').update(packed).digest('hex');
    this.#port.write(() =>
      this.#port.run('INSERT INTO capture VALUES (?, ?, ?, ?, ?)', this.#sequence, packets, leftOut, sha256, packed),
    );
  }

  /** The slots as the device reported them. */
  slots(seen: string, slots: readonly SlotRecord[]): void {
    this.#port.write(() => {
      for (const { image, slot, version, hash, flags } of slots) {
        this.#port.run(
          'INSERT INTO slot_state VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
          this.#sequence,
          this.#slotStates++,
          seen,
          image,
          slot,
          version,
          hash,
          flags,
        );
      }
    });
  }

  /** Something that is neither step nor failure. */
  remark({ code, values }: Finding): void {
    const { run, clock } = this.#port;
    this.#port.write(() =>
      run(
        'INSERT INTO remark VALUES (?, ?, ?, ?, ?)',
        this.#sequence,
        this.#remarks++,
        clock.now() - this.#startedMs,
        code,
        values ? JSON.stringify(values) : null,
      ),
    );
  }

  /** Commits the outcome; nothing of the attempt can change afterwards. With `quarantine` the unit is held from then on. */
  finish(end: AttemptEnd, quarantine: ErrorCode | null): void {
    const { run, now, clock } = this.#port;
    this.#port.write(() => {
      this.#flushFrames();
      run(
        `UPDATE attempt SET outcome = ?, code = ?, detail = ?, address = coalesce(?, address), radio = ?, radio_address = ?,
         images_json = ?, link_json = ?, channels_json = ?, resumed_from = ?, bytes = ?, upload_ms = ?, signal_json = ?, verdict_json = ?,
         ended_at = ?,
         duration_ms = ? WHERE sequence = ?`,
        end.outcome,
        end.code,
        end.detail,
        end.address,
        end.radio?.name ?? null,
        end.radio?.address ?? null,
        JSON.stringify(end.images),
        JSON.stringify(end.link),
        JSON.stringify(this.#channels),
        end.resumedFrom,
        end.link.bytes,
        end.uploadMs,
        JSON.stringify(end.signal ?? []),
        end.verdict ? JSON.stringify(end.verdict) : null,
        now(),
        clock.now() - this.#startedMs,
        this.#sequence,
      );
      if (quarantine) {
        run(
          'INSERT INTO quarantine (unit, attempt, code, since) VALUES (?, ?, ?, ?)',
          this.#unit,
          this.id,
          quarantine,
          now(),
        );
      }
    });
  }

  #flushFrames(): void {
    for (const { shape, frame, atMs, token } of this.#anomalies.splice(0)) {
      this.#port.run(
        'INSERT INTO order_anomaly VALUES (?, ?, ?, ?, ?, ?)',
        this.#sequence,
        this.#anomalyCount++,
        shape,
        frame,
        atMs,
        token,
      );
    }
    const { count } = this.#frames;
    if (count === 0) return;
    this.#port.run(
      'INSERT INTO frame_segment VALUES (?, ?, ?, ?)',
      this.#sequence,
      this.#segments++,
      count,
      this.#frames.packed(),
    );
    this.#port.run(
      'UPDATE attempt SET channels_json = ? WHERE sequence = ?',
      JSON.stringify(this.#channels),
      this.#sequence,
    );
    this.#frames.clear();
  }
}
