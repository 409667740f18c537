import type { ImageVersion } from '../../firmware/mcuboot-image.ts';

/**
 * FUS frames (docs/protocols/fus.md): `type u8 · seq u8 · length u16 · body · crc16 u16`, little-endian; CRC-16/CCITT-FALSE over all before
 * it. Without a header a frame is `type u8 · body`, and only the markers say where it ends.
 */
export const FUS = {
  HELLO: 0x01,
  BEGIN: 0x02,
  DATA: 0x03,
  FINISH: 0x04,
  ACTIVATE: 0x05,
  STATUS: 0x06,
  ABORT: 0x07,
  CONFIRM: 0x08,
  IDENTIFY: 0x09,
  /** Set in the type of an answer. */
  ANSWER: 0x80,
} as const;

/** The first octet of every answer's body. */
export const FUS_STATUS = [
  'ok',
  'bad frame',
  'bad state',
  'bad offset',
  'flash error',
  'too large',
  'hash mismatch',
  'version refused',
  'busy',
] as const;

export const FUS_HEADER_BYTES = 4;
export const FUS_CRC_BYTES = 2;
/** The protocol version that this station speaks. */
export const FUS_VERSION = 1;
const VERSION_BYTES = 8;
const HASH_BYTES = 32;

/** How frames are delimited. */
export interface FrameFormat {
  readonly header: 'standard' | 'none';
  readonly checksum: 'crc16' | 'none';
}

/** A frame as it is understood; `seq` is null where the format has none. */
export interface FusFrame {
  readonly type: number;
  readonly seq: number | null;
  readonly body: Buffer;
}

/** CRC-16/CCITT-FALSE: polynomial 0x1021, initial value 0xffff, not reflected (CRC catalogue: CRC-16/IBM-3740). */
export function crc16(bytes: Buffer): number {
  let crc = 0xffff;
  for (const octet of bytes) crc = ((crc << 8) & 0xffff) ^ CRC_TABLE[(crc >> 8) ^ octet]!;
  return crc;
}

const CRC_TABLE = Uint16Array.from({ length: 256 }, (_, octet) => {
  let crc = octet << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  return crc;
});

/** A frame as it goes over the air. @throws RangeError when the body is longer than a length can say */
export function encodeFrame({ type, seq, body }: FusFrame, format: FrameFormat): Buffer {
  if (format.header === 'none') return Buffer.concat([Buffer.of(type), body]);
  if (body.length > 0xffff) throw new RangeError(`a body of ${body.length} octets`);
  const head = Buffer.alloc(FUS_HEADER_BYTES);
  head.writeUInt8(type, 0);
  head.writeUInt8(seq ?? 0, 1);
  head.writeUInt16LE(body.length, 2);
  if (format.checksum === 'none') return Buffer.concat([head, body]);
  const frame = Buffer.concat([head, body, Buffer.alloc(FUS_CRC_BYTES)]);
  frame.writeUInt16LE(crc16(frame.subarray(0, -FUS_CRC_BYTES)), frame.length - FUS_CRC_BYTES);
  return frame;
}

/** Octets of a whole frame by its header; null while the header is not there, or there is none. */
export function frameLength(bytes: Buffer, format: FrameFormat): number | null {
  if (format.header === 'none' || bytes.length < FUS_HEADER_BYTES) return null;
  return FUS_HEADER_BYTES + bytes.readUInt16LE(2) + (format.checksum === 'none' ? 0 : FUS_CRC_BYTES);
}

/** What whole frames say. @throws RangeError when it is too short or its checksum does not hold */
export function decodeFrame(bytes: Buffer, format: FrameFormat): FusFrame {
  if (format.header === 'none') {
    if (bytes.length < 1) throw new RangeError('an empty frame');
    return { type: bytes.readUInt8(0), seq: null, body: bytes.subarray(1) };
  }
  const length = frameLength(bytes, format);
  if (length === null || bytes.length !== length)
    throw new RangeError(`${bytes.length} octets, its length says ${length}`);
  const checked = format.checksum === 'none' ? bytes : bytes.subarray(0, -FUS_CRC_BYTES);
  if (format.checksum !== 'none' && crc16(checked) !== bytes.readUInt16LE(checked.length)) {
    throw new RangeError('the checksum does not hold');
  }
  return { type: bytes.readUInt8(0), seq: bytes.readUInt8(1), body: checked.subarray(FUS_HEADER_BYTES) };
}

/** One image as HELLO's answer lists it. */
export interface FusImage {
  readonly index: number;
  readonly running: boolean;
  readonly confirmed: boolean;
  readonly pending: boolean;
  readonly version: ImageVersion;
  /** SHA-256 over the bytes that were sent as this image's DATA. */
  readonly hash: string;
}

/** HELLO's answer. */
export interface FusHello {
  readonly protocolVersion: number;
  /** Octets of the largest frame, header and checksum counted. */
  readonly maxFrame: number;
  /** DATA frames that the device takes before it has answered. */
  readonly window: number;
  readonly hardware: number;
  readonly images: readonly FusImage[];
}

const IMAGE_BYTES = 1 + 1 + VERSION_BYTES + HASH_BYTES;

export function encodeVersion({ major, minor, revision, build }: ImageVersion): Buffer {
  const bytes = Buffer.alloc(VERSION_BYTES);
  bytes.writeUInt8(major, 0);
  bytes.writeUInt8(minor, 1);
  bytes.writeUInt16LE(revision, 2);
  bytes.writeUInt32LE(build, 4);
  return bytes;
}

function decodeVersion(bytes: Buffer): ImageVersion {
  return {
    major: bytes.readUInt8(0),
    minor: bytes.readUInt8(1),
    revision: bytes.readUInt16LE(2),
    build: bytes.readUInt32LE(4),
  };
}

/** @throws RangeError when it is not as long as it says, or says what cannot be */
export function decodeHello(body: Buffer): FusHello {
  const count = body.length >= 9 ? body.readUInt8(8) : -1;
  if (body.length !== 9 + count * IMAGE_BYTES) throw new RangeError(`HELLO's answer of ${body.length} octets`);
  const maxFrame = body.readUInt16LE(1);
  const window = body.readUInt8(3);
  if (maxFrame < 32 || window < 1) throw new RangeError(`maxFrame ${maxFrame}, window ${window}`);
  const images = Array.from({ length: count }, (_, i): FusImage => {
    const image = body.subarray(9 + i * IMAGE_BYTES, 9 + (i + 1) * IMAGE_BYTES);
    const flags = image.readUInt8(1);
    return {
      index: image.readUInt8(0),
      running: (flags & 1) !== 0,
      confirmed: (flags & 2) !== 0,
      pending: (flags & 4) !== 0,
      version: decodeVersion(image.subarray(2, 2 + VERSION_BYTES)),
      hash: image.subarray(2 + VERSION_BYTES).toString('hex'),
    };
  });
  return { protocolVersion: body.readUInt8(0), maxFrame, window, hardware: body.readUInt32LE(4), images };
}

/** BEGIN's body. */
export function encodeBegin(image: number, size: number, version: ImageVersion, hash: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(image, 0);
  head.writeUInt32LE(size, 1);
  return Buffer.concat([head, encodeVersion(version), hash]);
}

/** A 32-bit number as a body. */
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
