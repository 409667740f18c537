import { StationError } from '../contract/errors.ts';
import type { CapturedPacket } from '../radio/radio.ts';

/**
 * Link types of air captures (tcpdump.org/linktypes): LINKTYPE_BLUETOOTH_LE_LL_WITH_PHDR and LINKTYPE_NORDIC_BLE. Both say which side
 * sent a packet. LINKTYPE_BLUETOOTH_LE_LL (251) does not, and is not read.
 */
export const LINKTYPE_LE_LL_WITH_PHDR = 256;
export const LINKTYPE_NORDIC_BLE = 272;

const PHDR_BYTES = 10;
const PHDR_DECRYPTED = 0x0008;
const PHDR_DATA_TO_PERIPHERAL = 2;
const PHDR_DATA_TO_CENTRAL = 3;
const PHDR_CRC_CHECKED = 0x0400;
const PHDR_CRC_VALID = 0x0800;

const NORDIC_DATA_PACKET = 0x06;
const NORDIC_PROTOCOL_3 = 3;
const NORDIC_HEADER_BYTES = 7;
const NORDIC_CRC_OK = 0x01;
const NORDIC_FROM_CENTRAL = 0x02;
const NORDIC_ENCRYPTED = 0x04;

const ADVERTISING_ACCESS_ADDRESS = 0x8e89bed6;
const LL_START = 2;
const LL_CONTINUATION = 1;
const LL_CONTROL = 3;
const LL_START_ENC_RSP = 0x06;
const HCI_ACL = 0x02;

/** One link-layer packet of a connection (Core 5.4, Vol 6 Part B, 2.4): header and payload, without CRC. */
interface AirPacket {
  readonly accessAddress: number;
  readonly fromCentral: boolean;
  readonly pdu: Buffer;
  readonly encrypted: boolean;
}

/**
 * A capture of the air as the device's own host would have captured it: what the device sent is sent, what it got is received. Packets
 * with a wrong CRC and repeats (same SN) are left out. Of several connections the one with the most packets is taken.
 * @throws StationError CAPTURE_ENCRYPTED when its data are
 */
export function airAsDeviceCapture(
  frames: readonly { readonly linkType: number; readonly timeUs: number; readonly bytes: Buffer }[],
): CapturedPacket[] {
  const seen = frames.flatMap(({ linkType, timeUs, bytes }) => {
    const packet = linkType === LINKTYPE_NORDIC_BLE ? nordic(bytes) : withPseudoHeader(bytes);
    return packet ? [{ ...packet, timeUs }] : [];
  });
  const counts = Map.groupBy(seen, ({ accessAddress }) => accessAddress);
  const connection = [...counts.values()].toSorted((a, b) => b.length - a.length)[0] ?? [];
  const lastSequence: Record<'central' | 'peripheral', number | null> = { central: null, peripheral: null };
  const packets: CapturedPacket[] = [];
  let encrypted = false;
  for (const { fromCentral, pdu, encrypted: marked, timeUs } of connection) {
    const [header = 0, length = 0] = pdu;
    const sender = fromCentral ? 'central' : 'peripheral';
    const sequence = (header >> 3) & 1;
    const repeat = lastSequence[sender] === sequence;
    lastSequence[sender] = sequence;
    const payload = pdu.subarray(2, 2 + length);
    if (repeat || payload.length === 0) continue;
    const kind = header & 0x3;
    if (kind === LL_CONTROL) encrypted ||= payload[0] === LL_START_ENC_RSP;
    if (kind !== LL_START && kind !== LL_CONTINUATION) continue;
    if (marked || encrypted) throw new StationError('CAPTURE_ENCRYPTED', `after ${packets.length} packets of data`);
    const head = Buffer.alloc(5);
    head[0] = HCI_ACL;
    head.writeUInt16LE(kind === LL_CONTINUATION ? 0x1000 : fromCentral ? 0x2000 : 0x0000, 1);
    head.writeUInt16LE(payload.length, 3);
    packets.push({ number: packets.length, timeUs, received: fromCentral, packet: Buffer.concat([head, payload]) });
  }
  return packets;
}

function withPseudoHeader(bytes: Buffer): AirPacket | null {
  if (bytes.length < PHDR_BYTES + 4 + 2) return null;
  const flags = bytes.readUInt16LE(8);
  const type = (flags >> 7) & 0x7;
  if (type !== PHDR_DATA_TO_PERIPHERAL && type !== PHDR_DATA_TO_CENTRAL) return null;
  if (flags & PHDR_CRC_CHECKED && !(flags & PHDR_CRC_VALID)) return null;
  const packet = linkLayer(bytes.subarray(PHDR_BYTES));
  // Decrypted by the sniffer: then what control packets say about encryption does not matter, but the MIC may still be there.
  return (
    packet && { ...packet, fromCentral: type === PHDR_DATA_TO_PERIPHERAL, encrypted: (flags & PHDR_DECRYPTED) !== 0 }
  );
}

/** nRF Sniffer: board, length, protocol version, packet counter, packet id; then length, then flags, channel, RSSI, event counter, time; the packet stands behind. */
function nordic(bytes: Buffer): AirPacket | null {
  if (bytes[NORDIC_HEADER_BYTES - 1] !== NORDIC_DATA_PACKET) return null;
  const version = bytes[3] ?? 0;
  const data = bytes.subarray(NORDIC_HEADER_BYTES);
  const length = data[0] ?? 0;
  const flags = data[1] ?? 0;
  if (length < 2 || !(flags & NORDIC_CRC_OK)) return null;
  const packet = linkLayer(data.subarray(length));
  const coded = version >= NORDIC_PROTOCOL_3 && ((flags >> 4) & 0x7) === 2;
  return packet && !coded
    ? { ...packet, fromCentral: (flags & NORDIC_FROM_CENTRAL) !== 0, encrypted: (flags & NORDIC_ENCRYPTED) !== 0 }
    : null;
}

function linkLayer(bytes: Buffer): Pick<AirPacket, 'accessAddress' | 'pdu'> | null {
  if (bytes.length < 6) return null;
  const accessAddress = bytes.readUInt32LE(0);
  const pdu = bytes.subarray(4);
  const whole = pdu.length >= 2 + (pdu[1] ?? 0);
  return accessAddress === ADVERTISING_ACCESS_ADDRESS || !whole ? null : { accessAddress, pdu };
}
