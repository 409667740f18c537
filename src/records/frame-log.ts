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
 * Packs frames column by column and compresses them: a few octets a frame. Layout of the uncompressed bytes: format octet, then
 * varints (LEB128) column by column: count; times as differences; kinds (bit 0 from the device, bit 1 image bytes follow, channel from
 * bit 2); lengths; lengths of the kept bytes; for frames with image bytes the index, and the offset's difference (zigzag) from the end
 * of the image bytes before; then the kept bytes.
 */
export function packFrames(frames: readonly Frame[]): Buffer {
  const columns = new VarintWriter();
  columns.push(frames.length);
  let time = 0;
  for (const frame of frames) {
    columns.push(Math.max(0, frame.timeUs - time));
    time = Math.max(time, frame.timeUs);
  }
  for (const { direction, image, channel } of frames) {
    columns.push((direction === 'from-device' ? 1 : 0) | (image ? 2 : 0) | (channel << 2));
  }
  for (const frame of frames) columns.push(frame.length);
  for (const frame of frames) columns.push(frame.bytes.length);
  let expected = 0;
  for (const { image, length, bytes } of frames) {
    if (!image) continue;
    columns.push(image.index);
    const difference = image.offset - expected;
    columns.push(difference < 0 ? -2 * difference - 1 : 2 * difference);
    expected = image.offset + length - bytes.length;
  }
  return deflateRawSync(Buffer.concat([Buffer.of(FORMAT), columns.bytes(), ...frames.map((frame) => frame.bytes)]));
}

/** Unpacks what `packFrames` packed. @throws RangeError when it is damaged */
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

class VarintWriter {
  #buffer = Buffer.allocUnsafe(4096);
  #length = 0;

  push(value: number): void {
    if (this.#length + 10 > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(this.#buffer.length * 2);
      this.#buffer.copy(larger);
      this.#buffer = larger;
    }
    let rest = value;
    while (rest >= 0x80) {
      this.#buffer[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#buffer[this.#length++] = rest;
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
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
