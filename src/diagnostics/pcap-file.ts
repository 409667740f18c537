import { StationError } from '../contract/errors.ts';
import { type ByteOrder, numbersIn } from './byte-order.ts';
import type { CaptureFrame, CaptureFrames } from './capture-frame.ts';

/**
 * Classic pcap: magic, version, zone, accuracy, snap length, link type; then records of seconds, fraction, captured and original length,
 * all in the byte order of whoever wrote it (draft-ietf-opsawg-pcap; Wireshark, wiretap/libpcap.h).
 */
const HEADER_BYTES = 24;
const RECORD_BYTES = 16;
const MICROSECONDS = 0xa1b2c3d4;
const NANOSECONDS = 0xa1b23c4d;

function form(file: Buffer): { readonly order: ByteOrder; readonly ticksPerUs: number } | null {
  if (file.length < 4) return null;
  for (const order of ['little', 'big'] as const) {
    const magic = numbersIn(order).u32(file, 0);
    if (magic === MICROSECONDS) return { order, ticksPerUs: 1 };
    if (magic === NANOSECONDS) return { order, ticksPerUs: 1000 };
  }
  return null;
}

export function isPcap(file: Buffer): boolean {
  return form(file) !== null;
}

/** Reads a classic pcap file. @throws StationError CAPTURE_INVALID, CAPTURE_TRUNCATED */
export function readPcap(file: Buffer): CaptureFrames {
  const found = form(file);
  if (!found) throw new StationError('CAPTURE_INVALID', 'no pcap');
  if (file.length < HEADER_BYTES) throw new StationError('CAPTURE_TRUNCATED', `${file.length} bytes`);
  const { u32 } = numbersIn(found.order);
  // The upper bits say whether and how frames end in a check sequence.
  const linkType = u32(file, 20) & 0xffff;
  const frames: CaptureFrame[] = [];
  let missing = 0;
  for (let at = HEADER_BYTES; at < file.length; ) {
    const from = at + RECORD_BYTES;
    if (from > file.length || from + u32(file, at + 8) > file.length) return { frames, cut: true, missing };
    const length = u32(file, at + 8);
    if (length < u32(file, at + 12)) missing += 1;
    frames.push({
      number: frames.length,
      linkType,
      source: 'pcap',
      timeUs: u32(file, at) * 1e6 + Math.round(u32(file, at + 4) / found.ticksPerUs),
      bytes: file.subarray(from, from + length),
    });
    at = from + length;
  }
  return { frames, cut: false, missing };
}
