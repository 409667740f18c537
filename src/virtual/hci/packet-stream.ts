import { H4 } from './packet.ts';

/** Where a packet says how long it is (Core 5.4, Vol 4 Part E, 5.4): octets before its data, and how its length is read. */
const SHAPES: Readonly<Record<number, { readonly header: number; readonly data: (bytes: Buffer) => number }>> = {
  [H4.command]: { header: 4, data: (bytes) => bytes[3]! },
  [H4.acl]: { header: 5, data: (bytes) => bytes.readUInt16LE(3) },
  [H4.sco]: { header: 4, data: (bytes) => bytes[3]! },
  [H4.event]: { header: 3, data: (bytes) => bytes[2]! },
  [H4.iso]: { header: 5, data: (bytes) => bytes.readUInt16LE(3) & 0x3fff },
};

/** Cuts what comes over a stream into HCI packets, each with its type octet before it. */
export class PacketStream {
  #rest: Buffer = Buffer.alloc(0);

  /** Takes a chunk and returns the packets that are whole. @throws RangeError at a type octet that does not exist */
  push(chunk: Buffer): Buffer[] {
    let rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const packets: Buffer[] = [];
    while (rest.length > 0) {
      const shape = SHAPES[rest[0]!];
      if (!shape) throw new RangeError(`no HCI packet begins with 0x${rest[0]!.toString(16)}`);
      if (rest.length < shape.header) break;
      const end = shape.header + shape.data(rest);
      if (rest.length < end) break;
      packets.push(rest.subarray(0, end));
      rest = rest.subarray(end);
    }
    this.#rest = rest;
    return packets;
  }
}
