import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fusSettings } from '../../src/contract/product-file.ts';
import type { OrderAnomaly } from '../../src/contract/records.ts';
import { readDeviceLog } from '../../src/diagnostics/device-log.ts';
import { compareLogs, type StationValue } from '../../src/diagnostics/log-comparison.ts';
import { judgeOrder } from '../../src/diagnostics/order-verdict.ts';
import type { CapturedPacket } from '../../src/radio/radio.ts';

const settings = fusSettings.parse({});
const le16 = (value: number) => Buffer.of(value & 0xff, value >> 8);
/** An ATT PDU in an HCI ACL packet of connection 0x40. */
function acl(received: boolean, att: Buffer): Omit<CapturedPacket, 'number' | 'timeUs'> {
  const l2cap = Buffer.concat([le16(att.length), le16(4), att]);
  return { received, packet: Buffer.concat([Buffer.of(2, 0x40, 0x20), le16(l2cap.length), l2cap]) };
}
const uuid = (text: string) => Buffer.from(text.replaceAll('-', ''), 'hex').reverse();
const RESPONSE = 0x0012;
const DATA_OUT = 0x0015;
const declaration = (handle: number, text: string) =>
  Buffer.concat([le16(handle - 1), Buffer.of(0x10), le16(handle), uuid(text)]);
const discovery = [
  acl(false, Buffer.from('080100ffff0328', 'hex')),
  acl(
    true,
    Buffer.concat([
      Buffer.of(9, 21),
      declaration(RESPONSE, settings.response.uuid),
      declaration(DATA_OUT, settings.dataOut.uuid),
    ]),
  ),
];

interface Value {
  readonly handle: number;
  readonly value: Buffer;
}
/** A conversation as a text: 1 a start, 0 an end, D a whole frame; frames count on, and one that is written `x` was lost. */
function values(text: string): Value[] {
  let sequence = 0;
  return [...text].flatMap((letter) => {
    if (letter === '1' || letter === '0') return [{ handle: RESPONSE, value: Buffer.of(Number(letter)) }];
    const frame = {
      handle: DATA_OUT,
      value: Buffer.of(0x83, sequence++, 4 + (sequence % 3), 0, ...Buffer.alloc(6 + (sequence % 3))),
    };
    return letter === 'x' ? [] : [frame];
  });
}
const uuidOf = ({ handle }: Value) => (handle === RESPONSE ? settings.response.uuid : settings.dataOut.uuid);
const seen = (all: readonly Value[]) => all.map((each) => ({ uuid: uuidOf(each), value: each.value }));
const capture = (all: readonly Value[], { leftOut = 0, discovered = true } = {}) => ({
  leftOut,
  packets: [
    ...(discovered ? discovery : []),
    ...all.map(({ handle, value }) => acl(true, Buffer.concat([Buffer.of(0x1b), le16(handle), value]))),
  ].map((each, number) => ({ ...each, number, timeUs: number * 1000 })),
});
const anomalies: OrderAnomaly[] = [{ shape: 'end-before-data', frame: 0, atMs: 0, token: 0 }];
const judge = (
  app: readonly Value[],
  delivered: Parameters<typeof judgeOrder>[2][number]['capture'],
  with_ = settings,
) => judgeOrder(with_, anomalies, [{ seen: seen(app), capture: delivered }]);

const order = '1D0'.repeat(6);
const late = `1D010D${'1D0'.repeat(4)}`;
/** The same values with those of `other`: what the controller has in order, the application has not. */
const shuffled = (all: readonly Value[]) => all.map((each, at) => (at === 4 ? all[5]! : at === 5 ? all[4]! : each));

describe('the verdict on the order', () => {
  test('blames the device when all parts were delivered, and in that order', () => {
    expect(judge(values(late), capture(values(late)))).toMatchObject({ verdict: 'peripheral' });
    const twice = `1D011D0${order}`;
    expect(judge(values(twice), capture(values(twice)))).toMatchObject({ verdict: 'peripheral' });
  });

  test('blames this host when all was delivered in order, and says whether it was reordered or lost', () => {
    expect(judge(shuffled(values(order)), capture(values(order)))).toMatchObject({
      verdict: 'host',
      reason: { code: 'DELIVERED_IN_ORDER' },
    });
    const lacking = values(order).filter((_, at) => at !== 4);
    expect(judge(lacking, capture(values(order)))).toMatchObject({
      verdict: 'host',
      reason: { code: 'NOT_HANDED_OVER' },
    });
  });

  test.each([
    ['there is no capture', values(late), null, 'CAPTURE_ABSENT'],
    ['the capture has a gap', values(late), capture(values(late), { leftOut: 3 }), 'CAPTURE_GAP'],
    ['the capture ends before the application', values(late), capture(values(late).slice(0, -4)), 'CAPTURE_SHORT'],
    [
      'the capture does not say which values are whose',
      values(late),
      capture(values(late), { discovered: false }),
      'CAPTURE_SHORT',
    ],
    ['data never came', values(`1x0${order}`), capture(values(`1x0${order}`)), 'MISSING_IN_CAPTURE'],
    [
      'data never came, and then the link ended',
      values(`${order}1x0`),
      capture(values(`${order}1x0`)),
      'MISSING_IN_CAPTURE',
    ],
    ['a start never came', values(`D0${order}`), capture(values(`D0${order}`)), 'MISSING_IN_CAPTURE'],
    ['an end never came', values(`1D${order}`), capture(values(`1D${order}`)), 'MISSING_IN_CAPTURE'],
    [
      'a marker seems doubled where a frame is missing',
      values(`1D01x1D0${order}`),
      capture(values(`1D01x1D0${order}`)),
      'MISSING_IN_CAPTURE',
    ],
    ['both are in disorder', shuffled(values(late)).toReversed(), capture(values(late)), 'BOTH_DISTURBED'],
  ])('is undecided when %s', (_name, app, delivered, code) => {
    expect(judge(app, delivered)).toMatchObject({ verdict: 'undecided', reason: { code } });
  });

  test('is undecided without headers when data may be late or lost, and blames when they stand outside their markers', () => {
    const none = fusSettings.parse({ header: 'none' });
    const lost = values(`10${order}`);
    expect(judge(lost, capture(lost), none)).toMatchObject({ verdict: 'undecided' });
    expect(judge(values(late), capture(values(late)), none)).toMatchObject({ verdict: 'peripheral' });
  });

  test('never blames anybody for values that were lost on the way, whichever and however many', () => {
    fc.assert(
      fc.property(fc.integer({ min: 4, max: 20 }), fc.array(fc.nat(), { maxLength: 8 }), (frames, lost) => {
        const all = values('1D0'.repeat(frames));
        const gone = new Set(lost.map((each) => each % all.length));
        const left = all.filter((_, at) => !gone.has(at));
        expect(judge(left, capture(left))?.verdict).toBe('undecided');
      }),
      { numRuns: 500 },
    );
  });
});

const station = (all: readonly Value[]): StationValue[] =>
  all.map((each, at) => ({ uuid: uuidOf(each), timeMs: 500 + at * 10, value: each.value, length: each.value.length }));
const lines = (all: readonly Value[], stamp: (at: number) => string) =>
  all.map(
    ({ handle, value }, at) =>
      `${stamp(at)}${handle === RESPONSE ? `Response=${value[0]}` : `Data ${value.length} bytes`}`,
  );
const seconds = (at: number) => `${((700 + at * 10) / 1000).toFixed(3)}: `;
const log = (all: readonly string[]) => readDeviceLog(all.join('\n'));
const codes = (found: ReturnType<typeof compareLogs>) => found.findings.map(({ code }) => code);
const BLAME = [
  'HCI_AS_SEEN',
  'HCI_AS_SAID',
  'DEVICE_HOST_OTHER',
  'AIR_OTHER',
  'DELIVERED_IN_ORDER',
  'LINE_INSTEAD',
  'LINE_AND_NOTHING',
];

describe('a comparison', () => {
  const sent = values(order);
  const arrived = values(order).map((each, at, all) =>
    at % 3 === 1 ? all[at + 1]! : at % 3 === 2 ? all[at - 1]! : each,
  );

  test('says that it happened in the device when the whole capture has what the application saw', () => {
    const found = compareLogs(settings, log(lines(sent, seconds)), station(arrived), capture(arrived));
    expect(codes(found)).toEqual(['LINE_INSTEAD', 'HCI_AS_SEEN']);
  });

  test('says that it happened on this host when the whole capture has what the device says', () => {
    const found = compareLogs(settings, log(lines(sent, seconds)), station(arrived), capture(sent));
    expect(codes(found)).toEqual(['LINE_INSTEAD', 'HCI_AS_SAID']);
  });

  test.each([
    ['there is no capture', null, 'HCI_UNKNOWN'],
    ['the capture has a gap', capture(arrived, { leftOut: 9 }), 'CAPTURE_GAP'],
    ['the capture ends early', capture(arrived.slice(0, 6)), 'CAPTURE_SHORT'],
    ['the capture lacks one value and has another', capture([...arrived.slice(1), ...values('1')]), 'HCI_NEITHER'],
    ['the capture has no discovery', capture(arrived, { discovered: false }), 'CAPTURE_SHORT'],
  ])('does not say where when %s', (_name, evidence, code) => {
    const found = compareLogs(settings, log(lines(sent, seconds)), station(arrived), evidence);
    expect(codes(found)).toEqual(['LINE_INSTEAD', code]);
  });

  const losses = fc.record({
    frames: fc.integer({ min: 2, max: 25 }),
    head: fc.nat(30),
    tail: fc.nat(30),
    holes: fc.array(fc.record({ at: fc.nat(), length: fc.integer({ min: 1, max: 9 }), said: fc.boolean() }), {
      maxLength: 4,
    }),
    rate: fc.constantFrom(0, 0.5, 1, 1.1, 30),
    drift: fc.integer({ min: -200, max: 200 }),
    offset: fc.integer({ min: 0, max: 1_000_000 }),
  });

  test('never blames anybody for lines that a true log lacks, said or unsaid, whatever the clock', () => {
    fc.assert(
      fc.property(losses, ({ frames, head, tail, holes, rate, drift, offset }) => {
        const all = values('1D0'.repeat(frames));
        const clock = (at: number) => (offset + (500 + at * 10) * rate * (1 + drift / 1e6)) / 1000;
        let text = lines(all, (at) => (rate === 0 ? '' : `[${clock(at).toFixed(6)}] `));
        for (const { at, length, said } of holes)
          text.splice(at % (text.length + 1), length, ...(said ? [`--- ${length} messages dropped ---`] : []));
        text = text.slice(head, Math.max(head, text.length - tail));
        fc.pre(text.some((line) => /Response|Data/.test(line)));
        const found = compareLogs(settings, log(text), station(all), capture(all));
        expect(codes(found).filter((code) => BLAME.includes(code))).toEqual([]);
        expect(found).toMatchObject({ divergence: null, reordered: 0, onlyDevice: 0 });
        expect(found.result).toBe(text.length === all.length && holes.length === 0 ? 'agree' : 'incomplete');
      }),
      { numRuns: 400 },
    );
  });

  test('never says "in the device" or "on this host" against the evidence, however much of the log of a disturbed link is gone', () => {
    fc.assert(
      fc.property(losses, fc.boolean(), ({ frames, head, tail, holes, rate }, onHost) => {
        const meant = values('1D0'.repeat(frames));
        const came = meant.map((each, at, all) => (at % 3 === 1 ? all[at + 1]! : at % 3 === 2 ? all[at - 1]! : each));
        let text = lines(meant, (at) => (rate === 0 ? '' : `[${(((500 + at * 10) * rate) / 1000).toFixed(6)}] `));
        for (const { at, length } of holes) text.splice(at % (text.length + 1), length);
        text = text.slice(head, Math.max(head, text.length - tail));
        fc.pre(text.length > 0);
        const found = compareLogs(settings, log(text), station(came), capture(onHost ? meant : came));
        expect(codes(found)).not.toContain(onHost ? 'HCI_AS_SEEN' : 'HCI_AS_SAID');
      }),
      { numRuns: 400 },
    );
  });

  test('agrees on the same order whatever the clock: any rate, offset and drift', () => {
    const clocks = fc.record({
      rate: fc.double({ min: 0.01, max: 100, noNaN: true }),
      offset: fc.nat(1e9),
      wobble: fc.nat(40),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 25 }), clocks, (frames, { rate, offset, wobble }) => {
        const all = values('1D0'.repeat(frames));
        const stamp = (at: number) =>
          `[${((offset + (at * 10 + ((at * 7) % (wobble + 1))) * rate) / 1000).toFixed(6)}] `;
        expect(compareLogs(settings, log(lines(all, stamp)), station(all), null)).toMatchObject({
          result: 'agree',
          reordered: 0,
        });
      }),
      { numRuns: 200 },
    );
  });
});
