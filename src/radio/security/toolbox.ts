import { createCipheriv } from 'node:crypto';

/**
 * The cryptographic toolbox of LE pairing (Core 5.4, Vol 3 Part H, 2.2). All values most significant octet first, as the specification
 * writes them; on the air they stand the other way round.
 */

/** The security function e: AES-128 of one block (2.2.1). */
export function e(key: Buffer, block: Buffer): Buffer {
  const cipher = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false);
  return Buffer.concat([cipher.update(block), cipher.final()]);
}

/** AES-CMAC (2.2.5; RFC 4493). */
export function aesCmac(key: Buffer, message: Buffer): Buffer {
  const subkey1 = doubled(e(key, Buffer.alloc(16)));
  const blocks = Math.max(1, Math.ceil(message.length / 16));
  const last = message.subarray((blocks - 1) * 16);
  const padded =
    last.length === 16
      ? xor(last, subkey1)
      : xor(Buffer.concat([last, Buffer.of(0x80), Buffer.alloc(15 - last.length)]), doubled(subkey1));
  let state: Buffer = Buffer.alloc(16);
  for (let i = 0; i < blocks - 1; i++) state = e(key, xor(state, message.subarray(i * 16, i * 16 + 16)));
  return e(key, xor(state, padded));
}

/** An address as pairing counts it: type, then six octets. */
export interface PairingAddress {
  readonly random: boolean;
  /** Six octets, most significant first. */
  readonly octets: Buffer;
}

/** Confirm value of legacy pairing (2.2.3). `request` and `response` are the seven octets of both PDUs, most significant first. */
export function c1(
  key: Buffer,
  random: Buffer,
  request: Buffer,
  response: Buffer,
  initiator: PairingAddress,
  responder: PairingAddress,
): Buffer {
  const p1 = Buffer.concat([response, request, Buffer.of(responder.random ? 1 : 0, initiator.random ? 1 : 0)]);
  const p2 = Buffer.concat([Buffer.alloc(4), initiator.octets, responder.octets]);
  return e(key, xor(e(key, xor(random, p1)), p2));
}

/** Short-term key of legacy pairing (2.2.4): from the responder's random number and the initiator's. */
export function s1(key: Buffer, responderRandom: Buffer, initiatorRandom: Buffer): Buffer {
  return e(key, Buffer.concat([responderRandom.subarray(8), initiatorRandom.subarray(8)]));
}

/** Confirm value of Secure Connections (2.2.6): X coordinates of both public keys, a nonce, and 0 for Just Works. */
export function f4(u: Buffer, v: Buffer, x: Buffer, z: number): Buffer {
  return aesCmac(x, Buffer.concat([u, v, Buffer.of(z)]));
}

/** Keys of Secure Connections (2.2.7), from the shared secret, both nonces and both addresses. */
export function f5(
  secret: Buffer,
  n1: Buffer,
  n2: Buffer,
  a1: PairingAddress,
  a2: PairingAddress,
): { macKey: Buffer; ltk: Buffer } {
  const t = aesCmac(Buffer.from('6c888391aaf5a53860370bdb5a6083be', 'hex'), secret);
  const derived = (counter: number) =>
    aesCmac(
      t,
      Buffer.concat([
        Buffer.of(counter),
        Buffer.from('btle'),
        n1,
        n2,
        addressOctets(a1),
        addressOctets(a2),
        Buffer.of(0x01, 0x00),
      ]),
    );
  return { macKey: derived(0), ltk: derived(1) };
}

/** Check value of Secure Connections (2.2.8). `ioCapabilities`: AuthReq, OOB flag, IO capability. */
export function f6(
  macKey: Buffer,
  n1: Buffer,
  n2: Buffer,
  r: Buffer,
  ioCapabilities: Buffer,
  a1: PairingAddress,
  a2: PairingAddress,
): Buffer {
  return aesCmac(macKey, Buffer.concat([n1, n2, r, ioCapabilities, addressOctets(a1), addressOctets(a2)]));
}

/** Random address hash (2.2.2): three octets from the identity resolving key and the address's random part. */
export function ah(irk: Buffer, prand: Buffer): Buffer {
  return e(irk, Buffer.concat([Buffer.alloc(13), prand])).subarray(13);
}

/** Whether an address is a resolvable private one of the device with that identity resolving key (Vol 6 Part B, 1.3.2.3). */
export function resolves(irk: Buffer, address: string): boolean {
  const octets = Buffer.from(address.replaceAll(':', ''), 'hex');
  return octets.length === 6 && octets[0]! >> 6 === 0b01 && ah(irk, octets.subarray(0, 3)).equals(octets.subarray(3));
}

/** `aa:bb:cc:dd:ee:ff` for the toolbox. */
export function pairingAddress(address: string, random: boolean): PairingAddress {
  return { random, octets: Buffer.from(address.replaceAll(':', ''), 'hex') };
}

function addressOctets({ random, octets }: PairingAddress): Buffer {
  return Buffer.concat([Buffer.of(random ? 1 : 0), octets]);
}

function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((octet, index) => octet ^ b[index]!));
}

/** One left shift in GF(2^128). */
function doubled(block: Buffer): Buffer {
  const carry = block[0]! >> 7;
  const out = Buffer.from(block.map((octet, index) => ((octet << 1) | ((block[index + 1] ?? 0) >> 7)) & 0xff));
  out[15]! ^= carry ? 0x87 : 0;
  return out;
}
