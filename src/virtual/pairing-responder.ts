import { createECDH, randomBytes } from 'node:crypto';
import type { DeviceDescription } from '../contract/tray-file.ts';
import { c1, type DeviceAddress, f4, f5, f6, s1 } from './pairing-crypto.ts';
import { backwards, carriedValue, FAILURE, GIVES, isWhole, PDU, securityPdu, WANTS } from './pairing-pdus.ts';

const NO_INPUT_NO_OUTPUT = 0x03;
const KEY_OCTETS = 16;
const ZERO_KEY = Buffer.alloc(KEY_OCTETS);

/** A key as the controller asks for it. */
export interface LinkKey {
  readonly ltk: Buffer;
  readonly ediv: number;
  readonly rand: Buffer;
}

/** What a responder needs of the device around it. */
export interface ResponderHost {
  readonly accepts: DeviceDescription['security'];
  readonly own: DeviceAddress;
  readonly peer: DeviceAddress;
  /** The device's identity address and resolving key, most significant octet first. */
  readonly identity: { readonly address: Buffer; readonly random: boolean; readonly irk: Buffer };
  /** Sends the n-th PDU of the pairing, from 1; a fault may make something else of it. */
  send(pdu: Buffer, nth: number): void;
  /** The key for this link is agreed. */
  agreed(key: LinkKey): void;
  /** A key to be kept for the next link: both sides bond. */
  bonded(key: LinkKey): void;
  log(line: string): void;
}

type Expectation = (pdu: Buffer) => void;

/** Pairing as a virtual device does it: the responder of Core 5.4, Vol 3 Part H, 2.3.5, Just Works only. */
export class PairingResponder {
  readonly #host: ResponderHost;
  #sent = 0;
  #expected: { readonly code: number; readonly then: Expectation } | null = null;
  #request: Buffer = Buffer.alloc(7);
  #response: Buffer = Buffer.alloc(7);
  /** What is left to be done once the link is encrypted. */
  #afterEncryption: (() => void) | null = null;

  constructor(host: ResponderHost) {
    this.#host = host;
  }

  /** A PDU from the central. */
  received(pdu: Buffer): void {
    if (pdu[0] === PDU.pairingFailed) {
      this.#expected = null;
      this.#host.log(`smp: pairing failed by the central, reason ${pdu[1]}`);
      return;
    }
    if (!isWhole(pdu)) return this.#fail(FAILURE.invalidParameters);
    if (pdu[0] === PDU.pairingRequest) return this.#asked(pdu);
    const expected = this.#expected;
    if (!expected || expected.code !== pdu[0]) return this.#fail(FAILURE.unspecifiedReason);
    this.#expected = null;
    expected.then(pdu);
  }

  /** The link is encrypted now. */
  encrypted(): void {
    this.#afterEncryption?.();
    this.#afterEncryption = null;
  }

  /** It says that it bonds whether it is asked to or not, as Zephyr does; a bond is what both sides want. */
  #asked(request: Buffer): void {
    const { accepts } = this.#host;
    const [asked, keysAsked] = [request[3]!, request[6]!];
    const secure = (asked & WANTS.secureConnections) !== 0 && accepts !== 'legacy';
    if (accepts === 'none') return this.#fail(FAILURE.pairingNotSupported);
    if (accepts === 'mitm' || (accepts === 'sc' && !secure)) return this.#fail(FAILURE.authenticationRequirements);
    const bonds = (asked & WANTS.bonding) !== 0;
    const authReq = WANTS.bonding | (secure ? WANTS.secureConnections : 0);
    const keys = keysAsked & (GIVES.encryptionKey | GIVES.identityKey);
    this.#request = Buffer.from(request);
    this.#response = Buffer.of(PDU.pairingResponse, NO_INPUT_NO_OUTPUT, 0, authReq, KEY_OCTETS, 0, keys);
    this.#send(this.#response);
    if (secure) this.#secureConnections(bonds);
    else this.#legacy(bonds);
  }

  #legacy(bonds: boolean): void {
    const { own, peer } = this.#host;
    const random = randomBytes(16);
    const confirm = (value: Buffer) =>
      c1(ZERO_KEY, value, backwards(this.#request), backwards(this.#response), peer, own);
    this.#expect(PDU.pairingConfirm, (confirmPdu) => {
      this.#send(securityPdu(PDU.pairingConfirm, confirm(random)));
      this.#expect(PDU.pairingRandom, (randomPdu) => {
        const ofPeer = carriedValue(randomPdu);
        if (!confirm(ofPeer).equals(carriedValue(confirmPdu))) return this.#fail(FAILURE.confirmValueFailed);
        this.#send(securityPdu(PDU.pairingRandom, random));
        this.#agree({ ltk: s1(ZERO_KEY, random, ofPeer), ediv: 0, rand: Buffer.alloc(8) }, 'legacy');
        this.#afterEncryption = () => this.#giveKeys(bonds, null);
      });
    });
  }

  #secureConnections(bonds: boolean): void {
    const { own, peer } = this.#host;
    const curve = createECDH('prime256v1');
    // An uncompressed point: 4, X, Y.
    const point = curve.generateKeys();
    const [x, y] = [point.subarray(1, 33), point.subarray(33)];
    const nonce = randomBytes(16);
    this.#expect(PDU.publicKey, (keyPdu) => {
      const [peerX, peerY] = [backwards(keyPdu.subarray(1, 33)), backwards(keyPdu.subarray(33))];
      const secret = curve.computeSecret(Buffer.concat([Buffer.of(4), peerX, peerY]));
      this.#send(securityPdu(PDU.publicKey, x, y));
      this.#send(securityPdu(PDU.pairingConfirm, f4(x, peerX, nonce, 0)));
      this.#expect(PDU.pairingRandom, (randomPdu) => {
        const ofPeer = carriedValue(randomPdu);
        this.#send(securityPdu(PDU.pairingRandom, nonce));
        const { macKey, ltk } = f5(secret, [ofPeer, nonce], [peer, own]);
        this.#expect(PDU.dhKeyCheck, (checkPdu) => {
          const due = f6(macKey, [ofPeer, nonce], ZERO_KEY, capabilities(this.#request), [peer, own]);
          if (!due.equals(carriedValue(checkPdu))) return this.#fail(FAILURE.dhKeyCheckFailed);
          const key = { ltk, ediv: 0, rand: Buffer.alloc(8) };
          this.#agree(key, 'Secure Connections');
          this.#afterEncryption = () => this.#giveKeys(bonds, key);
          const check = f6(macKey, [nonce, ofPeer], ZERO_KEY, capabilities(this.#response), [own, peer]);
          this.#send(securityPdu(PDU.dhKeyCheck, check));
        });
      });
    });
  }

  /** Gives out the keys that were asked for (3.6.1), and keeps one where both sides bond. */
  #giveKeys(bonds: boolean, secureKey: LinkKey | null): void {
    const keys = this.#response[6]!;
    const legacyKey: LinkKey = { ltk: randomBytes(16), ediv: randomBytes(2).readUInt16LE(0), rand: randomBytes(8) };
    if (!secureKey && keys & GIVES.encryptionKey) {
      this.#send(securityPdu(PDU.encryptionInformation, legacyKey.ltk));
      const ediv = Buffer.of(legacyKey.ediv & 0xff, legacyKey.ediv >> 8);
      this.#send(Buffer.concat([Buffer.of(PDU.centralIdentification), ediv, legacyKey.rand]));
    }
    if (keys & GIVES.identityKey) {
      const { irk, address, random } = this.#host.identity;
      this.#send(securityPdu(PDU.identityInformation, irk));
      this.#send(Buffer.concat([Buffer.of(PDU.identityAddress, random ? 1 : 0), backwards(address)]));
    }
    if (bonds) this.#host.bonded(secureKey ?? legacyKey);
  }

  #agree(key: LinkKey, how: 'legacy' | 'Secure Connections'): void {
    this.#host.log(`smp: paired, Just Works, ${how}`);
    this.#host.agreed(key);
  }

  #expect(code: number, then: Expectation): void {
    this.#expected = { code, then };
  }

  #send(pdu: Buffer): void {
    this.#sent += 1;
    this.#host.send(pdu, this.#sent);
  }

  #fail(reason: number): void {
    this.#expected = null;
    this.#host.log(`smp: pairing refused, reason ${reason}`);
    this.#send(Buffer.of(PDU.pairingFailed, reason));
  }
}

/** AuthReq, OOB flag and IO capability of a request or response, as f6 takes them. */
function capabilities(features: Buffer): Buffer {
  return backwards(features.subarray(1, 4));
}
