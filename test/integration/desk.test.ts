import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, describe, expect, test } from 'vitest';
import { type Clock, systemClock } from '../../src/clock.ts';
import type { CommandAnswer, CommandInput, CommandName } from '../../src/contract/commands.ts';
import { keepQualification } from '../../src/station/qualifications.ts';
import { openTestStation, phase, type TestStation, TestWindow } from '../support/open-test-station.ts';
import { testImage } from '../support/virtual-station.ts';

let station: TestStation;
afterEach(() => station.stop());

const refused = (code: string) => expect.objectContaining({ code });
const labels = (count: number) => Array.from({ length: count }, (_, i) => `SN000${i + 1}`);

async function signedIn(name: string, pin: string): Promise<TestWindow> {
  const window = new TestWindow(station);
  await window.signIn(name, pin);
  return window;
}

/** Gives commands as each of the practice people in turn. */
async function as<Name extends CommandName>(
  who: 'Olga' | 'Emil' | 'Erika' | 'Ada',
  name: Name,
  input: CommandInput<Name>,
) {
  const pin = { Olga: '1111', Emil: '2222', Erika: '3333', Ada: '4444' }[who];
  const window = new TestWindow(station);
  window.client.hello(null, true);
  await window.signIn(who, pin);
  return window.client.ask(name, input) as Promise<CommandAnswer<Name>>;
}

/** A FUS unit that breaks the order, upgraded; gives its attempt. */
async function fusAttempt(): Promise<CommandAnswer<'attempt'>> {
  station = await openTestStation({
    units: 1,
    device: { protocol: 'fus', bootMs: 500 },
    faults: [{ unit: 1, do: 'late-data' }],
  });
  const window = await signedIn('Emil', '2222');
  await window.client.ask('load-work-order', { code: 'WO-1001' });
  await window.client.ask('scan', { code: 'SN0001' });
  const ended = phase(station, 'ended');
  await window.client.ask('start', {});
  await ended;
  return window.client.ask('attempt', { id: 'SN0001' }) as Promise<CommandAnswer<'attempt'>>;
}

async function attach(id: string, fileName: string, bytes: Buffer, who: 'Emil' | 'Olga' = 'Emil') {
  const window = new TestWindow(station);
  window.client.hello(null, true);
  await window.signIn(who, who === 'Emil' ? '2222' : '1111');
  const { upload } = await window.client.ask('upload-begin', { fileName, bytes: bytes.length });
  await window.client.ask('upload-chunk', { upload, data: bytes.toString('base64') });
  return window.client.ask('attach-evidence', { upload, id });
}

async function addFirmware(
  bytes: Buffer,
  who: 'Emil' | 'Erika' = 'Emil',
  fileName = 'new.bin',
  announced = bytes.length,
) {
  const window = new TestWindow(station);
  window.client.hello(null, true);
  await window.signIn(who, who === 'Emil' ? '2222' : '3333');
  const { upload } = await window.client.ask('upload-begin', { fileName, bytes: announced });
  for (let at = 0; at < bytes.length; at += 40_000) {
    await window.client.ask('upload-chunk', { upload, data: bytes.subarray(at, at + 40_000).toString('base64') });
  }
  return window.client.ask('add-firmware', { upload, product: 'dfu-station-virtual' });
}

describe('signing in', () => {
  test('with a wrong PIN is refused, then made to wait, longer each time, and a restart does not shorten it', async () => {
    let nowMs = Date.parse('2026-01-01T00:00:00Z');
    const clock: Clock = { ...systemClock, wall: () => new Date(nowMs) };
    station = await openTestStation({ units: 1 }, clock);
    const window = new TestWindow(station);
    for (let i = 0; i < 3; i++) await expect(window.signIn('Olga', '9999')).rejects.toEqual(refused('SIGN_IN_WRONG'));
    await expect(window.signIn('Olga', '1111')).rejects.toEqual(refused('SIGN_IN_BLOCKED'));
    nowMs += 5_001;
    await expect(window.signIn('Olga', '9999')).rejects.toEqual(refused('SIGN_IN_WRONG'));
    nowMs += 5_001;
    await expect(window.signIn('Olga', '1111')).rejects.toEqual(refused('SIGN_IN_BLOCKED'));
    nowMs += 5_001;
    await window.signIn('Olga', '1111');
    const kinds = (await as('Ada', 'changes', { limit: 20 })).map(({ action }) => action);
    expect(kinds.filter((action) => action === 'sign-in-refused')).toHaveLength(4);
  });

  test('of somebody who is not there takes no other answer than a wrong PIN', async () => {
    station = await openTestStation({ units: 1 });
    await expect(new TestWindow(station).signIn('Nobody', '1111')).rejects.toEqual(refused('SIGN_IN_WRONG'));
  });

  test('goes by badge, and an unknown badge is refused', async () => {
    station = await openTestStation({ units: 1 });
    await as('Ada', 'add-person', { name: 'Bert', role: 'operator', pin: '5555', badge: 'BADGE-77' });
    const window = new TestWindow(station);
    window.client.hello(null, true);
    await expect(window.client.ask('sign-in-badge', { badge: 'BADGE-78' })).rejects.toEqual(refused('BADGE_UNKNOWN'));
    expect(await window.client.ask('sign-in-badge', { badge: 'BADGE-77' })).toMatchObject({
      name: 'Bert',
      role: 'operator',
    });
  });

  test('after a lost PIN goes by a recovery code, once', async () => {
    station = await openTestStation({ units: 1 });
    const database = new Database(join(station.directory, 'records.sqlite'));
    const code = 'ABCD-EFGH-JKLM';
    database
      .prepare('INSERT INTO recovery_code (hash) VALUES (?)')
      .run(createHash('sha256').update(code).digest('hex'));
    database.close();
    const window = new TestWindow(station);
    const recover = (given: string) => window.client.ask('recover', { name: 'Ada', code: given, pin: '7777' });
    await expect(recover('AAAA-BBBB-CCCC')).rejects.toEqual(refused('RECOVERY_CODE_WRONG'));
    expect(await recover(code.toLowerCase())).toMatchObject({ role: 'administrator' });
    await window.signIn('Ada', '7777');
    await expect(recover(code)).rejects.toEqual(refused('RECOVERY_CODE_WRONG'));
  });

  test('makes an administrator at the first start and never again', async () => {
    station = await openTestStation({ units: 1 });
    const window = new TestWindow(station);
    await expect(window.client.ask('first-start', { name: 'Eve', pin: '1234' })).rejects.toEqual(
      refused('FIRST_START_DONE'),
    );
  });
});

describe('roles', () => {
  test('hold where the command is carried out', async () => {
    station = await openTestStation({ units: 1 });
    await expect(as('Olga', 'library-firmware', {})).rejects.toEqual(refused('ROLE_INSUFFICIENT'));
    await expect(as('Emil', 'people', {})).rejects.toEqual(refused('ROLE_INSUFFICIENT'));
    expect(await as('Ada', 'people', {})).toHaveLength(4);
    const stranger = new TestWindow(station);
    stranger.client.hello(null, true);
    await expect(stranger.client.ask('start', {})).rejects.toEqual(refused('SIGN_IN_REQUIRED'));
  });

  test('a window that has not been let in may do nothing', async () => {
    station = await openTestStation({ units: 1 });
    await signedIn('Olga', '1111');
    const second = new TestWindow(station);
    await expect(second.signIn()).rejects.toEqual(refused('WINDOW_NOT_ACTIVE'));
    expect(second.heard).toContain('occupied');
  });

  test('the last administrator stays one', async () => {
    station = await openTestStation({ units: 1 });
    await expect(as('Ada', 'change-person', { name: 'Ada', role: 'operator' })).rejects.toEqual(
      refused('LAST_ADMINISTRATOR'),
    );
    await expect(as('Ada', 'change-person', { name: 'Ada', active: false })).rejects.toEqual(
      refused('LAST_ADMINISTRATOR'),
    );
  });
});

describe('the library', () => {
  test('takes firmware as a draft that only somebody else may release, and operators cannot load before that', async () => {
    station = await openTestStation({ units: 1 });
    const { sha256, state } = await addFirmware(testImage(200_000, '2.0.0'));
    expect(state).toBe('draft');
    const order = { name: 'WO-2', product: 'dfu-station-virtual', firmware: sha256, rows: 1, columns: 1, units: null };
    await as('Emil', 'add-work-order', order);
    await expect(as('Olga', 'load-work-order', { code: 'WO-2' })).rejects.toEqual(refused('FIRMWARE_NOT_RELEASED'));
    await expect(as('Emil', 'release-firmware', { sha256 })).rejects.toEqual(refused('SECOND_PERSON_NEEDED'));
    await as('Erika', 'release-firmware', { sha256 });
    await as('Olga', 'load-work-order', { code: 'WO-2' });
    expect(station.desk.board.head).toMatchObject({
      phase: 'loading',
      job: { name: 'WO-2', firmware: { version: '2.0.0' } },
    });
    await as('Erika', 'withdraw-firmware', { sha256, reason: 'found faulty' });
    await expect(as('Olga', 'next-tray', {})).rejects.toEqual(refused('FIRMWARE_NOT_RELEASED'));
  });

  test('refuses a damaged file, a file cut short on its way, and a file of no known kind', async () => {
    station = await openTestStation({ units: 1 });
    const image = testImage(10_000, '2.0.0');
    image[5000]! ^= 1;
    await expect(addFirmware(image)).rejects.toEqual(refused('IMAGE_HASH_INVALID'));
    await expect(addFirmware(testImage(10_000, '2.0.0'), 'Emil', 'x.bin', 20_000)).rejects.toEqual(
      refused('UPLOAD_INCOMPLETE'),
    );
    await expect(addFirmware(Buffer.from('hello'), 'Emil', 'x.txt')).rejects.toEqual(
      refused('FIRMWARE_UNKNOWN_FORMAT'),
    );
    await expect(addFirmware(testImage(10_000, '2.0.0'), 'Emil', 'x.bin', 100)).rejects.toEqual(
      refused('UPLOAD_INCOMPLETE'),
    );
  });

  test('does not load firmware that somebody changed in the database', async () => {
    station = await openTestStation({ units: 1 });
    const database = new Database(join(station.directory, 'records.sqlite'));
    database.exec('DROP TRIGGER firmware_stays');
    database.exec('UPDATE firmware SET file = zeroblob(length(file))');
    database.close();
    await expect(as('Olga', 'load-work-order', { code: 'WO-1001' })).rejects.toEqual(refused('FIRMWARE_DAMAGED'));
  });

  test('shows engineers the reports that qualify has kept, the latest first, whatever else lies there', async () => {
    station = await openTestStation({ units: 1 });
    const directory = join(station.data, 'practice');
    expect(await as('Emil', 'qualifications', {})).toEqual([]);
    const report = (takenAt: string) =>
      ({
        kind: 'radio',
        subject: 'hci:0',
        takenAt,
        appVersion: '1',
        practice: true,
        sections: [],
        profile: null,
        left: null,
      }) as const;
    for (const day of ['01', '03', '02']) await keepQualification(directory, report(`2026-01-${day}T00:00:00.000Z`));
    await writeFile(join(directory, 'qualifications', '2026-01-04-radio.json'), '{"half":');
    const found = await as('Emil', 'qualifications', {});
    expect(found.map(({ takenAt }) => takenAt.slice(8, 10))).toEqual(['03', '02', '01']);
    await expect(as('Olga', 'qualifications', {})).rejects.toEqual(refused('ROLE_INSUFFICIENT'));
  });

  test('refuses a profile by line and key, and one that is not released is not used', async () => {
    station = await openTestStation({ units: 1 });
    await expect(as('Emil', 'add-profile', { yaml: 'product: x\nprotocol: smp\nretries: many\n' })).rejects.toEqual(
      expect.objectContaining({ code: 'FILE_INVALID', detail: expect.stringContaining('line 3') }),
    );
    const { sha256 } = await as('Emil', 'add-profile', {
      yaml: 'product: dfu-station-virtual\nprotocol: smp\nretries: 0\n',
    });
    await as('Olga', 'load-work-order', { code: 'WO-1001' });
    expect(station.desk.board.head.job?.profileHash).not.toBe(sha256);
    await as('Erika', 'release-profile', { sha256 });
    await as('Olga', 'unload', {});
    await as('Olga', 'load-work-order', { code: 'WO-1001' });
    expect(station.desk.board.head.job?.profileHash).toBe(sha256);
  });

  test('refuses work orders that do not fit: another product, a slot outside, a unit listed twice, a name taken', async () => {
    station = await openTestStation({ units: 1 });
    const [firmware] = await as('Emil', 'library-firmware', {});
    const order = {
      name: 'WO-3',
      product: 'dfu-station-virtual',
      firmware: firmware?.sha256 ?? '',
      rows: 1,
      columns: 2,
      units: null,
    };
    const add = (change: object) => as('Emil', 'add-work-order', { ...order, ...change });
    await expect(add({ product: 'other' })).rejects.toEqual(refused('FIRMWARE_FOR_OTHER_PRODUCT'));
    await expect(add({ units: [{ serial: 'SN0001', slot: 'B1' }] })).rejects.toEqual(refused('SLOT_UNKNOWN'));
    const twice = [
      { serial: 'SN0001', slot: 'A1' },
      { serial: 'SN0001', slot: 'A2' },
    ];
    await expect(add({ units: twice })).rejects.toEqual(refused('INPUT_INVALID'));
    await expect(add({ name: 'WO-1001' })).rejects.toEqual(refused('WORK_ORDER_EXISTS'));
    await expect(add({ firmware: '0'.repeat(64) })).rejects.toEqual(refused('FIRMWARE_UNKNOWN'));
  });

  test('takes a job file in by what the library has, and closes a work order', async () => {
    station = await openTestStation({ units: 1 });
    const job =
      'job: WO-9\nproduct: dfu-station-virtual\nfirmware: demo-1.0.0.signed.bin\ntray: {rows: 1, columns: 2}\n';
    expect(await as('Emil', 'import-work-order', { yaml: job })).toEqual({ name: 'WO-9' });
    await expect(as('Emil', 'import-work-order', { yaml: job.replace('demo-', 'other-') })).rejects.toEqual(
      refused('FIRMWARE_UNKNOWN'),
    );
    await as('Emil', 'close-work-order', { name: 'WO-9' });
    await expect(as('Olga', 'load-work-order', { code: 'WO-9' })).rejects.toEqual(refused('WORK_ORDER_CLOSED'));
  });
});

describe('the tray', () => {
  test('runs what was scanned, keeps its results, refuses units that have passed and retries only what failed', async () => {
    station = await openTestStation({ units: 3, faults: [{ unit: 2, at: 'boot', do: 'reject-image', times: 1 }] });
    const window = await signedIn('Olga', '1111');
    const { client } = window;
    await client.ask('load-work-order', { code: ' WO-1001 ' });
    await client.ask('scan', { code: ']d2010200000000000810LOT-7\u001d21SN0001' });
    for (const code of labels(3).slice(1)) await client.ask('scan', { code });
    const uploading: number[] = [];
    station.desk.board.onChange(({ head }) => uploading.push(...(head?.radios ?? []).map((radio) => radio.uploading)));
    await client.ask('start', {});
    await expect(client.ask('start', {})).rejects.toEqual(refused('TRAY_BUSY'));
    await expect(client.ask('scan', { code: 'SN0004' })).rejects.toEqual(refused('TRAY_BUSY'));
    await phase(station, 'ended');
    expect(Math.max(...uploading)).toBeGreaterThan(0);
    expect(station.desk.board.head.radios).toMatchObject([{ links: 0, uploading: 0, failures: 0 }]);
    const { tiles } = station.desk.board;
    expect(tiles.slice(0, 3).map(({ outcome, code }) => [outcome, code])).toEqual([
      ['pass', null],
      ['fail', 'BOOTLOADER_REJECTED'],
      ['pass', null],
    ]);
    const { remarks } = await client.ask('attempt', { id: tiles[0]?.attemptId ?? '' });
    expect(remarks).toContainEqual(expect.objectContaining({ code: 'LABEL_BATCH', values: { batch: 'LOT-7' } }));
    await client.ask('retry-failed', {});
    await phase(station, 'ended');
    await expect(client.ask('retry-failed', {})).rejects.toEqual(refused('NOTHING_TO_RETRY'));
    const attempts = await client.ask('records', { serial: 'SN0002' });
    expect(attempts.map(({ number, outcome }) => [number, outcome])).toEqual([
      [2, 'pass'],
      [1, 'fail'],
    ]);
    expect((await client.ask('attempt', { id: attempts[0]?.id ?? '' })).repeats).toBe(attempts[1]?.id);
    await client.ask('unload', {});
    await client.ask('load-work-order', { code: 'WO-1001' });
    await expect(client.ask('scan', { code: 'SN0002' })).rejects.toEqual(refused('UNIT_ALREADY_PASSED'));
  });

  test('places by slot when a slot is scanned, and takes a unit off', async () => {
    station = await openTestStation({ units: 2 });
    const { client } = await signedIn('Olga', '1111');
    await expect(client.ask('load-work-order', { code: 'WO-\ufffd1001' })).rejects.toEqual(refused('LABEL_DAMAGED'));
    await client.ask('load-work-order', { code: ']C0WO-1001' });
    expect(await client.ask('scan', { code: 'b2' })).toEqual({ cursor: 'B2' });
    expect(await client.ask('scan', { code: 'SN0001' })).toEqual({ slot: 'B2', serial: 'SN0001' });
    expect(station.desk.board.head.cursor).toBe('B3');
    await client.ask('take-off', { slot: 'B2' });
    expect(await client.ask('scan', { code: 'SN0001' })).toEqual({ slot: 'B2', serial: 'SN0001' });
    await expect(client.ask('take-off', { slot: 'Z9' })).rejects.toEqual(refused('SLOT_UNKNOWN'));
  });

  test('shows engineers what its units taught of the product, and nobody else', async () => {
    station = await openTestStation({ units: 1, device: { bootMs: 500, smp: { reassembly: 'rc-9' } } });
    const window = await signedIn('Emil', '2222');
    await window.client.ask('load-work-order', { code: 'WO-1001' });
    await window.client.ask('scan', { code: 'SN0001' });
    const ended = phase(station, 'ended');
    await window.client.ask('start', {});
    await ended;
    const { product } = (await window.client.ask('attempt', { id: 'SN0001' })) as CommandAnswer<'attempt'>;
    const learnt = await window.client.ask('learnt', { product });
    expect(learnt).toMatchObject([{ units: 1, facts: { frames: 'one-write' } }]);
    await expect(as('Olga', 'learnt', { product })).rejects.toEqual(refused('ROLE_INSUFFICIENT'));
  });

  test('without any scan lists units by serial and claims no position', async () => {
    station = await openTestStation({ units: 2 });
    await as('Emil', 'set-limits', { ...(await as('Emil', 'limits', {})), findTimeoutS: 5 });
    const { client } = new TestWindow(station);
    client.hello(null, true);
    await client.ask('sign-in', { name: 'Olga', pin: '1111' });
    await client.ask('load-work-order', { code: 'WO-1001' });
    await client.ask('start', {});
    await phase(station, 'ended');
    const found = station.desk.board.tiles.filter(({ unit }) => unit !== null);
    expect(found.map(({ unit, slot, outcome }) => [unit, slot, outcome])).toEqual([
      ['SN0001', null, 'pass'],
      ['SN0002', null, 'pass'],
    ]);
    expect(station.desk.board.head).toMatchObject({ outcome: 'fail', code: 'UNITS_MISSING' });
  });

  test('with an allow-list refuses a foreign unit and puts each unit where the list says', async () => {
    station = await openTestStation({ units: 3 });
    const [firmware] = await as('Emil', 'library-firmware', {});
    await as('Emil', 'add-work-order', {
      name: 'WO-L',
      product: 'dfu-station-virtual',
      firmware: firmware?.sha256 ?? '',
      rows: 1,
      columns: 2,
      units: [
        { serial: 'SN0001', slot: 'A2' },
        { serial: 'SN0002', slot: 'A1' },
      ],
    });
    const window = new TestWindow(station);
    window.client.hello(null, true);
    await window.signIn();
    await window.client.ask('load-work-order', { code: 'WO-L' });
    await expect(window.client.ask('scan', { code: 'SN0003' })).rejects.toEqual(refused('NOT_ON_JOB'));
    expect(await window.client.ask('scan', { code: 'SN0001' })).toEqual({ slot: 'A2', serial: 'SN0001' });
    await window.client.ask('start', {});
    await phase(station, 'ended');
    expect(station.desk.board.tiles.map(({ unit, outcome }) => [unit, outcome])).toEqual([
      ['SN0002', 'pass'],
      ['SN0001', 'pass'],
    ]);
  });

  test('places a unit by hand only after it has shown itself', async () => {
    station = await openTestStation({ units: 1 });
    const { client } = await signedIn('Olga', '1111');
    await client.ask('load-work-order', { code: 'WO-1001' });
    await expect(client.ask('place', { serial: 'SN0001', slot: 'A1' })).rejects.toEqual(refused('INPUT_INVALID'));
    await expect(client.ask('identify', { serial: 'SN0099' })).rejects.toEqual(refused('UNIT_NOT_FOUND'));
    await expect
      .poll(() => station.desk.board.head.air.map(({ serial }) => serial), { timeout: 5000 })
      .toEqual(['SN0001']);
    await client.ask('identify', { serial: 'SN0001' });
    expect(await client.ask('place', { serial: 'SN0001', slot: 'A1' })).toEqual({ slot: 'A1', serial: 'SN0001' });
  });

  test('goes on without a window, and a window that comes later sees it as it is', async () => {
    station = await openTestStation({ units: 2 });
    const first = await signedIn('Olga', '1111');
    await first.client.ask('load-work-order', { code: 'WO-1001' });
    for (const code of labels(2)) await first.client.ask('scan', { code });
    await first.client.ask('start', {});
    first.pair.cut();
    await phase(station, 'ended');
    expect(station.desk.board.head.outcome).toBe('pass');
    const later = await signedIn('Olga', '1111');
    expect(later.snapshots).toBe(1);
  });
});

describe("the device's log beside an attempt", () => {
  test('is kept with it for good, and compared page by page in a thread of its own', async () => {
    const { id, verdict, frameCount } = await fusAttempt();
    expect(verdict?.verdict).toBe('peripheral');
    const log = Buffer.from('1.0: Response=1\n1.1: Data 9 bytes\n1.2: Response=0\n');
    expect(await attach(id, 'device.log', log)).toMatchObject({ number: 1, kind: 'device-log', addedBy: 'Emil' });
    const found = await as('Olga', 'attempt', { id });
    expect(found.attachments).toMatchObject([
      { fileName: 'device.log', bytes: log.length, sha256: createHash('sha256').update(log).digest('hex') },
    ]);
    const page = await as('Olga', 'compare', { id, attachment: 1, from: 0, count: 2 });
    expect(page).toMatchObject({ deviceEvents: 3, from: 0, rows: { length: 2 } });
    expect(page.totalRows).toBeGreaterThan(10);
    expect(page.totalRows).toBeLessThanOrEqual(frameCount + 3);
    expect(page.text).toContain(`attempt ${id}`);
    const next = await as('Olga', 'compare', { id, attachment: 1, from: 2, count: 400 });
    expect(page.rows.length + next.rows.length).toBe(Math.min(402, page.totalRows));
    const changes = await as('Erika', 'changes', {});
    expect(changes).toContainEqual(expect.objectContaining({ actor: 'Emil', action: 'attach-evidence', subject: id }));
  });

  test('is refused where it cannot be used', async () => {
    const { id } = await fusAttempt();
    await expect(attach(id, 'x', Buffer.from([1, 0, 2]))).rejects.toEqual(refused('DEVICE_LOG_UNKNOWN'));
    await expect(attach(id, 'x', Buffer.from('btsnoop\0cut'))).rejects.toEqual(refused('CAPTURE_TRUNCATED'));
    await expect(attach(id, 'x', Buffer.from('text'), 'Olga')).rejects.toEqual(refused('ROLE_INSUFFICIENT'));
    await attach(id, 'x.log', Buffer.from('no line of any meaning'));
    const compare = (input: object) => as('Erika', 'compare', { id, attachment: 1, from: 0, count: 10, ...input });
    await expect(compare({})).rejects.toEqual(refused('DEVICE_LOG_UNKNOWN'));
    await expect(compare({ pattern: '(' })).rejects.toEqual(refused('ARGUMENT_INVALID'));
    await expect(compare({ attachment: 2 })).rejects.toEqual(refused('RECORD_NOT_FOUND'));
    const database = new Database(join(station.directory, 'records.sqlite'));
    expect(() => database.exec("UPDATE attachment SET file_name = 'y'")).toThrow('evidence cannot be changed');
    database.exec('DROP TRIGGER attachment_stays');
    database.exec('UPDATE attachment SET packed = zeroblob(9)');
    database.close();
    await expect(compare({ format: 'csv' })).rejects.toEqual(refused('EVIDENCE_CHANGED'));
  });
});
