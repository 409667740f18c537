import { createHash } from 'node:crypto';

/**
 * What a bootloader and an SMP server read of an image: header, TLVs, hash. Sources: MCUboot `docs/design.md` ("Image format"),
 * `bootutil/image.h`, and imgtool's `image.py`, which writes them.
 */
const MAGIC = 0x96f3b83d;
const HEADER_BYTES = 32;
const TLV_INFO = 0x6907;
const PROTECTED_TLV_INFO = 0x6908;
const HASH_TLVS = { sha256: 0x10, sha384: 0x11, sha512: 0x12 } as const;
const TLV_DECOMPRESSED_HASH = 0x71;
const FLAG_ENCRYPTED = 0x04 | 0x08;
const FLAG_COMPRESSED = 0x200 | 0x400;
const HEADER_OF_OWN_IMAGES = 512;
const OWN_PAYLOAD_BYTES = 8192;

/** A hash that an image can carry. */
export type HashKind = keyof typeof HASH_TLVS;

/** An image as it stands in a slot, unchecked. */
export interface SlotImage {
  /** As a server prints it: `major.minor.revision`, and `.build` unless that is 0 (`img_mgmt_ver_str`). */
  readonly version: string;
  /** The 8 octets of the version in the header. */
  readonly versionOctets: Buffer;
  readonly hash: Buffer;
  readonly kind: HashKind;
  readonly encrypted: boolean;
  readonly compressed: boolean;
  /** The hash of what comes of a compressed image. */
  readonly decompressedHash: Buffer | null;
  /** Header, body and protected TLVs: what the hash is over. */
  readonly hashed: Buffer;
}

/** Octets of the image's header, as a server demands them in the first piece. */
export const IMAGE_HEADER_BYTES = HEADER_BYTES;

/** Whether these octets begin as an image does. */
export function beginsAsImage(bytes: Buffer): boolean {
  return bytes.length >= 4 && bytes.readUInt32LE(0) === MAGIC;
}

/** The image at the beginning of a slot; null where header or hash TLV are not there, or it has another hash than the kind asked for. */
export function readImage(bytes: Buffer, kind: HashKind | 'any' = 'any'): SlotImage | null {
  if (bytes.length < HEADER_BYTES || !beginsAsImage(bytes)) return null;
  const bodyEnd = bytes.readUInt16LE(8) + bytes.readUInt32LE(12);
  const hashedEnd = bodyEnd + bytes.readUInt16LE(10);
  const tlvs = [...readTlvs(bytes, bodyEnd, PROTECTED_TLV_INFO), ...readTlvs(bytes, hashedEnd, TLV_INFO)];
  const find = (type: number) => tlvs.find((tlv) => tlv.type === type)?.value ?? null;
  const kinds = kind === 'any' ? (Object.keys(HASH_TLVS) as HashKind[]) : [kind];
  const found = kinds.find((each) => find(HASH_TLVS[each]));
  if (!found) return null;
  const flags = bytes.readUInt32LE(16);
  const build = bytes.readUInt32LE(24);
  return {
    version: `${bytes[20]}.${bytes[21]}.${bytes.readUInt16LE(22)}${build ? `.${build}` : ''}`,
    versionOctets: bytes.subarray(20, 28),
    hash: find(HASH_TLVS[found])!,
    kind: found,
    encrypted: (flags & FLAG_ENCRYPTED) !== 0,
    compressed: (flags & FLAG_COMPRESSED) !== 0,
    decompressedHash: find(TLV_DECOMPRESSED_HASH),
    hashed: bytes.subarray(0, hashedEnd),
  };
}

/** Whether the bootloader takes it: its hash holds, or cannot be checked here because what it is over is encrypted. */
export function isSound(image: SlotImage): boolean {
  return image.encrypted || createHash(image.kind).update(image.hashed).digest().equals(image.hash);
}

function readTlvs(bytes: Buffer, start: number, magic: number): { type: number; value: Buffer }[] {
  const tlvs: { type: number; value: Buffer }[] = [];
  if (start + 4 > bytes.length || bytes.readUInt16LE(start) !== magic) return tlvs;
  const end = Math.min(bytes.length, start + bytes.readUInt16LE(start + 2));
  for (let at = start + 4; at + 4 <= end; ) {
    const length = bytes.readUInt16LE(at + 2);
    if (at + 4 + length > end) break;
    tlvs.push({ type: bytes.readUInt16LE(at), value: bytes.subarray(at + 4, at + 4 + length) });
    at += 4 + length;
  }
  return tlvs;
}

/** The image that a device has from its making: its content is its version (`1.2.3+4`) and which of the device's images it is. */
export function ownImage(version: string, index: number, kind: HashKind = 'sha256'): Buffer {
  const [major = 0, minor = 0, revision = 0, build = 0] = version.split(/[.+]/).map(Number);
  const header = Buffer.alloc(HEADER_OF_OWN_IMAGES);
  header.writeUInt32LE(MAGIC, 0);
  header.writeUInt16LE(HEADER_OF_OWN_IMAGES, 8);
  header.writeUInt32LE(OWN_PAYLOAD_BYTES, 12);
  header.writeUInt8(major, 20);
  header.writeUInt8(minor, 21);
  header.writeUInt16LE(revision, 22);
  header.writeUInt32LE(build, 24);
  const payload = Buffer.alloc(OWN_PAYLOAD_BYTES, `virtual device, image ${index}, version ${version} `);
  const hashed = Buffer.concat([header, payload]);
  const digest = createHash(kind).update(hashed).digest();
  const tlvs = Buffer.alloc(8);
  tlvs.writeUInt16LE(TLV_INFO, 0);
  tlvs.writeUInt16LE(tlvs.length + digest.length, 2);
  tlvs.writeUInt16LE(HASH_TLVS[kind], 4);
  tlvs.writeUInt16LE(digest.length, 6);
  return Buffer.concat([hashed, tlvs, digest]);
}
