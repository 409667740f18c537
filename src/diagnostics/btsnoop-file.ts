import { StationError } from '../contract/errors.ts';
import type { CapturedPacket } from '../radio/radio.ts';
import {
  type CaptureFrame,
  type CaptureFrames,
  directedH4,
  H4_ACL,
  H4_COMMAND,
  H4_EVENT,
  LINKTYPE_H4_WITH_DIRECTION,
  LINKTYPE_LINUX_MONITOR,
} from './capture-frame.ts';

/**
 * btsnoop: the snoop format of RFC 1761 with another magic, other data links, direction in the flags and time from year 0 (BlueZ,
 * src/shared/btsnoop.h and btsnoop.c; Wireshark, wiretap/btsnoop.c). All numbers are big-endian.
 */
const MAGIC = Buffer.from('btsnoop\0', 'latin1');
const HEADER_BYTES = 16;
const RECORD_BYTES = 24;
/** Microseconds from year 0 to 1970. */
const EPOCH_US = 0x00dcddb30f2f8000n;
/** Data links: HCI without and with its H4 type, and what btmon writes, where the flags hold adapter and opcode. */
const HCI = 1001;
const H4 = 1002;
const MONITOR = 2001;
const FLAG_RECEIVED = 1;
const FLAG_CONTROL = 2;

export function isBtsnoop(file: Buffer): boolean {
  return file.subarray(0, MAGIC.length).equals(MAGIC);
}

/** Reads a btsnoop file. @throws StationError CAPTURE_TRUNCATED, CAPTURE_LINK_TYPE */
export function readBtsnoop(file: Buffer): CaptureFrames {
  if (file.length < HEADER_BYTES) throw new StationError('CAPTURE_TRUNCATED', `${file.length} bytes`);
  const link = file.readUInt32BE(12);
  if (link !== HCI && link !== H4 && link !== MONITOR) throw new StationError('CAPTURE_LINK_TYPE', `btsnoop ${link}`);
  const frames: CaptureFrame[] = [];
  let dropped = 0;
  let shortened = 0;
  for (let at = HEADER_BYTES; at < file.length; ) {
    const whole = at + RECORD_BYTES <= file.length && at + RECORD_BYTES + file.readUInt32BE(at + 4) <= file.length;
    if (!whole) return { frames, cut: true, missing: dropped + shortened };
    const length = file.readUInt32BE(at + 4);
    const flags = file.readUInt32BE(at + 8);
    if (file.readUInt32BE(at) > length) shortened += 1;
    dropped = Math.max(dropped, file.readUInt32BE(at + 12));
    const timeUs = Number(file.readBigInt64BE(at + 16) - EPOCH_US);
    const from = at + RECORD_BYTES;
    const bytes = file.subarray(from, from + length);
    frames.push({
      number: frames.length,
      timeUs,
      ...(link === MONITOR ? ofMonitor(flags, bytes) : ofHci(link, flags, bytes)),
    });
    at = from + length;
  }
  return { frames, cut: false, missing: dropped + shortened };
}

function ofMonitor(flags: number, bytes: Buffer): Pick<CaptureFrame, 'linkType' | 'source' | 'bytes'> {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(flags);
  return { linkType: LINKTYPE_LINUX_MONITOR, source: 'btsnoop', bytes: Buffer.concat([head, bytes]) };
}

function ofHci(link: number, flags: number, bytes: Buffer): Pick<CaptureFrame, 'linkType' | 'source' | 'bytes'> {
  const received = (flags & FLAG_RECEIVED) !== 0;
  const type = (flags & FLAG_CONTROL) === 0 ? H4_ACL : received ? H4_EVENT : H4_COMMAND;
  const directed =
    link === HCI ? directedH4(type, received, bytes) : directedH4(bytes[0] ?? 0, received, bytes.subarray(1));
  return { linkType: LINKTYPE_H4_WITH_DIRECTION, source: 'btsnoop', bytes: directed };
}

/** A capture as a btsnoop file. The format has no place for comments. */
export function writeBtsnoop(packets: readonly CapturedPacket[]): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.writeUInt32BE(1, 8);
  header.writeUInt32BE(H4, 12);
  const records = packets.flatMap(({ packet, received, timeUs }) => {
    const head = Buffer.alloc(RECORD_BYTES);
    head.writeUInt32BE(packet.length, 0);
    head.writeUInt32BE(packet.length, 4);
    const control = packet[0] === H4_COMMAND || packet[0] === H4_EVENT;
    head.writeUInt32BE((received ? FLAG_RECEIVED : 0) | (control ? FLAG_CONTROL : 0), 8);
    head.writeBigUInt64BE(BigInt(timeUs) + EPOCH_US, 16);
    return [head, packet];
  });
  return Buffer.concat([header, ...records]);
}
