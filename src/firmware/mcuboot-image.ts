import { constants, createHash, type KeyObject, verify } from 'node:crypto';
import { StationError } from '../contract/errors.ts';
import {
  type HashAlgorithm,
  publicKeyBytes,
  publicKeyHash,
  type SignatureKind,
  signatureKindOf,
} from './signing-key.ts';

/**
 * The MCUboot image format: header, payload, protected and unprotected TLVs.
 * Sources: MCUboot `boot/bootutil/include/bootutil/image.h` and `scripts/imgtool/image.py`; the format is told in `docs/design.md`.
 */
export const IMAGE_MAGIC = 0x96f3b83d;
/** Octets of the header's fields; `headerBytes` of an image may be larger, the rest is padding. */
export const IMAGE_HEADER_BYTES = 32;
export const TLV_INFO_MAGIC = 0x6907;
export const TLV_PROTECTED_INFO_MAGIC = 0x6908;

/** TLV types that the station reads or writes (`image.h`, `IMAGE_TLV_…`; imgtool, `TLV_VALUES`). */
export const TLV = {
  KEY_HASH: 0x01,
  PUBLIC_KEY: 0x02,
  SHA256: 0x10,
  SHA384: 0x11,
  SHA512: 0x12,
  RSA2048_PSS: 0x20,
  ECDSA_P224: 0x21,
  ECDSA_SIGNATURE: 0x22,
  RSA3072_PSS: 0x23,
  ED25519: 0x24,
  SIGNATURE_PURE: 0x25,
  ENCRYPTED_KEY_FIRST: 0x30,
  ENCRYPTED_KEY_LAST: 0x34,
  DEPENDENCY: 0x40,
  SECURITY_COUNTER: 0x50,
  DECOMPRESSED_HASH: 0x71,
} as const;

/** Flags of the header (`image.h`, `IMAGE_F_…`; imgtool, `IMAGE_F`). */
const FLAG = {
  ENCRYPTED_AES128: 0x0004,
  ENCRYPTED_AES256: 0x0008,
  COMPRESSED_LZMA1: 0x0200,
  COMPRESSED_LZMA2: 0x0400,
  COMPRESSED_ARM_THUMB: 0x0800,
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

/** Another image that this one needs, at this version or newer. */
export interface ImageDependency {
  readonly image: number;
  readonly version: ImageVersion;
}

/** What an image says of itself, checked as far as its bytes allow. */
export interface McubootImage {
  readonly headerBytes: number;
  /** The payload's length: `ih_img_size`, without header and TLVs. */
  readonly imageBytes: number;
  /** Header, payload and all TLVs: what is sent. */
  readonly totalBytes: number;
  readonly loadAddress: number;
  readonly flags: number;
  readonly version: ImageVersion;
  readonly hashAlgorithm: HashAlgorithm;
  /** The hash TLV in hexadecimal (64, 96 or 128 digits): what a device lists for the second slot once it has the image. */
  readonly hash: string;
  /**
   * What a device lists for the slot that runs once the image has been started: `hash`, but of a compressed image the hash of what it
   * is decompressed to.
   */
  readonly runsAs: string;
  /** Whether the hash holds. Of an encrypted image it covers the plain payload, which is not at hand. */
  readonly hashCheck: 'valid' | 'not-checkable';
  readonly encrypted: 'aes128' | 'aes256' | null;
  readonly compressed: 'lzma1' | 'lzma2' | 'lzma2-arm-thumb' | 'other' | null;
  /** The hash of the public key that the image names first, if it names one so. */
  readonly keyHash: string | null;
  readonly signatures: readonly SignatureKind[];
  /** Whether signatures are over the image itself instead of its digest. */
  readonly pure: boolean;
  /** What a bootloader with rollback protection compares; null when the image has none. */
  readonly securityCounter: number | null;
  readonly dependencies: readonly ImageDependency[];
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

const hashTlvs: ReadonlyMap<number, HashAlgorithm> = new Map([
  [TLV.SHA256, 'sha256'],
  [TLV.SHA384, 'sha384'],
  [TLV.SHA512, 'sha512'],
]);

/** Whether the bytes begin like an MCUboot image. */
export function looksLikeMcubootImage(bytes: Uint8Array): boolean {
  const magic = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return magic.length >= 4 && magic.readUInt32LE(0) === IMAGE_MAGIC;
}

/**
 * Whether TLVs stand where the header at `at` would have them: code that only knows of the magic, as every bootloader does, has none
 * there. Costs nothing, unlike an attempt to read it.
 */
export function hasTlvsInPlace(bytes: Buffer, at: number): boolean {
  if (at + IMAGE_HEADER_BYTES > bytes.length) return false;
  const protectedBytes = bytes.readUInt16LE(at + 10);
  const tlvs = at + bytes.readUInt16LE(at + 8) + bytes.readUInt32LE(at + 12);
  const magic = protectedBytes > 0 ? TLV_PROTECTED_INFO_MAGIC : TLV_INFO_MAGIC;
  return tlvs + 4 <= bytes.length && bytes.readUInt16LE(tlvs) === magic;
}

/**
 * Reads the image that the bytes begin with and checks its hash; what lies behind it is not looked at.
 * @throws StationError IMAGE_TRUNCATED, IMAGE_BAD_MAGIC, IMAGE_TLV_INVALID, IMAGE_HASH_MISSING, IMAGE_HASH_TWICE, IMAGE_HASH_INVALID,
 * IMAGE_ENCRYPTED_IN_CLEAR, IMAGE_DECOMPRESSED_HASH_MISSING
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
  const flags = bytes.readUInt32LE(16);
  const encrypted = encryptionOf(flags, tlvs);
  const { algorithm, hash } = hashOf(tlvs);
  const digest = createHash(algorithm).update(bytes.subarray(0, hashedEnd)).digest();
  const holds = digest.equals(hash);
  if (holds && encrypted) throw new StationError('IMAGE_ENCRYPTED_IN_CLEAR');
  if (!holds && !encrypted) {
    throw new StationError('IMAGE_HASH_INVALID', `says ${short(hash)}, is ${short(digest)}`);
  }
  const compressed = compressionOf(flags);
  return {
    headerBytes,
    imageBytes,
    totalBytes,
    loadAddress: bytes.readUInt32LE(4),
    flags,
    version: readVersion(bytes, 20),
    hashAlgorithm: algorithm,
    hash: hash.toString('hex'),
    runsAs: (compressed ? decompressedHash(tlvs, hash.length) : hash).toString('hex'),
    hashCheck: holds ? 'valid' : 'not-checkable',
    encrypted,
    compressed,
    keyHash: tlvs.find((tlv) => tlv.type === TLV.KEY_HASH)?.value.toString('hex') ?? null,
    signatures: signaturesOf(tlvs).map(({ kind }) => kind),
    pure: tlvs.some((tlv) => tlv.type === TLV.SIGNATURE_PURE),
    securityCounter: securityCounterOf(tlvs),
    dependencies: tlvs.filter((tlv) => tlv.type === TLV.DEPENDENCY).map(asDependency),
    tlvs,
  };
}

/**
 * Checks the image's signature against a public key. RSA and ECDSA sign the digest of header, payload and protected TLVs; so does
 * Ed25519, unless the image carries the "pure" TLV: then it signs those bytes themselves. An image may have several signatures, each
 * behind the key it is of (MCUboot `image_validate.c`; imgtool `image.py` and `keys/`).
 * @returns whether it could be checked: what an encrypted image is signed over is not at hand
 * @throws StationError IMAGE_SIGNATURE_MISSING, IMAGE_KEY_MISMATCH, IMAGE_SIGNATURE_INVALID, PUBLIC_KEY_INVALID
 */
export function verifySignature(bytes: Buffer, image: McubootImage, key: KeyObject): 'valid' | 'not-checkable' {
  const kind = signatureKindOf(key);
  const ofKind = signaturesOf(image.tlvs).filter((signature) => signature.kind === kind);
  if (ofKind.length === 0) {
    throw new StationError(
      'IMAGE_SIGNATURE_MISSING',
      `key: ${kind}, image: ${image.signatures.join(', ') || 'unsigned'}`,
    );
  }
  const names = [publicKeyHash(key, image.hashAlgorithm), publicKeyBytes(key).toString('hex')];
  const ofKey = ofKind.filter(({ signer }) => signer === null || names.includes(signer));
  if (ofKey.length === 0) throw new StationError('IMAGE_KEY_MISMATCH');
  if (image.encrypted) return 'not-checkable';
  const region = bytes.subarray(0, image.headerBytes + image.imageBytes + bytes.readUInt16LE(10));
  if (!ofKey.some(({ value }) => signatureHolds(value, region, image, key))) {
    throw new StationError('IMAGE_SIGNATURE_INVALID', kind);
  }
  return 'valid';
}

function signatureHolds(signature: Buffer, region: Buffer, image: McubootImage, key: KeyObject): boolean {
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return verify(null, image.pure ? region : Buffer.from(image.hash, 'hex'), key, signature);
    case 'rsa': {
      const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
      return verify(image.hashAlgorithm, region, { key, ...padding }, signature);
    }
    default:
      return verify(image.hashAlgorithm, region, { key, dsaEncoding: 'der' }, trimDer(signature));
  }
}

/** imgtool may pad an ECDSA signature with zeros to a fixed length; DER says how long it really is. */
function trimDer(signature: Buffer): Buffer {
  const length = signature[0] === 0x30 && signature[1] !== undefined && signature[1] < 0x80 ? signature[1] + 2 : 0;
  return length > 0 && length <= signature.length ? signature.subarray(0, length) : signature;
}

/** The longest ECDSA signature of P-256 is 72 octets of DER (imgtool `keys/ecdsa.py`); one of P-384 has at least 96 but for odd chances. */
const P256_SIGNATURE_BYTES = 72;

interface Signature {
  readonly kind: SignatureKind;
  readonly value: Buffer;
  /** The hash of the key that it is of, or the key itself, hexadecimal; null when the image does not say. */
  readonly signer: string | null;
}

function signaturesOf(tlvs: readonly Tlv[]): Signature[] {
  const signatures: Signature[] = [];
  let signer: string | null = null;
  for (const { type, value } of tlvs) {
    if (type === TLV.KEY_HASH || type === TLV.PUBLIC_KEY) signer = value.toString('hex');
    const kind = signatureKind(type, value);
    if (!kind) continue;
    signatures.push({ kind, value, signer });
    signer = null;
  }
  return signatures;
}

function signatureKind(type: number, value: Buffer): SignatureKind | null {
  switch (type) {
    case TLV.RSA2048_PSS:
      return 'rsa-2048';
    case TLV.RSA3072_PSS:
      return 'rsa-3072';
    case TLV.ECDSA_P224:
      return 'ecdsa-p224';
    case TLV.ECDSA_SIGNATURE:
      return value.length > P256_SIGNATURE_BYTES ? 'ecdsa-p384' : 'ecdsa-p256';
    case TLV.ED25519:
      return 'ed25519';
    default:
      return null;
  }
}

function hashOf(tlvs: readonly Tlv[]): { algorithm: HashAlgorithm; hash: Buffer } {
  const hashes = tlvs.filter((tlv) => hashTlvs.has(tlv.type));
  const [tlv] = hashes;
  if (!tlv) throw new StationError('IMAGE_HASH_MISSING');
  if (hashes.length > 1) {
    throw new StationError('IMAGE_HASH_TWICE', hashes.map(({ type }) => hashTlvs.get(type)).join(', '));
  }
  const algorithm = hashTlvs.get(tlv.type)!;
  const wanted = createHash(algorithm).digest().length;
  if (tlv.value.length !== wanted || tlv.protected) {
    throw new StationError('IMAGE_TLV_INVALID', `${algorithm} of ${tlv.value.length} bytes`);
  }
  return { algorithm, hash: tlv.value };
}

function encryptionOf(flags: number, tlvs: readonly Tlv[]): McubootImage['encrypted'] {
  const kind = flags & FLAG.ENCRYPTED_AES256 ? 'aes256' : flags & FLAG.ENCRYPTED_AES128 ? 'aes128' : null;
  const wrapped = tlvs.some(({ type }) => type >= TLV.ENCRYPTED_KEY_FIRST && type <= TLV.ENCRYPTED_KEY_LAST);
  if (kind && !wrapped)
    throw new StationError('IMAGE_TLV_INVALID', 'encrypted, but without the key that it is encrypted with');
  return kind;
}

function compressionOf(flags: number): McubootImage['compressed'] {
  const thumb = (flags & FLAG.COMPRESSED_ARM_THUMB) !== 0;
  if (flags & FLAG.COMPRESSED_LZMA2) return thumb ? 'lzma2-arm-thumb' : 'lzma2';
  if (flags & FLAG.COMPRESSED_LZMA1) return thumb ? 'other' : 'lzma1';
  return thumb ? 'other' : null;
}

/** The hash of what a compressed image becomes; it is as long as the image's own (`image.h`) and protected by it. */
function decompressedHash(tlvs: readonly Tlv[], hashBytes: number): Buffer {
  const found = tlvs.filter((tlv) => tlv.type === TLV.DECOMPRESSED_HASH && tlv.protected);
  if (found.length !== 1 || found[0]?.value.length !== hashBytes) {
    throw new StationError('IMAGE_DECOMPRESSED_HASH_MISSING', `${found.length} of ${hashBytes} bytes`);
  }
  return found[0].value;
}

function securityCounterOf(tlvs: readonly Tlv[]): number | null {
  const tlv = tlvs.find(({ type }) => type === TLV.SECURITY_COUNTER);
  if (!tlv) return null;
  if (tlv.value.length !== 4) throw new StationError('IMAGE_TLV_INVALID', 'security counter');
  return tlv.value.readUInt32LE(0);
}

/** `image_id`, three octets of padding, a version (`image.h`, `struct image_dependency`). */
function asDependency({ value }: Tlv): ImageDependency {
  if (value.length !== 12) throw new StationError('IMAGE_TLV_INVALID', 'dependency');
  return { image: value.readUInt8(0), version: readVersion(value, 4) };
}

/** A version as header and dependencies hold it: 8 octets, little-endian. */
export function readVersion(bytes: Buffer, at: number): ImageVersion {
  return {
    major: bytes.readUInt8(at),
    minor: bytes.readUInt8(at + 1),
    revision: bytes.readUInt16LE(at + 2),
    build: bytes.readUInt32LE(at + 4),
  };
}

function readTlvs(bytes: Buffer, at: number, magic: number, into: Tlv[]): number {
  if (at + 4 > bytes.length) throw new StationError('IMAGE_TRUNCATED', 'in the TLV area');
  if (bytes.readUInt16LE(at) !== magic) throw new StationError('IMAGE_TLV_INVALID', `magic at ${at}`);
  const end = at + bytes.readUInt16LE(at + 2);
  if (end < at + 4) throw new StationError('IMAGE_TLV_INVALID', `length at ${at}`);
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
