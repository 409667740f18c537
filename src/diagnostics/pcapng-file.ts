import { StationError } from '../contract/errors.ts';
import type { CapturedPacket } from '../radio/radio.ts';
import { type ByteOrder, numbersIn } from './byte-order.ts';
import { type CaptureFrame, type CaptureFrames, LINKTYPE_H4_WITH_DIRECTION } from './capture-frame.ts';

/** pcapng blocks and options (draft-ietf-opsawg-pcapng; Wireshark, wiretap/pcapng.c and pcapng_module.h). */
const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const OLD_PACKET = 2;
const SIMPLE_PACKET = 3;
const INTERFACE_STATISTICS = 5;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const OPTION_COMMENT = 1;
const OPTION_APPLICATION = 4;
const OPTION_RESOLUTION = 9;
const OPTION_TIME_OFFSET = 14;
const OPTION_DROPPED_HERE = 4;
const OPTION_DROPPED = 5;

export function isPcapng(file: Buffer): boolean {
  return file.length >= 4 && file.readUInt32BE(0) === SECTION_HEADER;
}

interface Interface {
  readonly linkType: number;
  readonly ticksPerUs: number;
  readonly offsetUs: number;
}

/**
 * Reads a pcapng file: any number of sections, each in its own byte order, and any number of interfaces.
 * @throws StationError CAPTURE_INVALID
 */
export function readPcapng(file: Buffer): CaptureFrames {
  const frames: CaptureFrame[] = [];
  let interfaces: Interface[] = [];
  let order: ByteOrder = 'little';
  let missing = 0;
  const done = (cut: boolean): CaptureFrames => ({ frames, cut, missing });
  for (let at = 0; at < file.length; ) {
    if (at + 12 > file.length) return done(true);
    if (file.readUInt32BE(at) === SECTION_HEADER) {
      order = file.readUInt32LE(at + 8) === BYTE_ORDER_MAGIC ? 'little' : 'big';
      if (numbersIn(order).u32(file, at + 8) !== BYTE_ORDER_MAGIC) {
        throw new StationError('CAPTURE_INVALID', 'a pcapng section without byte order');
      }
      interfaces = [];
    }
    const { u32, u16 } = numbersIn(order);
    const type = u32(file, at);
    const length = u32(file, at + 4);
    if (length < 12 || length % 4 !== 0 || at + length > file.length) return done(true);
    const body = file.subarray(at + 8, at + length - 4);
    if (type === INTERFACE_DESCRIPTION) interfaces.push(readInterface(body, order));
    if (type === INTERFACE_STATISTICS) missing += counter(options(body, 12, order), OPTION_DROPPED, order);
    if (type === ENHANCED_PACKET || type === OLD_PACKET || type === SIMPLE_PACKET) {
      const fixed = type === SIMPLE_PACKET ? 4 : 20;
      if (body.length < fixed) return done(true);
      const index = type === SIMPLE_PACKET ? 0 : type === OLD_PACKET ? u16(body, 0) : u32(body, 0);
      const described = interfaces[index];
      if (!described) {
        throw new StationError('CAPTURE_INVALID', `packet ${frames.length} of an interface that is not described`);
      }
      const original = type === SIMPLE_PACKET ? u32(body, 0) : u32(body, 16);
      const captured = type === SIMPLE_PACKET ? Math.min(original, body.length - fixed) : u32(body, 12);
      if (fixed + captured > body.length) return done(true);
      if (captured < original) missing += 1;
      if (type === OLD_PACKET && u16(body, 2) !== 0xffff) missing += u16(body, 2);
      if (type === ENHANCED_PACKET)
        missing += counter(options(body, fixed + Math.ceil(captured / 4) * 4, order), OPTION_DROPPED_HERE, order);
      const ticks = type === SIMPLE_PACKET ? 0 : u32(body, 4) * 2 ** 32 + u32(body, 8);
      frames.push({
        number: frames.length,
        linkType: described.linkType,
        source: `interface ${index} of ${described.linkType}`,
        timeUs: Math.round(ticks / described.ticksPerUs) + described.offsetUs,
        bytes: body.subarray(fixed, fixed + captured),
      });
    }
    at += length;
  }
  return done(false);
}

function readInterface(body: Buffer, order: ByteOrder): Interface {
  if (body.length < 8) throw new StationError('CAPTURE_INVALID', 'an interface description of less than 8 octets');
  const { u16, i64 } = numbersIn(order);
  const said = options(body, 8, order);
  const resolution = said.get(OPTION_RESOLUTION)?.[0] ?? 6;
  const offset = said.get(OPTION_TIME_OFFSET);
  return {
    linkType: u16(body, 0),
    ticksPerUs: (resolution & 0x80 ? 2 ** (resolution & 0x7f) : 10 ** resolution) / 1e6,
    offsetUs: offset && offset.length >= 8 ? Number(i64(offset, 0)) * 1e6 : 0,
  };
}

function options(body: Buffer, from: number, order: ByteOrder): Map<number, Buffer> {
  const { u16 } = numbersIn(order);
  const found = new Map<number, Buffer>();
  for (let at = from; at + 4 <= body.length; ) {
    const code = u16(body, at);
    const length = u16(body, at + 2);
    if (code === 0) break;
    found.set(code, body.subarray(at + 4, at + 4 + length));
    at += 4 + Math.ceil(length / 4) * 4;
  }
  return found;
}

function counter(said: ReadonlyMap<number, Buffer>, code: number, order: ByteOrder): number {
  const value = said.get(code);
  return value && value.length >= 8 ? Number(numbersIn(order).u64(value, 0)) : 0;
}

/** A capture as a pcapng file; the comment stands in its section header. */
export function writePcapng(packets: readonly CapturedPacket[], comment: string): Buffer {
  const section = Buffer.alloc(16);
  section.writeUInt32LE(BYTE_ORDER_MAGIC, 0);
  section.writeUInt16LE(1, 4);
  section.writeBigInt64LE(-1n, 8);
  const description = Buffer.alloc(8);
  description.writeUInt16LE(LINKTYPE_H4_WITH_DIRECTION, 0);
  const resolution = option(OPTION_RESOLUTION, Buffer.of(6));
  const blocks = packets.map(({ packet, received, timeUs }) => {
    const head = Buffer.alloc(24);
    const length = packet.length + 4;
    head.writeUInt32LE(Math.floor(timeUs / 2 ** 32), 4);
    head.writeUInt32LE(timeUs % 2 ** 32, 8);
    head.writeUInt32LE(length, 12);
    head.writeUInt32LE(length, 16);
    head.writeUInt32BE(received ? 1 : 0, 20);
    return block(ENHANCED_PACKET, padded(Buffer.concat([head, packet])));
  });
  return Buffer.concat([
    block(
      SECTION_HEADER,
      Buffer.concat([
        section,
        ...withEnd(
          option(OPTION_COMMENT, Buffer.from(comment)),
          option(OPTION_APPLICATION, Buffer.from('DFU Station')),
        ),
      ]),
    ),
    block(INTERFACE_DESCRIPTION, Buffer.concat([description, ...withEnd(resolution)])),
    ...blocks,
  ]);
}

function block(type: number, body: Buffer): Buffer {
  const length = body.length + 12;
  const head = Buffer.alloc(8);
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(length, 4);
  return Buffer.concat([head, body, head.subarray(4)]);
}

function option(code: number, value: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(code, 0);
  head.writeUInt16LE(value.length, 2);
  return padded(Buffer.concat([head, value]));
}

const withEnd = (...all: Buffer[]) => [...all, Buffer.alloc(4)];

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
