import { createCipheriv } from 'node:crypto';

/**
 * What a peripheral computes in pairing (Core 5.4, Vol 3 Part H, 2.2; AES-CMAC: RFC 4493), written from there and apart from the station's.
 * Values stand most significant octet first, as the specification prints them.
 */
const BLOCK_BYTES = 16;
const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);
/** The reduction of GF(2^128) (RFC 4493, 2.3). */
const RB = 0x87n;
const MASK_128 = (1n << 128n) - 1n;
/** SALT and keyID "btle" of f5 (2.2.7). */
const SALT = Buffer.from('6c888391aaf5a53860370bdb5a6083be', 'hex');
const KEY_ID = Buffer.from('62746c65', 'hex');
const KEY_BITS = Buffer.of(0x01, 0x00);

/** An address as the functions take it: its type, then six octets. */
export interface DeviceAddress {
  readonly random: boolean;
  /** Six octets, most significant first. */
  readonly octets: Buffer;
}

/** One block of AES-128 (2.2.1). */
export function aes(key: Buffer, block: Buffer): Buffer {
  const cipher = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false);
  return Buffer.concat([cipher.update(block), cipher.final()]);
}

/** AES-CMAC: the last block of CBC over the message, whose own last block is whitened by a subkey. */
export function cmac(key: Buffer, message: Buffer): Buffer {
  const shifted = (value: bigint) => ((value << 1n) & MASK_128) ^ (value >> 127n ? RB : 0n);
  const first = shifted(integer(aes(key, ZERO_BLOCK)));
  const isWhole = message.length > 0 && message.length % BLOCK_BYTES === 0;
  const fill = BLOCK_BYTES - 1 - (message.length % BLOCK_BYTES);
  const padded = isWhole ? Buffer.from(message) : Buffer.concat([message, Buffer.of(0x80), Buffer.alloc(fill)]);
  const last = padded.subarray(-BLOCK_BYTES);
  block(integer(last) ^ (isWhole ? first : shifted(first))).copy(last);
  const cipher = createCipheriv('aes-128-cbc', key, ZERO_BLOCK).setAutoPadding(false);
  return Buffer.concat([cipher.update(padded), cipher.final()]).subarray(-BLOCK_BYTES);
}

/** Confirm value of legacy pairing (2.2.3); `request` and `response` are the PDUs' seven octets, most significant first. */
export function c1(
  key: Buffer,
  random: Buffer,
  request: Buffer,
  response: Buffer,
  initiator: DeviceAddress,
  responder: DeviceAddress,
): Buffer {
  const types = Buffer.of(responder.random ? 1 : 0, initiator.random ? 1 : 0);
  const p1 = integer(Buffer.concat([response, request, types]));
  const p2 = integer(Buffer.concat([initiator.octets, responder.octets]));
  return aes(key, block(integer(aes(key, block(integer(random) ^ p1))) ^ p2));
}

/** Short-term key of legacy pairing (2.2.4). */
export function s1(key: Buffer, ofResponder: Buffer, ofInitiator: Buffer): Buffer {
  return aes(key, Buffer.concat([ofResponder.subarray(8, 16), ofInitiator.subarray(8, 16)]));
}

/** Confirm value of Secure Connections (2.2.6). */
export function f4(u: Buffer, v: Buffer, x: Buffer, z: number): Buffer {
  return cmac(x, Buffer.concat([u, v, Buffer.of(z)]));
}

/** MacKey and LTK of Secure Connections (2.2.7): nonces and addresses of initiator and responder, in that order. */
export function f5(
  secret: Buffer,
  nonces: readonly [Buffer, Buffer],
  addresses: readonly [DeviceAddress, DeviceAddress],
): { readonly macKey: Buffer; readonly ltk: Buffer } {
  const t = cmac(SALT, secret);
  const rest = Buffer.concat([KEY_ID, ...nonces, ...addresses.map(sevenOctets), KEY_BITS]);
  const [macKey, ltk] = [0, 1].map((counter) => cmac(t, Buffer.concat([Buffer.of(counter), rest])));
  return { macKey: macKey!, ltk: ltk! };
}

/** Check value of Secure Connections (2.2.8): own nonce and address first; `capabilities` are AuthReq, OOB flag, IO capability. */
export function f6(
  macKey: Buffer,
  nonces: readonly [Buffer, Buffer],
  r: Buffer,
  capabilities: Buffer,
  addresses: readonly [DeviceAddress, DeviceAddress],
): Buffer {
  return cmac(macKey, Buffer.concat([...nonces, r, capabilities, ...addresses.map(sevenOctets)]));
}

/** The hash of a resolvable private address (2.2.2): 24 bits of the identity resolving key over the address's random part. */
export function ah(irk: Buffer, prand: Buffer): Buffer {
  return aes(irk, block(integer(prand))).subarray(BLOCK_BYTES - 3);
}

function sevenOctets({ random, octets }: DeviceAddress): Buffer {
  return Buffer.concat([Buffer.of(random ? 1 : 0), octets]);
}

function integer(bytes: Buffer): bigint {
  return BigInt(`0x${bytes.toString('hex')}`);
}

function block(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(2 * BLOCK_BYTES, '0'), 'hex');
}
