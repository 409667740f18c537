import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { compareWithLog, writeComparison } from '../../src/cli/compare-command.ts';
import { exportTrace } from '../../src/cli/trace-command.ts';
import { systemClock } from '../../src/clock.ts';
import { productFile } from '../../src/contract/product-file.ts';
import { writeBtsnoop } from '../../src/diagnostics/btsnoop-file.ts';
import { readCapture, unpackCapture } from '../../src/diagnostics/capture-file.ts';
import { writePcapng } from '../../src/diagnostics/pcapng-file.ts';
import { openReplay } from '../../src/host/radios.ts';
import { fixedShelf } from '../../src/radio/radio-shelf.ts';
import { RecordReader } from '../../src/records/record-reader.ts';
import { RecordWriter } from '../../src/records/record-writer.ts';
import { Station } from '../../src/station/station.ts';
import { airFile } from '../support/air-file.ts';
import { outcomes, testFirmware, VirtualStation } from '../support/virtual-station.ts';

let station: VirtualStation;
let reader: RecordReader;
const code = (expected: string) => expect.objectContaining({ code: expected });

/** The field report, on one unit, with the log that the device itself wrote. */
beforeEach(async () => {
  const device = { protocol: 'fus' as const, slotKiB: 256, bootMs: 500 };
  station = await VirtualStation.start({ units: 1, device, faults: [{ unit: 1, do: 'late-data' }] });
  await station.run({ profile: { protocol: 'fus' }, units: 1, firmware: await testFirmware(30_000) });
  reader = station.reader();
});
afterEach(async () => {
  reader.close();
  await station.stop();
});

/** What the device's application meant: each answer in order. */
function deviceLog(): string {
  const attempt = reader.show('SN0001');
  const own = new Set(['6f8a0004-3d3c-4b5e-9a1f-5a7c1e2d4b60', '6f8a0005-3d3c-4b5e-9a1f-5a7c1e2d4b60']);
  const frames = [...reader.frames(attempt.id)].filter(
    ({ direction, channel }) => direction === 'from-device' && own.has(attempt.channels[channel] ?? ''),
  );
  const lines: string[] = [];
  for (let at = 0; at + 2 < frames.length; at += 3) {
    const seconds = (frames[at]!.timeUs / 1e6 + 7).toFixed(6);
    lines.push(`${seconds}: Response=1`, `${seconds}: Data ${frames[at + 2]!.length} bytes`, `${seconds}: Response=0`);
  }
  return lines.join('\n');
}

const file = (name: string) => join(station.directory, name);

describe('trace', () => {
  test.each(['pcapng', 'btsnoop'] as const)(
    'writes %s that holds every packet of the capture, in order',
    async (format) => {
      const path = file(`trace.${format}`);
      const packets = await exportTrace(reader, 'SN0001', format, path);
      const { packets: read } = readCapture(await readFile(path));
      expect(read).toHaveLength(packets);
      expect(read.map(({ packet }) => packet)).toEqual(
        unpackCapture(reader.capture(reader.show('SN0001').id)).map(({ packet }) => packet),
      );
      expect(read.every(({ timeUs }, index) => index === 0 || timeUs >= (read[index - 1]?.timeUs ?? 0))).toBe(true);
    },
  );

  test('names unit and attempt in the comment of a pcapng', async () => {
    await exportTrace(reader, 'SN0001', 'pcapng', file('t.pcapng'));
    const text = (await readFile(file('t.pcapng'))).toString('latin1');
    expect(text).toContain(`unit SN0001, attempt ${reader.show('SN0001').id}`);
  });

  test('writes JSON lines', async () => {
    const count = await exportTrace(reader, 'SN0001', 'jsonl', file('t.jsonl'));
    const lines = (await readFile(file('t.jsonl'), 'utf8')).trim().split('\n');
    expect(lines).toHaveLength(count);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ number: 0, direction: 'received' });
  });

  test('refuses a capture that somebody changed', async () => {
    const database = new Database(join(station.directory, 'data', 'records.sqlite'));
    database.exec('DROP TRIGGER capture_stays');
    database.exec('UPDATE capture SET packed = zeroblob(length(packed))');
    database.close();
    await expect(exportTrace(reader, 'SN0001', 'pcapng', file('x'))).rejects.toEqual(code('CAPTURE_CHANGED'));
  });
});

describe('compare', () => {
  test("names the first line at which the device's log and the station part, and where HCI stood", async () => {
    await writeFile(file('device.log'), deviceLog());
    const { attempt, comparison } = await compareWithLog(reader, 'SN0001', file('device.log'), {});
    expect(comparison.reordered).toBe(reader.show('SN0001').anomalies.length);
    expect(comparison).toMatchObject({ onlyDevice: 0, onlyStation: 0, divergence: 1 });
    expect(comparison.findings).toEqual([
      { code: 'LINE_INSTEAD', values: { line: 2, said: expect.stringMatching(/^data \d+$/), seen: '0' } },
      { code: 'HCI_AS_SEEN' },
    ]);
    await writeComparison(file('ticket.txt'), attempt, comparison);
    const text = await readFile(file('ticket.txt'), 'utf8');
    expect(text).toMatch(/> +2 +data/);
    expect(text).toMatch(/Line 2 of the device's log says data \d+; the station saw 0 instead\. The controller/);
    expect(text).toContain(`unit SN0001, attempt ${attempt.id}`);
    await writeComparison(file('ticket.json'), attempt, comparison);
    expect(JSON.parse(await readFile(file('ticket.json'), 'utf8'))).toMatchObject({
      attempt: { serial: 'SN0001', verdict: { verdict: 'peripheral' } },
      divergence: 1,
      rows: comparison.rows,
    });
  });

  test("with a capture taken on the device's side separates its application from what is below it", async () => {
    const own = unpackCapture(reader.capture(reader.show('SN0001').id));
    const there = own.map((each) => ({ ...each, received: !each.received }));
    await writeFile(file('device.btsnoop'), writeBtsnoop(there));
    const { comparison: same } = await compareWithLog(reader, 'SN0001', file('device.btsnoop'), {});
    expect(same.findings).toEqual([{ code: 'DEVICE_HOST_SAME' }]);
    const inOrder = [...there];
    const values = there.flatMap(({ packet, received }, index) => (!received && packet[9] === 0x1b ? [index] : []));
    for (let at = 0; at + 2 < values.length; at += 3) {
      [inOrder[values[at + 1]!], inOrder[values[at + 2]!]] = [there[values[at + 2]!]!, there[values[at + 1]!]!];
    }
    await writeFile(file('device.pcapng'), writePcapng(inOrder, ''));
    const { comparison: other } = await compareWithLog(reader, 'SN0001', file('device.pcapng'), {});
    expect(other.findings).toEqual([{ code: 'DEVICE_HOST_OTHER' }]);
  });

  test.each([256, 272])(
    'with a capture of the air (link type %i) says whether it was so in the air',
    async (linkType) => {
      const own = unpackCapture(reader.capture(reader.show('SN0001').id));
      await writeFile(file('air.pcapng'), airFile(own, linkType));
      const { comparison } = await compareWithLog(reader, 'SN0001', file('air.pcapng'), {});
      expect(comparison).toMatchObject({ format: 'air capture', findings: [{ code: 'AIR_SAME' }], divergence: null });
      await writeFile(file('secret.pcapng'), airFile(own, linkType, { encrypted: true }));
      await expect(compareWithLog(reader, 'SN0001', file('secret.pcapng'), {})).rejects.toEqual(
        code('CAPTURE_ENCRYPTED'),
      );
    },
  );

  test('answers what it cannot read', async () => {
    await writeFile(file('empty.log'), 'nothing to see here\n');
    await writeFile(
      file('cut.btsnoop'),
      writeBtsnoop([{ number: 0, timeUs: 1, received: true, packet: Buffer.alloc(9) }]).subarray(0, 30),
    );
    const compare = (name: string, options = {}) => compareWithLog(reader, 'SN0001', file(name), options);
    await expect(compare('empty.log')).rejects.toEqual(code('DEVICE_LOG_UNKNOWN'));
    await expect(compare('cut.btsnoop')).rejects.toEqual(code('CAPTURE_TRUNCATED'));
    await expect(compare('missing.log')).rejects.toEqual(code('FILE_NOT_FOUND'));
    await mkdir(file('directory'));
    await expect(compare('directory')).rejects.toEqual(code('FILE_UNREADABLE'));
    await expect(compare('empty.log', { pattern: '(' })).rejects.toEqual(code('ARGUMENT_INVALID'));
  });
});

test('a capture played back under noble is a test: the same upgrade, the same disorder, the same verdict', async () => {
  await exportTrace(reader, 'SN0001', 'btsnoop', file('field.btsnoop'));
  const { anomalies } = reader.show('SN0001');
  const radio = await openReplay(file('field.btsnoop'), systemClock);
  const records = new RecordWriter(file('replayed'), systemClock);
  const profile = productFile.parse({
    product: 'test',
    protocol: 'fus',
    discover: { namePrefix: 'DFU-' },
    identity: { from: 'name', pattern: '^DFU-(.+)$' },
  });
  try {
    const again = new Station({
      radios: fixedShelf([radio]),
      records,
      clock: systemClock,
      practice: true,
      appVersion: 'test',
    });
    const firmware = await testFirmware(30_000);
    const signal = new AbortController().signal;
    const summary = await again.run({ job: { job: 'replay' }, profile, firmware, units: 1 }, signal, () => undefined);
    expect(outcomes(summary)).toEqual({ SN0001: 'pass' });
  } finally {
    await radio.stop();
    records.close();
  }
  const replayed = new RecordReader(file('replayed'));
  const found = replayed.show('SN0001');
  replayed.close();
  expect(found.anomalies.map(({ shape, frame }) => [shape, frame])).toEqual(
    anomalies.map(({ shape, frame }) => [shape, frame]),
  );
  expect(found.verdict).toMatchObject({ verdict: 'peripheral' });
});
