import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StationError } from '../../src/contract/errors.ts';
import { buildImage } from '../../src/firmware/build-image.ts';
import { parseMcubootImage } from '../../src/firmware/mcuboot-image.ts';
import { decodeSmpFrame, encodeSmpFrame, SmpReassembler } from '../../src/protocols/smp/codec.ts';
import { chunkBytes, openingOf } from '../../src/protocols/smp/upload-chunk.ts';
import { H4Deframer } from '../../src/radio/hci/h4.ts';
import { aclFragments, aclPacket, hciCommand, hciEvent, L2capReassembler } from '../../src/radio/hci/packets.ts';
import { type Frame, FramePacker, unpackFrames } from '../../src/records/frame-log.ts';

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));

/** Cuts a buffer at the given places. */
function cut(whole: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set(places.map((place) => place % (whole.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, i) => whole.subarray(from, at[i] ?? whole.length)).filter((part) => part.length > 0);
}

describe('SMP frames', () => {
  const body = fc.dictionary(
    fc.string({ minLength: 1, maxLength: 8 }).filter((key) => key !== '__proto__'),
    fc.oneof(fc.nat(), fc.boolean(), fc.string(), fc.uint8Array()),
  );
  const frame = fc.record({
    op: fc.nat(3),
    version: fc.nat(1),
    group: fc.nat(65_535),
    sequence: fc.nat(255),
    command: fc.nat(255),
    body,
  });

  test('survive encoding and decoding', () => {
    fc.assert(
      fc.property(frame, (value) => {
        expect(decodeSmpFrame(encodeSmpFrame(value))).toEqual({ ...value, body: { ...value.body } });
      }),
    );
  });

  test('are joined whatever way they were cut', () => {
    fc.assert(
      fc.property(
        fc.array(frame, { minLength: 1, maxLength: 4 }),
        fc.array(fc.nat(), { maxLength: 10 }),
        (frames, places) => {
          const reassembler = new SmpReassembler();
          for (const each of frames) {
            const whole = encodeSmpFrame(each);
            const joined = cut(whole, places).map((part) => reassembler.push(part));
            expect(joined.filter((result) => result !== null)).toEqual([whole]);
            expect(joined.at(-1)).toEqual(whole);
          }
        },
      ),
    );
  });

  test('that make no sense are refused with a code, and nothing else is thrown', () => {
    fc.assert(
      fc.property(bytes(64), (garbage) => {
        const reassembler = new SmpReassembler(1024);
        try {
          const joined = reassembler.push(garbage);
          if (joined) decodeSmpFrame(joined);
        } catch (error) {
          expect(error).toBeInstanceOf(StationError);
        }
        expect(reassembler.pendingBytes).toBeLessThanOrEqual(1024 + 64);
      }),
    );
  });

  test('of an upload never exceed what the server takes, and waste no word of it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 40, max: 9000 }), fc.nat(2 ** 31), (frameBytes, offset) => {
        const frame = (bytes: number) =>
          encodeSmpFrame({
            op: 2,
            version: 1,
            group: 1,
            sequence: 0,
            command: 1,
            body: { off: offset, data: Buffer.alloc(bytes) },
          });
        const bytes = chunkBytes(frameBytes, offset);
        expect(bytes % 4).toBe(0);
        expect(frame(bytes).length).toBeLessThanOrEqual(frameBytes);
        expect(frame(bytes + 4).length).toBeGreaterThan(frameBytes);
      }),
    );
  });

  test('that open an upload fit, and hold the image header in any frame that has room for it', () => {
    const sha = Buffer.alloc(32, 7);
    fc.assert(
      fc.property(
        fc.integer({ min: 20, max: 3000 }),
        fc.integer({ min: 1, max: 2 ** 31 }),
        fc.nat(3),
        (frameBytes, total, index) => {
          const frame = (fields: object, bytes: number) =>
            encodeSmpFrame({
              op: 2,
              version: 1,
              group: 1,
              sequence: 0,
              command: 1,
              body: { off: 0, data: Buffer.alloc(bytes), ...fields },
            });
          const opening = openingOf(frameBytes, { total, index, sha });
          const least = Math.min(32, total);
          if (!opening) {
            expect(frame({ len: total, ...(index > 0 && { image: index }) }, least).length).toBeGreaterThan(frameBytes);
            return;
          }
          const { fields, dataBytes, fullSha } = opening;
          expect(frame(fields, dataBytes).length).toBeLessThanOrEqual(frameBytes);
          expect(dataBytes).toBeGreaterThanOrEqual(least);
          expect(fullSha).toBe(fields.sha?.length === 32);
          expect(fields.sha?.length ?? 8).toBeGreaterThanOrEqual(8);
          if (!fullSha) expect(frame({ ...fields, sha }, least).length).toBeGreaterThan(frameBytes);
        },
      ),
    );
  });
});

describe('HCI packets', () => {
  const packet = fc.oneof(
    bytes(200).map((parameters) => hciCommand(0x0c03, parameters)),
    bytes(200).map((parameters) => hciEvent(0x0e, parameters)),
    bytes(251).map((data) => aclPacket(5, 2, data)),
  );

  test('come out of an H4 stream as they went in, however it is cut', () => {
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 20 }), (packets, places) => {
        const deframer = new H4Deframer();
        const out = cut(Buffer.concat(packets), places).flatMap((chunk) => deframer.push(chunk));
        expect(out).toEqual(packets);
      }),
    );
  });

  test('carry an L2CAP PDU in any size of fragment', () => {
    fc.assert(
      fc.property(bytes(2000), fc.integer({ min: 4, max: 251 }), (payload, size) => {
        const reassembler = new L2capReassembler();
        const results = aclFragments(7, 4, payload, size).map((fragment) => reassembler.push(fragment));
        expect(results.at(-1)).toEqual({ cid: 4, payload });
        expect(results.slice(0, -1).every((result) => result === null)).toBe(true);
      }),
    );
  });
});

test('an MCUboot image survives building and parsing, and any flipped bit before its trailer is noticed', () => {
  const recipe = fc.record({
    payload: bytes(300),
    version: fc.record({ major: fc.nat(255), minor: fc.nat(255), revision: fc.nat(65_535), build: fc.nat(2 ** 31) }),
    headerBytes: fc.constantFrom(32, 256, 512),
  });
  fc.assert(
    fc.property(recipe, fc.nat(), (value, place) => {
      const image = buildImage(value);
      const parsed = parseMcubootImage(image);
      expect(parsed).toMatchObject({ version: value.version, imageBytes: value.payload.length });
      image[place % (parsed.headerBytes + parsed.imageBytes)]! ^= 1;
      expect(() => parseMcubootImage(image)).toThrow(StationError);
    }),
  );
});

test('a frame log survives packing', () => {
  const frame = fc.record({
    direction: fc.constantFrom('to-device' as const, 'from-device' as const),
    channel: fc.nat(20),
    step: fc.nat(10_000_000),
    bytes: bytes(40),
    image: fc.option(fc.record({ index: fc.nat(3), offset: fc.nat(2 ** 31) })),
    hidden: fc.nat(2000),
  });
  // One packer for all, as one attempt has: a segment must not depend on those before it.
  const packer = new FramePacker();
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 60 }), (entries) => {
      let timeUs = 0;
      const frames = entries.map(({ step, hidden, ...rest }): Frame => {
        timeUs += step;
        return { ...rest, timeUs, length: rest.bytes.length + (rest.image ? hidden : 0) };
      });
      for (const each of frames) packer.add(each.timeUs, each);
      const packed = packer.packed();
      packer.clear();
      expect(unpackFrames(packed)).toEqual(frames);
    }),
  );
});
