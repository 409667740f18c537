import { createECDH, randomBytes } from 'node:crypto';
import type { Clock } from '../../clock.ts';
import { type ErrorCode, StationError } from '../../contract/errors.ts';
import { addressText } from '../hci/packets.ts';
import {
  AUTH,
  featuresPdu,
  isWellFormed,
  KEYS,
  MAX_KEY_OCTETS,
  MIN_KEY_OCTETS,
  NO_INPUT_NO_OUTPUT,
  PAIRING,
  PAIRING_FAILURE,
  type PairingFeatures,
  pduValue,
  publicKeyPdu,
  readFeatures,
  readPublicKey,
  reversed,
  valuePdu,
} from './pairing-codec.ts';
import { c1, f4, f5, f6, type PairingAddress, s1 } from './toolbox.ts';

/** After so long without a PDU pairing has failed, and no more may be tried on the link (Core 5.4, Vol 3 Part H, 3.4). */
const PAIRING_TIMEOUT_MS = 30_000;
const MAX_QUEUED = 16;

/** What encrypts a link: the long-term key and, where it came by legacy pairing, what the peer finds it by. */
export interface EncryptionKey {
  /** Most significant octet first. */
  readonly ltk: Buffer;
  readonly ediv: number;
  /** Eight octets as HCI carries them. */
  readonly rand: Buffer;
}

/** What pairing has come to, before the link is encrypted. */
export interface Paired {
  readonly key: EncryptionKey;
  readonly secureConnections: boolean;
  readonly keyOctets: number;
  /** Keys that the peer will send once the link is encrypted. */
  readonly expects: number;
  readonly bonding: boolean;
}

/** What the peer gave for the next time. */
export interface DistributedKeys {
  readonly key: EncryptionKey | null;
  readonly irk: Buffer | null;
  readonly identity: { readonly address: string; readonly random: boolean } | null;
}

/** The PDUs of one pairing: sent at once, received in order, each within the time that the specification gives. */
export class PairingChannel {
  readonly #clock: Clock;
  readonly #send: (pdu: Buffer) => void;
  readonly #queue: Buffer[] = [];
  #waiting: { readonly resolve: (pdu: Buffer) => void; readonly reject: (error: unknown) => void } | null = null;
  #ended: StationError | null = null;

  constructor(clock: Clock, send: (pdu: Buffer) => void) {
    this.#clock = clock;
    this.#send = send;
  }

  send(pdu: Buffer): void {
    if (!this.#ended) this.#send(pdu);
  }

  /** A PDU from the peer; more than a pairing can have are dropped. */
  receive(pdu: Buffer): void {
    const waiting = this.#waiting;
    if (waiting) {
      this.#waiting = null;
      waiting.resolve(pdu);
    } else if (this.#queue.length < MAX_QUEUED) this.#queue.push(pdu);
  }

  /** The link is over. */
  end(reason: StationError): void {
    this.#ended ??= reason;
    this.#waiting?.reject(reason);
    this.#waiting = null;
  }

  /** Tells the peer that pairing has failed, and gives the error to throw. */
  fail(reason: number, code: ErrorCode, detail: string): StationError {
    this.send(Buffer.of(PAIRING.FAILED, reason));
    return new StationError(code, detail);
  }

  /** The next PDU, which has to be of that code. @throws StationError PAIRING_TIMEOUT, PAIRING_NONSENSE, what Pairing Failed says, or the link's end */
  async next(code: number): Promise<Buffer> {
    for (;;) {
      const pdu = this.#queue.shift() ?? (await this.#arrival());
      if (!isWellFormed(pdu)) {
        const shown = pdu.subarray(0, 20).toString('hex');
        throw this.fail(PAIRING_FAILURE.INVALID_PARAMETERS, 'PAIRING_NONSENSE', `malformed PDU ${shown}`);
      }
      if (pdu[0] === PAIRING.FAILED) throw failedByPeer(pdu[1]!);
      // A peer that repeats its request for security, or reports key presses, says nothing new.
      if (pdu[0] === PAIRING.SECURITY_REQUEST || pdu[0] === PAIRING.KEYPRESS) continue;
      if (pdu[0] === code) return pdu;
      const detail = `PDU 0x${pdu[0]!.toString(16)} where 0x${code.toString(16)} is due`;
      throw this.fail(PAIRING_FAILURE.UNSPECIFIED, 'PAIRING_NONSENSE', detail);
    }
  }

  #arrival(): Promise<Buffer> {
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.after(PAIRING_TIMEOUT_MS, () => {
        this.#waiting = null;
        reject(new StationError('PAIRING_TIMEOUT', `${PAIRING_TIMEOUT_MS / 1000} s`, { retryable: true }));
      });
      this.#waiting = {
        resolve: (pdu) => {
          cancel();
          resolve(pdu);
        },
        reject: (error) => {
          cancel();
          reject(error);
        },
      };
    });
  }
}

/** Reasons of Pairing Failed that have a code of their own. */
function failedByPeer(reason: number): StationError {
  const detail = `Pairing Failed, reason 0x${reason.toString(16).padStart(2, '0')}`;
  if (reason === PAIRING_FAILURE.AUTHENTICATION_REQUIREMENTS) return new StationError('PAIRING_NEEDS_MITM', detail);
  return new StationError('PAIRING_FAILED', detail, { retryable: reason === PAIRING_FAILURE.REPEATED_ATTEMPTS });
}

/** Whom the pairing is between. */
export interface PairingParties {
  readonly own: PairingAddress;
  readonly peer: PairingAddress;
}

/**
 * Pairs by Just Works as the initiator, with Secure Connections where the peer can and legacy otherwise (Core 5.4, Vol 3 Part H, 2.3.5 and
 * appendix C). The link is not yet encrypted when it resolves.
 * @throws StationError PAIRING_FAILED, PAIRING_NEEDS_MITM, PAIRING_NONSENSE, PAIRING_CONFIRM_WRONG, PAIRING_TIMEOUT or the link's end
 */
export async function pair(channel: PairingChannel, parties: PairingParties, bonding: boolean): Promise<Paired> {
  const asked: PairingFeatures = {
    ioCapability: NO_INPUT_NO_OUTPUT,
    oob: false,
    authReq: AUTH.SECURE_CONNECTIONS | (bonding ? AUTH.BONDING : 0),
    maxKeyOctets: MAX_KEY_OCTETS,
    initiatorKeys: 0,
    responderKeys: bonding ? KEYS.ENCRYPTION | KEYS.IDENTITY : 0,
  };
  const request = featuresPdu(PAIRING.REQUEST, asked);
  channel.send(request);
  const response = await channel.next(PAIRING.RESPONSE);
  const answered = readFeatures(response);
  const { maxKeyOctets } = answered;
  if (maxKeyOctets < MIN_KEY_OCTETS || maxKeyOctets > MAX_KEY_OCTETS)
    throw channel.fail(PAIRING_FAILURE.KEY_SIZE, 'PAIRING_NONSENSE', `a key of ${maxKeyOctets} octets`);
  if (answered.responderKeys & ~asked.responderKeys || answered.initiatorKeys & ~asked.initiatorKeys)
    throw channel.fail(PAIRING_FAILURE.INVALID_PARAMETERS, 'PAIRING_NONSENSE', 'keys that were not asked for');
  const secureConnections = (answered.authReq & AUTH.SECURE_CONNECTIONS) !== 0;
  const key = secureConnections
    ? await secureConnectionsKey(channel, parties, { request, response })
    : await legacyKey(channel, parties, { request, response });
  return {
    key: { ltk: shortened(key, maxKeyOctets), ediv: 0, rand: Buffer.alloc(8) },
    secureConnections,
    keyOctets: maxKeyOctets,
    // With Secure Connections the key is already there on both sides (3.6.1).
    expects: secureConnections ? answered.responderKeys & ~KEYS.ENCRYPTION : answered.responderKeys,
    bonding: bonding && (answered.authReq & AUTH.BONDING) !== 0,
  };
}

/** What the peer distributes once the link is encrypted (3.6.1). @throws as `PairingChannel.next` */
export async function receiveKeys(
  channel: PairingChannel,
  { expects, keyOctets }: Pick<Paired, 'expects' | 'keyOctets'>,
): Promise<DistributedKeys> {
  let key: EncryptionKey | null = null;
  let irk: Buffer | null = null;
  let identity: DistributedKeys['identity'] = null;
  if (expects & KEYS.ENCRYPTION) {
    const ltk = shortened(pduValue(await channel.next(PAIRING.ENCRYPTION_INFORMATION)), keyOctets);
    const found = await channel.next(PAIRING.CENTRAL_IDENTIFICATION);
    key = { ltk, ediv: found.readUInt16LE(1), rand: Buffer.from(found.subarray(3, 11)) };
  }
  if (expects & KEYS.IDENTITY) {
    irk = pduValue(await channel.next(PAIRING.IDENTITY_INFORMATION));
    const found = await channel.next(PAIRING.IDENTITY_ADDRESS);
    identity = { address: addressText(found.subarray(2, 8)), random: found[1] === 1 };
  }
  return { key, irk, identity };
}

interface Exchange {
  readonly request: Buffer;
  readonly response: Buffer;
}

/** Phase 2 of legacy pairing (2.3.5.2, 2.3.5.5): both commit to random numbers, then show them. The temporary key of Just Works is 0. */
async function legacyKey(channel: PairingChannel, { own, peer }: PairingParties, exchange: Exchange): Promise<Buffer> {
  const temporary = Buffer.alloc(16);
  const random = randomBytes(16);
  const request = reversed(exchange.request);
  const response = reversed(exchange.response);
  channel.send(valuePdu(PAIRING.CONFIRM, c1(temporary, random, request, response, own, peer)));
  const confirm = pduValue(await channel.next(PAIRING.CONFIRM));
  channel.send(valuePdu(PAIRING.RANDOM, random));
  const peerRandom = pduValue(await channel.next(PAIRING.RANDOM));
  if (!c1(temporary, peerRandom, request, response, own, peer).equals(confirm))
    throw channel.fail(PAIRING_FAILURE.CONFIRM_VALUE_FAILED, 'PAIRING_CONFIRM_WRONG', 'legacy confirm value');
  return s1(temporary, peerRandom, random);
}

/** Phase 2 of Secure Connections by Just Works (2.3.5.6.1 to 2.3.5.6.5). */
async function secureConnectionsKey(
  channel: PairingChannel,
  { own, peer }: PairingParties,
  exchange: Exchange,
): Promise<Buffer> {
  const curve = createECDH('prime256v1');
  curve.generateKeys();
  const uncompressed = curve.getPublicKey();
  const ownKey = { x: uncompressed.subarray(1, 33), y: uncompressed.subarray(33, 65) };
  channel.send(publicKeyPdu(ownKey));
  const peerKey = readPublicKey(await channel.next(PAIRING.PUBLIC_KEY));
  const secret = sharedSecret(channel, curve, ownKey.x, peerKey);
  const confirm = pduValue(await channel.next(PAIRING.CONFIRM));
  const nonce = randomBytes(16);
  channel.send(valuePdu(PAIRING.RANDOM, nonce));
  const peerNonce = pduValue(await channel.next(PAIRING.RANDOM));
  if (!f4(peerKey.x, ownKey.x, peerNonce, 0).equals(confirm))
    throw channel.fail(PAIRING_FAILURE.CONFIRM_VALUE_FAILED, 'PAIRING_CONFIRM_WRONG', 'confirm value');
  const { macKey, ltk } = f5(secret, nonce, peerNonce, own, peer);
  const zero = Buffer.alloc(16);
  channel.send(
    valuePdu(PAIRING.DHKEY_CHECK, f6(macKey, nonce, peerNonce, zero, capabilities(exchange.request), own, peer)),
  );
  const check = pduValue(await channel.next(PAIRING.DHKEY_CHECK));
  if (!f6(macKey, peerNonce, nonce, zero, capabilities(exchange.response), peer, own).equals(check))
    throw channel.fail(PAIRING_FAILURE.DHKEY_CHECK_FAILED, 'PAIRING_CONFIRM_WRONG', 'DHKey check');
  return ltk;
}

/** A key that is no point of the curve, or our own come back, is refused (2.3.5.6.1). */
function sharedSecret(
  channel: PairingChannel,
  curve: ReturnType<typeof createECDH>,
  ownX: Buffer,
  { x, y }: { readonly x: Buffer; readonly y: Buffer },
): Buffer {
  try {
    if (x.equals(ownX)) throw new Error('our own key');
    return curve.computeSecret(Buffer.concat([Buffer.of(4), x, y]));
  } catch (error) {
    const detail = `public key: ${error instanceof Error ? error.message : error}`;
    throw channel.fail(PAIRING_FAILURE.INVALID_PARAMETERS, 'PAIRING_NONSENSE', detail);
  }
}

/** AuthReq, OOB flag and IO capability of a Pairing Request or Response, as f6 takes them (2.2.8). */
function capabilities(features: Buffer): Buffer {
  return Buffer.of(features[3]!, features[2]!, features[1]!);
}

/** A key of fewer octets has zeros in its most significant ones (2.3.4). */
function shortened(key: Buffer, octets: number): Buffer {
  return Buffer.concat([Buffer.alloc(16 - octets), key.subarray(16 - octets)]);
}
