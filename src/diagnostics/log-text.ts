import { StationError } from '../contract/errors.ts';

/** Control sequences of terminals (ECMA-48: CSI, OSC, and two-character escapes), which shells and coloured logs print. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\^_])/g;
/** More octets than this share that no text has make a file no text: a line that rattles at power-up leaves a few in any log. */
const MOST_BINARY = 0.1;
const LOOK_AT_BYTES = 65_536;

/**
 * A log's lines as somebody reads them: UTF-8, or UTF-16 with or without a byte-order mark; ended by LF, CR, CR LF or CR CR LF; without
 * terminal escapes.
 * @throws StationError DEVICE_LOG_UNKNOWN when it is no text
 */
export function logLines(file: Buffer): string[] {
  const text = decoded(file);
  const lines = text.split(/\r*\n|\r/).map((line) => line.replace(ESCAPES, '').replaceAll('\0', ''));
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

function decoded(file: Buffer): string {
  if (file.length >= 2) {
    const mark = file.readUInt16BE(0);
    if (mark === 0xfffe || mark === 0xfeff) return utf16(file.subarray(2), mark === 0xfeff);
  }
  const start = file.subarray(0, LOOK_AT_BYTES);
  const zeros = [0, 0];
  let binary = 0;
  start.forEach((octet, at) => {
    if (octet === 0) zeros[at % 2]! += 1;
    if (octet < 0x20 && ![0x07, 0x08, 0x09, 0x0a, 0x0c, 0x0d, 0x1b].includes(octet)) binary += 1;
  });
  const half = start.length / 2;
  const [even = 0, odd = 0] = zeros;
  if (odd > 0.7 * half && even < 0.1 * half) return utf16(file, false);
  if (even > 0.7 * half && odd < 0.1 * half) return utf16(file, true);
  if (binary > MOST_BINARY * start.length) throw new StationError('DEVICE_LOG_UNKNOWN', 'this is no text');
  return file.toString('utf8').replace(/^\ufeff/, '');
}

function utf16(bytes: Buffer, bigEndian: boolean): string {
  const whole = Buffer.from(bytes.subarray(0, bytes.length - (bytes.length % 2)));
  return (bigEndian ? whole.swap16() : whole).toString('utf16le');
}
