import { type ByteOrder, numbersIn } from './byte-order.ts';
import {
  type CaptureFrame,
  type CaptureFrames,
  directedH4,
  H4_ACL,
  H4_COMMAND,
  H4_EVENT,
  H4_ISO,
  H4_SCO,
  LINKTYPE_H4_WITH_DIRECTION,
} from './capture-frame.ts';

/**
 * Apple's PacketLogger (.pklg): records of length, seconds, microseconds and a type octet, then the packet; the length counts all behind
 * itself. Either byte order (Wireshark, wiretap/packetlogger.c; BlueZ, src/shared/btsnoop.c).
 */
const HEAD_BYTES = 13;
const LENGTH_BYTES = 4;
const MOST_BYTES = 0xffff;
const FIRST_RECORDS = 4;

const hciTypes = new Map<number, readonly [type: number, received: boolean]>([
  [0x00, [H4_COMMAND, false]],
  [0x01, [H4_EVENT, true]],
  [0x02, [H4_ACL, false]],
  [0x03, [H4_ACL, true]],
  [0x08, [H4_SCO, false]],
  [0x09, [H4_SCO, true]],
  [0x12, [H4_ISO, false]],
  [0x13, [H4_ISO, true]],
]);
/** Link manager packets and all that PacketLogger itself has to say. */
const otherTypes = new Set([0x0a, 0x0b, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe]);

/** The format has no magic: its first records must each make sense. */
function orderOf(file: Buffer): ByteOrder | null {
  const fits = (order: ByteOrder) => {
    let at = 0;
    for (let record = 0; record < FIRST_RECORDS && (record === 0 || at + HEAD_BYTES <= file.length); record++) {
      if (!isRecord(file, at, order)) return false;
      at += LENGTH_BYTES + numbersIn(order).u32(file, at);
    }
    return true;
  };
  return (['big', 'little'] as const).find(fits) ?? null;
}

function isRecord(file: Buffer, at: number, order: ByteOrder): boolean {
  if (at + HEAD_BYTES > file.length) return false;
  const { u32 } = numbersIn(order);
  const length = u32(file, at);
  const type = file[at + HEAD_BYTES - 1] ?? 0;
  const known = hciTypes.has(type) || otherTypes.has(type);
  return known && length >= HEAD_BYTES - LENGTH_BYTES && length <= MOST_BYTES && u32(file, at + 8) < 1e6;
}

export function isPacketLogger(file: Buffer): boolean {
  return orderOf(file) !== null;
}

/** Reads a PacketLogger file; what is no HCI packet is left out. */
export function readPacketLogger(file: Buffer): CaptureFrames {
  const order = orderOf(file) ?? 'big';
  const { u32 } = numbersIn(order);
  const frames: CaptureFrame[] = [];
  let number = 0;
  for (let at = 0; at < file.length; number++) {
    const end = at + HEAD_BYTES <= file.length ? at + LENGTH_BYTES + u32(file, at) : 0;
    if (end < at + HEAD_BYTES || end > file.length) return { frames, cut: true, missing: 0 };
    const hci = hciTypes.get(file[at + HEAD_BYTES - 1] ?? 0);
    if (hci) {
      const [type, received] = hci;
      frames.push({
        number,
        linkType: LINKTYPE_H4_WITH_DIRECTION,
        source: 'packet logger',
        timeUs: u32(file, at + 4) * 1e6 + u32(file, at + 8),
        bytes: directedH4(type, received, file.subarray(at + HEAD_BYTES, end)),
      });
    }
    at = end;
  }
  return { frames, cut: false, missing: 0 };
}
