import { StationError } from '../contract/errors.ts';
import type { ImageSummary } from '../contract/job-events.ts';
import { openForReading, type ReadableDatabase } from './database.ts';
import { type Frame, unpackFrames } from './frame-log.ts';
import type { LinkRecord, SlotRecord } from './record-writer.ts';

/** One attempt in a list. */
export interface AttemptRow {
  readonly sequence: number;
  readonly id: string;
  readonly serial: string;
  readonly product: string;
  readonly job: string;
  readonly slot: string | null;
  readonly number: number;
  /** Null while the attempt runs. */
  readonly outcome: string | null;
  readonly code: string | null;
  readonly startedAt: string;
  readonly durationMs: number | null;
  readonly practice: boolean;
}

/** One attempt, whole. */
export interface AttemptDetail extends AttemptRow {
  readonly repeats: string | null;
  readonly detail: string | null;
  readonly address: string | null;
  readonly radio: string | null;
  readonly radioAddress: string | null;
  readonly operator: string | null;
  readonly station: string;
  readonly appVersion: string;
  readonly endedAt: string | null;
  readonly firmware: { readonly sha256: string; readonly fileName: string; readonly signature: string };
  readonly profile: { readonly sha256: string; readonly content: unknown };
  readonly images: readonly ImageSummary[];
  readonly link: LinkRecord | null;
  readonly resumedFrom: number | null;
  readonly bytes: number | null;
  readonly uploadMs: number | null;
  readonly steps: readonly {
    readonly name: string;
    readonly startedMs: number;
    readonly durationMs: number;
    readonly code: string | null;
    readonly detail: string | null;
  }[];
  readonly slots: readonly (SlotRecord & { readonly seen: string })[];
  readonly channels: readonly string[];
  readonly frameCount: number;
}

/** Which attempts to list; `before` is the sequence of the last row of the page before. */
export interface ListFilter {
  readonly serial?: string | undefined;
  readonly outcome?: string | undefined;
  readonly hash?: string | undefined;
  readonly before?: number | undefined;
  readonly limit?: number | undefined;
}

const ROW = `attempt.sequence, attempt.id, unit.serial, unit.product, job.name AS job, attempt.slot, attempt.number, attempt.outcome,
  attempt.code, attempt.started_at AS startedAt, attempt.duration_ms AS durationMs, job.practice
  FROM attempt JOIN unit ON unit.id = attempt.unit JOIN job ON job.id = attempt.job`;

type Row = Omit<AttemptRow, 'practice'> & { practice: number };

/** Reads the records of a data directory, also while a tray runs. */
export class RecordReader {
  readonly #database: ReadableDatabase;

  /** @throws StationError RECORD_NOT_FOUND, DATABASE_DAMAGED, DATABASE_NEWER */
  constructor(directory: string) {
    this.#database = openForReading(directory);
  }

  close(): void {
    this.#database.close();
  }

  /** A page of attempts, the newest first. */
  list(filter: ListFilter = {}): AttemptRow[] {
    const conditions = [
      filter.serial !== undefined && 'attempt.unit IN (SELECT id FROM unit WHERE serial = @serial)',
      filter.outcome !== undefined && 'attempt.outcome = @outcome',
      filter.hash !== undefined &&
        "attempt.job IN (SELECT id FROM job WHERE firmware IN (SELECT firmware FROM firmware_image WHERE hash GLOB @hash || '*'))",
      filter.before !== undefined && 'attempt.sequence < @before',
    ].filter((condition) => condition !== false);
    const where = conditions.length > 0 ? `WHERE ${conditions.join(' AND ')}` : '';
    const rows = this.#database
      .prepare<unknown[], Row>(`SELECT ${ROW} ${where} ORDER BY attempt.sequence DESC LIMIT @limit`)
      .all({ ...filter, limit: filter.limit ?? 50 });
    return rows.map(asRow);
  }

  /**
   * One attempt by its id or the beginning of it, or a unit's latest by its serial.
   * @throws StationError RECORD_NOT_FOUND
   */
  show(idOrSerial: string): AttemptDetail {
    const row = this.#database
      .prepare<unknown[], Row & Record<string, string | number | null>>(
        `SELECT attempt.repeats, attempt.detail, attempt.address, attempt.radio, attempt.radio_address AS radioAddress, job.operator,
           job.station, job.app_version AS appVersion, attempt.ended_at AS endedAt, attempt.images_json AS imagesJson,
           attempt.link_json AS linkJson, attempt.channels_json AS channelsJson, attempt.resumed_from AS resumedFrom, attempt.bytes,
           attempt.upload_ms AS uploadMs, firmware.sha256 AS firmware, firmware.file_name AS fileName, firmware.signature,
           profile.sha256 AS profile, profile.json AS profileJson, ${ROW}
           JOIN firmware ON firmware.sha256 = job.firmware JOIN profile ON profile.sha256 = job.profile
         WHERE attempt.id = @key OR unit.serial = @key OR (length(@key) >= 8 AND attempt.id LIKE @key || '%')
         ORDER BY attempt.sequence DESC LIMIT 1`,
      )
      .get({ key: idOrSerial });
    if (!row) throw new StationError('RECORD_NOT_FOUND', idOrSerial);
    const { sequence } = row;
    const steps = this.#database
      .prepare<[number], AttemptDetail['steps'][number]>(
        'SELECT name, started_ms AS startedMs, duration_ms AS durationMs, code, detail FROM step WHERE attempt = ? ORDER BY number',
      )
      .all(sequence);
    const slots = this.#database
      .prepare<[number], AttemptDetail['slots'][number]>(
        'SELECT seen, image, slot, version, hash, flags FROM slot_state WHERE attempt = ? ORDER BY number',
      )
      .all(sequence);
    const frames = this.#database
      .prepare<[number], { total: number | null }>('SELECT sum(frames) AS total FROM frame_segment WHERE attempt = ?')
      .get(sequence);
    const text = (key: string) => (row[key] === null ? null : String(row[key]));
    const number = (key: string) => (row[key] === null ? null : Number(row[key]));
    const json = (key: string): unknown => JSON.parse(text(key) ?? 'null');
    return {
      ...asRow(row),
      repeats: text('repeats'),
      detail: text('detail'),
      address: text('address'),
      radio: text('radio'),
      radioAddress: text('radioAddress'),
      operator: text('operator'),
      station: String(row.station),
      appVersion: String(row.appVersion),
      endedAt: text('endedAt'),
      firmware: { sha256: String(row.firmware), fileName: String(row.fileName), signature: String(row.signature) },
      profile: { sha256: String(row.profile), content: json('profileJson') },
      images: (json('imagesJson') ?? []) as ImageSummary[],
      link: json('linkJson') as LinkRecord | null,
      resumedFrom: number('resumedFrom'),
      bytes: number('bytes'),
      uploadMs: number('uploadMs'),
      steps,
      slots,
      channels: (json('channelsJson') ?? []) as string[],
      frameCount: frames?.total ?? 0,
    };
  }

  /** The frame log of an attempt, in order. @throws StationError RECORD_NOT_FOUND */
  *frames(id: string): Generator<Frame> {
    const { sequence } = this.show(id);
    const segments = this.#database
      .prepare<[number], { packed: Buffer }>('SELECT packed FROM frame_segment WHERE attempt = ? ORDER BY number')
      .iterate(sequence);
    for (const { packed } of segments) yield* unpackFrames(packed);
  }

  /** Octets that the frame log of an attempt takes in the database, and its frames. */
  frameLogSize(id: string): { bytes: number; frames: number } {
    const { sequence } = this.show(id);
    const row = this.#database
      .prepare<[number], { bytes: number | null; frames: number | null }>(
        'SELECT sum(length(packed)) AS bytes, sum(frames) AS frames FROM frame_segment WHERE attempt = ?',
      )
      .get(sequence);
    return { bytes: row?.bytes ?? 0, frames: row?.frames ?? 0 };
  }
}

function asRow(row: Row): AttemptRow {
  const { sequence, id, serial, product, job, slot, number, outcome, code, startedAt, durationMs, practice } = row;
  return {
    sequence,
    id,
    serial,
    product,
    job,
    slot,
    number,
    outcome,
    code,
    startedAt,
    durationMs,
    practice: practice === 1,
  };
}
