import { createECDH, randomBytes } from 'node:crypto';
import type { DeviceDescription } from '../contract/tray-file.ts';
import type { EncryptionKey } from '../radio/security/pairing.ts';
import {
  AUTH,
  featuresPdu,
  isWellFormed,
  KEYS,
  MAX_KEY_OCTETS,
  NO_INPUT_NO_OUTPUT,
  PAIRING,
  PAIRING_FAILURE,
  pduValue,
  publicKeyPdu,
  readFeatures,
  readPublicKey,
  reversed,
  valuePdu,
} from '../radio/security/pairing-codec.ts';
import { c1, f4, f5, f6, type PairingAddress, s1 } from '../radio/security/toolbox.ts';

/** A key that a virtual device keeps over its restarts. */
export interface DeviceBond {
  readonly key: EncryptionKey;
  readonly secureConnections: boolean;
}

/** What a responder needs of the device around it. */
export interface ResponderHost {
  readonly accepts: DeviceDescription['security'];
  readonly own: PairingAddress;
  readonly peer: PairingAddress;
  /** The device's identity address and resolving key, most significant octet first. */
  readonly identity: { readonly address: Buffer; readonly random: boolean; readonly irk: Buffer };
  /** Sends the n-th PDU of the pairing, from 1; a fault may make something else of it. */
  send(pdu: Buffer, nth: number): void;
  /** The key is agreed; kept for the next time when both sides bond. */
  agreed(key: EncryptionKey, secureConnections: boolean): void;
  bonded(bond: DeviceBond): void;
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
    if (pdu[0] === PAIRING.FAILED) {
      this.#expected = null;
      this.#host.log(`smp: pairing failed by the central, reason ${pdu[1]}`);
      return;
    }
    if (!isWellFormed(pdu)) return this.#fail(PAIRING_FAILURE.INVALID_PARAMETERS);
    if (pdu[0] === PAIRING.REQUEST) return this.#asked(pdu);
    const expected = this.#expected;
    if (!expected || expected.code !== pdu[0]) return this.#fail(PAIRING_FAILURE.UNSPECIFIED);
    this.#expected = null;
    expected.then(pdu);
  }

  /** The link is encrypted now. */
  encrypted(): void {
    this.#afterEncryption?.();
    this.#afterEncryption = null;
  }

  #asked(request: Buffer): void {
    const { accepts } = this.#host;
    const asked = readFeatures(request);
    const secure = (asked.authReq & AUTH.SECURE_CONNECTIONS) !== 0 && accepts !== 'legacy';
    const refuses = accepts === 'none' ? PAIRING_FAILURE.NOT_SUPPORTED : PAIRING_FAILURE.AUTHENTICATION_REQUIREMENTS;
    if (accepts === 'none' || accepts === 'mitm' || (accepts === 'sc' && !secure)) return this.#fail(refuses);
    const bonds = (asked.authReq & AUTH.BONDING) !== 0;
    this.#request = request;
    this.#response = featuresPdu(PAIRING.RESPONSE, {
      ioCapability: NO_INPUT_NO_OUTPUT,
      oob: false,
      authReq: (bonds ? AUTH.BONDING : 0) | (secure ? AUTH.SECURE_CONNECTIONS : 0),
      maxKeyOctets: MAX_KEY_OCTETS,
      initiatorKeys: 0,
      responderKeys: asked.responderKeys & (KEYS.ENCRYPTION | KEYS.IDENTITY),
    });
    this.#send(this.#response);
    if (secure) this.#secureConnections(bonds);
    else this.#legacy(bonds);
  }

  #legacy(bonds: boolean): void {
    const { own, peer } = this.#host;
    const random = randomBytes(16);
    const confirm = (value: Buffer) =>
      c1(Buffer.alloc(16), value, reversed(this.#request), reversed(this.#response), peer, own);
    this.#expect(PAIRING.CONFIRM, (confirmPdu) => {
      this.#send(valuePdu(PAIRING.CONFIRM, confirm(random)));
      this.#expect(PAIRING.RANDOM, (randomPdu) => {
        const peerRandom = pduValue(randomPdu);
        if (!confirm(peerRandom).equals(pduValue(confirmPdu))) return this.#fail(PAIRING_FAILURE.CONFIRM_VALUE_FAILED);
        this.#send(valuePdu(PAIRING.RANDOM, random));
        const short = s1(Buffer.alloc(16), random, peerRandom);
        this.#agree({ ltk: short, ediv: 0, rand: Buffer.alloc(8) }, false);
        this.#afterEncryption = () => this.#distribute(bonds, null);
      });
    });
  }

  #secureConnections(bonds: boolean): void {
    const { own, peer } = this.#host;
    const curve = createECDH('prime256v1');
    curve.generateKeys();
    const raw = curve.getPublicKey();
    const ownKey = { x: raw.subarray(1, 33), y: raw.subarray(33, 65) };
    const nonce = randomBytes(16);
    this.#expect(PAIRING.PUBLIC_KEY, (keyPdu) => {
      const peerKey = readPublicKey(keyPdu);
      const secret = curve.computeSecret(Buffer.concat([Buffer.of(4), peerKey.x, peerKey.y]));
      this.#send(publicKeyPdu(ownKey));
      this.#send(valuePdu(PAIRING.CONFIRM, f4(ownKey.x, peerKey.x, nonce, 0)));
      this.#expect(PAIRING.RANDOM, (randomPdu) => {
        const peerNonce = pduValue(randomPdu);
        this.#send(valuePdu(PAIRING.RANDOM, nonce));
        const { macKey, ltk } = f5(secret, peerNonce, nonce, peer, own);
        const zero = Buffer.alloc(16);
        this.#expect(PAIRING.DHKEY_CHECK, (checkPdu) => {
          const wanted = f6(macKey, peerNonce, nonce, zero, capabilities(this.#request), peer, own);
          if (!wanted.equals(pduValue(checkPdu))) return this.#fail(PAIRING_FAILURE.DHKEY_CHECK_FAILED);
          const check = f6(macKey, nonce, peerNonce, zero, capabilities(this.#response), own, peer);
          const key = { ltk, ediv: 0, rand: Buffer.alloc(8) };
          this.#agree(key, true);
          this.#afterEncryption = () => this.#distribute(bonds, key);
          this.#send(valuePdu(PAIRING.DHKEY_CHECK, check));
        });
      });
    });
  }

  #distribute(bonds: boolean, secureKey: EncryptionKey | null): void {
    const { responderKeys } = readFeatures(this.#response);
    const legacyKey: EncryptionKey = {
      ltk: randomBytes(16),
      ediv: randomBytes(2).readUInt16LE(0),
      rand: randomBytes(8),
    };
    if (!secureKey && responderKeys & KEYS.ENCRYPTION) {
      this.#send(valuePdu(PAIRING.ENCRYPTION_INFORMATION, legacyKey.ltk));
      const found = Buffer.of(PAIRING.CENTRAL_IDENTIFICATION, legacyKey.ediv & 0xff, legacyKey.ediv >> 8);
      this.#send(Buffer.concat([found, legacyKey.rand]));
    }
    if (responderKeys & KEYS.IDENTITY) {
      const { irk, address, random } = this.#host.identity;
      this.#send(valuePdu(PAIRING.IDENTITY_INFORMATION, irk));
      this.#send(Buffer.concat([Buffer.of(PAIRING.IDENTITY_ADDRESS, random ? 1 : 0), reversed(address)]));
    }
    const key = secureKey ?? legacyKey;
    if (bonds) this.#host.bonded({ key, secureConnections: secureKey !== null });
  }

  #agree(key: EncryptionKey, secureConnections: boolean): void {
    this.#host.log(`smp: paired, Just Works, ${secureConnections ? 'Secure Connections' : 'legacy'}`);
    this.#host.agreed(key, secureConnections);
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
    this.#send(Buffer.of(PAIRING.FAILED, reason));
  }
}

function capabilities(features: Buffer): Buffer {
  return Buffer.of(features[3]!, features[2]!, features[1]!);
}
