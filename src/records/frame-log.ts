import { deflateRawSync, inflateRawSync } from 'node:zlib';

/** One ATT value as it crossed the link. Image bytes are not kept: `image` says where they stand in the package. */
export interface Frame {
  readonly direction: 'to-device' | 'from-device';
  /** The characteristic, as a number of the attempt's channel list. */
  readonly channel: number;
  /** Microseconds since the attempt began. */
  readonly timeUs: number;
  /** Octets of the value. */
  readonly length: number;
  /** The value, or its beginning up to the image bytes. */
  readonly bytes: Buffer;
  readonly image: { readonly index: number; readonly offset: number } | null;
}

const FORMAT = 1;

/**
 * Packs frames column by column as they come, and compresses them: a few octets a frame. Layout of the uncompressed bytes: format octet,
 * then varints (LEB128) column by column: count; times as differences; kinds (bit 0 from the device, bit 1 image bytes follow, channel
 * from bit 2); lengths; lengths of the kept bytes; for frames with image bytes the index, and the offset's difference (zigzag) from the
 * end of the image bytes before; then the kept bytes.
 */
export class FramePacker {
  /** Frames since the beginning or the last `clear`. */
  count = 0;
  #timeUs = 0;
  #imageEnd = 0;
  readonly #times = new Column();
  readonly #kinds = new Column();
  readonly #lengths = new Column();
  readonly #kept = new Column();
  readonly #images = new Column();
  readonly #bytes = new Column();

  /** Takes a value that crossed the link so many microseconds after the attempt began. */
  add(timeUs: number, { direction, channel, length, bytes, image }: Omit<Frame, 'timeUs'>): void {
    this.count += 1;
    this.#times.varint(Math.max(0, timeUs - this.#timeUs));
    this.#timeUs = Math.max(this.#timeUs, timeUs);
    this.#kinds.varint((direction === 'from-device' ? 1 : 0) | (image ? 2 : 0) | (channel << 2));
    this.#lengths.varint(length);
    this.#kept.varint(bytes.length);
    this.#bytes.octets(bytes);
    if (!image) return;
    const difference = image.offset - this.#imageEnd;
    this.#images.varint(image.index);
    this.#images.varint(difference < 0 ? -2 * difference - 1 : 2 * difference);
    this.#imageEnd = image.offset + length - bytes.length;
  }

  packed(): Buffer {
    const count = new Column();
    count.varint(this.count);
    const written = [count, ...this.#columns].map((column) => column.written());
    return deflateRawSync(Buffer.concat([Buffer.of(FORMAT), ...written]));
  }

  /** Begins anew, once what was packed is kept. */
  clear(): void {
    for (const column of this.#columns) column.clear();
    this.count = 0;
    this.#timeUs = 0;
    this.#imageEnd = 0;
  }

  get #columns(): Column[] {
    return [this.#times, this.#kinds, this.#lengths, this.#kept, this.#images, this.#bytes];
  }
}

/** Unpacks what a `FramePacker` packed. @throws RangeError when it is damaged */
export function unpackFrames(packed: Buffer): Frame[] {
  const bytes = inflateRawSync(packed);
  if (bytes[0] !== FORMAT) throw new RangeError(`frame log format ${bytes[0]}`);
  const reader = new VarintReader(bytes, 1);
  const count = reader.next();
  const column = () => Array.from({ length: count }, () => reader.next());
  let time = 0;
  const times = column().map((difference) => {
    time += difference;
    return time;
  });
  const kinds = column();
  const lengths = column();
  const kept = column();
  let expected = 0;
  const images = kinds.map((kind, i) => {
    if ((kind & 2) === 0) return null;
    const index = reader.next();
    const zigzag = reader.next();
    const offset = expected + (zigzag % 2 === 1 ? -(zigzag + 1) / 2 : zigzag / 2);
    expected = offset + lengths[i]! - kept[i]!;
    return { index, offset };
  });
  let at = reader.position;
  return kinds.map((kind, i): Frame => {
    const start = at;
    at += kept[i]!;
    if (at > bytes.length) throw new RangeError('frame log cut short');
    return {
      direction: kind & 1 ? 'from-device' : 'to-device',
      channel: kind >> 2,
      timeUs: times[i]!,
      length: lengths[i]!,
      bytes: bytes.subarray(start, at),
      image: images[i]!,
    };
  });
}

/** Bytes that grow at the end. */
class Column {
  #buffer = Buffer.allocUnsafe(256);
  #length = 0;

  varint(value: number): void {
    this.#reserve(10);
    let rest = value;
    while (rest >= 0x80) {
      this.#buffer[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#buffer[this.#length++] = rest;
  }

  octets(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  written(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  clear(): void {
    this.#length = 0;
  }

  #reserve(octets: number): void {
    const wanted = this.#length + octets;
    if (wanted <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(wanted, 2 * this.#buffer.length));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

class VarintReader {
  readonly #bytes: Buffer;
  position: number;

  constructor(bytes: Buffer, position: number) {
    this.#bytes = bytes;
    this.position = position;
  }

  next(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const octet = this.#bytes[this.position++];
      if (octet === undefined) throw new RangeError('frame log cut short');
      value += (octet & 0x7f) * scale;
      if (octet < 0x80) return value;
    }
  }
}
