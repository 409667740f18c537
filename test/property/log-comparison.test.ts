import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fusSettings } from '../../src/contract/product-file.ts';
import { readDeviceLog } from '../../src/diagnostics/device-log.ts';
import { compareLogs, type StationValue } from '../../src/diagnostics/log-comparison.ts';

const settings = fusSettings.parse({});
const code = (expected: string) => expect.objectContaining({ code: expected });
const zephyr = (ms: number) => {
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0');
  const us = String(Math.floor(ms * 1000) % 1_000_000).padStart(6, '0');
  return `[${two(ms / 3_600_000)}:${two((ms / 60_000) % 60)}:${two((ms / 1000) % 60)}.${us.slice(0, 3)},${us.slice(3)}] <inf>`;
};

interface Value {
  readonly what: 'open' | 'data' | 'close';
  readonly bytes: number;
  readonly timeMs: number;
}
/** So many answers, each with its three values, a while apart. */
const conversation = (sizes: readonly number[]): Value[] =>
  sizes.flatMap((bytes, index) => {
    // Never as regular as clockwork: where all answers were alike and equally far apart, nobody could tell which is which.
    const timeMs = 1000 + index * 600 + ((index * index * 37) % 311);
    return [
      { what: 'open' as const, bytes: 1, timeMs },
      { what: 'data' as const, bytes, timeMs: timeMs + 1 },
      { what: 'close' as const, bytes: 1, timeMs: timeMs + 2 },
    ];
  });
const station = (values: readonly Value[]): StationValue[] =>
  values.map(({ what, bytes, timeMs }) => ({
    uuid: what === 'data' ? settings.dataOut.uuid : settings.response.uuid,
    timeMs,
    value: what === 'data' ? Buffer.alloc(bytes) : Buffer.of(what === 'open' ? 1 : 0),
    length: bytes,
  }));
const line = ({ what, bytes, timeMs }: Value, clock: (ms: number) => number) =>
  `${zephyr(clock(timeMs))} fus: ${what === 'data' ? `Data ${bytes} bytes` : `Response=${what === 'open' ? 1 : 0}`}`;

describe('a device log', () => {
  test.each([
    ['zephyr', '[00:00:01.500,250] <inf> fus: Response=1\n[00:00:01.501,000] <dbg> fus: Data 12 bytes', 1500.25],
    ['seconds', '00> 1.5: Response=1\n1.6 Data: 12', 1500],
    ['csv', 'time,event,bytes\n1.5,Response=1,\n1.6,Data,12', 1500],
  ])('in %s is understood without being told', (format, text, timeMs) => {
    const log = readDeviceLog(text);
    expect(log.format).toBe(format);
    expect(log.events).toMatchObject([
      { kind: 'marker', marker: 1, timeMs },
      { kind: 'data', bytes: 12 },
    ]);
  });

  test('in any other format is understood by a pattern', () => {
    const log = readDeviceLog(
      'T=7 | Response:0 | -\nT=8 | Data | 99',
      /T=(?<time>\d+) \| (?<event>[^|]*) \| (?<bytes>\d*)/,
    );
    expect(log.events).toMatchObject([
      { marker: 0, timeMs: 7000 },
      { kind: 'data', bytes: 99 },
    ]);
  });

  test('of which no line is understood is refused by that name, whatever it holds', () => {
    expect(() => readDeviceLog('')).toThrow(code('DEVICE_LOG_UNKNOWN'));
    expect(() => readDeviceLog('x', 'klingon')).toThrow(code('DEVICE_LOG_UNKNOWN'));
    fc.assert(
      fc.property(fc.string({ maxLength: 500 }), (text) => {
        try {
          readDeviceLog(text);
        } catch (error) {
          expect(error).toEqual(code('DEVICE_LOG_UNKNOWN'));
        }
      }),
    );
  });
});

/** Whether `part` is `whole` with some of it left out. */
const isWithin = (part: readonly number[], whole: readonly number[]): boolean => {
  let at = 0;
  for (const each of whole) if (part[at] === each) at += 1;
  return at === part.length;
};

describe('a comparison', () => {
  const sizes = fc.array(fc.constantFrom(11, 43, 58), { minLength: 4, maxLength: 60 });
  const clocks = fc.record({ offset: fc.integer({ min: 0, max: 600_000 }), ppm: fc.integer({ min: -100, max: 100 }) });

  test('of logs that tell the same finds no difference, whatever the clocks, and learns offset and drift', () => {
    fc.assert(
      fc.property(sizes, clocks, (all, { offset, ppm }) => {
        const values = conversation(all);
        const clock = (ms: number) => offset + ms * (1 + ppm / 1e6);
        const log = readDeviceLog(values.map((each) => line(each, clock)).join('\n'));
        const found = compareLogs(settings, log, station(values), null);
        expect(found).toMatchObject({ divergence: null, reordered: 0, onlyDevice: 0, onlyStation: 0 });
        expect(Math.abs((found.clock?.driftPpm ?? 0) - ppm)).toBeLessThan(5);
      }),
      { numRuns: 60 },
    );
  });

  test('tells answers that follow closely and look alike from one another by their times', () => {
    const dense = fc.record({
      count: fc.integer({ min: 12, max: 150 }),
      spacing: fc.integer({ min: 20, max: 60 }),
      uneven: fc.integer({ min: 7, max: 19 }),
      delay: fc.integer({ min: 1, max: 5 }),
    });
    fc.assert(
      fc.property(dense, clocks, ({ count, spacing, uneven, delay }, { offset, ppm }) => {
        const sent = Array.from(
          { length: count },
          (_, index) => 1000 + index * spacing + ((index * index * 37) % uneven),
        );
        const values = sent.flatMap((timeMs): Value[] => [
          { what: 'open', bytes: 1, timeMs },
          { what: 'data', bytes: 11, timeMs },
          { what: 'close', bytes: 1, timeMs },
        ]);
        const log = readDeviceLog(values.map((each) => line(each, (ms) => offset + ms * (1 + ppm / 1e6))).join('\n'));
        const arrived = values.flatMap((each, index) => {
          const later = { ...each, timeMs: each.timeMs + ((index * 13) % delay) };
          return each.what === 'data'
            ? []
            : each.what === 'close'
              ? [later, { ...values[index - 1]!, timeMs: later.timeMs }]
              : [later];
        });
        const found = compareLogs(settings, log, station(arrived), null);
        expect(found).toMatchObject({ reordered: count, onlyDevice: 0, onlyStation: 0 });
        expect(Math.abs((found.clock?.offsetMs ?? 0) - offset)).toBeLessThan(30);
      }),
      { numRuns: 60 },
    );
  });

  test('counts lines that are missing as missing, not as reordered, and every frame that came out of order as reordered', () => {
    fc.assert(
      fc.property(
        sizes,
        clocks,
        fc.array(fc.constantFrom('as is', 'late data', 'not logged'), { minLength: 4 }),
        (all, { offset }, fates) => {
          const values = conversation(all);
          const fate = (index: number) => fates[Math.floor(index / 3) % fates.length];
          const logged = values.filter((_, index) => fate(index) !== 'not logged');
          fc.pre(logged.length >= values.length / 2);
          const log = readDeviceLog(logged.map((each) => line(each, (ms) => ms + offset)).join('\n'));
          const seen = station(values);
          for (let frame = 0; frame < all.length; frame++) {
            if (fate(frame * 3) === 'late data')
              [seen[frame * 3 + 1], seen[frame * 3 + 2]] = [seen[frame * 3 + 2]!, seen[frame * 3 + 1]!];
          }
          const frames = all.map((_, frame) => fate(frame * 3));
          // What the station saw with lines left out is no disorder: where the log happens to be just that, order outranks time.
          const said = logged.map(({ what, bytes }) => (what === 'data' ? bytes : what === 'open' ? -1 : -2));
          const saw = seen.map(({ uuid, value, length }) =>
            uuid === settings.dataOut.uuid ? length : value[0] ? -1 : -2,
          );
          fc.pre(!isWithin(said, saw) || frames.every((each) => each !== 'late data'));
          expect(compareLogs(settings, log, seen, null)).toMatchObject({
            reordered: frames.filter((each) => each === 'late data').length,
            onlyDevice: 0,
            onlyStation: 3 * frames.filter((each) => each === 'not logged').length,
          });
        },
      ),
      { numRuns: 60 },
    );
  });
});
