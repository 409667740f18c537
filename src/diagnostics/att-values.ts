import type { CapturedPacket } from '../radio/radio.ts';

const HCI_ACL = 0x02;
const CID_ATT = 4;
const READ_BY_TYPE_REQUEST = 0x08;
const READ_BY_TYPE_RESPONSE = 0x09;
const NOTIFICATION = 0x1b;
const INDICATION = 0x1d;
const CHARACTERISTIC = 0x2803;

/** One value that a device sent by itself, as the controller delivered it. */
export interface AttValue {
  /** The characteristic, in its usual spelling; null when its discovery is not in the capture. */
  readonly uuid: string | null;
  readonly value: Buffer;
  readonly timeUs: number;
  /** The number of the packet that completed it. */
  readonly packet: number;
}

/**
 * The values that a device sent by itself, in the order in which the controller delivered them (Core 5.4, Vol 3 Parts A, F and G).
 * Characteristics are known by the discovery that stands in the same capture. `side` says at which end it was taken: a device sends what
 * a central receives.
 */
export function attValues(packets: readonly CapturedPacket[], side: 'central' | 'peripheral' = 'central'): AttValue[] {
  const uuids = new Map<number, string>();
  const values: AttValue[] = [];
  // Each connection is put together by itself: a device may be talking to several, and no event says for sure when a handle is another's.
  const partial = new Map<string, Buffer>();
  const asksCharacteristics = new Map<number, boolean>();
  for (const { packet, received: toHost, timeUs, number } of packets) {
    const received = toHost === (side === 'central');
    if (packet[0] !== HCI_ACL || packet.length < 5) continue;
    const handle = packet.readUInt16LE(1) & 0xfff;
    const way = `${handle} ${received}`;
    const continues = ((packet.readUInt16LE(1) >> 12) & 0x3) === 1;
    const before = continues ? partial.get(way) : Buffer.alloc(0);
    if (!before) continue;
    const frame = Buffer.concat([before, packet.subarray(5)]);
    const pdu = wholePdu(frame);
    if (pdu) partial.delete(way);
    else partial.set(way, frame);
    if (!pdu) continue;
    if (!received) {
      if (pdu[0] === READ_BY_TYPE_REQUEST)
        asksCharacteristics.set(handle, pdu.length === 7 && pdu.readUInt16LE(5) === CHARACTERISTIC);
      continue;
    }
    if (pdu[0] === READ_BY_TYPE_RESPONSE && asksCharacteristics.get(handle)) learn(pdu, uuids);
    if ((pdu[0] === NOTIFICATION || pdu[0] === INDICATION) && pdu.length >= 3) {
      values.push({ uuid: uuids.get(pdu.readUInt16LE(1)) ?? null, value: pdu.subarray(3), timeUs, packet: number });
    }
  }
  return values;
}

/** The ATT PDU in a reassembled L2CAP frame; null while it is not whole, or of another channel. */
function wholePdu(frame: Buffer): Buffer | null {
  if (frame.length < 4 || frame.length < 4 + frame.readUInt16LE(0)) return null;
  return frame.readUInt16LE(2) === CID_ATT ? frame.subarray(4, 4 + frame.readUInt16LE(0)) : null;
}

/** Characteristic declarations: handle, properties, value handle, UUID. */
function learn(pdu: Buffer, uuids: Map<number, string>): void {
  const length = pdu[1] ?? 0;
  if (length !== 7 && length !== 21) return;
  for (let at = 2; at + length <= pdu.length; at += length) {
    uuids.set(pdu.readUInt16LE(at + 3), usualUuid(pdu.subarray(at + 5, at + length)));
  }
}

function usualUuid(littleEndian: Buffer): string {
  const text = Buffer.from(littleEndian).reverse().toString('hex');
  if (text.length === 4) return text;
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join('-');
}
