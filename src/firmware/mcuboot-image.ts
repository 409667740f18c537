import { constants, createHash, type KeyObject, verify } from 'node:crypto';
import { StationError } from '../contract/errors.ts';
import { publicKeyHash, type SignatureKind, signatureKindOf } from './signing-key.ts';

/**
 * The MCUboot image format: header, payload, protected and unprotected TLVs.
 * Source: MCUboot `docs/design.md`, "Image format"; `boot/bootutil/include/bootutil/image.h`.
 */
export const IMAGE_MAGIC = 0x96f3b83d;
/** Octets of the header's fields; `headerBytes` of an image may be larger, the rest is padding. */
export const IMAGE_HEADER_BYTES = 32;
export const TLV_INFO_MAGIC = 0x6907;
export const TLV_PROTECTED_INFO_MAGIC = 0x6908;

/** TLV types that the station reads or writes. */
export const TLV = {
  KEY_HASH: 0x01,
  SHA256: 0x10,
  RSA2048_PSS: 0x20,
  ECDSA_SIGNATURE: 0x22,
  RSA3072_PSS: 0x23,
  ED25519: 0x24,
  SIGNATURE_PURE: 0x25,
} as const;

/** A version: `major` and `minor` 8 bit, `revision` 16 bit, `build` 32 bit. */
export interface ImageVersion {
  readonly major: number;
  readonly minor: number;
  readonly revision: number;
  readonly build: number;
}

/** One TLV of the trailer. */
export interface Tlv {
  readonly type: number;
  readonly value: Buffer;
  readonly protected: boolean;
}

/** What a verified image says of itself. */
export interface McubootImage {
  readonly headerBytes: number;
  /** The payload's length: `ih_img_size`, without header and TLVs. */
  readonly imageBytes: number;
  /** Header, payload and all TLVs. */
  readonly totalBytes: number;
  readonly loadAddress: number;
  readonly flags: number;
  readonly version: ImageVersion;
  /** The SHA-256 TLV, 64 hexadecimal digits: what a device reports as the image's hash. */
  readonly hash: string;
  /** SHA-256 of the public key that the image names, if it names one. */
  readonly keyHash: string | null;
  readonly signatures: readonly SignatureKind[];
  readonly tlvs: readonly Tlv[];
}

/** `1.2.3` or, with a build number, `1.2.3+4`. */
export function formatVersion(version: ImageVersion): string {
  const base = `${version.major}.${version.minor}.${version.revision}`;
  return version.build === 0 ? base : `${base}+${version.build}`;
}

/** Reads `1.2.3`, `1.2.3+4` and the dotted form `1.2.3.4` that SMP servers print; null when it is none of them. */
export function parseVersion(text: string): ImageVersion | null {
  const match = /^(\d+)\.(\d+)(?:\.(\d+))?(?:[.+](\d+))?$/.exec(text);
  if (!match) return null;
  const [, major, minor, revision, build] = match;
  return { major: Number(major), minor: Number(minor), revision: Number(revision ?? 0), build: Number(build ?? 0) };
}

/** Negative when `a` is older than `b`, positive when newer, 0 when equal. */
export function compareVersions(a: ImageVersion, b: ImageVersion): number {
  return a.major - b.major || a.minor - b.minor || a.revision - b.revision || a.build - b.build;
}

const signatureTlvs: ReadonlyMap<number, SignatureKind> = new Map([
  [TLV.ECDSA_SIGNATURE, 'ecdsa-p256'],
  [TLV.RSA2048_PSS, 'rsa-pss'],
  [TLV.RSA3072_PSS, 'rsa-pss'],
  [TLV.ED25519, 'ed25519'],
]);

/** Whether the bytes begin like an MCUboot image. */
export function looksLikeMcubootImage(bytes: Uint8Array): boolean {
  const magic = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return magic.length >= 4 && magic.readUInt32LE(0) === IMAGE_MAGIC;
}

/**
 * Reads an image and checks its SHA-256.
 * @throws StationError IMAGE_TRUNCATED, IMAGE_BAD_MAGIC, IMAGE_TLV_INVALID, IMAGE_HASH_MISSING, IMAGE_HASH_INVALID
 */
export function parseMcubootImage(bytes: Buffer): McubootImage {
  if (bytes.length < 4) throw new StationError('IMAGE_TRUNCATED', `${bytes.length} bytes`);
  if (!looksLikeMcubootImage(bytes)) {
    throw new StationError('IMAGE_BAD_MAGIC', `0x${bytes.readUInt32LE(0).toString(16).padStart(8, '0')}`);
  }
  if (bytes.length < IMAGE_HEADER_BYTES) throw new StationError('IMAGE_TRUNCATED', `${bytes.length} bytes`);
  const headerBytes = bytes.readUInt16LE(8);
  const protectedBytes = bytes.readUInt16LE(10);
  const imageBytes = bytes.readUInt32LE(12);
  if (headerBytes < IMAGE_HEADER_BYTES) throw new StationError('IMAGE_TLV_INVALID', `header of ${headerBytes} bytes`);
  const payloadEnd = headerBytes + imageBytes;
  const hashedEnd = payloadEnd + protectedBytes;
  if (hashedEnd + 4 > bytes.length) {
    throw new StationError('IMAGE_TRUNCATED', `${bytes.length} bytes of at least ${hashedEnd + 4}`);
  }
  const tlvs: Tlv[] = [];
  if (protectedBytes > 0) {
    const end = readTlvs(bytes, payloadEnd, TLV_PROTECTED_INFO_MAGIC, tlvs);
    if (end !== hashedEnd) throw new StationError('IMAGE_TLV_INVALID', 'length of the protected TLVs');
  }
  const totalBytes = readTlvs(bytes, hashedEnd, TLV_INFO_MAGIC, tlvs);

  const hashTlv = tlvs.find((tlv) => tlv.type === TLV.SHA256);
  if (hashTlv?.value.length !== 32) throw new StationError('IMAGE_HASH_MISSING');
  const digest = createHash('sha256').update(bytes.subarray(0, hashedEnd)).digest();
  if (!digest.equals(hashTlv.value)) {
    throw new StationError('IMAGE_HASH_INVALID', `says ${short(hashTlv.value)}, is ${short(digest)}`);
  }
  return {
    headerBytes,
    imageBytes,
    totalBytes,
    loadAddress: bytes.readUInt32LE(4),
    flags: bytes.readUInt32LE(16),
    version: {
      major: bytes.readUInt8(20),
      minor: bytes.readUInt8(21),
      revision: bytes.readUInt16LE(22),
      build: bytes.readUInt32LE(24),
    },
    hash: digest.toString('hex'),
    keyHash: tlvs.find((tlv) => tlv.type === TLV.KEY_HASH)?.value.toString('hex') ?? null,
    signatures: tlvs.flatMap((tlv) => signatureTlvs.get(tlv.type) ?? []),
    tlvs,
  };
}

/**
 * Checks the image's signature against a public key. ECDSA and RSA sign the hashed region, Ed25519 its digest unless the image
 * carries the "pure" TLV (MCUboot `imgtool`, `keys/`).
 * @throws StationError IMAGE_SIGNATURE_MISSING, IMAGE_KEY_MISMATCH, IMAGE_SIGNATURE_INVALID, PUBLIC_KEY_INVALID
 */
export function verifySignature(bytes: Buffer, image: McubootImage, key: KeyObject): void {
  const kind = signatureKindOf(key);
  const signature = image.tlvs.find((tlv) => signatureTlvs.get(tlv.type) === kind);
  if (!signature) throw new StationError('IMAGE_SIGNATURE_MISSING', `wants ${kind}`);
  if (image.keyHash !== null && image.keyHash !== publicKeyHash(key)) throw new StationError('IMAGE_KEY_MISMATCH');
  const protectedBytes = bytes.readUInt16LE(10);
  const region = bytes.subarray(0, image.headerBytes + image.imageBytes + protectedBytes);
  const pure = image.tlvs.some((tlv) => tlv.type === TLV.SIGNATURE_PURE);
  const holds = {
    'ecdsa-p256': () => verify('sha256', region, { key, dsaEncoding: 'der' }, trimDer(signature.value)),
    'rsa-pss': () =>
      verify('sha256', region, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }, signature.value),
    ed25519: () => verify(null, pure ? region : Buffer.from(image.hash, 'hex'), key, signature.value),
  }[kind]();
  if (!holds) throw new StationError('IMAGE_SIGNATURE_INVALID', kind);
}

/** imgtool may pad an ECDSA signature with zeros to a fixed length; DER says how long it really is. */
function trimDer(signature: Buffer): Buffer {
  const length = signature[0] === 0x30 && signature[1] !== undefined && signature[1] < 0x80 ? signature[1] + 2 : 0;
  return length > 0 && length <= signature.length ? signature.subarray(0, length) : signature;
}

function readTlvs(bytes: Buffer, at: number, magic: number, into: Tlv[]): number {
  if (at + 4 > bytes.length) throw new StationError('IMAGE_TRUNCATED', 'in the TLV area');
  if (bytes.readUInt16LE(at) !== magic) throw new StationError('IMAGE_TLV_INVALID', `magic at ${at}`);
  const end = at + bytes.readUInt16LE(at + 2);
  if (end > bytes.length) throw new StationError('IMAGE_TRUNCATED', 'in the TLV area');
  let position = at + 4;
  while (position < end) {
    if (position + 4 > end) throw new StationError('IMAGE_TLV_INVALID', `entry at ${position}`);
    const type = bytes.readUInt16LE(position);
    const length = bytes.readUInt16LE(position + 2);
    if (position + 4 + length > end) throw new StationError('IMAGE_TLV_INVALID', `entry at ${position}`);
    const value = bytes.subarray(position + 4, position + 4 + length);
    into.push({ type, value, protected: magic === TLV_PROTECTED_INFO_MAGIC });
    position += 4 + length;
  }
  return end;
}

const short = (hash: Buffer) => hash.toString('hex').slice(0, 16);
