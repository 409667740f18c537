/**
 * The little of HCI, L2CAP and ATT that a recording is read by and answered with. Sources: Bluetooth Core 5.4, Vol 4 Part E (7.1, 7.7, 7.8),
 * Vol 3 Part A (3.1, 4) and Part F (3.4); the same values in Zephyr `include/zephyr/bluetooth/hci_types.h`, `subsys/bluetooth/host/att_internal.h`
 * and in BlueZ `lib/hci.h`, `src/shared/att-types.h`.
 */
export const H4 = { COMMAND: 1, ACL: 2, EVENT: 4 } as const;

export const COMMAND = {
  DISCONNECT: 0x0406,
  READ_REMOTE_VERSION: 0x041d,
  RESET: 0x0c03,
  READ_BD_ADDR: 0x1009,
  READ_RSSI: 0x1405,
  SET_SCAN_ENABLE: 0x200c,
  CREATE_CONNECTION: 0x200d,
  CREATE_CONNECTION_CANCEL: 0x200e,
  CONNECTION_UPDATE: 0x2013,
  READ_REMOTE_FEATURES: 0x2016,
  ENABLE_ENCRYPTION: 0x2019,
  PARAMETER_REQUEST_REPLY: 0x2020,
  PARAMETER_REQUEST_NEGATIVE_REPLY: 0x2021,
  SET_DATA_LENGTH: 0x2022,
  SET_PHY: 0x2032,
} as const;

export const EVENT = {
  DISCONNECTION_COMPLETE: 0x05,
  ENCRYPTION_CHANGE: 0x08,
  REMOTE_VERSION_COMPLETE: 0x0c,
  COMMAND_COMPLETE: 0x0e,
  COMMAND_STATUS: 0x0f,
  COMPLETED_PACKETS: 0x13,
  KEY_REFRESH_COMPLETE: 0x30,
  LE_META: 0x3e,
} as const;

export const LE = {
  CONNECTION_COMPLETE: 0x01,
  ADVERTISING_REPORT: 0x02,
  CONNECTION_UPDATE_COMPLETE: 0x03,
  REMOTE_FEATURES_COMPLETE: 0x04,
  LONG_TERM_KEY_REQUEST: 0x05,
  PARAMETER_REQUEST: 0x06,
  DATA_LENGTH_CHANGE: 0x07,
  ENHANCED_CONNECTION_COMPLETE: 0x0a,
  PHY_UPDATE_COMPLETE: 0x0c,
} as const;

export const STATUS = { UNKNOWN_CONNECTION: 0x02, DISALLOWED: 0x0c, LOCAL_HOST_TERMINATED: 0x16 } as const;

export const CID = { ATT: 4, SECURITY: 6 } as const;

export const ATT = {
  ERROR: 0x01,
  MTU_REQUEST: 0x02,
  MTU_RESPONSE: 0x03,
  FIND_INFORMATION: 0x04,
  FIND_BY_TYPE_VALUE: 0x06,
  READ_BY_TYPE: 0x08,
  READ: 0x0a,
  READ_BY_GROUP_TYPE: 0x10,
  WRITE: 0x12,
  NOTIFICATION: 0x1b,
  INDICATION: 0x1d,
  CONFIRMATION: 0x1e,
  WRITE_COMMAND: 0x52,
} as const;
export const ATT_ATTRIBUTE_NOT_FOUND = 0x0a;

/** An event packet. */
export function event(code: number, parameters: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(H4.EVENT, code, parameters.length), parameters]);
}

/** Command Status with one command credit. */
export function commandStatus(opcode: number, status: number): Buffer {
  return event(EVENT.COMMAND_STATUS, Buffer.of(status, 1, opcode & 0xff, opcode >> 8));
}

/** Command Complete with one command credit. */
export function commandComplete(opcode: number, returned: Uint8Array): Buffer {
  return event(EVENT.COMMAND_COMPLETE, Buffer.concat([Buffer.of(1, opcode & 0xff, opcode >> 8), returned]));
}

/** A handle as two octets. */
export const handleBytes = (handle: number): Buffer => Buffer.of(handle & 0xff, handle >> 8);

/** An L2CAP PDU as ACL packets of at most `octets` of data, from the controller. */
export function aclPackets(handle: number, cid: number, payload: Buffer, octets: number): Buffer[] {
  const pdu = Buffer.concat([handleBytes(payload.length), handleBytes(cid), payload]);
  const packets: Buffer[] = [];
  for (let at = 0; at < pdu.length; at += octets) {
    const data = pdu.subarray(at, at + octets);
    const flags = at === 0 ? 0x20 : 0x10;
    const head = Buffer.of(H4.ACL, handle & 0xff, (handle >> 8) | flags, data.length & 0xff, data.length >> 8);
    packets.push(Buffer.concat([head, data]));
  }
  return packets;
}

/** A whole L2CAP PDU. */
export interface Pdu {
  readonly cid: number;
  readonly payload: Buffer;
}

/** Joins the ACL packets of one direction of one link. */
export class PduJoiner {
  #bytes = Buffer.alloc(0);

  /** Takes an ACL packet; returns the PDU that it completes, or null. */
  push(packet: Buffer): Pdu | null {
    const data = packet.subarray(5);
    const continues = ((packet[2] ?? 0) & 0x30) === 0x10;
    this.#bytes = continues ? Buffer.concat([this.#bytes, data]) : Buffer.from(data);
    if (this.#bytes.length < 4 || this.#bytes.length < 4 + this.#bytes.readUInt16LE(0)) return null;
    const pdu = { cid: this.#bytes.readUInt16LE(2), payload: this.#bytes.subarray(4) };
    this.#bytes = Buffer.alloc(0);
    return pdu;
  }
}

/** Where, in an event packet of one link, its handle stands; null for events of no link. */
export function handleAt(packet: Buffer): number | null {
  const codes: Readonly<Record<number, number>> = {
    [EVENT.DISCONNECTION_COMPLETE]: 4,
    [EVENT.ENCRYPTION_CHANGE]: 4,
    [EVENT.REMOTE_VERSION_COMPLETE]: 4,
    [EVENT.KEY_REFRESH_COMPLETE]: 4,
  };
  const subevents: Readonly<Record<number, number>> = {
    [LE.CONNECTION_COMPLETE]: 5,
    [LE.ENHANCED_CONNECTION_COMPLETE]: 5,
    [LE.CONNECTION_UPDATE_COMPLETE]: 5,
    [LE.REMOTE_FEATURES_COMPLETE]: 5,
    [LE.PHY_UPDATE_COMPLETE]: 5,
    [LE.LONG_TERM_KEY_REQUEST]: 4,
    [LE.PARAMETER_REQUEST]: 4,
    [LE.DATA_LENGTH_CHANGE]: 4,
  };
  if (packet[0] !== H4.EVENT) return null;
  const at = packet[1] === EVENT.LE_META ? subevents[packet[3] ?? 0] : codes[packet[1] ?? 0];
  return at !== undefined && packet.length >= at + 2 ? at : null;
}

/** Whether it is the end of a connection attempt, one way or the other. */
export function isConnectionComplete(packet: Buffer): boolean {
  if (packet[0] !== H4.EVENT || packet[1] !== EVENT.LE_META || packet.length < 15) return false;
  return packet[3] === LE.CONNECTION_COMPLETE || packet[3] === LE.ENHANCED_CONNECTION_COMPLETE;
}

/** Six octets as `aa:bb:cc:dd:ee:ff`, least significant first in the packet. */
export function addressOf(octets: Buffer): string {
  return [...octets]
    .reverse()
    .map((octet) => octet.toString(16).padStart(2, '0'))
    .join(':');
}
