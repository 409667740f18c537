import type { DeviceDescription } from '../contract/tray-file.ts';

/**
 * FUS as a device speaks it: `type u8 · seq u8 · length u16 · body · crc16 u16`, little-endian, the checksum over all before it; without a
 * header `type u8 · body`, delimited by the markers alone. Source: docs/protocols/fus.md, read for the device's side and apart from the
 * station's code; checksum: CRC-16/IBM-3740 ("CCITT-FALSE"; check value over "123456789": 0x29b1).
 */
export const REQUEST = {
  hello: 0x01,
  begin: 0x02,
  data: 0x03,
  finish: 0x04,
  activate: 0x05,
  status: 0x06,
  abort: 0x07,
  confirm: 0x08,
  identify: 0x09,
} as const;

/** Set in the type of each answer. */
const ANSWER_BIT = 0x80;
/** The protocol version that HELLO's answer gives. */
export const PROTOCOL_VERSION = 1;
/** The first octet of each answer. */
export const STATUS = {
  ok: 0,
  badFrame: 1,
  badState: 2,
  badOffset: 3,
  tooLarge: 5,
  hashMismatch: 6,
  busy: 8,
} as const;
/** What STATUS tells. */
export const STATE = { idle: 0, receiving: 1, complete: 2, activated: 3, testing: 4 } as const;

const HEADER_OCTETS = 4;
const BEGIN_OCTETS = 1 + 4 + 8 + 32;

type Format = Pick<DeviceDescription['fus'], 'header' | 'checksum'>;

/** A frame from the station. */
export interface FusRequest {
  readonly type: number;
  readonly body: Buffer;
}

/** What four bits pushed out at the top leave behind, by their value. */
const NIBBLES = Array.from({ length: 16 }, (_, nibble) => {
  let rest = nibble << 12;
  for (let bit = 0; bit < 4; bit++) rest = rest & 0x8000 ? (rest << 1) ^ 0x1021 : rest << 1;
  return rest & 0xffff;
});

/** The checksum over these octets, four bits at a time. */
export function checksum(octets: Buffer): number {
  let crc = 0xffff;
  for (const octet of octets) {
    crc = ((crc << 4) & 0xffff) ^ NIBBLES[(crc >> 12) ^ (octet >> 4)]!;
    crc = ((crc << 4) & 0xffff) ^ NIBBLES[(crc >> 12) ^ (octet & 0x0f)]!;
  }
  return crc;
}

/** The answer to a request of that type, as it goes over the air. */
export function fusAnswer(type: number, sequence: number, body: Buffer, { header, checksum: check }: Format): Buffer {
  const answer = type | ANSWER_BIT;
  if (header === 'none') return Buffer.concat([Buffer.of(answer), body]);
  const frame = Buffer.concat([Buffer.of(answer, sequence), u16(body.length), body]);
  return check === 'none' ? frame : Buffer.concat([frame, u16(checksum(frame))]);
}

/** What a write to Control or Data In comes to: nothing yet, a request, or why what had gathered was thrown away. */
export type FusTaken = FusRequest | { readonly malformed: string } | null;

/** Gathers the station's frames: by their length where they say it, by the closing marker where they do not. */
export class FusIntake {
  readonly #format: Format;
  readonly #maxFrame: number;
  #gathered: Buffer = Buffer.alloc(0);

  constructor(format: Format, maxFrame: number) {
    this.#format = format;
    this.#maxFrame = maxFrame;
  }

  /** A marker on Control. */
  marker(opens: boolean): FusTaken {
    if (this.#format.header !== 'none' || opens || this.#gathered.length === 0) return null;
    const frame = this.#take();
    return { type: frame[0]!, body: frame.subarray(1) };
  }

  /** A part on Data In. */
  data(part: Buffer): FusTaken {
    this.#gathered = Buffer.concat([this.#gathered, part]);
    const { header, checksum: check } = this.#format;
    if (header === 'none') return this.#gathered.length > this.#maxFrame ? this.#drop('without an end') : null;
    if (this.#gathered.length < HEADER_OCTETS) return null;
    const bodyEnd = HEADER_OCTETS + this.#gathered.readUInt16LE(2);
    const end = bodyEnd + (check === 'none' ? 0 : 2);
    if (end > this.#maxFrame) return this.#drop(`${end} octets announced`);
    if (this.#gathered.length < end) return null;
    const frame = this.#take();
    if (frame.length > end) return { malformed: `${frame.length} octets, announced were ${end}` };
    if (check !== 'none' && checksum(frame.subarray(0, bodyEnd)) !== frame.readUInt16LE(bodyEnd)) {
      return { malformed: 'the checksum does not hold' };
    }
    return { type: frame[0]!, body: frame.subarray(HEADER_OCTETS, bodyEnd) };
  }

  /** What had gathered is gone. */
  reset(): void {
    this.#gathered = Buffer.alloc(0);
  }

  #drop(malformed: string): FusTaken {
    this.reset();
    return { malformed };
  }

  #take(): Buffer {
    const frame = this.#gathered;
    this.reset();
    return frame;
  }
}

/** One image as HELLO's answer lists it. */
export interface ListedImage {
  readonly index: number;
  readonly running: boolean;
  readonly confirmed: boolean;
  readonly pending: boolean;
  /** Eight octets. */
  readonly version: Buffer;
  /** SHA-256 over the bytes that were sent as this image's DATA. */
  readonly sha256: Buffer;
}

/** HELLO's answer behind its status. */
export function helloBody(
  limits: { maxFrame: number; window: number },
  hardware: number,
  images: readonly ListedImage[],
): Buffer {
  const head = [Buffer.of(PROTOCOL_VERSION), u16(limits.maxFrame), Buffer.of(limits.window), u32(hardware)];
  const list = images.map(({ index, running, confirmed, pending, version, sha256 }) => {
    const flags = Number(running) + 2 * Number(confirmed) + 4 * Number(pending);
    return Buffer.concat([Buffer.of(index, flags), version, sha256]);
  });
  return Buffer.concat([...head, Buffer.of(images.length), ...list]);
}

/** What BEGIN announces; null when it is not as long as it has to be. */
export function readBegin(body: Buffer): { image: number; bytes: number; sha256: Buffer } | null {
  if (body.length !== BEGIN_OCTETS) return null;
  return { image: body[0]!, bytes: body.readUInt32LE(1), sha256: body.subarray(-32) };
}

/** A number of 32 bits. */
export function u32(value: number): Buffer {
  const octets = Buffer.alloc(4);
  octets.writeUInt32LE(value);
  return octets;
}

function u16(value: number): Buffer {
  return Buffer.of(value & 0xff, value >> 8);
}
