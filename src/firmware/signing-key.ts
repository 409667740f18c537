import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { StationError } from '../contract/errors.ts';

/** The signature schemes of MCUboot that the station verifies. */
export type SignatureKind = 'ecdsa-p256' | 'rsa-pss' | 'ed25519';

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
  if (key.asymmetricKeyType === 'ed25519') return 'ed25519';
  if (key.asymmetricKeyType === 'rsa') return 'rsa-pss';
  if (key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return 'ecdsa-p256';
  throw new StationError('PUBLIC_KEY_INVALID', key.asymmetricKeyType ?? 'unknown type');
}

/** SHA-256 of the public key as MCUboot encodes it (RSA: PKCS#1 DER, others: SubjectPublicKeyInfo DER); hexadecimal. */
export function publicKeyHash(key: KeyObject): string {
  const format = key.asymmetricKeyType === 'rsa' ? 'pkcs1' : 'spki';
  return createHash('sha256')
    .update(key.export({ type: format, format: 'der' }))
    .digest('hex');
}
