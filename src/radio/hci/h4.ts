import { HCI_ACL, HCI_COMMAND, HCI_EVENT, uint16 } from './packets.ts';

const SCO = 0x03;
const ISO = 0x05;
const NOTHING: Buffer = Buffer.alloc(0);

/**
 * Cuts a byte stream into HCI packets, each with its H4 type octet (Core 5.4, Vol 4 Part A). A type octet that does not exist means
 * that the stream is out of step: `push` throws a RangeError, and the transport has to be closed.
 */
export class H4Deframer {
  #rest = NOTHING;

  /** Takes a chunk and returns the packets it completes. */
  push(chunk: Buffer): Buffer[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = NOTHING;
    // What comes is nearly always one whole packet.
    if (packetLength(bytes, 0) === bytes.length) return [bytes];
    const packets: Buffer[] = [];
    let at = 0;
    for (;;) {
      const length = packetLength(bytes, at);
      if (length === null || at + length > bytes.length) break;
      packets.push(bytes.subarray(at, at + length));
      at += length;
    }
    if (at < bytes.length) this.#rest = bytes.subarray(at);
    return packets;
  }
}

function packetLength(bytes: Buffer, at: number): number | null {
  const left = bytes.length - at;
  if (left < 1) return null;
  switch (bytes[at]) {
    case HCI_COMMAND:
    case SCO:
      return left < 4 ? null : 4 + bytes[at + 3]!;
    case HCI_ACL:
      return left < 5 ? null : 5 + uint16(bytes, at + 3);
    case ISO:
      return left < 5 ? null : 5 + (bytes.readUInt16LE(at + 3) & 0x3fff);
    case HCI_EVENT:
      return left < 3 ? null : 3 + bytes[at + 2]!;
    default:
      throw new RangeError(`H4 stream out of step: packet type 0x${bytes[at]!.toString(16)}`);
  }
}
