import { createHash } from 'node:crypto';

const HASH_TLV = { sha256: '1000', sha384: '1100', sha512: '1200' };

/** A small image of MCUboot's format (`docs/design.md`, "Image format"), octet by octet, with its hash. */
export function rawImage({
  version = [1, 0, 0] as readonly number[],
  kind = 'sha256' as keyof typeof HASH_TLV,
  fill = 0x5a,
  bytes = 2000,
} = {}) {
  const head = Buffer.from('3db8f3960000000020000000', 'hex');
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes);
  const versionOctets = Buffer.from([version[0]!, version[1]!, version[2]! & 0xff, version[2]! >> 8, 0, 0, 0, 0]);
  const hashed = Buffer.concat([
    head,
    length,
    Buffer.alloc(4),
    versionOctets,
    Buffer.alloc(4),
    Buffer.alloc(bytes, fill),
  ]);
  const hash = createHash(kind).update(hashed).digest();
  const total = Buffer.of(hash.length + 8, 0);
  const tlvs = Buffer.concat([
    Buffer.from('0769', 'hex'),
    total,
    Buffer.from(HASH_TLV[kind], 'hex'),
    Buffer.of(hash.length, 0),
    hash,
  ]);
  return { image: Buffer.concat([hashed, tlvs]), hash: hash.toString('hex') };
}
