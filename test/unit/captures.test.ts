import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { isCapture, readCapture } from '../../src/diagnostics/capture-file.ts';

/** Two HCI packets as they are on a UART: a reset, and its answer. */
const RESET = Buffer.from('01030c00', 'hex');
const COMPLETE = Buffer.from('040e0401030c00', 'hex');
const SECOND = 1_700_000_000;
const expected = [
  { received: false, packet: RESET, timeUs: SECOND * 1e6 + 250 },
  { received: true, packet: COMPLETE, timeUs: SECOND * 1e6 + 1250 },
];
const be16 = (...all: number[]) => Buffer.concat(all.map((n) => Buffer.of(n >> 8, n & 0xff)));
const be32 = (...all: number[]) =>
  Buffer.concat(all.map((n) => Buffer.of(n >>> 24, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff)));
const le16 = (...all: number[]) => Buffer.concat(all.map((n) => be16(n).reverse()));
const le32 = (...all: number[]) => Buffer.concat(all.map((n) => be32(n).reverse()));
const numbers = { little: { u16: le16, u32: le32 }, big: { u16: be16, u32: be32 } };
type Order = keyof typeof numbers;
const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
const packets = [
  [RESET, 0, 250],
  [COMPLETE, 1, 1250],
] as const;
/** Behind the direction, as link type 201 has it. */
const directed = (packet: Buffer, direction: number) => Buffer.concat([be32(direction), packet]);

function pcap(order: Order, nanoseconds: boolean): Buffer {
  const { u16, u32 } = numbers[order];
  const records = packets.map(([packet, direction, us]) => {
    const bytes = directed(packet, direction);
    return Buffer.concat([u32(SECOND, nanoseconds ? us * 1000 : us, bytes.length, bytes.length), bytes]);
  });
  return Buffer.concat([u32(nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4), u16(2, 4), u32(0, 0, 65_535, 201), ...records]);
}

function block(order: Order, type: number, body: Buffer): Buffer {
  const { u32 } = numbers[order];
  return Buffer.concat([u32(type, body.length + 12), padded(body), u32(body.length + 12)]);
}
function section(
  order: Order,
  linkTypes: readonly number[],
  sent: readonly (readonly [number, Buffer, number])[],
): Buffer {
  const { u16, u32 } = numbers[order];
  return Buffer.concat([
    block(order, 0x0a0d0d0a, Buffer.concat([u32(0x1a2b3c4d), u16(1, 0), u32(0xffffffff, 0xffffffff)])),
    ...linkTypes.map((linkType) => block(order, 1, Buffer.concat([u16(linkType, 0), u32(0)]))),
    ...sent.map(([index, bytes, us]) => {
      const ticks = BigInt(SECOND) * 1_000_000n + BigInt(us);
      const head = u32(index, Number(ticks >> 32n), Number(ticks & 0xffffffffn), bytes.length, bytes.length);
      return block(order, 6, padded(Buffer.concat([head, bytes])));
    }),
  ]);
}
const h4 = (index = 0) => packets.map(([packet, direction, us]) => [index, directed(packet, direction), us] as const);
const monitor = [
  [be16(0, 0), Buffer.alloc(16), 0],
  [be16(0, 2), RESET.subarray(1), 250],
  [be16(0, 3), COMPLETE.subarray(1), 1250],
] as const;

function btmon(): Buffer {
  const records = monitor.map(([flags, bytes, us]) => {
    const time = 0x00dcddb30f2f8000n + BigInt(SECOND) * 1_000_000n + BigInt(us);
    return Buffer.concat([
      be32(bytes.length, bytes.length),
      flags,
      be32(0),
      be32(Number(time >> 32n), Number(time & 0xffffffffn)),
      bytes,
    ]);
  });
  return Buffer.concat([Buffer.from('btsnoop\0'), be32(1, 2001), ...records]);
}
function packetLogger(order: Order): Buffer {
  const { u32 } = numbers[order];
  const records = [
    [Buffer.from('note'), 0xfc, 0] as const,
    [RESET.subarray(1), 0, 250] as const,
    [COMPLETE.subarray(1), 1, 1250] as const,
  ];
  return Buffer.concat(
    records.map(([bytes, type, us]) => Buffer.concat([u32(bytes.length + 9, SECOND, us), Buffer.of(type), bytes])),
  );
}

const readable: [string, Buffer][] = [
  ['pcap, little-endian', pcap('little', false)],
  ['pcap, big-endian', pcap('big', false)],
  ['pcap of nanoseconds, little-endian', pcap('little', true)],
  ['pcap of nanoseconds, big-endian', pcap('big', true)],
  ['pcapng, little-endian', section('little', [201], h4())],
  ['pcapng, big-endian', section('big', [201], h4())],
  ['pcapng with an unused interface of another kind', section('little', [1, 201], h4(1))],
  ['pcapng with a used interface of another kind', section('little', [1, 201], [[0, Buffer.alloc(60), 1], ...h4(1)])],
  [
    'pcapng of two sections of either byte order',
    Buffer.concat([section('little', [201], h4().slice(0, 1)), section('big', [201], h4().slice(1))]),
  ],
  [
    "pcapng of BlueZ's monitor",
    section(
      'little',
      [254],
      monitor.map(([head, bytes, us]) => [0, Buffer.concat([head, bytes]), us] as const),
    ),
  ],
  ['btsnoop by btmon', btmon()],
  ['PacketLogger, big-endian', packetLogger('big')],
  ['PacketLogger, little-endian', packetLogger('little')],
];

describe('a capture', () => {
  test.each(readable)('as %s is read', (_name, file) => {
    expect(isCapture(file)).toBe(true);
    expect(readCapture(file)).toMatchObject({ taken: 'hci', packets: expected, cut: false, missing: 0 });
  });

  test.each(readable)(
    'as %s whose last record is cut keeps its whole packets, and says that it is cut',
    (_name, file) => {
      const { packets: read, cut } = readCapture(file.subarray(0, file.length - 3));
      expect(read).toMatchObject(expected.slice(0, 1));
      expect(read).toHaveLength(1);
      expect(cut).toBe(true);
    },
  );

  test.each([
    ['gzip', Buffer.from('1f8b0800', 'hex')],
    ['a ZIP archive', Buffer.from('504b0304', 'hex')],
    ['Ethernet alone', section('little', [1], [[0, Buffer.alloc(60), 1]])],
    ['btsnoop of BCSP', Buffer.concat([Buffer.from('btsnoop\0'), be32(1, 1003)])],
  ])('that is %s is named', (_name, file) => {
    expect(isCapture(file)).toBe(true);
    expect(() => readCapture(file)).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^CAPTURE_(INVALID|LINK_TYPE)$/) }),
    );
  });

  test('with drops or shortened packets says how many are missing', () => {
    const dropping = btmon();
    dropping.writeUInt32BE(5, 16 + 12);
    expect(readCapture(dropping).missing).toBe(5);
    const short = pcap('little', false);
    short.writeUInt32LE(900, 24 + 12);
    expect(readCapture(short).missing).toBe(1);
  });

  test('of any octets behind any beginning is packets or a named refusal', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...readable),
        fc.nat(),
        fc.uint8Array({ maxLength: 120 }),
        fc.nat(),
        ([, file], at, bytes, cut) => {
          const damaged = Buffer.from(file);
          damaged.set(bytes.subarray(0, Math.max(0, damaged.length - (at % damaged.length))), at % damaged.length);
          for (const each of [damaged, damaged.subarray(0, cut % damaged.length), Buffer.concat([file, bytes])]) {
            try {
              expect(Array.isArray(readCapture(each).packets)).toBe(true);
            } catch (error) {
              expect(error).toEqual(expect.objectContaining({ code: expect.stringMatching(/^CAPTURE_/) }));
            }
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('is no log of text', () => {
    for (const text of ['[00:00:01.500,250] <inf> fus: Response=1\n', 'a', '', '\0\0\0\u000f plain'])
      expect(isCapture(Buffer.from(text))).toBe(false);
    expect(isCapture(Buffer.from('Response=1\nData 11\n', 'utf16le'))).toBe(false);
  });
});

const RECORDINGS = '../shared/captures';
it.skipIf(!existsSync(RECORDINGS))('of a real controller has its packets', () => {
  expect(readCapture(readFileSync(`${RECORDINGS}/controller-four-units.btsnoop`))).toMatchObject({
    cut: false,
    missing: 0,
  });
  expect(readCapture(readFileSync(`${RECORDINGS}/controller-four-units.btsnoop`)).packets).toHaveLength(8350);
});
