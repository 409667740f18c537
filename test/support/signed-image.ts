import { constants, createCipheriv, createHash, createPublicKey, type KeyObject, randomBytes, sign } from 'node:crypto';

type Hash = 'sha256' | 'sha384' | 'sha512';

/** What `signedImage` builds: each field is an option of `imgtool sign`. */
export interface SignedImageRecipe {
  readonly payload?: Buffer;
  /** major, minor, revision, build. */
  readonly version?: readonly [number, number, number, number];
  /** One hash TLV each; an image of a kept tool has exactly one. */
  readonly hashes?: readonly Hash[];
  readonly keys?: readonly KeyObject[];
  /** `--pure`: Ed25519 over the image itself. */
  readonly pure?: boolean;
  /** `--public-key-format full`. */
  readonly wholeKey?: boolean;
  /** `--encrypt`: the header's flag and the TLV of the wrapped key; `clear` leaves the payload as it is. */
  readonly encrypt?: { readonly flag: 0x04 | 0x08; readonly tlv: number; readonly clear?: boolean };
  /** More flags of the header. */
  readonly flags?: number;
  readonly protectedTlvs?: readonly (readonly [type: number, value: Buffer])[];
}

const HASH_TLV = { sha256: 0x10, sha384: 0x11, sha512: 0x12 };

/**
 * An image as imgtool makes it (MCUboot `scripts/imgtool/image.py`, `create`), written for the tests alone: what it knows of the format
 * it does not have from the station.
 */
export function signedImage(recipe: SignedImageRecipe = {}): Buffer {
  const { payload = Buffer.alloc(1000, 'payload'), version = [1, 2, 3, 4], keys = [], encrypt } = recipe;
  const [first = 'sha256', ...more] = recipe.hashes ?? ['sha256'];
  const inside = Buffer.concat((recipe.protectedTlvs ?? []).map(([type, value]) => tlv(type, value)));
  const protectedArea = inside.length > 0 ? Buffer.concat([uint16(0x6908, inside.length + 4), inside]) : inside;
  const header = Buffer.alloc(0x200);
  header.set([0x3d, 0xb8, 0xf3, 0x96], 0);
  header.set(uint16(header.length, protectedArea.length), 8);
  header.writeUInt32LE(payload.length, 12);
  header.writeUInt32LE((recipe.flags ?? 0) | (encrypt?.flag ?? 0), 16);
  const [major, minor, revision, build] = version;
  header.set([major, minor], 20);
  header.writeUInt16LE(revision, 22);
  header.writeUInt32LE(build, 24);

  const region = Buffer.concat([header, payload, protectedArea]);
  const tlvs: Buffer[] = recipe.hashes?.length === 0 ? [] : [first, ...more].map((hash) => hashTlv(hash, region));
  if (recipe.pure) tlvs.push(tlv(0x25, Buffer.of(1)));
  for (const key of keys) tlvs.push(...signatureTlvs(key, region, first, recipe));
  if (encrypt) tlvs.push(tlv(encrypt.tlv, randomBytes(113)));
  const area = Buffer.concat(tlvs);
  const body = encrypt && !encrypt.clear ? encrypted(payload, encrypt.flag === 0x08 ? 32 : 16) : payload;
  return Buffer.concat([header, body, protectedArea, uint16(0x6907, area.length + 4), area]);
}

/** `--pad` and `--pad --confirm`: erased flash up to the slot's end, a trailer there (`pad_to`; `align` is `--max-align`). */
export function padded(image: Buffer, slotBytes: number, confirm: boolean, align = 8): Buffer {
  const slot = Buffer.alloc(slotBytes, 0xff);
  slot.set(image, 0);
  if (align === 8) slot.write('77c295f360d2ef7f3552500f2cb67980', slotBytes - 16, 'hex');
  else {
    slot.writeUInt16LE(align, slotBytes - 16);
    slot.write('2de15d29410b8d77679c110f1f8a', slotBytes - 14, 'hex');
  }
  const magicField = align > 16 ? align : 16;
  if (confirm) slot[slotBytes - magicField - align] = 1;
  return slot;
}

/** Protected TLVs of a dependency, a security counter, and a compressed image (`image.h`). */
export const protectedTlv = {
  dependency: (image: number, [major, minor, revision, build]: readonly [number, number, number, number]) => {
    const value = Buffer.of(image, 0, 0, 0, major, minor, 0, 0, 0, 0, 0, 0);
    value.writeUInt16LE(revision, 6);
    value.writeUInt32LE(build, 8);
    return [0x40, value] as const;
  },
  securityCounter: (count: number) => [0x50, uint32(count)] as const,
  decompressedSize: (bytes: number) => [0x70, uint32(bytes)] as const,
  decompressedHash: (hash: Buffer) => [0x71, hash] as const,
  decompressedSignature: (signature: Buffer) => [0x72, signature] as const,
};

function signatureTlvs(key: KeyObject, region: Buffer, hash: Hash, recipe: SignedImageRecipe): Buffer[] {
  const publicKey = createPublicKey(key);
  const rsa = key.asymmetricKeyType === 'rsa';
  const encoded = publicKey.export({ type: rsa ? 'pkcs1' : 'spki', format: 'der' });
  const signer = recipe.wholeKey ? tlv(0x02, encoded) : tlv(0x01, createHash(hash).update(encoded).digest());
  const digest = createHash(hash).update(region).digest();
  if (rsa) {
    const pss = { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
    const value = sign('sha256', region, pss);
    return [signer, tlv(value.length === 384 ? 0x23 : 0x20, value)];
  }
  if (key.asymmetricKeyType === 'ed25519') {
    return [signer, tlv(0x24, sign(null, recipe.pure ? region : digest, key))];
  }
  const type = key.asymmetricKeyDetails?.namedCurve === 'secp224r1' ? 0x21 : 0x22;
  return [signer, tlv(type, sign(hash, region, key))];
}

function encrypted(payload: Buffer, keyBytes: 16 | 32): Buffer {
  const cipher = createCipheriv(
    keyBytes === 16 ? 'aes-128-ctr' : 'aes-256-ctr',
    randomBytes(keyBytes),
    Buffer.alloc(16),
  );
  return Buffer.concat([cipher.update(payload), cipher.final()]);
}

const hashTlv = (hash: Hash, region: Buffer) => tlv(HASH_TLV[hash], createHash(hash).update(region).digest());

const tlv = (type: number, value: Buffer) => Buffer.concat([uint16(type, value.length), value]);

function uint16(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2);
  for (const [at, value] of values.entries()) bytes.writeUInt16LE(value, at * 2);
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
