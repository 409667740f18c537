import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = '../shared/captures';

/** Whether the recording of real peers is at hand; tests that need it are skipped by name where it is not. */
export function hasRecording(name: string): boolean {
  return existsSync(join(FOLDER, `${name}.btsnoop`));
}

/** A packet that crossed HCI, its H4 type octet first. */
export interface RecordedPacket {
  readonly fromHost: boolean;
  /** Since the first packet. */
  readonly timeMs: number;
  readonly packet: Buffer;
}

/**
 * The packets of a recording. Written for tests and from the format alone (btsnoop: RFC 1761 with datalink 1002, H4), so that it shares no
 * fault with the product's reader.
 */
export function recordedPackets(name: string): RecordedPacket[] {
  const file = readFileSync(join(FOLDER, `${name}.btsnoop`));
  const packets: RecordedPacket[] = [];
  const firstUs = file.length >= 40 ? file.readBigUInt64BE(32) : 0n;
  for (let at = 16; at + 24 <= file.length; ) {
    const length = file.readUInt32BE(at + 4);
    const fromHost = (file.readUInt32BE(at + 8) & 1) === 0;
    const timeMs = Number(file.readBigUInt64BE(at + 16) - firstUs) / 1000;
    packets.push({ fromHost, timeMs, packet: file.subarray(at + 24, at + 24 + length) });
    at += 24 + length;
  }
  return packets;
}

/** A PDU of L2CAP that crossed the air, as the central saw it. */
export interface RecordedPdu {
  readonly fromCentral: boolean;
  /** Links are counted from 1. */
  readonly link: number;
  /** The unit's address, as Connection Complete gives it, in hex. */
  readonly peer: string;
  readonly cid: number;
  readonly payload: Buffer;
}

/** The L2CAP PDUs of a recording, put together from its ACL packets (Core 5.4, Vol 4 Part E, 5.4.2). */
export function recordedPdus(name: string): RecordedPdu[] {
  const pdus: RecordedPdu[] = [];
  const gathering = new Map<string, Buffer>();
  const links = new Map<number, { link: number; peer: string }>();
  let linkCount = 0;
  for (const { fromHost: fromCentral, packet } of recordedPackets(name)) {
    const connected = packet[0] === 4 && packet[1] === 0x3e && packet[3] === 0x01 && packet[4] === 0;
    if (connected) {
      const peer = Buffer.from(packet.subarray(9, 15)).reverse().toString('hex');
      links.set(packet.readUInt16LE(5), { link: ++linkCount, peer });
    }
    if (packet[0] !== 2) continue;
    const handle = packet.readUInt16LE(1) & 0x0fff;
    const continues = ((packet.readUInt16LE(1) >> 12) & 3) === 1;
    const key = `${handle} ${fromCentral}`;
    const bytes = Buffer.concat([
      continues ? (gathering.get(key) ?? Buffer.alloc(0)) : Buffer.alloc(0),
      packet.subarray(5),
    ]);
    gathering.set(key, bytes);
    if (bytes.length < 4 || bytes.length < 4 + bytes.readUInt16LE(0)) continue;
    // A recorder can write an answer down before the event that it answers: whose it is is then not told.
    const end = links.get(handle);
    if (end) pdus.push({ fromCentral, ...end, cid: bytes.readUInt16LE(2), payload: bytes.subarray(4) });
  }
  return pdus;
}
