/** What SMP carries: the part of CBOR (RFC 8949) that servers and their clients use. */
export type CborValue = number | boolean | string | null | Buffer | readonly CborValue[] | CborMap;
/** A map with text keys, in the order of its entries. */
export interface CborMap {
  readonly [key: string]: CborValue;
}

const MAJOR = { UNSIGNED: 0, NEGATIVE: 1, BYTES: 2, TEXT: 3, ARRAY: 4, MAP: 5, TAG: 6, SIMPLE: 7 } as const;
const INDEFINITE = 31;
const BREAK = 0xff;

/**
 * Writes a value as zcbor does on a device: integers and strings in the shortest head, lists and maps without a length unless `definite`.
 * Source: RFC 8949, 3.1 to 3.3; that zcbor leaves lengths out unless it is built for canonical CBOR is in its README ("ZCBOR_CANONICAL")
 * and in every recorded answer of a Zephyr server.
 */
export function encodeCbor(value: CborValue, definite = false): Buffer {
  if (typeof value === 'number') {
    return value < 0 ? head(MAJOR.NEGATIVE, -1 - value) : head(MAJOR.UNSIGNED, value);
  }
  if (typeof value === 'boolean') return Buffer.of(value ? 0xf5 : 0xf4);
  if (value === null) return Buffer.of(0xf6);
  if (typeof value === 'string') {
    const text = Buffer.from(value);
    return Buffer.concat([head(MAJOR.TEXT, text.length), text]);
  }
  if (Buffer.isBuffer(value)) return Buffer.concat([head(MAJOR.BYTES, value.length), value]);
  const isList = Array.isArray(value);
  const items = (isList ? (value as readonly CborValue[]) : Object.entries(value).flat()) as readonly CborValue[];
  const major = isList ? MAJOR.ARRAY : MAJOR.MAP;
  const content = items.map((item) => encodeCbor(item, definite));
  if (definite) return Buffer.concat([head(major, isList ? items.length : items.length / 2), ...content]);
  return Buffer.concat([Buffer.of((major << 5) | INDEFINITE), ...content, Buffer.of(BREAK)]);
}

function head(major: number, argument: number): Buffer {
  const first = major << 5;
  if (argument < 24) return Buffer.of(first | argument);
  if (argument < 0x100) return Buffer.of(first | 24, argument);
  const wide = Buffer.alloc(argument < 0x1_0000 ? 3 : 5);
  if (wide.length === 3) wide.writeUInt16BE(argument, 1);
  else wide.writeUInt32BE(argument, 1);
  wide[0] = first | (wide.length === 3 ? 25 : 26);
  return wide;
}

/**
 * Reads one value and returns it with how many octets it took. Both ways of giving a length are understood.
 * @throws RangeError for what is cut off or is none of the above
 */
export function decodeCbor(bytes: Buffer): { readonly value: CborValue; readonly length: number } {
  const reader = new Reader(bytes);
  const value = reader.value();
  return { value, length: reader.at };
}

class Reader {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  value(): CborValue {
    const initial = this.#octet();
    const major = initial >> 5;
    const info = initial & 0x1f;
    switch (major) {
      case MAJOR.UNSIGNED:
        return this.#argument(info);
      case MAJOR.NEGATIVE:
        return -1 - this.#argument(info);
      case MAJOR.BYTES:
        return info === INDEFINITE ? Buffer.concat(this.#chunks(MAJOR.BYTES)) : this.#take(this.#argument(info));
      case MAJOR.TEXT:
        return (
          info === INDEFINITE ? Buffer.concat(this.#chunks(MAJOR.TEXT)) : this.#take(this.#argument(info))
        ).toString();
      case MAJOR.ARRAY:
        return this.#items(info);
      case MAJOR.MAP:
        return this.#map(info);
      case MAJOR.TAG:
        this.#argument(info);
        return this.value();
      default:
        return simple(info);
    }
  }

  #map(info: number): CborMap {
    const entries: [string, CborValue][] = [];
    const add = () => {
      const key = this.value();
      if (typeof key !== 'string') throw new RangeError('a key that is no text');
      entries.push([key, this.value()]);
    };
    if (info === INDEFINITE) while (!this.#isBreak()) add();
    else for (let left = this.#argument(info); left > 0; left--) add();
    return Object.fromEntries(entries);
  }

  #items(info: number): CborValue[] {
    const items: CborValue[] = [];
    if (info === INDEFINITE) while (!this.#isBreak()) items.push(this.value());
    else for (let left = this.#argument(info); left > 0; left--) items.push(this.value());
    return items;
  }

  #chunks(major: number): Buffer[] {
    const chunks: Buffer[] = [];
    while (!this.#isBreak()) {
      const initial = this.#octet();
      if (initial >> 5 !== major) throw new RangeError('a chunk of another kind');
      chunks.push(this.#take(this.#argument(initial & 0x1f)));
    }
    return chunks;
  }

  #isBreak(): boolean {
    if (this.#bytes[this.at] !== BREAK) return false;
    this.at += 1;
    return true;
  }

  #argument(info: number): number {
    if (info < 24) return info;
    const width = { 24: 1, 25: 2, 26: 4, 27: 8 }[info];
    if (width === undefined) throw new RangeError(`CBOR with additional information ${info}`);
    const field = this.#take(width);
    return width === 8 ? Number(field.readBigUInt64BE()) : field.readUIntBE(0, width);
  }

  #octet(): number {
    return this.#take(1)[0]!;
  }

  #take(count: number): Buffer {
    if (this.at + count > this.#bytes.length) throw new RangeError('CBOR that is cut off');
    const taken = this.#bytes.subarray(this.at, this.at + count);
    this.at += count;
    return taken;
  }
}

function simple(info: number): CborValue {
  switch (info) {
    case 20:
      return false;
    case 21:
      return true;
    case 22:
    case 23:
      return null;
    default:
      throw new RangeError(`CBOR simple value ${info}`);
  }
}
