import { StationError } from '../contract/errors.ts';

/** Bytes that lie side by side in memory. */
export interface MemoryRun {
  readonly address: number;
  readonly bytes: Buffer;
}

const DATA = 0;
const END_OF_FILE = 1;
const SEGMENT_ADDRESS = 2;
const LINEAR_ADDRESS = 4;
const ADDRESS_BYTES: ReadonlyMap<number, number> = new Map([
  [SEGMENT_ADDRESS, 2],
  [3, 4],
  [LINEAR_ADDRESS, 2],
  [5, 4],
]);

/** Whether the text begins like an Intel HEX file. */
export function looksLikeIntelHex(file: Buffer): boolean {
  return /^(\xef\xbb\xbf)?[\s\0]*:[\da-f]{10}/i.test(file.subarray(0, 1024).toString('latin1'));
}

/**
 * Reads the memory that an Intel HEX file describes, sorted by address; neighbours are joined. A byte-order mark, empty lines, blanks
 * around a line, any kind of line end, small letters and a ^Z at the end are common and taken; so is anything behind the end record.
 * Source: Intel "Hexadecimal Object File Format Specification", 1988; the SRecord manual, `srec_intel(5)`.
 * @throws StationError HEX_INVALID with the line
 */
export function parseIntelHex(file: Buffer): MemoryRun[] {
  const text = file.toString('latin1').replace(/^\xef\xbb\xbf/, '');
  const pieces: MemoryRun[] = [];
  let base = 0;
  let ended = false;
  let number = 0;
  for (const line of text.split(/\r\n|\r|\n/)) {
    number++;
    const record = line.replaceAll('\x1a', '').replaceAll('\0', '').trim();
    if (record === '') continue;
    const { type, offset, data } = parseRecord(record, number);
    if (type === DATA) {
      if (data.length > 0) pieces.push({ address: base + offset, bytes: data });
    } else if (type === END_OF_FILE) {
      ended = true;
      break;
    } else if (data.length !== ADDRESS_BYTES.get(type)) {
      throw new StationError('HEX_INVALID', `line ${number}: record of type ${type}`);
    } else if (type === SEGMENT_ADDRESS) {
      base = data.readUInt16BE(0) * 0x10;
    } else if (type === LINEAR_ADDRESS) {
      base = data.readUInt16BE(0) * 0x10000;
    }
  }
  if (!ended) throw new StationError('HEX_INVALID', 'it has no end record: it was cut short');
  if (pieces.length === 0) throw new StationError('HEX_INVALID', 'no data');
  return join(pieces);
}

function parseRecord(record: string, line: number): { type: number; offset: number; data: Buffer } {
  const digits = record.slice(1);
  if (record[0] !== ':' || digits.length % 2 !== 0 || /[^\da-f]/i.test(digits)) {
    throw new StationError('HEX_INVALID', `line ${line} is no record`);
  }
  const octets = Buffer.from(digits, 'hex');
  if (octets.length < 5 || octets.length !== octets[0]! + 5) {
    throw new StationError('HEX_INVALID', `line ${line} is not as long as it says`);
  }
  if ((octets.reduce((sum, octet) => sum + octet, 0) & 0xff) !== 0) {
    throw new StationError('HEX_INVALID', `line ${line}: checksum`);
  }
  return { type: octets[3]!, offset: octets.readUInt16BE(1), data: octets.subarray(4, -1) };
}

function join(pieces: MemoryRun[]): MemoryRun[] {
  pieces.sort((a, b) => a.address - b.address);
  const runs: { address: number; parts: Buffer[]; end: number }[] = [];
  for (const { address, bytes } of pieces) {
    const last = runs.at(-1);
    if (last && address < last.end) {
      throw new StationError('HEX_INVALID', `0x${address.toString(16)} is written twice`);
    }
    if (last?.end === address) {
      last.parts.push(bytes);
      last.end += bytes.length;
    } else {
      runs.push({ address, parts: [bytes], end: address + bytes.length });
    }
  }
  return runs.map(({ address, parts }) => ({ address, bytes: Buffer.concat(parts) }));
}
