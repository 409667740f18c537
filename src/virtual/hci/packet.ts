import { EVENT_CODE } from './codes.ts';

/** The type octet before each packet on an H4 transport (Core 5.4, Vol 4 Part A, 2; Zephyr's `h4.h`; bumble's `HCI_*_PACKET`). */
export const H4 = { command: 0x01, acl: 0x02, sco: 0x03, event: 0x04, iso: 0x05 } as const;

/** L2CAP channels of an LE link (Core 5.4, Vol 3 Part A, table 2.2; Zephyr's `l2cap_internal.h`; bumble's `l2cap.py`). */
export const CHANNEL = { att: 0x0004, signalling: 0x0005, security: 0x0006 } as const;

/** Packet boundary flags of ACL data (Core 5.4, Vol 4 Part E, 5.4.2; Zephyr's `BT_ACL_*`; bumble's `HCI_ACL_PB_*`). */
export const BOUNDARY = { firstNonFlushable: 0b00, continuing: 0b01, firstFlushable: 0b10 } as const;

/** A command packet: opcode (u16), length (u8), parameters. */
export function commandPacket(opcode: number, parameters: Uint8Array = new Uint8Array()): Buffer {
  return Buffer.concat([Buffer.of(H4.command, opcode & 0xff, opcode >> 8, parameters.length), parameters]);
}

/** An event packet: code (u8), length (u8), parameters. */
export function eventPacket(code: number, parameters: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(H4.event, code, parameters.length), parameters]);
}

/** An LE Meta event: its parameters begin with the sub-event's code. */
export function metaEvent(subevent: number, parameters: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(H4.event, EVENT_CODE.leMeta, parameters.length + 1, subevent), parameters]);
}

/** Command Complete: room for one more command, the opcode, what the command returns. */
export function commandCompleteEvent(opcode: number, returned: Uint8Array): Buffer {
  const head = Buffer.of(H4.event, EVENT_CODE.commandComplete, returned.length + 3, 1, opcode & 0xff, opcode >> 8);
  return Buffer.concat([head, returned]);
}

/** Command Status: status, room for one more command, the opcode. */
export function commandStatusEvent(opcode: number, status: number): Buffer {
  return Buffer.of(H4.event, EVENT_CODE.commandStatus, 4, status, 1, opcode & 0xff, opcode >> 8);
}

/** Number Of Completed Packets for one connection. */
export function completedPacketsEvent(handle: number, count: number): Buffer {
  const code = EVENT_CODE.numberOfCompletedPackets;
  return Buffer.of(H4.event, code, 5, 1, handle & 0xff, handle >> 8, count & 0xff, count >> 8);
}

/** ACL data: 12 bits of handle, 2 of boundary flag, length (u16), data. */
export function dataPacket(handle: number, boundary: number, data: Uint8Array): Buffer {
  const packet = Buffer.allocUnsafe(5 + data.length);
  packet[0] = H4.acl;
  packet.writeUInt16LE((handle & 0x0fff) | (boundary << 12), 1);
  packet.writeUInt16LE(data.length, 3);
  packet.set(data, 5);
  return packet;
}

/** An L2CAP PDU (length u16, channel u16, payload) as ACL packets of at most `most` octets of data, as a host sends them. */
export function l2capPackets(handle: number, channel: number, payload: Uint8Array, most: number): Buffer[] {
  const pdu = Buffer.allocUnsafe(4 + payload.length);
  pdu.writeUInt16LE(payload.length, 0);
  pdu.writeUInt16LE(channel, 2);
  pdu.set(payload, 4);
  const packets: Buffer[] = [];
  for (let at = 0; at < pdu.length; at += most) {
    const boundary = at === 0 ? BOUNDARY.firstNonFlushable : BOUNDARY.continuing;
    packets.push(dataPacket(handle, boundary, pdu.subarray(at, at + most)));
  }
  return packets;
}

/** Joins a link's ACL packets into L2CAP PDUs (Core 5.4, Vol 3 Part A, 7.2.1). What fits no PDU is dropped. */
export class L2capIntake {
  #parts: Buffer[] = [];
  #missing = 0;

  /** Takes an ACL packet and returns the PDU that it completes, if it does. */
  push(packet: Buffer): { channel: number; payload: Buffer } | null {
    const data = packet.subarray(5);
    const continues = ((packet.readUInt16LE(1) >> 12) & 0b11) === BOUNDARY.continuing;
    if (continues ? this.#missing <= 0 : data.length < 4) return null;
    if (!continues) {
      this.#parts = [];
      this.#missing = 4 + data.readUInt16LE(0);
    }
    this.#parts.push(data);
    this.#missing -= data.length;
    if (this.#missing > 0) return null;
    const tooMuch = this.#missing < 0;
    const pdu = this.#parts.length === 1 ? data : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#missing = 0;
    return tooMuch ? null : { channel: pdu.readUInt16LE(2), payload: pdu.subarray(4) };
  }
}

/** `aa:bb:cc:dd:ee:ff` as HCI carries it: six octets, the last first. */
export function addressOctets(address: string): Buffer {
  return Buffer.from(address.replaceAll(':', ''), 'hex').reverse();
}

/** Six octets, the last first, as `aa:bb:cc:dd:ee:ff`. */
export function addressOf(octets: Uint8Array): string {
  return Buffer.from(octets)
    .reverse()
    .toString('hex')
    .replace(/..(?=.)/g, '$&:');
}
