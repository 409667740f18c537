import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { StationError } from '../contract/errors.ts';
import type { CapturedPacket } from '../radio/radio.ts';
import { airAsDeviceCapture, LINKTYPE_LE_LL_WITH_PHDR, LINKTYPE_NORDIC_BLE } from './air-capture.ts';
import { isBtsnoop, readBtsnoop, writeBtsnoop } from './btsnoop-file.ts';
import {
  type CaptureFrame,
  type CaptureFrames,
  H4_ACL,
  H4_COMMAND,
  H4_EVENT,
  H4_ISO,
  H4_SCO,
  LINKTYPE_H4,
  LINKTYPE_H4_WITH_DIRECTION,
  LINKTYPE_LINUX_MONITOR,
} from './capture-frame.ts';
import { isPacketLogger, readPacketLogger } from './packet-logger-file.ts';
import { isPcap, readPcap } from './pcap-file.ts';
import { isPcapng, readPcapng } from './pcapng-file.ts';

const MAX_CAPTURE_BYTES = 256 * 1024 * 1024;

/** A packet as a file has it; numbers are those of the file's records. */
export type FilePacket = CapturedPacket;

/** A capture that has been read; one of the air is turned into what the device's own host would have captured. */
export interface ReadCapture {
  readonly taken: 'hci' | 'air';
  readonly packets: FilePacket[];
  /** Whether the file ends in the middle of a packet; all whole packets before it are there. */
  readonly cut: boolean;
  /** Packets that the file says are missing, or has only the beginning of. */
  readonly missing: number;
}

const formats: readonly (readonly [is: (file: Buffer) => boolean, read: (file: Buffer) => CaptureFrames])[] = [
  [isBtsnoop, readBtsnoop],
  [isPcapng, readPcapng],
  [isPcap, readPcap],
  [isPacketLogger, readPacketLogger],
];

/** What people have in hand in a capture's place, by how it begins: it is named, not read. */
const foreign: readonly (readonly [head: string, name: string])[] = [
  ['1f8b', 'compressed by gzip: unpack it first'],
  ['504b0304', 'a ZIP archive: unpack it first (an Android bug report has its btsnoop inside)'],
  ['736e6f6f70000000', 'a snoop file of Solaris, which holds no Bluetooth packets'],
  ['34cdb2a1', 'a modified pcap: save it again as pcapng'],
  ['a1b2cd34', 'a modified pcap: save it again as pcapng'],
  ['62746c616e', 'a btsnooz log: convert it to btsnoop first'],
];

/** Whether a file is a capture, by how it begins. */
export function isCapture(file: Buffer): boolean {
  return formats.some(([is]) => is(file)) || foreignCapture(file) !== null;
}

function foreignCapture(file: Buffer): string | null {
  const head = file.subarray(0, 8).toString('hex');
  return foreign.find(([begins]) => head.startsWith(begins))?.[1] ?? null;
}

/**
 * Reads a capture: btsnoop (HCI, H4 or btmon's), pcap, pcapng or PacketLogger, of HCI packets or of the air. Interfaces of another kind are
 * passed over; of several with HCI packets the one with the most data is taken. Packets before a cut are used.
 * @throws StationError CAPTURE_INVALID, CAPTURE_TRUNCATED, CAPTURE_LINK_TYPE, CAPTURE_ENCRYPTED
 */
export function readCapture(file: Buffer): ReadCapture {
  const read = formats.find(([is]) => is(file))?.[1];
  if (!read)
    throw new StationError('CAPTURE_INVALID', foreignCapture(file) ?? 'neither btsnoop, pcap, pcapng nor PacketLogger');
  const { frames, cut, missing } = read(file);
  const air = frames.filter(({ linkType }) => ofAir(linkType));
  if (air.length > 0) return { taken: 'air', packets: airAsDeviceCapture(air), cut, missing };
  const packets = mostUsed(frames.flatMap((frame) => hciPacket(frame) ?? []));
  if (packets.length === 0) {
    const other = frames.find(({ linkType }) => !ofHci(linkType));
    if (other) throw new StationError('CAPTURE_LINK_TYPE', `link type ${other.linkType}`);
    if (cut) throw new StationError('CAPTURE_TRUNCATED', 'before the first whole packet');
  }
  return { taken: 'hci', packets, cut, missing };
}

const ofAir = (linkType: number) => linkType === LINKTYPE_LE_LL_WITH_PHDR || linkType === LINKTYPE_NORDIC_BLE;
const ofHci = (linkType: number) =>
  linkType === LINKTYPE_H4 || linkType === LINKTYPE_H4_WITH_DIRECTION || linkType === LINKTYPE_LINUX_MONITOR;

interface SourcedPacket {
  readonly source: string;
  readonly packet: FilePacket;
}

function hciPacket({ linkType, source, number, timeUs, bytes }: CaptureFrame): SourcedPacket | null {
  if (linkType === LINKTYPE_LINUX_MONITOR) return monitorPacket(source, number, timeUs, bytes);
  if (linkType === LINKTYPE_H4) {
    return { source, packet: { number, timeUs, received: bytes[0] === H4_EVENT, packet: bytes } };
  }
  if (linkType !== LINKTYPE_H4_WITH_DIRECTION || bytes.length < 4) return null;
  return { source, packet: { number, timeUs, received: bytes.readUInt32BE(0) === 1, packet: bytes.subarray(4) } };
}

/**
 * What BlueZ's monitor says, by opcode (BlueZ, src/shared/btsnoop.h; Linux, include/net/bluetooth/hci_mon.h). Behind adapter and opcode,
 * both u16 and in a file big-endian, stands an HCI packet without its H4 type. All other opcodes are notes.
 */
const monitorOpcodes = new Map<number, readonly [type: number, received: boolean]>([
  [2, [H4_COMMAND, false]],
  [3, [H4_EVENT, true]],
  [4, [H4_ACL, false]],
  [5, [H4_ACL, true]],
  [6, [H4_SCO, false]],
  [7, [H4_SCO, true]],
  [18, [H4_ISO, false]],
  [19, [H4_ISO, true]],
]);

function monitorPacket(source: string, number: number, timeUs: number, bytes: Buffer): SourcedPacket | null {
  const hci = bytes.length < 4 ? undefined : monitorOpcodes.get(bytes.readUInt16BE(2));
  if (!hci) return null;
  const [type, received] = hci;
  const packet = Buffer.concat([Buffer.of(type), bytes.subarray(4)]);
  return { source: `${source}, hci${bytes.readUInt16BE(0)}`, packet: { number, timeUs, received, packet } };
}

/** The packets of the one interface that carried the most data. */
function mostUsed(all: readonly SourcedPacket[]): FilePacket[] {
  const sources = Map.groupBy(all, ({ source }) => source);
  const data = (packets: readonly SourcedPacket[]) =>
    packets.filter(({ packet }) => packet.packet[0] === H4_ACL).length;
  const busiest = [...sources.values()].toSorted((a, b) => data(b) - data(a))[0] ?? [];
  return busiest.map(({ packet }) => packet);
}

/** A capture as it is kept: btsnoop, compressed, without keys. */
export function packCapture(packets: readonly FilePacket[]): Buffer {
  return deflateRawSync(writeBtsnoop(packets.map((each) => ({ ...each, packet: withoutKeys(each.packet) }))));
}

/** Reads what `packCapture` packed. @throws StationError CAPTURE_INVALID, CAPTURE_TRUNCATED when it is not whole */
export function unpackCapture(packed: Buffer): FilePacket[] {
  const { packets, cut } = readCapture(inflateRawSync(packed, { maxOutputLength: MAX_CAPTURE_BYTES }));
  if (cut) throw new StationError('CAPTURE_TRUNCATED', `after ${packets.length} packets`);
  return packets;
}

/** Where keys stand: commands by opcode, and the pairing protocol's key distribution (Vol 4 Part E, 7.8.24 and 25; Vol 3 Part H, 3.6). */
const COMMANDS_WITH_KEYS = new Map([
  [0x2019, 4 + 2 + 8 + 2],
  [0x201a, 4 + 2],
]);
const CID_PAIRING = 6;
const PDUS_WITH_KEYS = new Set([0x06, 0x08, 0x0a]);

/** The packet with every key in it overwritten by zeros: its length and place in time stay. */
export function withoutKeys(packet: Buffer): Buffer {
  const from = keysFrom(packet);
  if (from === null) return packet;
  const redacted = Buffer.from(packet);
  redacted.fill(0, Math.min(from, redacted.length));
  return redacted;
}

function keysFrom(packet: Buffer): number | null {
  if (packet[0] === H4_COMMAND && packet.length >= 4) return COMMANDS_WITH_KEYS.get(packet.readUInt16LE(1)) ?? null;
  if (packet[0] !== H4_ACL || packet.length < 10 || packet.readUInt16LE(7) !== CID_PAIRING) return null;
  return PDUS_WITH_KEYS.has(packet[9] ?? 0) ? 10 : null;
}
