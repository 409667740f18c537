import { constants, createHash, createPublicKey, type KeyObject, sign } from 'node:crypto';
import {
  IMAGE_HEADER_BYTES,
  IMAGE_MAGIC,
  type ImageVersion,
  TLV,
  TLV_INFO_MAGIC,
  TLV_PROTECTED_INFO_MAGIC,
} from './mcuboot-image.ts';
import { publicKeyHash, signatureKindOf } from './signing-key.ts';

/** What goes into an image. Protected TLVs are hashed and signed with it. */
export interface ImageRecipe {
  readonly payload: Uint8Array;
  readonly version: ImageVersion;
  /** Octets of header with padding; Zephyr uses 512. */
  readonly headerBytes?: number;
  readonly loadAddress?: number;
  readonly protectedTlvs?: readonly { type: number; value: Uint8Array }[];
  /** Signs with this private key: ECDSA P-256, RSA (PSS) or Ed25519. */
  readonly key?: KeyObject;
}

/** Builds an image in MCUboot's format, as `imgtool sign` does. */
export function buildImage(recipe: ImageRecipe): Buffer {
  const headerBytes = recipe.headerBytes ?? 512;
  const protectedArea = recipe.protectedTlvs?.length
    ? tlvArea(TLV_PROTECTED_INFO_MAGIC, recipe.protectedTlvs)
    : Buffer.alloc(0);
  const header = Buffer.alloc(Math.max(headerBytes, IMAGE_HEADER_BYTES));
  header.writeUInt32LE(IMAGE_MAGIC, 0);
  header.writeUInt32LE(recipe.loadAddress ?? 0, 4);
  header.writeUInt16LE(header.length, 8);
  header.writeUInt16LE(protectedArea.length, 10);
  header.writeUInt32LE(recipe.payload.length, 12);
  header.writeUInt8(recipe.version.major, 20);
  header.writeUInt8(recipe.version.minor, 21);
  header.writeUInt16LE(recipe.version.revision, 22);
  header.writeUInt32LE(recipe.version.build, 24);
  const region = Buffer.concat([header, recipe.payload, protectedArea]);
  const digest = createHash('sha256').update(region).digest();
  const tlvs = [{ type: TLV.SHA256 as number, value: digest as Uint8Array }];
  if (recipe.key) tlvs.push(...signatureTlvs(region, digest, recipe.key));
  return Buffer.concat([region, tlvArea(TLV_INFO_MAGIC, tlvs)]);
}

function signatureTlvs(region: Buffer, digest: Buffer, key: KeyObject): { type: number; value: Uint8Array }[] {
  const publicKey = createPublicKey(key);
  const keyHash = { type: TLV.KEY_HASH, value: Buffer.from(publicKeyHash(publicKey, 'sha256'), 'hex') };
  switch (signatureKindOf(publicKey)) {
    case 'ecdsa-p256':
      return [keyHash, { type: TLV.ECDSA_SIGNATURE, value: sign('sha256', region, { key, dsaEncoding: 'der' }) }];
    case 'ed25519':
      return [keyHash, { type: TLV.ED25519, value: sign(null, digest, key) }];
    case 'rsa-2048':
    case 'rsa-3072': {
      const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
      const value = sign('sha256', region, { key, ...padding });
      return [keyHash, { type: value.length > 256 ? TLV.RSA3072_PSS : TLV.RSA2048_PSS, value }];
    }
    default:
      throw new TypeError('no key of a kind that is built with');
  }
}

function tlvArea(magic: number, tlvs: readonly { type: number; value: Uint8Array }[]): Buffer {
  const entries = tlvs.map(({ type, value }) => {
    const head = Buffer.alloc(4);
    head.writeUInt16LE(type, 0);
    head.writeUInt16LE(value.length, 2);
    return Buffer.concat([head, value]);
  });
  const body = Buffer.concat(entries);
  const info = Buffer.alloc(4);
  info.writeUInt16LE(magic, 0);
  info.writeUInt16LE(body.length + 4, 2);
  return Buffer.concat([info, body]);
}
