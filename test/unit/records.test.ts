import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { productFile } from '../../src/contract/product-file.ts';
import { parseFirmware } from '../../src/firmware/firmware-package.ts';
import { DATABASE_FILE, openForWriting, translated } from '../../src/records/database.ts';
import { RecordReader } from '../../src/records/record-reader.ts';
import { type AttemptEnd, type AttemptWriter, type JobWriter, RecordWriter } from '../../src/records/record-writer.ts';
import { protectedTlv, signedImage } from '../support/signed-image.ts';
import { testFirmware } from '../support/virtual-station.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'dfu-records-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const code = (expected: string) => expect.objectContaining({ code: expected });
const profile = productFile.parse({ product: 'test', protocol: 'smp' });
const end: AttemptEnd = {
  outcome: 'pass',
  code: null,
  detail: null,
  address: null,
  radio: null,
  images: [],
  link: {
    facts: null,
    rssi: null,
    window: null,
    resends: 0,
    reconnects: 0,
    bytes: 0,
    bytesPerSecond: null,
  },
  resumedFrom: null,
  uploadMs: 0,
};

async function openJob(writer: RecordWriter): Promise<JobWriter> {
  const firmware = await testFirmware(1000);
  return writer.openJob({ name: 'WO-1', profile, firmware, operator: 'jdoe', practice: false, appVersion: 'test' });
}

const openAttempt = (job: JobWriter, serial = 'SN1'): AttemptWriter =>
  job.openAttempt({ serial, slot: 'A1', number: 1, repeats: null, address: 'c0:00:00:00:00:01' });

describe('what units taught of a product', () => {
  const of = (product = 'test') => {
    const reader = new RecordReader(directory);
    const learnt = reader.learnt(product);
    reader.close();
    return learnt;
  };

  test('is there after a restart, by firmware, and is nobody else’s', () => {
    const first = new RecordWriter(directory, systemClock);
    first.lessons.learn('test', '1.0.0 aabbccdd', { frames: 'one-write', window: 3 });
    first.close();
    const writer = new RecordWriter(directory, systemClock);
    expect(writer.lessons.learnt('test', '1.0.0 aabbccdd')).toEqual({
      frames: 'one-write',
      longestFrame: null,
      window: 3,
      eraseMs: null,
      restartMs: null,
    });
    expect(writer.lessons.learnt('test', '2.0.0 00112233')).toMatchObject({ frames: null, window: null });
    expect(writer.lessons.learnt('other', '1.0.0 aabbccdd')).toMatchObject({ frames: null, window: null });
    writer.close();
    expect(of()).toMatchObject([{ running: '1.0.0 aabbccdd', units: 1, facts: { frames: 'one-write', window: 3 } }]);
    expect(of('other')).toEqual([]);
  });

  test('is forgotten when it proves wrong, and one odd time does not set a time', () => {
    const writer = new RecordWriter(directory, systemClock);
    writer.lessons.learn('test', 'x', { frames: 'joined', eraseMs: 1000 });
    writer.lessons.learn('test', 'x', { frames: null, eraseMs: 11_000 });
    const { frames, eraseMs } = writer.lessons.learnt('test', 'x');
    writer.close();
    expect(frames).toBeNull();
    expect(eraseMs).toBe(4000);
    expect(of()).toMatchObject([{ units: 2 }]);
  });
});

test('a package that has an image for each slot of one index is kept whole', async () => {
  const writer = new RecordWriter(directory, systemClock);
  const firmware = await testFirmware(1000);
  const [image] = firmware.images;
  const images = [0, 1].map((slot) => ({ ...image!, slot, image: { ...image!.image, hash: `${slot}`.repeat(64) } }));
  writer.openJob({
    name: 'WO-1',
    profile,
    firmware: { ...firmware, images },
    operator: null,
    practice: false,
    appVersion: 'test',
  });
  const kept = writer.port.all('SELECT image, slot, hash FROM firmware_image ORDER BY slot');
  writer.close();
  expect(kept).toEqual([
    { image: 0, slot: 0, hash: '0'.repeat(64) },
    { image: 0, slot: 1, hash: '1'.repeat(64) },
  ]);
});

describe('an attempt', () => {
  test('keeps its remarks, in order, and takes none when it is finished', async () => {
    const writer = new RecordWriter(directory, systemClock);
    const attempt = openAttempt(await openJob(writer));
    attempt.remark({ code: 'SERVER_JOINS_NOTHING' });
    attempt.remark({ code: 'BYTES_NOT_SENT', values: { image: 0, bytes: 5 } });
    attempt.finish(end, null);
    expect(() => attempt.remark({ code: 'SERVER_JOINS_NOTHING' })).toThrow(/finished/);
    writer.close();
    const reader = new RecordReader(directory);
    expect(reader.show('SN1').remarks).toEqual([
      { code: 'SERVER_JOINS_NOTHING', atMs: expect.any(Number) },
      { code: 'BYTES_NOT_SENT', values: { image: 0, bytes: 5 }, atMs: expect.any(Number) },
    ]);
    reader.close();
  });

  test('that is finished cannot be changed, deleted or added to by anybody', async () => {
    const writer = new RecordWriter(directory, systemClock);
    const attempt = openAttempt(await openJob(writer));
    attempt.step('connect', systemClock.now(), null);
    attempt.finish(end, null);
    expect(() => attempt.step('upload', systemClock.now(), null)).toThrow(/finished/);
    expect(() => attempt.finish({ ...end, outcome: 'fail' }, null)).toThrow(/finished/);
    writer.close();
    const raw = new Database(join(directory, DATABASE_FILE));
    for (const sql of [
      "UPDATE attempt SET outcome = 'fail'",
      'DELETE FROM attempt',
      'UPDATE step SET duration_ms = 0',
      'DELETE FROM step',
      'DELETE FROM firmware',
      "UPDATE firmware_image SET hash = ''",
      'DELETE FROM unit',
    ]) {
      expect(() => raw.exec(sql), sql).toThrow();
    }
    raw.close();
  });

  test('that was open when the station ended is closed as interrupted at the next start, with its evidence', async () => {
    const { database, release } = openForWriting(directory);
    release();
    expect(database.open).toBe(false);
    const writer = new RecordWriter(directory, systemClock);
    const attempt = openAttempt(await openJob(writer));
    attempt.frame(systemClock.now(), {
      direction: 'to-device',
      channel: attempt.channel('x'),
      length: 3,
      bytes: Buffer.from('abc'),
      image: null,
    });
    attempt.step('connect', systemClock.now(), null);
    writer.close();
    const next = new RecordWriter(directory, systemClock);
    expect(next.interrupted).toBe(1);
    next.close();
    const reader = new RecordReader(directory);
    expect(reader.show(attempt.id)).toMatchObject({ outcome: 'aborted', code: 'STATION_INTERRUPTED', frameCount: 1 });
    expect([...reader.frames(attempt.id)].map(({ bytes }) => bytes.toString())).toEqual(['abc']);
    reader.close();
  });

  test('can be read while it runs', async () => {
    const writer = new RecordWriter(directory, systemClock);
    const attempt = openAttempt(await openJob(writer));
    const reader = new RecordReader(directory);
    expect(reader.list()).toMatchObject([{ id: attempt.id, outcome: null }]);
    attempt.finish(end, null);
    expect(reader.show('SN1')).toMatchObject({ id: attempt.id, outcome: 'pass', operator: 'jdoe' });
    reader.close();
    writer.close();
  });
});

describe('the list', () => {
  test('finds the units of a compressed image by the hash that it runs under too, whole or in part', async () => {
    const runsAs = Buffer.alloc(64, 0xab);
    const bytes = signedImage({
      hashes: ['sha512'],
      flags: 0x400,
      protectedTlvs: [protectedTlv.decompressedHash(runsAs)],
    });
    const firmware = await parseFirmware(bytes, 'a.bin');
    const { hash } = firmware.images[0]!.image;
    const writer = new RecordWriter(directory, systemClock);
    const job = writer.openJob({
      name: 'WO-1',
      profile,
      firmware,
      operator: null,
      practice: false,
      appVersion: 'test',
    });
    openAttempt(job).finish(end, null);
    writer.close();
    const reader = new RecordReader(directory);
    for (const searched of [hash, hash.slice(0, 9), runsAs.toString('hex'), 'ABAB']) {
      expect(reader.list({ hash: searched })).toHaveLength(1);
    }
    expect(reader.list({ hash: `${hash.slice(0, 127)}x` })).toHaveLength(0);
    reader.close();
  });

  test('pages by sequence and filters by serial, outcome and image hash', async () => {
    const writer = new RecordWriter(directory, systemClock);
    const job = await openJob(writer);
    for (let i = 0; i < 5; i++) openAttempt(job, `SN${i}`).finish({ ...end, outcome: i === 2 ? 'fail' : 'pass' }, null);
    writer.close();
    const reader = new RecordReader(directory);
    const first = reader.list({ limit: 2 });
    expect(first.map(({ serial }) => serial)).toEqual(['SN4', 'SN3']);
    expect(reader.list({ limit: 2, before: first.at(-1)!.sequence }).map(({ serial }) => serial)).toEqual([
      'SN2',
      'SN1',
    ]);
    expect(reader.list({ outcome: 'fail' }).map(({ serial }) => serial)).toEqual(['SN2']);
    expect(reader.list({ serial: 'SN0' })).toHaveLength(1);
    const { hash } = (await testFirmware(1000)).images[0]!.image;
    expect(reader.list({ hash: hash.slice(0, 12) })).toHaveLength(5);
    expect(reader.list({ hash: 'ffff' })).toHaveLength(0);
    expect(() => reader.show('nobody')).toThrow(code('RECORD_NOT_FOUND'));
    reader.close();
  });
});

describe('quarantine', () => {
  test('holds a unit until it is released with a reason, and both stay on record', async () => {
    const writer = new RecordWriter(directory, systemClock);
    openAttempt(await openJob(writer)).finish({ ...end, outcome: 'fail', code: 'SWAP_REVERTED' }, 'SWAP_REVERTED');
    expect([...writer.quarantined('test')]).toEqual([['SN1', 'SWAP_REVERTED']]);
    expect(writer.releaseQuarantine('SN1', 'engineer', 'board replaced')).toBe(true);
    expect(writer.quarantined('test').size).toBe(0);
    expect(writer.releaseQuarantine('SN1', 'engineer', 'again')).toBe(false);
    writer.close();
  });
});

describe('a data directory', () => {
  test('in use by another writer is refused, and free again once that one ends', () => {
    const writer = new RecordWriter(directory, systemClock);
    expect(() => new RecordWriter(directory, systemClock)).toThrow(code('DATA_DIRECTORY_IN_USE'));
    writer.close();
    new RecordWriter(directory, systemClock).close();
  });

  test('that cannot be made is refused', () => {
    writeFileSync(join(directory, 'file'), '');
    expect(() => new RecordWriter(join(directory, 'file', 'data'), systemClock)).toThrow(
      code('DATA_DIRECTORY_READ_ONLY'),
    );
  });

  test.runIf(process.platform === 'linux')('on a read-only file system is refused', () => {
    expect(() => new RecordWriter('/proc/dfu-station', systemClock)).toThrow(code('DATA_DIRECTORY_READ_ONLY'));
  });

  test('with a damaged database is refused, not overwritten', () => {
    writeFileSync(
      join(directory, DATABASE_FILE),
      'this is no database, and it is longer than a header of one hundred bytes'.repeat(4),
    );
    expect(() => new RecordWriter(directory, systemClock)).toThrow(code('DATABASE_DAMAGED'));
  });

  test('of a newer version is refused', () => {
    new RecordWriter(directory, systemClock).close();
    const raw = new Database(join(directory, DATABASE_FILE));
    raw.pragma('user_version = 99');
    raw.close();
    expect(() => new RecordWriter(directory, systemClock)).toThrow(code('DATABASE_NEWER'));
    expect(() => new RecordReader(directory)).toThrow(code('DATABASE_NEWER'));
  });

  test('that is full is told as such', () => {
    const { database, release } = openForWriting(directory);
    database.pragma(`max_page_count = ${Number(database.pragma('page_count', { simple: true }))}`);
    const fill = () => database.exec(`INSERT INTO profile VALUES ('x', 'y', '${'z'.repeat(100_000)}')`);
    expect(() => translated(directory, fill)).toThrow(code('DISK_FULL'));
    release();
  });

  test('without records has nothing to read', () => {
    expect(() => new RecordReader(directory)).toThrow(code('RECORD_NOT_FOUND'));
  });
});
