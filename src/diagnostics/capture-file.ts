import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { StationError } from '../contract/errors.ts';
import type { CapturedPacket } from '../radio/radio.ts';
import { airAsDeviceCapture, LINKTYPE_LE_LL_WITH_PHDR, LINKTYPE_NORDIC_BLE } from './air-capture.ts';

/** btsnoop: magic, version 1, data link 1002 (HCI UART, H4), as btmon and Wireshark read it. */
const BTSNOOP_MAGIC = Buffer.from('btsnoop\0', 'latin1');
const BTSNOOP_H1 = 1001;
const BTSNOOP_H4 = 1002;
/** Microseconds from year 0 to 1970, as btsnoop counts time. */
const BTSNOOP_EPOCH_US = 0x00dcddb30f2f8000n;
const BTSNOOP_HEADER_BYTES = 16;
const BTSNOOP_RECORD_BYTES = 24;

/** pcapng block types and options (draft-ietf-opsawg-pcapng). */
const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const OPTION_COMMENT = 1;
const OPTION_APPLICATION = 4;
const OPTION_RESOLUTION = 9;
/** LINKTYPE_BLUETOOTH_HCI_H4 and the same with a pseudo-header that tells the direction (tcpdump.org/linktypes). */
const LINKTYPE_H4 = 187;
const LINKTYPE_H4_WITH_DIRECTION = 201;

const HCI_COMMAND = 0x01;
const HCI_ACL = 0x02;
const HCI_EVENT = 0x04;
const MAX_CAPTURE_BYTES = 256 * 1024 * 1024;

/** A packet as a file has it; numbers are its own. */
export type FilePacket = CapturedPacket;

/** A capture as a btsnoop file. The format has no place for comments. */
export function writeBtsnoop(packets: readonly FilePacket[]): Buffer {
  const header = Buffer.alloc(BTSNOOP_HEADER_BYTES);
  BTSNOOP_MAGIC.copy(header);
  header.writeUInt32BE(1, 8);
  header.writeUInt32BE(BTSNOOP_H4, 12);
  const records = packets.flatMap(({ packet, received, timeUs }) => {
    const head = Buffer.alloc(BTSNOOP_RECORD_BYTES);
    head.writeUInt32BE(packet.length, 0);
    head.writeUInt32BE(packet.length, 4);
    const control = packet[0] === HCI_COMMAND || packet[0] === HCI_EVENT;
    head.writeUInt32BE((received ? 1 : 0) | (control ? 2 : 0), 8);
    head.writeBigUInt64BE(BigInt(timeUs) + BTSNOOP_EPOCH_US, 16);
    return [head, packet];
  });
  return Buffer.concat([header, ...records]);
}

/** A capture as a pcapng file; the comment stands in its section header. */
export function writePcapng(packets: readonly FilePacket[], comment: string): Buffer {
  const section = Buffer.alloc(16);
  section.writeUInt32LE(BYTE_ORDER_MAGIC, 0);
  section.writeUInt16LE(1, 4);
  section.writeBigInt64LE(-1n, 8);
  const description = Buffer.alloc(8);
  description.writeUInt16LE(LINKTYPE_H4_WITH_DIRECTION, 0);
  const resolution = option(OPTION_RESOLUTION, Buffer.of(6));
  const blocks = packets.map(({ packet, received, timeUs }) => {
    const head = Buffer.alloc(24);
    const length = packet.length + 4;
    head.writeUInt32LE(Math.floor(timeUs / 2 ** 32), 4);
    head.writeUInt32LE(timeUs % 2 ** 32, 8);
    head.writeUInt32LE(length, 12);
    head.writeUInt32LE(length, 16);
    head.writeUInt32BE(received ? 1 : 0, 20);
    return block(ENHANCED_PACKET, padded(Buffer.concat([head, packet])));
  });
  return Buffer.concat([
    block(
      SECTION_HEADER,
      Buffer.concat([
        section,
        ...options(
          option(OPTION_COMMENT, Buffer.from(comment)),
          option(OPTION_APPLICATION, Buffer.from('DFU Station')),
        ),
      ]),
    ),
    block(INTERFACE_DESCRIPTION, Buffer.concat([description, ...options(resolution)])),
    ...blocks,
  ]);
}

/** Whether a file is a capture, by how it begins. */
export function isCapture(file: Buffer): boolean {
  return file.subarray(0, 8).equals(BTSNOOP_MAGIC) || (file.length >= 4 && file.readUInt32BE(0) === SECTION_HEADER);
}

/** A capture that has been read; one of the air is turned into what the device's own host would have captured. */
export interface ReadCapture {
  readonly taken: 'hci' | 'air';
  readonly packets: FilePacket[];
}

/**
 * Reads a btsnoop or pcapng file of HCI packets, or a pcapng file of the air.
 * @throws StationError CAPTURE_INVALID, CAPTURE_TRUNCATED, CAPTURE_LINK_TYPE, CAPTURE_ENCRYPTED
 */
export function readCapture(file: Buffer): ReadCapture {
  if (file.subarray(0, 8).equals(BTSNOOP_MAGIC)) return { taken: 'hci', packets: readBtsnoop(file) };
  if (file.length >= 4 && file.readUInt32BE(0) === SECTION_HEADER) return readPcapng(file);
  throw new StationError('CAPTURE_INVALID', 'neither btsnoop nor pcapng');
}

/** A capture as it is kept: btsnoop, compressed, without keys. */
export function packCapture(packets: readonly FilePacket[]): Buffer {
  return deflateRawSync(writeBtsnoop(packets.map((each) => ({ ...each, packet: withoutKeys(each.packet) }))));
}

/** Reads what `packCapture` packed. @throws StationError CAPTURE_INVALID */
export function unpackCapture(packed: Buffer): FilePacket[] {
  return readBtsnoop(inflateRawSync(packed, { maxOutputLength: MAX_CAPTURE_BYTES }));
}

function readBtsnoop(file: Buffer): FilePacket[] {
  if (file.length < BTSNOOP_HEADER_BYTES) throw new StationError('CAPTURE_TRUNCATED', `${file.length} bytes`);
  const linkType = file.readUInt32BE(12);
  if (linkType !== BTSNOOP_H4 && linkType !== BTSNOOP_H1)
    throw new StationError('CAPTURE_LINK_TYPE', `btsnoop ${linkType}`);
  const packets: FilePacket[] = [];
  for (let at = BTSNOOP_HEADER_BYTES; at < file.length; ) {
    if (at + BTSNOOP_RECORD_BYTES > file.length) throw truncated(packets.length);
    const length = file.readUInt32BE(at + 4);
    const flags = file.readUInt32BE(at + 8);
    const timeUs = Number(file.readBigUInt64BE(at + 16) - BTSNOOP_EPOCH_US);
    const from = at + BTSNOOP_RECORD_BYTES;
    if (from + length > file.length) throw truncated(packets.length);
    const bytes = file.subarray(from, from + length);
    const received = (flags & 1) !== 0;
    const type = (flags & 2) === 0 ? HCI_ACL : received ? HCI_EVENT : HCI_COMMAND;
    const packet = linkType === BTSNOOP_H1 ? Buffer.concat([Buffer.of(type), bytes]) : bytes;
    packets.push({ number: packets.length, timeUs, received, packet });
    at = from + length;
  }
  return packets;
}

interface Frame {
  readonly linkType: number;
  readonly timeUs: number;
  readonly bytes: Buffer;
}

const ofAir = (linkType: number) => linkType === LINKTYPE_LE_LL_WITH_PHDR || linkType === LINKTYPE_NORDIC_BLE;

function readPcapng(file: Buffer): ReadCapture {
  const packets: Frame[] = [];
  const interfaces: { linkType: number; ticksPerUs: number }[] = [];
  for (let at = 0; at < file.length; ) {
    if (at + 12 > file.length) throw truncated(packets.length);
    const type = file.readUInt32LE(at);
    if (type === SECTION_HEADER && file.readUInt32LE(at + 8) !== BYTE_ORDER_MAGIC) {
      throw new StationError('CAPTURE_INVALID', 'a pcapng file of big-endian byte order');
    }
    const length = file.readUInt32LE(at + 4);
    if (length < 12 || length % 4 !== 0 || at + length > file.length) throw truncated(packets.length);
    const body = file.subarray(at + 8, at + length - 4);
    if (type === INTERFACE_DESCRIPTION) interfaces.push(readInterface(body));
    if (type === ENHANCED_PACKET) packets.push(readEnhancedPacket(body, interfaces, packets.length));
    at += length;
  }
  const air = packets.filter(({ linkType }) => ofAir(linkType));
  return air.length > 0
    ? { taken: 'air', packets: airAsDeviceCapture(air) }
    : { taken: 'hci', packets: packets.map(hciPacket) };
}

function readInterface(body: Buffer): { linkType: number; ticksPerUs: number } {
  const linkType = body.length >= 8 ? body.readUInt16LE(0) : -1;
  if (linkType !== LINKTYPE_H4 && linkType !== LINKTYPE_H4_WITH_DIRECTION && !ofAir(linkType)) {
    throw new StationError('CAPTURE_LINK_TYPE', `pcapng ${linkType}`);
  }
  let ticksPerUs = 1;
  for (let at = 8; at + 4 <= body.length; ) {
    const code = body.readUInt16LE(at);
    const length = body.readUInt16LE(at + 2);
    if (code === OPTION_RESOLUTION && length >= 1) ticksPerUs = resolution(body[at + 4] ?? 6);
    at += 4 + Math.ceil(length / 4) * 4;
  }
  return { linkType, ticksPerUs };
}

function resolution(octet: number): number {
  const perSecond = octet & 0x80 ? 2 ** (octet & 0x7f) : 10 ** octet;
  return perSecond / 1e6;
}

function readEnhancedPacket(
  body: Buffer,
  interfaces: readonly { linkType: number; ticksPerUs: number }[],
  number: number,
): Frame {
  const described = body.length >= 20 ? interfaces[body.readUInt32LE(0)] : undefined;
  if (!described) throw new StationError('CAPTURE_INVALID', `packet ${number} of an interface that is not described`);
  const ticks = body.readUInt32LE(4) * 2 ** 32 + body.readUInt32LE(8);
  const length = body.readUInt32LE(12);
  if (20 + length > body.length) throw truncated(number);
  return {
    linkType: described.linkType,
    timeUs: Math.round(ticks / described.ticksPerUs),
    bytes: body.subarray(20, 20 + length),
  };
}

function hciPacket({ linkType, timeUs, bytes }: Frame, number: number): FilePacket {
  const directed = linkType === LINKTYPE_H4_WITH_DIRECTION;
  if (directed && bytes.length < 4) throw truncated(number);
  const packet = directed ? bytes.subarray(4) : bytes;
  const received = directed ? bytes.readUInt32BE(0) === 1 : packet[0] === HCI_EVENT;
  return { number, timeUs, received, packet };
}

function truncated(packets: number): StationError {
  return new StationError('CAPTURE_TRUNCATED', `after ${packets} packets`);
}

function block(type: number, body: Buffer): Buffer {
  const length = body.length + 12;
  const head = Buffer.alloc(8);
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(length, 4);
  return Buffer.concat([head, body, head.subarray(4)]);
}

function option(code: number, value: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(code, 0);
  head.writeUInt16LE(value.length, 2);
  return padded(Buffer.concat([head, value]));
}

const options = (...all: Buffer[]) => [...all, Buffer.alloc(4)];

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
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
  if (packet[0] === HCI_COMMAND && packet.length >= 4) return COMMANDS_WITH_KEYS.get(packet.readUInt16LE(1)) ?? null;
  if (packet[0] !== HCI_ACL || packet.length < 10 || packet.readUInt16LE(7) !== CID_PAIRING) return null;
  return PDUS_WITH_KEYS.has(packet[9] ?? 0) ? 10 : null;
}
