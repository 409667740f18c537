import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fusSettings, productFile } from '../../src/contract/product-file.ts';
import {
  crc16,
  decodeFrame,
  decodeHello,
  encodeBegin,
  encodeFrame,
  encodeVersion,
} from '../../src/protocols/fus/codec.ts';
import { FrameIntake } from '../../src/protocols/fus/frame-intake.ts';
import { dataBytes } from '../../src/protocols/fus/fus-upload.ts';
import { parseYaml } from '../../src/station/yaml-file.ts';
import { FusIntake, fusAnswer, helloBody, readBegin } from '../../src/virtual/fus-frame.ts';

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));
const format = fc.constantFrom(
  { header: 'standard' as const, checksum: 'crc16' as const },
  { header: 'standard' as const, checksum: 'none' as const },
  { header: 'none' as const, checksum: 'none' as const },
);
const frame = fc.record({ type: fc.nat(255), seq: fc.nat(255), body: bytes(600) });

describe('a FUS frame', () => {
  test("has the catalogue's checksum", () => {
    expect(crc16(Buffer.from('123456789'))).toBe(0x29b1);
  });

  test('is decoded as it was encoded', () => {
    fc.assert(
      fc.property(frame, format, (each, how) => {
        const seq = how.header === 'none' ? null : each.seq;
        expect(decodeFrame(encodeFrame(each, how), how)).toEqual({ ...each, seq });
      }),
    );
  });

  test('with any octet changed is refused', () => {
    const how = { header: 'standard' as const, checksum: 'crc16' as const };
    fc.assert(
      fc.property(frame, fc.nat(), fc.integer({ min: 1, max: 255 }), (each, at, change) => {
        const encoded = encodeFrame(each, how);
        encoded[at % encoded.length]! ^= change;
        expect(() => decodeFrame(encoded, how)).toThrow(RangeError);
      }),
    );
  });

  test('is put together from parts of any size, and its end marker may be early or late', () => {
    fc.assert(
      fc.property(frame, fc.integer({ min: 1, max: 300 }), fc.nat(3), (each, size, markerAt) => {
        const how = { header: 'standard' as const, checksum: 'crc16' as const };
        const encoded = encodeFrame(each, how);
        const intake = new FrameIntake(how, 8192);
        const frames = [];
        for (let at = 0, part = 0; at < encoded.length; at += size, part++) {
          if (part === markerAt) intake.marker(false, part);
          const found = intake.data(encoded.subarray(at, at + size), part).frame;
          if (found) frames.push(found);
        }
        expect(frames).toEqual([each]);
      }),
    );
  });

  test('of whatever comes, markers and parts, never hangs, throws or gathers more than was agreed', () => {
    const event = fc.oneof(fc.boolean(), bytes(600));
    fc.assert(
      fc.property(fc.array(event, { maxLength: 120 }), format, (events, how) => {
        const intake = new FrameIntake(how, 1024);
        let gathered = 0;
        events.forEach((each, atMs) => {
          const taken = typeof each === 'boolean' ? intake.marker(each, atMs) : intake.data(each, atMs);
          gathered =
            taken.frame || taken.malformed !== null ? 0 : gathered + (typeof each === 'boolean' ? 0 : each.length);
          expect(gathered).toBeLessThanOrEqual(1024 + 600 + 6);
        });
      }),
    );
  });

  test('of DATA fits what the device takes, in whole words', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 64, max: 65_535 }),
        fc.integer({ min: 23, max: 517 }),
        format,
        (maxFrame, mtu, how) => {
          const data = dataBytes(maxFrame, mtu, how.header, how.checksum);
          expect(data % 4).toBe(0);
          expect(data).toBeGreaterThan(0);
          const body = Buffer.alloc(data + 4);
          expect(encodeFrame({ type: 3, seq: 0, body }, how).length).toBeLessThanOrEqual(maxFrame);
        },
      ),
    );
  });
});

describe("HELLO's answer", () => {
  test('of a virtual device, which has a codec of its own, is read as it was meant, and refused when it is anything else', () => {
    const version = fc.record({
      major: fc.nat(255),
      minor: fc.nat(255),
      revision: fc.nat(65_535),
      build: fc.nat(2 ** 32 - 1),
    });
    const image = fc.record({
      index: fc.nat(255),
      running: fc.boolean(),
      confirmed: fc.boolean(),
      pending: fc.boolean(),
      version,
      hash: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((hash) => Buffer.from(hash).toString('hex')),
    });
    const hello = fc.record({
      maxFrame: fc.integer({ min: 32, max: 65_535 }),
      window: fc.integer({ min: 1, max: 255 }),
      hardware: fc.nat(2 ** 32 - 1),
      images: fc.array(image, { maxLength: 5 }),
    });
    fc.assert(
      fc.property(hello, (each) => {
        const { hardware, images, ...limits } = each;
        const listed = images.map(({ hash, version: own, ...flags }) => {
          return { ...flags, version: encodeVersion(own), sha256: Buffer.from(hash, 'hex') };
        });
        expect(decodeHello(helloBody(limits, hardware, listed))).toEqual({ protocolVersion: 1, ...each });
      }),
    );
    fc.assert(
      fc.property(bytes(200), (any) => {
        try {
          decodeHello(any);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });
});

describe('a fus block', () => {
  const read = (fus: string) => () => parseYaml(`product: x\nprotocol: fus\nfus: ${fus}\n`, 'profile', productFile);
  const names = (key: string) =>
    expect.objectContaining({ code: 'FILE_INVALID', detail: expect.stringContaining(key) });

  test.each([
    ['{ dataIn: { uuid: 6f8a0002-3d3c-4b5e-9a1f-5a7c1e2d4b60 } }', 'fus.dataIn.uuid'],
    ['{ markers: { open: 0, close: 0 } }', 'fus.markers.close'],
    ['{ markers: { open: 256 } }', 'fus.markers.open'],
    ['{ header: short }', 'fus.header'],
    ['{ response: { mode: shout } }', 'fus.response.mode'],
    ['{ graceMs: 1 }', 'fus.graceMs'],
    ['{ ordr: strict }', 'fus.ordr'],
  ])('that cannot be is refused by its key: %s', (fus, key) => {
    expect(read(fus)).toThrow(names(key));
  });

  test('belongs to protocol: fus', () => {
    expect(() => parseYaml('product: x\nprotocol: smp\nfus: {}\n', 'profile', productFile)).toThrow(names('fus'));
  });

  test('left out is the reference profile, whose service is what is looked for', () => {
    const { fus, discover } = productFile.parse({ product: 'x', protocol: 'fus' });
    expect(fus).toEqual(fusSettings.parse({}));
    expect(discover.service).toBe(fus?.service);
  });
});

test('a virtual device reads what the station sends, and the station what it answers', () => {
  const format = { header: 'standard', checksum: 'crc16' } as const;
  const anyVersion = { major: 1, minor: 2, revision: 3, build: 4 };
  fc.assert(
    fc.property(bytes(2000), fc.nat(0x0f), fc.nat(255), fc.integer({ min: 1, max: 495 }), (body, type, seq, part) => {
      const frame = encodeFrame({ type, seq, body }, format);
      const intake = new FusIntake(format, 8192);
      const taken = [];
      for (let at = 0; at < frame.length; at += part) taken.push(intake.data(frame.subarray(at, at + part)));
      expect(taken.at(-1)).toEqual({ type, body });
      expect(decodeFrame(fusAnswer(type, seq, body, format), format)).toEqual({ type: type | 0x80, seq, body });
    }),
  );
  const sha256 = Buffer.alloc(32, 7);
  expect(readBegin(encodeBegin(1, 70_000, anyVersion, sha256))).toEqual({ image: 1, bytes: 70_000, sha256 });
});
