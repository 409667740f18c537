/**
 * HCI packets as they cross an H4 transport: the type octet first. Source: Bluetooth Core Specification 5.4, Vol 4 Part A (H4) and
 * Part E (HCI commands and events). Each code below was held against Zephyr's `include/zephyr/bluetooth/hci_types.h` and against Wireshark's
 * dissectors (`tshark -G values`, bthci_cmd.opcode, bthci_evt.code, bthci_evt.le_meta_subevent, bthci_cmd.status): no difference. Real
 * controllers' bytes hold them in `test/unit/hci-recordings.test.ts`.
 */
export const HCI_COMMAND = 0x01;
export const HCI_ACL = 0x02;
export const HCI_EVENT = 0x04;

const op = (ogf: number, ocf: number) => (ogf << 10) | ocf;

/** Opcodes (Part E, section 7). */
export const OPCODE = {
  DISCONNECT: op(1, 0x0006),
  SET_EVENT_MASK: op(3, 0x0001),
  RESET: op(3, 0x0003),
  SET_EVENT_MASK_PAGE_2: op(3, 0x0063),
  READ_BUFFER_SIZE: op(4, 0x0005),
  READ_BD_ADDR: op(4, 0x0009),
  READ_RSSI: op(5, 0x0005),
  LE_SET_EVENT_MASK: op(8, 0x0001),
  LE_READ_BUFFER_SIZE: op(8, 0x0002),
  LE_READ_LOCAL_FEATURES: op(8, 0x0003),
  LE_SET_ADVERTISING_PARAMETERS: op(8, 0x0006),
  LE_SET_ADVERTISING_ENABLE: op(8, 0x000a),
  LE_SET_SCAN_PARAMETERS: op(8, 0x000b),
  LE_SET_SCAN_ENABLE: op(8, 0x000c),
  LE_CREATE_CONNECTION: op(8, 0x000d),
  LE_CREATE_CONNECTION_CANCEL: op(8, 0x000e),
  LE_CONNECTION_UPDATE: op(8, 0x0013),
  LE_ENABLE_ENCRYPTION: op(8, 0x0019),
  LE_REMOTE_PARAMETER_REQUEST_REPLY: op(8, 0x0020),
  LE_REMOTE_PARAMETER_REQUEST_NEGATIVE_REPLY: op(8, 0x0021),
  LE_SET_DATA_LENGTH: op(8, 0x0022),
  LE_SET_PHY: op(8, 0x0032),
} as const;

/** Event codes (section 7.7). */
export const EVENT = {
  DISCONNECTION_COMPLETE: 0x05,
  ENCRYPTION_CHANGE: 0x08,
  COMMAND_COMPLETE: 0x0e,
  COMMAND_STATUS: 0x0f,
  HARDWARE_ERROR: 0x10,
  NUMBER_OF_COMPLETED_PACKETS: 0x13,
  ENCRYPTION_KEY_REFRESH_COMPLETE: 0x30,
  LE_META: 0x3e,
} as const;

/** Sub-event codes of LE Meta events (section 7.7.65). */
export const LE_EVENT = {
  CONNECTION_COMPLETE: 0x01,
  ADVERTISING_REPORT: 0x02,
  CONNECTION_UPDATE_COMPLETE: 0x03,
  REMOTE_PARAMETER_REQUEST: 0x06,
  DATA_LENGTH_CHANGE: 0x07,
  ENHANCED_CONNECTION_COMPLETE: 0x0a,
  PHY_UPDATE_COMPLETE: 0x0c,
} as const;

/** Status and reason codes (Vol 1 Part F). */
export const STATUS = {
  SUCCESS: 0x00,
  UNKNOWN_CONNECTION: 0x02,
  KEY_MISSING: 0x06,
  CONNECTION_TIMEOUT: 0x08,
  CONNECTION_LIMIT_EXCEEDED: 0x09,
  LIMITED_RESOURCES: 0x0d,
  REMOTE_USER_TERMINATED: 0x13,
  LOCAL_HOST_TERMINATED: 0x16,
  UNSPECIFIED_ERROR: 0x1f,
  UNACCEPTABLE_PARAMETERS: 0x3b,
} as const;

/** L2CAP channels of an LE link (Vol 3 Part A, table 2.1). */
export const CID_ATT = 0x0004;
export const CID_SIGNALLING = 0x0005;

/** Packet boundary flags of ACL data (Vol 4 Part E, 5.4.2). */
export const PB_START_NON_FLUSHABLE = 0b00;
export const PB_CONTINUING = 0b01;
export const PB_START = 0b10;

/**
 * Two octets, the lower first. Buffer's own methods check each argument by a call with an array of arguments, which is felt where it is done
 * for every packet. @throws RangeError beyond the end
 */
export function uint16(bytes: Uint8Array, at: number): number {
  if (at + 2 > bytes.length) throw new RangeError(`two octets at ${at} of ${bytes.length}`);
  return bytes[at]! | (bytes[at + 1]! << 8);
}

/** Writes two octets, the lower first, where there is room. */
export function putUint16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value & 0xff;
  bytes[at + 1] = value >> 8;
}

/** A command packet. */
export function hciCommand(opcode: number, parameters: Uint8Array = new Uint8Array()): Buffer {
  const packet = Buffer.allocUnsafe(4 + parameters.length);
  packet[0] = HCI_COMMAND;
  packet.writeUInt16LE(opcode, 1);
  packet[3] = parameters.length;
  packet.set(parameters, 4);
  return packet;
}

/** An event packet. */
export function hciEvent(code: number, parameters: Uint8Array): Buffer {
  const packet = Buffer.allocUnsafe(3 + parameters.length);
  packet[0] = HCI_EVENT;
  packet[1] = code;
  packet[2] = parameters.length;
  packet.set(parameters, 3);
  return packet;
}

/** An LE Meta event packet. */
export function leEvent(subevent: number, parameters: Uint8Array): Buffer {
  return hciEvent(EVENT.LE_META, Buffer.concat([Buffer.of(subevent), parameters]));
}

/** An ACL data packet: handle of 12 bits, packet boundary flag, payload. */
export function aclPacket(handle: number, boundary: number, payload: Uint8Array): Buffer {
  const packet = Buffer.allocUnsafe(5 + payload.length);
  writeAclHeader(packet, handle, boundary);
  packet.set(payload, 5);
  return packet;
}

function writeAclHeader(packet: Buffer, handle: number, boundary: number): void {
  packet[0] = HCI_ACL;
  putUint16(packet, 1, (handle & 0x0fff) | (boundary << 12));
  putUint16(packet, 3, packet.length - 5);
}

/** Splits an L2CAP PDU (channel and payload) into ACL packets of at most `maxBytes` of data. */
export function aclFragments(handle: number, cid: number, payload: Buffer, maxBytes: number): Buffer[] {
  const first = Buffer.allocUnsafe(9 + Math.min(payload.length, maxBytes - 4));
  writeAclHeader(first, handle, PB_START_NON_FLUSHABLE);
  putUint16(first, 5, payload.length);
  putUint16(first, 7, cid);
  payload.copy(first, 9);
  const fragments: Buffer[] = [first];
  for (let at = maxBytes - 4; at < payload.length; at += maxBytes) {
    const next = Buffer.allocUnsafe(5 + Math.min(payload.length - at, maxBytes));
    writeAclHeader(next, handle, PB_CONTINUING);
    payload.copy(next, 5, at);
    fragments.push(next);
  }
  return fragments;
}

/** Joins the ACL packets of one link into L2CAP PDUs (Vol 3 Part A, 7.2.1). Packets that fit no PDU are dropped. */
export class L2capReassembler {
  #parts: Buffer[] = [];
  #missing = 0;

  /** Takes one ACL packet; returns the PDU that it completes, if it does. */
  push(packet: Buffer): { cid: number; payload: Buffer } | null {
    const boundary = (uint16(packet, 1) >> 12) & 0b11;
    const data = packet.subarray(5);
    if (boundary === PB_CONTINUING) {
      if (this.#missing === 0) return null;
      this.#parts.push(data);
      this.#missing -= data.length;
    } else {
      if (data.length < 4) return null;
      this.#parts = [data];
      this.#missing = uint16(data, 0) + 4 - data.length;
    }
    if (this.#missing > 0) return null;
    const pdu = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
    this.#parts = [];
    const overrun = this.#missing < 0;
    this.#missing = 0;
    return overrun ? null : { cid: uint16(pdu, 2), payload: pdu.subarray(4) };
  }
}

/** `aa:bb:cc:dd:ee:ff` as the six octets HCI carries, least significant first. */
export function addressBytes(address: string): Buffer {
  return Buffer.from(address.split(':').reverse().join(''), 'hex');
}

/** Six octets, least significant first, as `aa:bb:cc:dd:ee:ff`. */
export function addressText(bytes: Uint8Array): string {
  return [...bytes]
    .reverse()
    .map((octet) => octet.toString(16).padStart(2, '0'))
    .join(':');
}
