import { cmac } from './pairing-crypto.ts';

/** ATT opcodes (Core 5.4, Vol 3 Part F, table 3.43; Zephyr's `att_internal.h`). */
export const ATT = {
  ERROR_RESPONSE: 0x01,
  MTU_REQUEST: 0x02,
  MTU_RESPONSE: 0x03,
  FIND_INFORMATION_REQUEST: 0x04,
  FIND_INFORMATION_RESPONSE: 0x05,
  READ_BY_TYPE_REQUEST: 0x08,
  READ_BY_TYPE_RESPONSE: 0x09,
  READ_REQUEST: 0x0a,
  READ_RESPONSE: 0x0b,
  READ_BLOB_REQUEST: 0x0c,
  READ_BLOB_RESPONSE: 0x0d,
  READ_BY_GROUP_REQUEST: 0x10,
  READ_BY_GROUP_RESPONSE: 0x11,
  WRITE_REQUEST: 0x12,
  WRITE_RESPONSE: 0x13,
  NOTIFICATION: 0x1b,
  INDICATION: 0x1d,
  CONFIRMATION: 0x1e,
  WRITE_COMMAND: 0x52,
} as const;

/** ATT error codes (Part F, table 3.4; Zephyr's `include/zephyr/bluetooth/att.h`). */
export const ATT_ERROR = {
  INVALID_HANDLE: 0x01,
  READ_NOT_PERMITTED: 0x02,
  WRITE_NOT_PERMITTED: 0x03,
  INVALID_PDU: 0x04,
  REQUEST_NOT_SUPPORTED: 0x06,
  INSUFFICIENT_AUTHENTICATION: 0x05,
  INVALID_OFFSET: 0x07,
  ATTRIBUTE_NOT_FOUND: 0x0a,
} as const;

/** A characteristic as a device declares it. */
export interface CharacteristicDeclaration {
  readonly uuid: string;
  readonly properties: readonly ('read' | 'write' | 'writeWithoutResponse' | 'notify' | 'indicate')[];
  /** The value; null leaves the request unanswered, as a device that hangs does. */
  readonly read?: () => Buffer | null;
  /** Returns an ATT error code to refuse a write with response. */
  readonly write?: (value: Buffer) => number | void;
}

/** A primary service as a device declares it. */
export interface ServiceDeclaration {
  readonly uuid: string;
  readonly characteristics: readonly CharacteristicDeclaration[];
  /** The ATT error by which values and configurations are refused now; null where they may be touched. */
  readonly refuses?: () => number | null;
}

interface Attribute {
  readonly handle: number;
  readonly type: Buffer;
  readonly groupEnd: number;
  read?: () => Buffer | null;
  write?: (value: Buffer) => number | void;
  refuses?: () => number | null;
}

const PROPERTY = { read: 0x02, writeWithoutResponse: 0x04, write: 0x08, notify: 0x10, indicate: 0x20 };
const PRIMARY_SERVICE = Buffer.of(0x00, 0x28);
const CHARACTERISTIC = Buffer.of(0x03, 0x28);
const CLIENT_CONFIGURATION = Buffer.of(0x02, 0x29);
/** Bit 6 of an opcode: a command, which is never answered (Part F, 3.3.1). */
const COMMAND_FLAG = 0x40;
/** The fewest octets of what is served, by opcode. */
const LEAST_OCTETS: Readonly<Record<number, number>> = {
  [ATT.MTU_REQUEST]: 3,
  [ATT.FIND_INFORMATION_REQUEST]: 5,
  [ATT.READ_BY_TYPE_REQUEST]: 7,
  [ATT.READ_REQUEST]: 3,
  [ATT.READ_BLOB_REQUEST]: 5,
  [ATT.READ_BY_GROUP_REQUEST]: 7,
  [ATT.WRITE_REQUEST]: 3,
  [ATT.WRITE_COMMAND]: 3,
};

/** A UUID as ATT carries it: 2 or 16 octets, least significant first. */
export function uuidBytes(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex').reverse();
}

/** The server's side of one link, over a fixed attribute table (Core 5.4, Vol 3 Parts F and G). Pure: PDUs in, PDUs out. */
export class AttServer {
  readonly #attributes: Attribute[] = [];
  readonly #values = new Map<string, number>();
  readonly #configurations = new Map<string, number>();
  readonly #maxMtu: number;
  mtu = 23;

  constructor(services: readonly ServiceDeclaration[], maxMtu: number) {
    this.#maxMtu = maxMtu;
    for (const service of services) this.#addService(service);
  }

  /** The database hash as it is read (Part G, 7.3.1): declarations with their values, descriptors without, least significant octet first. */
  databaseHash(): Buffer {
    const parts = this.#attributes.map(({ handle, type, read }) => {
      const head = Buffer.concat([Buffer.of(handle & 0xff, handle >> 8), type]);
      if (type.equals(CLIENT_CONFIGURATION)) return head;
      const isDeclaration = type.equals(PRIMARY_SERVICE) || type.equals(CHARACTERISTIC);
      return isDeclaration ? Buffer.concat([head, read?.() ?? Buffer.alloc(0)]) : Buffer.alloc(0);
    });
    return cmac(Buffer.alloc(16), Buffer.concat(parts)).reverse();
  }

  /** The value handle of a characteristic. */
  valueHandle(uuid: string): number {
    return this.#values.get(uuid) ?? 0;
  }

  /** Bit 0: notifications enabled, bit 1: indications. */
  configuration(uuid: string): number {
    return this.#configurations.get(uuid) ?? 0;
  }

  /** A notification or indication of a characteristic's value, cut to the MTU. */
  notification(uuid: string, value: Uint8Array, opcode: number = ATT.NOTIFICATION): Buffer {
    const handle = this.valueHandle(uuid);
    const head = Buffer.of(opcode, handle & 0xff, handle >> 8);
    return Buffer.concat([head, value.subarray(0, this.mtu - 3)]);
  }

  /** Takes a request or command; returns the answer, null where none is due. */
  handle(pdu: Buffer): Buffer | null {
    const opcode = pdu[0] ?? 0;
    const isCommand = (opcode & COMMAND_FLAG) !== 0;
    if (pdu.length < (LEAST_OCTETS[opcode] ?? 1)) return isCommand ? null : error(opcode, 0, ATT_ERROR.INVALID_PDU);
    switch (pdu[0]) {
      case ATT.MTU_REQUEST:
        this.mtu = Math.max(23, Math.min(pdu.readUInt16LE(1), this.#maxMtu));
        return Buffer.of(ATT.MTU_RESPONSE, this.#maxMtu & 0xff, this.#maxMtu >> 8);
      case ATT.READ_BY_GROUP_REQUEST:
        return this.#readByType(pdu, ATT.READ_BY_GROUP_RESPONSE, true);
      case ATT.READ_BY_TYPE_REQUEST:
        return this.#readByType(pdu, ATT.READ_BY_TYPE_RESPONSE, false);
      case ATT.FIND_INFORMATION_REQUEST:
        return this.#findInformation(pdu);
      case ATT.READ_REQUEST:
        return this.#read(pdu, 0, ATT.READ_RESPONSE);
      case ATT.READ_BLOB_REQUEST:
        return this.#read(pdu, pdu.readUInt16LE(3), ATT.READ_BLOB_RESPONSE);
      case ATT.WRITE_REQUEST: {
        const refusal = this.#write(pdu);
        return refusal === 0 ? Buffer.of(ATT.WRITE_RESPONSE) : error(pdu[0], pdu.readUInt16LE(1), refusal);
      }
      case ATT.WRITE_COMMAND:
        this.#write(pdu);
        return null;
      case ATT.CONFIRMATION:
        return null;
      default:
        return isCommand ? null : error(opcode, 0, ATT_ERROR.REQUEST_NOT_SUPPORTED);
    }
  }

  #addService(service: ServiceDeclaration): void {
    const start = this.#attributes.length + 1;
    const members: Omit<Attribute, 'groupEnd'>[] = [];
    let handle = start;
    const { refuses } = service;
    const add = (type: Buffer, access: Pick<Attribute, 'read' | 'write' | 'refuses'>) => {
      members.push({ handle: handle++, type, ...access });
    };
    add(PRIMARY_SERVICE, { read: () => uuidBytes(service.uuid) });
    for (const characteristic of service.characteristics) {
      const bits = characteristic.properties.reduce((sum, property) => sum | PROPERTY[property], 0);
      const valueHandle = handle + 1;
      const declaration = Buffer.concat([
        Buffer.of(bits, valueHandle & 0xff, valueHandle >> 8),
        uuidBytes(characteristic.uuid),
      ]);
      add(CHARACTERISTIC, { read: () => declaration });
      const { read, write } = characteristic;
      add(uuidBytes(characteristic.uuid), {
        ...(read && { read }),
        ...(write && { write }),
        ...(refuses && { refuses }),
      });
      this.#values.set(characteristic.uuid, valueHandle);
      if (bits & (PROPERTY.notify | PROPERTY.indicate)) {
        add(CLIENT_CONFIGURATION, {
          read: () => Buffer.of(this.configuration(characteristic.uuid), 0),
          write: (value) => void this.#configurations.set(characteristic.uuid, value[0] ?? 0),
          ...(refuses && { refuses }),
        });
      }
    }
    for (const member of members) this.#attributes.push({ ...member, groupEnd: handle - 1 });
  }

  #inRange(pdu: Buffer): Attribute[] {
    const start = pdu.readUInt16LE(1);
    const end = pdu.readUInt16LE(3);
    return this.#attributes.filter((attribute) => attribute.handle >= start && attribute.handle <= end);
  }

  #readByType(pdu: Buffer, response: number, grouped: boolean): Buffer {
    if (!isRange(pdu)) return error(pdu[0]!, pdu.readUInt16LE(1), ATT_ERROR.INVALID_HANDLE);
    const type = pdu.subarray(5);
    const items: Buffer[] = [];
    for (const attribute of this.#inRange(pdu)) {
      if (!attribute.type.equals(type) || !attribute.read) continue;
      const head = Buffer.alloc(grouped ? 4 : 2);
      head.writeUInt16LE(attribute.handle, 0);
      if (grouped) head.writeUInt16LE(attribute.groupEnd, 2);
      const item = Buffer.concat([head, attribute.read() ?? Buffer.alloc(0)]).subarray(0, this.mtu - 2);
      const used = 2 + items.reduce((sum, each) => sum + each.length, 0);
      if (items.length > 0 && (item.length !== items[0]!.length || used + item.length > this.mtu)) break;
      items.push(item);
    }
    const first = items[0];
    if (!first) return error(pdu[0]!, pdu.readUInt16LE(1), ATT_ERROR.ATTRIBUTE_NOT_FOUND);
    return Buffer.concat([Buffer.of(response, first.length), ...items]);
  }

  #findInformation(pdu: Buffer): Buffer {
    if (!isRange(pdu)) return error(pdu[0]!, pdu.readUInt16LE(1), ATT_ERROR.INVALID_HANDLE);
    const found = this.#inRange(pdu);
    const width = found[0]?.type.length;
    if (!width) return error(pdu[0]!, pdu.readUInt16LE(1), ATT_ERROR.ATTRIBUTE_NOT_FOUND);
    const fitting = Math.floor((this.mtu - 2) / (2 + width));
    const run = found.slice(0, fitting);
    const differs = run.findIndex((attribute) => attribute.type.length !== width);
    const items = (differs < 0 ? run : run.slice(0, differs)).map(({ handle, type }) =>
      Buffer.concat([Buffer.of(handle & 0xff, handle >> 8), type]),
    );
    return Buffer.concat([Buffer.of(ATT.FIND_INFORMATION_RESPONSE, width === 2 ? 1 : 2), ...items]);
  }

  #read(pdu: Buffer, offset: number, response: number): Buffer | null {
    const handle = pdu.readUInt16LE(1);
    const attribute = this.#attributes[handle - 1];
    if (!attribute) return error(pdu[0]!, handle, ATT_ERROR.INVALID_HANDLE);
    if (!attribute.read) return error(pdu[0]!, handle, ATT_ERROR.READ_NOT_PERMITTED);
    const refusal = attribute.refuses?.() ?? null;
    if (refusal !== null) return error(pdu[0]!, handle, refusal);
    const value = attribute.read();
    if (value === null) return null;
    if (offset > value.length) return error(pdu[0]!, handle, ATT_ERROR.INVALID_OFFSET);
    return Buffer.concat([Buffer.of(response), value.subarray(offset, offset + this.mtu - 1)]);
  }

  #write(pdu: Buffer): number {
    const attribute = this.#attributes[pdu.readUInt16LE(1) - 1];
    if (!attribute) return ATT_ERROR.INVALID_HANDLE;
    if (!attribute.write) return ATT_ERROR.WRITE_NOT_PERMITTED;
    const refusal = attribute.refuses?.() ?? null;
    if (refusal !== null) return refusal;
    return attribute.write(pdu.subarray(3)) ?? 0;
  }
}

/** Whether a request's handles are a range: from 1 on, the last not before the first. */
function isRange(pdu: Buffer): boolean {
  return pdu.readUInt16LE(1) > 0 && pdu.readUInt16LE(3) >= pdu.readUInt16LE(1);
}

function error(opcode: number, handle: number, code: number): Buffer {
  return Buffer.of(ATT.ERROR_RESPONSE, opcode, handle & 0xff, handle >> 8, code);
}
