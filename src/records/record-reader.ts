import { createHash } from 'node:crypto';
import { inflateRawSync } from 'node:zlib';
import type { Attachment } from '../contract/comparison.ts';
import { StationError } from '../contract/errors.ts';
import type { Finding, FindingCode } from '../contract/findings.ts';
import type { ImageSummary } from '../contract/job-events.ts';
import type { LearntProduct } from '../contract/learnt.ts';
import {
  type AttemptDetail,
  type AttemptRow,
  type FrameRow,
  type LinkIdentity,
  type LinkRecord,
  type ListFilter,
  type OrderVerdict,
  type Outcome,
  proofOf,
  type Statistics,
} from '../contract/records.ts';
import { openForReading, type ReadableDatabase } from './database.ts';
import { type Frame, unpackFrames } from './frame-log.ts';
import { LESSONS, learntProducts } from './lesson-store.ts';
import { UPGRADED } from './outcome-sets.ts';

const MANY_UNITS = 1000;
const ROW = `attempt.sequence, attempt.id, unit.serial, unit.product, job.name AS job, attempt.slot, attempt.number, attempt.outcome,
  proof(attempt.outcome, attempt.images_json) AS proof,
  attempt.code, job.operator, attempt.started_at AS startedAt, attempt.duration_ms AS durationMs, job.practice
  FROM attempt JOIN unit ON unit.id = attempt.unit JOIN job ON job.id = attempt.job`;

type Row = Omit<AttemptRow, 'practice'> & { practice: number };

/** Reads the records of a data directory, also while a tray runs. */
export class RecordReader {
  readonly #database: ReadableDatabase;

  /** @throws StationError RECORD_NOT_FOUND, DATABASE_DAMAGED, DATABASE_NEWER */
  constructor(directory: string) {
    this.#database = openForReading(directory);
    this.#database.function('proof', { deterministic: true }, proofOfRow);
  }

  close(): void {
    this.#database.close();
  }

  /** A page of attempts, the newest first. Every filter is answered from an index. */
  list(filter: ListFilter = {}): AttemptRow[] {
    const conditions = [
      filter.serial !== undefined && this.#serialCondition(filter.serial),
      filter.job !== undefined && 'attempt.job IN (SELECT id FROM job WHERE name = @job)',
      filter.outcome !== undefined && 'attempt.outcome = @outcome',
      filter.hash !== undefined &&
        `attempt.job IN (SELECT id FROM job WHERE firmware IN
          (SELECT firmware FROM firmware_image WHERE hash >= lower(@hash) AND hash < lower(@hash) || 'g'
           UNION SELECT firmware FROM firmware_image WHERE runs_as >= lower(@hash) AND runs_as < lower(@hash) || 'g'))`,
      filter.from !== undefined &&
        `attempt.sequence >= coalesce(
          (SELECT sequence FROM attempt WHERE started_at >= @from ORDER BY started_at, sequence LIMIT 1), 9e15)`,
      filter.to !== undefined &&
        `attempt.sequence <= coalesce(
          (SELECT sequence FROM attempt WHERE started_at < date(@to, '+1 day') ORDER BY started_at DESC, sequence DESC LIMIT 1), 0)`,
      filter.before !== undefined && 'attempt.sequence < @before',
    ].filter((condition) => condition !== false);
    const where = conditions.length > 0 ? `WHERE ${conditions.join(' AND ')}` : '';
    const rows = this.#database
      .prepare<unknown[], Row>(`SELECT ${ROW} ${where} ORDER BY attempt.sequence DESC LIMIT @limit`)
      .all({ ...filter, limit: filter.limit ?? 50 });
    return rows.map(asRow);
  }

  /** Few units are looked up; where many begin like this, the latest attempts are walked back until the page is full. */
  #serialCondition(serial: string): string {
    const range = 'unit.serial >= @serial AND unit.serial < @serial || char(1114111)';
    const matching = this.#database
      .prepare<unknown[], { count: number }>(
        `SELECT count(*) AS count FROM (SELECT 1 FROM unit WHERE ${range} LIMIT ${MANY_UNITS})`,
      )
      .get({ serial });
    return (matching?.count ?? 0) < MANY_UNITS
      ? `attempt.unit IN (SELECT id FROM unit WHERE ${range})`
      : // The plus keeps the planner from beginning with the units.
        range.replaceAll('unit.serial', '+unit.serial');
  }

  /** Figures over days, both inclusive, in UTC. */
  statistics(from: string, to: string, product?: string): Statistics {
    const range = { from, to, product: product ?? null };
    const selected = `FROM attempt JOIN unit ON unit.id = attempt.unit
      WHERE attempt.started_at >= @from AND attempt.started_at < date(@to, '+1 day')
      AND attempt.outcome NOT IN ('skipped', 'aborted') AND (@product IS NULL OR unit.product = @product)`;
    const all = <T>(sql: string): T[] => this.#database.prepare<unknown[], T>(sql).all(range);
    const days = all<Statistics['days'][number]>(
      `SELECT day, sum(first AND good) AS firstPass, sum(first) AS firsts, sum(last AND good) AS passed, sum(last) AS units,
         sum(last AND indirect) AS indirect FROM (
         SELECT substr(attempt.started_at, 1, 10) AS day, attempt.number = 1 AND attempt.repeats IS NULL AS first,
           attempt.outcome IN ${UPGRADED} AS good,
           coalesce(proof(attempt.outcome, attempt.images_json) = 'indirect', 0) AS indirect,
           attempt.sequence = max(attempt.sequence) OVER (PARTITION BY attempt.unit, substr(attempt.started_at, 1, 10)) AS last
         ${selected}) GROUP BY day ORDER BY day`,
    );
    const failures = all<Statistics['failures'][number]>(
      `SELECT attempt.code, count(*) AS count ${selected} AND attempt.code IS NOT NULL GROUP BY attempt.code ORDER BY count DESC LIMIT 20`,
    );
    const radios = all<Statistics['radios'][number]>(
      `SELECT attempt.radio, count(*) AS attempts, 1000.0 * sum(attempt.bytes) / sum(attempt.upload_ms) AS bytesPerSecond
       ${selected} AND attempt.upload_ms > 0 AND attempt.radio IS NOT NULL GROUP BY attempt.radio ORDER BY attempt.radio`,
    );
    const good = `${selected} AND attempt.outcome IN ${UPGRADED} AND attempt.duration_ms > 0`;
    const longest = all<{ ms: number | null }>(`SELECT max(attempt.duration_ms) AS ms ${good}`)[0]?.ms ?? 0;
    const bucketMs = [1000, 2000, 5000, 10_000, 30_000, 60_000].find((ms) => longest / ms <= 40) ?? 300_000;
    const counts: number[] = [];
    for (const { bucket, count } of all<{ bucket: number; count: number }>(
      `SELECT CAST(attempt.duration_ms / ${bucketMs} AS INTEGER) AS bucket, count(*) AS count ${good} GROUP BY bucket`,
    )) {
      counts[bucket] = count;
    }
    const total = all<{ count: number }>(`SELECT count(*) AS count ${good}`)[0]?.count ?? 0;
    const median = all<{ ms: number }>(
      `SELECT attempt.duration_ms AS ms ${good} ORDER BY attempt.duration_ms LIMIT 1 OFFSET ${Math.floor(total / 2)}`,
    )[0];
    return {
      days,
      failures,
      cycle: { bucketMs, counts: Array.from(counts, (count) => count ?? 0), medianMs: median?.ms ?? null },
      radios,
    };
  }

  /**
   * One attempt by its id or the beginning of it, or a unit's latest by its serial.
   * @throws StationError RECORD_NOT_FOUND
   */
  show(idOrSerial: string): AttemptDetail {
    const row = this.#database
      .prepare<unknown[], Row & Record<string, string | number | null>>(
        `SELECT attempt.repeats, attempt.detail, attempt.address, attempt.radio, attempt.radio_address AS radioAddress, attempt.signal_json AS signalJson,
           attempt.verdict_json AS verdictJson,
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
      remarks: this.#database
        .prepare<[number], { atMs: number; code: FindingCode; valuesJson: string | null }>(
          'SELECT at_ms AS atMs, code, values_json AS valuesJson FROM remark WHERE attempt = ? ORDER BY number',
        )
        .all(sequence)
        .map(({ atMs, code, valuesJson }) => ({
          atMs,
          code,
          ...(valuesJson !== null && { values: JSON.parse(valuesJson) }),
        })),
      identities: this.#identities(sequence),
      channels: (json('channelsJson') ?? []) as string[],
      frameCount: frames?.total ?? 0,
      anomalies: this.#database
        .prepare<[number], AttemptDetail['anomalies'][number]>(
          'SELECT shape, frame, at_ms AS atMs, token FROM order_anomaly WHERE attempt = ? ORDER BY number',
        )
        .all(sequence),
      verdict: asVerdict(json('verdictJson') as WrittenVerdict | null),
      attachments: this.#database
        .prepare<[number], Attachment>(
          `SELECT number, file_name AS fileName, kind, bytes, sha256, added_by AS addedBy, added_at AS addedAt
           FROM attachment WHERE attempt = ? ORDER BY number`,
        )
        .all(sequence),
      capture:
        this.#database
          .prepare<[number], NonNullable<AttemptDetail['capture']>>(
            'SELECT packets, left_out AS leftOut, sha256 FROM capture WHERE attempt = ?',
          )
          .get(sequence) ?? null,
      signal: (json('signalJson') ?? []) as AttemptDetail['signal'],
    };
  }

  /** What units taught of a product, by the firmware that they ran, the latest first. */
  learnt(product: string): LearntProduct[] {
    return learntProducts(this.#database.prepare<[string], Record<string, unknown>>(LESSONS).all(product));
  }

  /** A reader may be newer than the records: those of before have no such table. */
  #identities(sequence: number): LinkIdentity[] {
    const known = this.#database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'link_identity'").get();
    if (!known) return [];
    return this.#database
      .prepare<[number], LinkIdentity>(
        `SELECT link, at_ms AS atMs, address, name, advertised, reported, proof, code, detail FROM link_identity
         WHERE attempt = ? ORDER BY link`,
      )
      .all(sequence);
  }

  /** The frame log of an attempt, in order. @throws StationError RECORD_NOT_FOUND */
  *frames(id: string): Generator<Frame> {
    const { sequence } = this.show(id);
    const segments = this.#database
      .prepare<[number], { packed: Buffer }>('SELECT packed FROM frame_segment WHERE attempt = ? ORDER BY number')
      .iterate(sequence);
    for (const { packed } of segments) yield* unpackFrames(packed);
  }

  /** Frames `from` to `from + count`, for a screen. Segments outside the range are not unpacked. */
  frameRows(id: string, from: number, count: number): FrameRow[] {
    const { sequence } = this.show(id);
    const segments = this.#database
      .prepare<[number], { number: number; frames: number }>(
        'SELECT number, frames FROM frame_segment WHERE attempt = ? ORDER BY number',
      )
      .all(sequence);
    const unpack = this.#database.prepare<[number, number], { packed: Buffer }>(
      'SELECT packed FROM frame_segment WHERE attempt = ? AND number = ?',
    );
    const rows: FrameRow[] = [];
    let first = 0;
    for (const { number, frames } of segments) {
      const packed = first + frames > from && first < from + count ? unpack.get(sequence, number)?.packed : undefined;
      for (const [index, frame] of packed ? unpackFrames(packed).entries() : []) {
        const at = first + index;
        if (at < from || at >= from + count) continue;
        rows.push({ ...frame, number: at, bytes: frame.bytes.toString('hex') });
      }
      first += frames;
    }
    return rows;
  }

  /** Image bytes on the way to the device over the time of the attempt, in at most 120 buckets. */
  throughput(id: string): { bucketMs: number; bytes: number[] } {
    const { durationMs } = this.show(id);
    const samples: [number, number][] = [];
    for (const { image, length, bytes, timeUs } of this.frames(id)) {
      if (image) samples.push([timeUs / 1000, length - bytes.length]);
    }
    const spanMs = Math.max(durationMs ?? 0, samples.at(-1)?.[0] ?? 0);
    const bucketMs = [250, 500, 1000, 2000, 5000].find((ms) => spanMs / ms <= 120) ?? Math.ceil(spanMs / 120);
    const buckets = new Array<number>(Math.ceil(spanMs / bucketMs) + 1).fill(0);
    for (const [atMs, length] of samples) buckets[Math.floor(atMs / bucketMs)]! += length;
    return { bucketMs, bytes: buckets };
  }

  /** The HCI capture of an attempt, packed as it was kept. @throws StationError CAPTURE_MISSING, CAPTURE_CHANGED */
  capture(id: string): Buffer {
    const { sequence } = this.show(id);
    const row = this.#database
      .prepare<[number], { packed: Buffer; sha256: string }>('SELECT packed, sha256 FROM capture WHERE attempt = ?')
      .get(sequence);
    if (!row) throw new StationError('CAPTURE_MISSING', id);
    const found = createHash('sha256').update(row.packed).digest('hex');
    if (found !== row.sha256) throw new StationError('CAPTURE_CHANGED', id);
    return row.packed;
  }

  /** What was laid beside an attempt under that number, as it was added. @throws StationError RECORD_NOT_FOUND, EVIDENCE_CHANGED */
  attachment(id: string, number: number): Buffer {
    const { sequence } = this.show(id);
    const row = this.#database
      .prepare<[number, number], { packed: Buffer; sha256: string; bytes: number }>(
        'SELECT packed, sha256, bytes FROM attachment WHERE attempt = ? AND number = ?',
      )
      .get(sequence, number);
    if (!row) throw new StationError('RECORD_NOT_FOUND', `attachment ${number} of ${id}`);
    const file = unpacked(row.packed, row.bytes);
    if (file === null || createHash('sha256').update(file).digest('hex') !== row.sha256)
      throw new StationError('EVIDENCE_CHANGED', `attachment ${number} of ${id}`);
    return file;
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

/** Until version 0.2 the reason was written in words. */
type WrittenVerdict = Omit<OrderVerdict, 'reason'> & { readonly reason: Finding | string };

function asVerdict(written: WrittenVerdict | null): OrderVerdict | null {
  if (!written) return null;
  const { reason } = written;
  return { ...written, reason: typeof reason === 'string' ? { code: 'AS_WRITTEN', values: { text: reason } } : reason };
}

/** Null when it was changed so that it cannot be unpacked. */
function unpacked(packed: Buffer, bytes: number): Buffer | null {
  try {
    return inflateRawSync(packed, { maxOutputLength: Math.max(bytes, 1) });
  } catch {
    return null;
  }
}

/** How an attempt is proven, for SQL: its outcome and its images as they are kept. */
function proofOfRow(outcome: unknown, imagesJson: unknown): string | null {
  if (typeof outcome !== 'string' || typeof imagesJson !== 'string') return null;
  return proofOf(outcome as Outcome, JSON.parse(imagesJson) as ImageSummary[]);
}

function asRow(row: Row): AttemptRow {
  const {
    sequence,
    id,
    serial,
    product,
    job,
    slot,
    number,
    outcome,
    proof,
    code,
    operator,
    startedAt,
    durationMs,
    practice,
  } = row;
  return {
    sequence,
    id,
    serial,
    product,
    job,
    slot,
    number,
    outcome,
    proof,
    code,
    operator,
    startedAt,
    durationMs,
    practice: practice === 1,
  };
}
