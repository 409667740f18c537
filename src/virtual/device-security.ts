import { createHash } from 'node:crypto';
import type { DeviceDescription } from '../contract/tray-file.ts';
import { ATT_ERROR, type ServiceDeclaration } from './att-server.ts';
import type { Faults } from './faults.ts';
import { CHANNEL } from './hci/packet.ts';
import { ah, type DeviceAddress } from './pairing-crypto.ts';
import { PDU, WANTS } from './pairing-pdus.ts';
import { type LinkKey, PairingResponder } from './pairing-responder.ts';
import type { PeripheralHost, PeripheralSetup } from './peripheral-host.ts';

/** Bond Management Service 1.0: delete the bond of the requesting device, LE transport only. */
const DELETE_BOND_OF_REQUESTING_DEVICE = 0x03;
const BOND_MANAGEMENT_SERVICE = '181e';
const BOND_CONTROL_POINT = '2aa4';

/** The security of a virtual device: what it lets in, how it pairs, and the keys it keeps over its restarts. */
export class DeviceSecurity {
  readonly #description: DeviceDescription;
  readonly #host: PeripheralHost;
  readonly #faults: Faults;
  readonly #log: (line: string) => void;
  readonly #identity: { readonly address: Buffer; readonly random: boolean; readonly irk: Buffer };
  readonly #bonds = new Map<string, LinkKey>();
  #central = '';
  #address = '';
  #responder: PairingResponder | null = null;
  #agreed: LinkKey | null = null;

  constructor(description: DeviceDescription, host: PeripheralHost, faults: Faults, log: (line: string) => void) {
    this.#description = description;
    this.#host = host;
    this.#faults = faults;
    this.#log = log;
    const digest = createHash('sha256').update(`identity of ${description.serial}`).digest();
    const address = Buffer.from(digest.subarray(0, 6));
    address[0]! |= 0xc0;
    this.#identity = { address, random: true, irk: Buffer.from(digest.subarray(16, 32)) };
  }

  /** How many bonds it keeps. */
  get bonds(): number {
    return this.#bonds.size;
  }

  /** The ATT error by which what is protected is refused now; null where it may be touched. */
  readonly refuses = (): number | null => {
    const { security, refusesBy } = this.#description;
    if (security === 'mitm') return ATT_ERROR.INSUFFICIENT_AUTHENTICATION;
    return security === 'none' || this.#host.encrypted ? null : refusesBy;
  };

  /** A resolvable private address, another at each boot (Vol 6 Part B, 1.3.2.2). */
  privateAddress(boot: number): string {
    const prand = createHash('sha256').update(`${this.#description.serial}/${boot}`).digest().subarray(0, 3);
    prand[0] = (prand[0]! & 0x3f) | 0x40;
    const octets = Buffer.concat([prand, ah(this.#identity.irk, prand)]);
    return [...octets].map((octet) => octet.toString(16).padStart(2, '0')).join(':');
  }

  /** The device restarts. */
  boot(address: string): void {
    this.#address = address;
    if (this.#faults.happens('forget-bonds', 'boot')) this.#bonds.clear();
  }

  /** What the host stack needs of it. */
  setup(): Pick<PeripheralSetup, 'onL2cap' | 'onEncrypted' | 'keyFor'> {
    return {
      onL2cap: (cid, payload) => {
        if (cid === CHANNEL.security) this.#responder?.received(payload);
      },
      onEncrypted: () => {
        this.#log('bt: encrypted');
        this.#responder?.encrypted();
      },
      keyFor: (ediv, rand) => this.#keyFor(ediv, rand),
    };
  }

  /** A central has connected. */
  connected(central: DeviceAddress): void {
    const { security, securityRequest } = this.#description;
    this.#central = central.octets.toString('hex');
    this.#agreed = null;
    const own = { random: true, octets: Buffer.from(this.#address.replaceAll(':', ''), 'hex') };
    this.#responder = new PairingResponder({
      accepts: security,
      own,
      peer: central,
      identity: { ...this.#identity, address: this.#description.privacy ? this.#identity.address : own.octets },
      send: (pdu, nth) => this.#send(pdu, nth),
      agreed: (key) => {
        this.#agreed = key;
      },
      bonded: (key) => this.#bonds.set(this.#central, key),
      log: this.#log,
    });
    if (securityRequest)
      this.#host.sendL2cap(CHANNEL.security, Buffer.of(PDU.securityRequest, WANTS.secureConnections));
  }

  /** Bond management, where it has any. */
  services(): ServiceDeclaration[] {
    const { security, bondManagement } = this.#description;
    if (security === 'none' || !bondManagement) return [];
    const write = (value: Buffer) => {
      if (value[0] !== DELETE_BOND_OF_REQUESTING_DEVICE) return ATT_ERROR.REQUEST_NOT_SUPPORTED;
      this.#bonds.delete(this.#central);
      this.#log('bt: bond deleted');
      return 0;
    };
    return [
      {
        uuid: BOND_MANAGEMENT_SERVICE,
        characteristics: [{ uuid: BOND_CONTROL_POINT, properties: ['write'], write }],
        refuses: this.refuses,
      },
    ];
  }

  #keyFor(ediv: number, rand: Buffer): Buffer | null {
    const pairing = this.#agreed;
    if (pairing) return pairing.ltk;
    const bond = this.#bonds.get(this.#central);
    return bond && bond.ediv === ediv && bond.rand.equals(rand) ? bond.ltk : null;
  }

  #send(pdu: Buffer, nth: number): void {
    const send = (bytes: Buffer) => this.#host.sendL2cap(CHANNEL.security, bytes);
    switch (this.#faults.inPairing(nth)) {
      case 'pairing-stops':
        return;
      case 'pairing-wrong-value':
        return send(Buffer.from(pdu.map((octet, index) => (index === 0 ? octet : octet ^ 0x5a))));
      case 'pairing-repeats':
        send(pdu);
        return send(pdu);
      case 'pairing-garbage':
        return send(Buffer.concat([pdu.subarray(0, Math.max(1, pdu.length - 3))]));
      case 'pairing-drops-link':
        return this.#host.disconnect();
      default:
        return send(pdu);
    }
  }
}
