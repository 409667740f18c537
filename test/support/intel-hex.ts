/** One Intel HEX record: length, address, type, data, checksum. */
export function hexRecord(type: number, address: number, data: Buffer): string {
  const body = Buffer.concat([Buffer.of(data.length, address >> 8, address & 0xff, type), data]);
  const sum = body.reduce((total, octet) => total + octet, 0);
  return `:${Buffer.concat([body, Buffer.of(-sum & 0xff)])
    .toString('hex')
    .toUpperCase()}`;
}

/** The records of bytes at an address, without an end record: type 04 for the upper half of the address. */
export function hexRecords(bytes: Buffer, base = 0): string[] {
  const lines: string[] = [];
  let upper = -1;
  for (let at = 0; at < bytes.length; ) {
    const address = base + at;
    if (address >>> 16 !== upper) {
      upper = address >>> 16;
      lines.push(hexRecord(4, 0, Buffer.of(upper >> 8, upper & 0xff)));
    }
    const count = Math.min(16, bytes.length - at, 0x10000 - (address & 0xffff));
    lines.push(hexRecord(0, address & 0xffff, bytes.subarray(at, at + count)));
    at += count;
  }
  return lines;
}

/** The end record. */
export const HEX_END = ':00000001FF';
