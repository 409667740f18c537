import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { writeBtsnoop } from '../../src/diagnostics/btsnoop-file.ts';
import { packCapture, readCapture, unpackCapture, withoutKeys } from '../../src/diagnostics/capture-file.ts';
import { writePcapng } from '../../src/diagnostics/pcapng-file.ts';
import { LinkCapture } from '../../src/radio/hci/capture.ts';

const packet = fc
  .record({
    timeUs: fc.integer({ min: 1_600_000_000_000_000, max: 1_900_000_000_000_000 }),
    received: fc.boolean(),
    type: fc.constantFrom(1, 2, 4),
    bytes: fc.uint8Array({ minLength: 3, maxLength: 300 }),
  })
  .map(({ timeUs, received, type, bytes }) => ({ timeUs, received, packet: Buffer.concat([Buffer.of(type), bytes]) }));
const packets = fc.array(packet, { maxLength: 40 }).map((all) => all.map((each, number) => ({ ...each, number })));
const code = (expected: RegExp) => expect.objectContaining({ code: expect.stringMatching(expected) });

describe('a capture file', () => {
  test('is read back as it was written, in both formats', () => {
    fc.assert(
      fc.property(packets, fc.string({ maxLength: 80 }), (all, comment) => {
        expect(readCapture(writeBtsnoop(all)).packets).toEqual(all);
        expect(readCapture(writePcapng(all, comment)).packets).toEqual(all);
      }),
    );
  });

  test('that is cut off anywhere is refused with a code, or ends at a whole packet', () => {
    fc.assert(
      fc.property(packets, fc.boolean(), fc.nat(), (all, pcapng, cut) => {
        const file = pcapng ? writePcapng(all, 'x') : writeBtsnoop(all);
        const part = file.subarray(0, cut % (file.length + 1));
        try {
          const { packets } = readCapture(part);
          expect(all.slice(0, packets.length)).toEqual(packets);
        } catch (error) {
          expect(error).toEqual(code(/^CAPTURE_/));
        }
      }),
    );
  });

  test('of whatever octets is read or refused, never anything else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.constantFrom('', 'btsnoop', 'pcapng'), (bytes, kind) => {
        const head = kind === 'btsnoop' ? writeBtsnoop([]) : kind === 'pcapng' ? writePcapng([], '') : Buffer.alloc(0);
        try {
          readCapture(Buffer.concat([head, bytes]));
        } catch (error) {
          expect(error).toEqual(code(/^CAPTURE_/));
        }
      }),
    );
  });

  test('of another link type is refused by that name', () => {
    const ethernet = writeBtsnoop([]);
    ethernet.writeUInt32BE(4, 12);
    expect(() => readCapture(ethernet)).toThrow(code(/CAPTURE_LINK_TYPE/));
  });

  test('holds no key once it is kept', () => {
    const key = Buffer.alloc(16, 0xab);
    const enable = Buffer.concat([
      Buffer.from('011920', 'hex'),
      Buffer.of(28),
      Buffer.from('4000', 'hex'),
      Buffer.alloc(10),
      key,
    ]);
    const reply = Buffer.concat([Buffer.from('011a20', 'hex'), Buffer.of(18), Buffer.from('4000', 'hex'), key]);
    const pairing = Buffer.concat([Buffer.from('024020150011000600', 'hex'), Buffer.of(0x06), key]);
    const other = Buffer.concat([Buffer.from('024020150011000400', 'hex'), Buffer.of(0x1b), key]);
    const all = [enable, reply, pairing, other].map((each, number) => ({
      number,
      timeUs: 1,
      received: false,
      packet: each,
    }));
    const kept = unpackCapture(packCapture(all)).map((each) => each.packet);
    for (const each of kept.slice(0, 3)) expect(each.includes(key)).toBe(false);
    expect(kept.map(({ length }) => length)).toEqual(all.map((each) => each.packet.length));
    expect(withoutKeys(other)).toEqual(other);
  });
});

describe("a link's capture", () => {
  const large = Buffer.alloc(1000);

  test('keeps its beginning, its end and the seconds around an anomaly, and never more than its bounds', async () => {
    const capture = new LinkCapture();
    let marked = 0;
    for (let second = 0; second < 60; second++) {
      for (let i = 0; i < 200; i++) {
        capture.add(second * 1_000_000 + i * 5000, true, large);
        if (second === 20 && i === 100) {
          capture.mark();
          marked = second * 200 + i;
        }
      }
    }
    const { packets: kept, leftOut } = await capture.content();
    const numbers = new Set(kept.map(({ number }) => number));
    expect(numbers.has(0)).toBe(true);
    expect(numbers.has(60 * 200 - 1)).toBe(true);
    for (let number = marked - 350; number < marked + 350; number++)
      expect(numbers.has(number), String(number)).toBe(true);
    expect(leftOut).toBe(60 * 200 - kept.length);
    expect(kept.reduce((sum, each) => sum + each.packet.length, 0)).toBeLessThan(3.5 * 1024 * 1024);
    expect(kept.map(({ number }) => number)).toEqual([...numbers].sort((a, b) => a - b));
  });
});
