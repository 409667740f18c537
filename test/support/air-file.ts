import type { CapturedPacket } from '../../src/radio/radio.ts';

const ACCESS_ADDRESS = 0x5065_1a2b;
const HCI_ACL = 0x02;

/**
 * What a sniffer would have saved of a link whose HCI capture we have, as pcapng of link type 256 (pseudo-header) or 272 (nRF Sniffer):
 * every data packet, each third one repeated as if its acknowledgement had been lost, and one with a wrong CRC in between.
 */
export function airFile(packets: readonly CapturedPacket[], linkType: number, { encrypted = false } = {}): Buffer {
  const sequence = { central: 1, peripheral: 1 };
  const frames = packets
    .filter(({ packet }) => packet[0] === HCI_ACL)
    .flatMap(({ packet, received, timeUs }, index) => {
      const sender = received ? 'peripheral' : 'central';
      sequence[sender] ^= 1;
      const continues = ((packet.readUInt16LE(1) >> 12) & 3) === 1;
      const payload = packet.subarray(5);
      const header = Buffer.of((continues ? 1 : 2) | (sequence[sender] << 3), payload.length);
      const address = Buffer.alloc(4);
      address.writeUInt32LE(ACCESS_ADDRESS);
      const inAir = Buffer.concat([address, header, payload, Buffer.alloc(3)]);
      const saved = (crcOk: boolean) => ({ timeUs, bytes: wrapped(linkType, inAir, !received, crcOk, encrypted) });
      return [...(index % 5 === 0 ? [saved(false)] : []), saved(true), ...(index % 3 === 0 ? [saved(true)] : [])];
    });
  return Buffer.concat([
    block(0x0a0d0d0a, Buffer.from('4d3c2b1a01000000ffffffffffffffff', 'hex')),
    block(1, Buffer.from([linkType & 0xff, linkType >> 8, 0, 0, 0, 0, 0, 0])),
    ...frames.map(({ timeUs, bytes }) => {
      const head = Buffer.alloc(20);
      head.writeUInt32LE(Math.floor(timeUs / 2 ** 32), 4);
      head.writeUInt32LE(timeUs % 2 ** 32, 8);
      head.writeUInt32LE(bytes.length, 12);
      head.writeUInt32LE(bytes.length, 16);
      return block(6, Buffer.concat([head, bytes]));
    }),
  ]);
}

function wrapped(linkType: number, packet: Buffer, fromCentral: boolean, crcOk: boolean, encrypted: boolean): Buffer {
  if (linkType === 256) {
    const head = Buffer.alloc(10);
    packet.copy(head, 4, 0, 4);
    const type = (fromCentral ? 2 : 3) << 7;
    head.writeUInt16LE(0x0001 | 0x0010 | type | 0x0400 | (crcOk ? 0x0800 : 0) | (encrypted ? 0x0008 : 0), 8);
    return Buffer.concat([head, packet]);
  }
  const flags = (crcOk ? 1 : 0) | (fromCentral ? 2 : 0) | (encrypted ? 4 : 0);
  const event = Buffer.from([10, flags, 5, 60, 0, 0, 0, 0, 0, 0]);
  const head = Buffer.from([1, 0, 0, 3, 0, 0, 6]);
  head.writeUInt16LE(event.length + packet.length, 1);
  return Buffer.concat([head, event, packet]);
}

function block(type: number, body: Buffer): Buffer {
  const padded = Buffer.concat([body, Buffer.alloc((4 - (body.length % 4)) % 4)]);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(padded.length + 12, 4);
  return Buffer.concat([head, padded, head.subarray(4)]);
}
