import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { StationError } from '../contract/errors.ts';

/** The signature schemes of MCUboot, each with the key that it wants. RSA is PSS with a salt of 32 octets. */
export type SignatureKind = 'rsa-2048' | 'rsa-3072' | 'ecdsa-p224' | 'ecdsa-p256' | 'ecdsa-p384' | 'ed25519';

/** The hash algorithms of MCUboot. */
export type HashAlgorithm = 'sha256' | 'sha384' | 'sha512';

const curves: ReadonlyMap<string | undefined, SignatureKind> = new Map([
  ['secp224r1', 'ecdsa-p224'],
  ['prime256v1', 'ecdsa-p256'],
  ['secp384r1', 'ecdsa-p384'],
]);

const moduli: ReadonlyMap<number | undefined, SignatureKind> = new Map([
  [2048, 'rsa-2048'],
  [3072, 'rsa-3072'],
]);

/**
 * Reads a public key (or the public half of a private one) from PEM.
 * @throws StationError PUBLIC_KEY_INVALID
 */
export function readPublicKey(pem: string | Buffer): KeyObject {
  try {
    const key = createPublicKey(pem);
    signatureKindOf(key);
    return key;
  } catch (error) {
    if (error instanceof StationError) throw error;
    throw new StationError('PUBLIC_KEY_INVALID', error instanceof Error ? error.message : '', { cause: error });
  }
}

/** The scheme that a key belongs to. @throws StationError PUBLIC_KEY_INVALID */
export function signatureKindOf(key: KeyObject): SignatureKind {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  const kind =
    type === 'ed25519'
      ? type
      : type === 'rsa'
        ? moduli.get(details?.modulusLength)
        : type === 'ec'
          ? curves.get(details?.namedCurve)
          : undefined;
  if (kind) return kind;
  const what = [type ?? 'unknown type', details?.namedCurve, details?.modulusLength].filter(Boolean).join(' ');
  throw new StationError('PUBLIC_KEY_INVALID', what);
}

/**
 * The public key as MCUboot encodes it: RSA as PKCS#1 DER, others as SubjectPublicKeyInfo DER (imgtool `keys/`, `get_public_bytes`).
 */
export function publicKeyBytes(key: KeyObject): Buffer {
  return key.export({ type: key.asymmetricKeyType === 'rsa' ? 'pkcs1' : 'spki', format: 'der' });
}

/** The hash by which an image names its key, hexadecimal: taken with the image's own hash algorithm (imgtool `image.py`, `create`). */
export function publicKeyHash(key: KeyObject, algorithm: HashAlgorithm): string {
  return createHash(algorithm).update(publicKeyBytes(key)).digest('hex');
}
