import { describe, expect, test } from 'vitest';
import { fusSettings } from '../../src/contract/product-file.ts';
import { readDeviceLog } from '../../src/diagnostics/device-log.ts';
import { compareLogs, type StationValue } from '../../src/diagnostics/log-comparison.ts';

const settings = fusSettings.parse({});
const marker = (value: number) => ({ kind: 'marker', marker: value });
const data = (bytes: number | null) => ({ kind: 'data', bytes });
/** Two lines of a device, each behind what the case puts in front. */
const frame = (first: string, second: string) => `${first}Response=1\n${second}Data 11 bytes\n`;

describe('a line of a device log', () => {
  test.each([
    ['Response=0x01', marker(1)],
    ['Response=0x00', marker(0)],
    ['response: 1', marker(1)],
    ['Notify Response=1 (open)', marker(1)],
    ['fus: Response=1', marker(1)],
    ['fus.send_response: (sysworkq): Response=1', marker(1)],
    ['Data #3 len 11', data(11)],
    ['Data seq=4, len=0x0b', data(11)],
    ['Data: 11', data(11)],
    ['Data 11 bytes', data(11)],
    ['Data (11 octets)', data(11)],
    ['Data[3]: size 11', data(11)],
    ['Data 11 bytes: 81 00 02', data(11)],
    ['Data: 81 00 02 00', data(4)],
    ['Data', data(null)],
  ])('%s is an event', (text, event) => {
    expect(readDeviceLog(`${text}\nResponse=1`).events[0]).toMatchObject(event);
  });

  test.each([
    'fs_nvs: data wra: 0, 1c',
    'HTTP response: 200',
    'Response=2',
    'no response: 1 retries left',
    'database: 12 rows',
    'bt_gatt: data cb 0x2000',
    'adc: metadata 11 bytes',
  ])('%s only looks like one', (text) => {
    expect(readDeviceLog(`fus: Response=1\n${text}\nfus: Data 11 bytes`).events.map(({ line }) => line)).toEqual([
      1, 3,
    ]);
  });

  test.each(['1 ', 'seq 1 ', '# ', '81 ', ' ', '1'])('that repeats %j for ever is read at once', (piece) => {
    const text = `Data ${piece.repeat(Math.floor(390 / piece.length))}x`;
    expect(() => readDeviceLog(text)).toThrow(expect.objectContaining({ code: 'DEVICE_LOG_UNKNOWN' }));
  });

  test("data of another module than the one that prints markers are not the service's, and what counts is shown", () => {
    const log = readDeviceLog('fus: Response=1\nsensor: Data 11 bytes\nfus: Data 58 bytes\nfus: Response=0');
    expect(log.counted).toEqual([
      { what: '1', count: 1, line: 1, text: 'fus: Response=1' },
      { what: 'data', count: 1, line: 3, text: 'fus: Data 58 bytes' },
      { what: '0', count: 1, line: 4, text: 'fus: Response=0' },
    ]);
  });

  test.each([
    ["Zephyr's clock", '[00:00:01.500,250] <inf> fus: ', '[00:00:01.501,250] <dbg> fus.send: ', 'zephyr', 1500.25],
    ['cycles', '[00049168] <inf> fus: ', '[00049201] <inf> fus: ', 'cycles', 49168],
    ['seconds', '[    1.500250] <inf> fus: ', '[    1.501250] <inf> fus: ', 'seconds', 1500.25],
    [
      'ISO 8601',
      '[1970-01-01T00:00:01.500250Z] <inf> fus: ',
      '[1970-01-01T00:00:01.501250Z] <inf> fus: ',
      'iso8601',
      1500.25,
    ],
    [
      'ISO 8601 with a comma',
      '[1970-01-01 00:00:01.500,250] <inf> fus: ',
      '[1970-01-01 00:00:01.501,250] fus: ',
      'iso8601',
      1500.25,
    ],
    ['no time', '<inf> fus: ', '<inf> fus: ', 'plain', null],
    ['minimal logging', 'I: ', 'D: ', 'plain', null],
    ['ESP-IDF', 'I (1500) fus: ', 'I (1501) fus: ', 'esp-idf', 1500],
    ['ESP-IDF in colour', '\u001b[0;32mI (1500) fus: ', '\u001b[0;32mI (1501) fus: ', 'esp-idf', 1500],
    [
      'leading colour',
      '\u001b[1;32m[00:00:01.500,250] \u001b[0m<inf> fus: ',
      '[00:00:01.501,250] <inf> fus: ',
      'zephyr',
      1500.25,
    ],
    [
      'a shell prompt',
      '\u001b[8D\u001b[Juart:~$ [00:00:01.500,250] <inf> fus: ',
      'uart:~$ [00:00:01.501,250] <inf> fus: ',
      'zephyr',
      1500.25,
    ],
    ['RTT Viewer', '00> [00:00:01.500,250] <inf> fus: ', '00> [00:00:01.501,250] <inf> fus: ', 'zephyr', 1500.25],
    [
      'a terminal with ISO stamps',
      '2024-05-01T12:00:00.123Z [00:00:01.500,250] <inf> fus: ',
      '[2024-05-01 12:00:00.124] [00:00:01.501,250] fus: ',
      'zephyr',
      1500.25,
    ],
    [
      'a terminal with a clock',
      '12:00:00.123 -> [00:00:01.500,250] <inf> fus: ',
      '[12:00:00.124] [00:00:01.501,250] <inf> fus: ',
      'zephyr',
      1500.25,
    ],
    [
      'Tera Term',
      '[Wed May 01 12:00:00.123 2024] [00:00:01.500,250] <inf> fus: ',
      '[Wed May 01 12:00:00.124 2024] [00:00:01.501,250] fus: ',
      'zephyr',
      1500.25,
    ],
    ['a terminal before a device without time', '[12:00:01.500] ', '[12:00:01.501] ', 'clock', 43_201_500],
    ['RTT Viewer before seconds', '00> 1.5: ', '00> 1.6: ', 'seconds', 1500],
  ])('is read behind %s', (_name, first, second, format, timeMs) => {
    const log = readDeviceLog(frame(first, second));
    expect(log.format).toBe(format);
    expect(log.events).toMatchObject([
      { ...marker(1), timeMs, line: 1 },
      { ...data(11), line: 2 },
    ]);
  });

  const text = frame('[00:00:01.500,250] <inf> fus: ', '[00:00:01.501,250] <inf> fus: ');
  test.each([
    ['UTF-8 with a byte-order mark', Buffer.from(`\ufeff${text}`)],
    ['UTF-16 little-endian', Buffer.from(`\ufeff${text}`, 'utf16le')],
    ['UTF-16 big-endian', Buffer.from(`\ufeff${text}`, 'utf16le').swap16()],
    ['UTF-16 without a mark', Buffer.from(text, 'utf16le')],
    ['CR only', Buffer.from(text.replaceAll('\n', '\r'))],
    ['CR LF', Buffer.from(text.replaceAll('\n', '\r\n'))],
    ['CR CR LF', Buffer.from(text.replaceAll('\n', '\r\r\n'))],
    ['a NUL of the power-up in it', Buffer.concat([Buffer.of(0, 0), Buffer.from(text)])],
  ])('is read from %s', (_name, file) => {
    const log = readDeviceLog(file);
    expect(log.lines).toBe(2);
    expect(log.events).toMatchObject([
      { ...marker(1), line: 1, timeMs: 1500.25 },
      { ...data(11), line: 2 },
    ]);
  });
});

const SIZES = [11, 43, 58, 43, 11, 58, 58, 11];
interface Said {
  readonly text: string;
  readonly timeMs: number;
}
const said: Said[] = SIZES.flatMap((bytes, index) => [
  { text: 'Response=1', timeMs: 1000 + index * 100 },
  { text: `Data ${bytes} bytes`, timeMs: 1002 + index * 100 },
  { text: 'Response=0', timeMs: 1004 + index * 100 },
]);
const seen: StationValue[] = said.map(({ text, timeMs }, index) => {
  const bytes = SIZES[Math.floor(index / 3)] ?? 0;
  return text.startsWith('Data')
    ? { uuid: settings.dataOut.uuid, timeMs, value: Buffer.alloc(bytes), length: bytes }
    : { uuid: settings.response.uuid, timeMs, value: Buffer.of(Number(text.at(-1))), length: 1 };
});
const late = seen.map((_, index) => seen[index % 3 === 0 ? index : index % 3 === 1 ? index + 1 : index - 1]!);
const log = (lines: readonly string[]) => readDeviceLog(lines.join('\n'), undefined, settings.markers);
const timed = (all: readonly Said[], clock = (ms: number) => ms) =>
  all.map(({ text, timeMs }) => `[${(clock(timeMs) / 1000).toFixed(6)}] fus: ${text}`);
const plain = (all: readonly Said[]) => all.map(({ text }) => `fus: ${text}`);
const codes = (found: ReturnType<typeof compareLogs>) => found.findings.map(({ code }) => code);
const writings: [string, (all: readonly Said[]) => string[]][] = [
  ['with times', timed],
  ['without times', plain],
];

describe.each(writings)('an incomplete log %s', (_name, write) => {
  test('that says itself that messages were dropped is incomplete at that line, and the rest is compared', () => {
    const lines = write(said);
    const found = compareLogs(
      settings,
      log([...lines.slice(0, 6), '--- 3 messages dropped ---', ...lines.slice(9)]),
      seen,
      null,
    );
    expect(found).toMatchObject({
      result: 'incomplete',
      divergence: null,
      reordered: 0,
      onlyDevice: 0,
      onlyStation: 3,
    });
    expect(found.findings[0]).toEqual({ code: 'LOG_DROPPED', values: { line: 7, messages: 3 } });
    expect(found.findings.at(-1)).toEqual({ code: 'PART_AGREES', values: { values: 21 } });
  });

  test.each([
    ['begins late (the second half of a ring buffer)', said.slice(12), 'LOG_BEGINS_LATE'],
    ['ends early', said.slice(0, 12), 'LOG_ENDS_EARLY'],
    ['lacks lines in the middle', [...said.slice(0, 4), ...said.slice(9)], 'LOG_LACKS'],
    ['has no data at all', said.filter(({ text }) => !text.startsWith('Data')), 'LOG_LACKS'],
  ])('that %s is incomplete, and nobody is blamed', (_what, all, code) => {
    const found = compareLogs(settings, log(write(all)), seen, null);
    expect(found).toMatchObject({ result: 'incomplete', divergence: null, reordered: 0, onlyDevice: 0 });
    expect(codes(found)).toContain(code);
    expect(codes(found).at(-1)).toBe('PART_AGREES');
  });
});

describe('another clock', () => {
  test.each([
    ['10 % fast', 1.1],
    ['half as fast', 0.5],
    ['thirty times as fast', 30],
  ])('that runs %s is named, and the logs agree', (_name, rate) => {
    const found = compareLogs(settings, log(timed(said, (ms) => 700 + ms * rate)), seen, null);
    expect(found).toMatchObject({ result: 'agree', divergence: null, reordered: 0 });
    expect(found.findings).toContainEqual({ code: 'CLOCK_OTHER', values: { rate: rate.toPrecision(3) } });
  });

  test('of cycles has no rate of its own: the order counts', () => {
    const cycles = said.map(
      ({ text, timeMs }) => `[${String(Math.round(timeMs * 32.768)).padStart(8, '0')}] <inf> fus: ${text}`,
    );
    expect(compareLogs(settings, log(cycles), seen, null)).toMatchObject({ result: 'agree', format: 'cycles' });
  });

  test('that begins anew when the device restarts is no divergence', () => {
    const restarts = (ms: number) => (ms > 1450 ? ms - 1450 : ms + 60_000);
    const found = compareLogs(settings, log(timed(said, restarts)), late, null);
    expect(found).toMatchObject({ reordered: SIZES.length, onlyDevice: 0, onlyStation: 0 });
  });
});

describe('a log that tells another order', () => {
  test.each(writings)('parts where it does (%s)', (_name, write) => {
    const found = compareLogs(settings, log(write(said)), late, null);
    expect(found).toMatchObject({ result: 'differ', divergence: 1, reordered: SIZES.length });
    expect(codes(found)).toEqual(['LINE_INSTEAD', 'HCI_UNKNOWN']);
  });

  test('proves nothing where it says that messages were dropped just there', () => {
    const one = seen.map((each, index) => (index === 4 ? seen[5]! : index === 5 ? seen[4]! : each));
    const lines = timed(said);
    const found = compareLogs(
      settings,
      log([...lines.slice(0, 5), '--- 1 messages dropped ---', ...lines.slice(5)]),
      one,
      null,
    );
    expect(codes(found)).toContain('ORDER_UNPROVEN');
    expect(codes(found)).not.toContain('HCI_AS_SEEN');
  });

  test('of another unit is not compared at all', () => {
    const other = said.map((each) => ({ ...each, text: each.text.replace(/\d+ bytes/, '99 bytes') }));
    const foreign = other.filter(({ text }) => text.startsWith('Data'));
    expect(codes(compareLogs(settings, log(plain([said[0]!, ...foreign])), seen, null))).toEqual(['LOGS_UNLIKE']);
  });

  test('and goes on longer than the attempt agrees with it', () => {
    const longer = [...said.slice(0, 9).map((each) => ({ ...each, timeMs: each.timeMs - 60_000 })), ...said];
    const found = compareLogs(settings, log(timed(longer, (ms) => ms + 100_000)), seen, null);
    expect(found.result).toBe('agree');
    expect(codes(found)).toEqual(['LOGS_AGREE', 'LOG_LONGER']);
  });
});
