import { EVENT_CODE, SUBEVENT } from '../hci/codes.ts';
import { H4 } from '../hci/packet.ts';

/**
 * The little of ATT that a recording is read by and answered with. Sources: Bluetooth Core 5.4, Vol 3 Part F (3.4); the same values in Zephyr
 * `subsys/bluetooth/host/att_internal.h` and in BlueZ `src/shared/att-types.h`.
 */
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

/** A handle as two octets. */
export const handleBytes = (handle: number): Buffer => Buffer.of(handle & 0xff, handle >> 8);

/** An L2CAP PDU as ACL packets of at most `octets` of data, from the controller. */
export function aclPackets(handle: number, cid: number, payload: Buffer, octets: number): Buffer[] {
  const pdu = Buffer.concat([handleBytes(payload.length), handleBytes(cid), payload]);
  const packets: Buffer[] = [];
  for (let at = 0; at < pdu.length; at += octets) {
    const data = pdu.subarray(at, at + octets);
    const flags = at === 0 ? 0x20 : 0x10;
    const head = Buffer.of(H4.acl, handle & 0xff, (handle >> 8) | flags, data.length & 0xff, data.length >> 8);
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
    [EVENT_CODE.disconnectionComplete]: 4,
    [EVENT_CODE.encryptionChange]: 4,
    [EVENT_CODE.readRemoteVersionInformationComplete]: 4,
    [EVENT_CODE.encryptionKeyRefreshComplete]: 4,
  };
  const subevents: Readonly<Record<number, number>> = {
    [SUBEVENT.connectionComplete]: 5,
    [SUBEVENT.enhancedConnectionComplete]: 5,
    [SUBEVENT.connectionUpdateComplete]: 5,
    [SUBEVENT.readRemoteFeaturesComplete]: 5,
    [SUBEVENT.phyUpdateComplete]: 5,
    [SUBEVENT.longTermKeyRequest]: 4,
    [SUBEVENT.remoteConnectionParameterRequest]: 4,
    [SUBEVENT.dataLengthChange]: 4,
  };
  if (packet[0] !== H4.event) return null;
  const at = packet[1] === EVENT_CODE.leMeta ? subevents[packet[3] ?? 0] : codes[packet[1] ?? 0];
  return at !== undefined && packet.length >= at + 2 ? at : null;
}

/** Whether it is the end of a connection attempt, one way or the other. */
export function isConnectionComplete(packet: Buffer): boolean {
  if (packet[0] !== H4.event || packet[1] !== EVENT_CODE.leMeta || packet.length < 15) return false;
  return packet[3] === SUBEVENT.connectionComplete || packet[3] === SUBEVENT.enhancedConnectionComplete;
}
