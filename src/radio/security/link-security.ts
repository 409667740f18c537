import type { Clock } from '../../clock.ts';
import { StationError } from '../../contract/errors.ts';
import type { LinkSecurity } from '../../contract/records.ts';
import { STATUS } from '../hci/packets.ts';
import type { Bond, SecurityPolicy } from '../radio.ts';
import { type EncryptionKey, PairingChannel, type PairingParties, pair, receiveKeys } from './pairing.ts';
import { PAIRING, PAIRING_FAILURE } from './pairing-codec.ts';
import { pairingAddress, resolves } from './toolbox.ts';

const ENCRYPTION_TIMEOUT_MS = 40_000;

/** Whether the bond is with the device of this address: its identity address, or, if it is a random one, one that the bond's key resolves. */
export function isBondWith({ identityAddress, irk }: Bond, { address, random }: SecuredLink['peer']): boolean {
  return identityAddress === address || (random && irk !== null && resolves(irk, address));
}

/** What security needs of the link that it is for. */
export interface SecuredLink {
  readonly clock: Clock;
  readonly own: { readonly address: string; readonly random: boolean };
  readonly peer: { readonly address: string; readonly random: boolean };
  /** The peer is a recording. */
  readonly replayed?: boolean;
  /** Sends a pairing PDU. */
  send(pdu: Buffer): void;
  /** Has the controller encrypt the link; the answer comes by `encryptionChanged`. Rejects when the controller refuses. */
  encrypt(key: EncryptionKey): Promise<void>;
  /** After a timeout nothing more may be tried on the link. */
  disconnect(): void;
}

/**
 * The security of one link as its central: encrypts with the key of a bond, or pairs by Just Works. Begun by whoever needs it first: the
 * product profile, an ATT error, or the peer's Security Request.
 */
export class LinkSecurityManager {
  readonly #link: SecuredLink;
  readonly #policy: SecurityPolicy;
  readonly #channel: PairingChannel;
  readonly #parties: PairingParties;
  #state: LinkSecurity = { level: 'none', pairing: null, keyBits: null, bonded: false, keyLost: false };
  #running: Promise<void> | null = null;
  #failed: StationError | null = null;
  #onEncryption: { readonly resolve: (status: number) => void; readonly reject: (error: unknown) => void } | null =
    null;
  #ended: StationError | null = null;

  constructor(link: SecuredLink, policy: SecurityPolicy) {
    this.#link = link;
    this.#policy = policy;
    this.#channel = new PairingChannel(link.clock, (pdu) => link.send(pdu));
    this.#parties = {
      own: pairingAddress(link.own.address, link.own.random),
      peer: pairingAddress(link.peer.address, link.peer.random),
    };
  }

  /** What has been reached. */
  get state(): LinkSecurity {
    return this.#state;
  }

  /** A PDU of the pairing channel. */
  received(pdu: Buffer): void {
    if (pdu[0] === PAIRING.SECURITY_REQUEST && pdu.length === 2) {
      if (this.#state.level !== 'none' || this.#running) return;
      // Whoever needs it learns of a failure; a request that leads nowhere leaves the link as it was.
      this.secure().catch((error: unknown) => {
        if (!(error instanceof StationError)) throw error;
      });
      return;
    }
    if (this.#running) this.#channel.receive(pdu);
    else if (pdu[0] !== PAIRING.FAILED) this.#link.send(Buffer.of(PAIRING.FAILED, PAIRING_FAILURE.UNSPECIFIED));
  }

  /** Encryption Change, or Encryption Key Refresh Complete. */
  encryptionChanged(status: number, enabled: boolean): void {
    if (status === 0 && !enabled) {
      this.#state = { ...this.#state, level: 'none' };
      // What has to be encrypted is not sent in the clear for a moment.
      if (this.#policy.required) this.#link.disconnect();
    }
    this.#onEncryption?.resolve(status === 0 && !enabled ? STATUS.KEY_MISSING : status);
    this.#onEncryption = null;
  }

  /** The link is over. */
  end(reason: StationError): void {
    this.#ended ??= reason;
    this.#channel.end(reason);
    this.#onEncryption?.reject(reason);
    this.#onEncryption = null;
  }

  /**
   * Sees to it that the link is encrypted. A link on which it failed once is not asked again.
   * @throws StationError PAIRING_…, BOND_LOST, ENCRYPTION_FAILED or the link's end
   */
  secure(): Promise<void> {
    if (this.#state.level !== 'none') return Promise.resolve();
    if (this.#failed) return Promise.reject(this.#failed);
    this.#running ??= this.#secure()
      .catch((error: unknown) => {
        if (error instanceof StationError) this.#failed = error;
        if (error instanceof StationError && error.code === 'PAIRING_TIMEOUT') this.#link.disconnect();
        throw error;
      })
      .finally(() => {
        this.#running = null;
      });
    return this.#running;
  }

  async #secure(): Promise<void> {
    const bond = this.#bond();
    if (bond) {
      const status = await this.#encrypt(bond.key);
      if (status === 0) {
        const { secureConnections, keyBits } = bond;
        this.#reached({ pairing: secureConnections ? 'secure-connections' : 'legacy', keyBits, bonded: true });
        return;
      }
      if (status !== STATUS.KEY_MISSING) throw encryptionFailed(status);
      this.#policy.bonds?.forget(bond);
      this.#state = { ...this.#state, keyLost: true };
      if (!this.#policy.pairAgain) throw new StationError('BOND_LOST', bond.identityAddress);
    }
    await this.#pair();
  }

  async #pair(): Promise<void> {
    const { bonds } = this.#policy;
    const paired = await pair(this.#channel, this.#parties, bonds !== null);
    const status = await this.#encrypt(paired.key);
    if (status !== 0) throw encryptionFailed(status);
    const given = await receiveKeys(this.#channel, paired);
    const { secureConnections, keyOctets } = paired;
    const keyBits = keyOctets * 8;
    const key = secureConnections ? paired.key : given.key;
    const bonded = bonds !== null && paired.bonding && key !== null;
    if (bonded) {
      const { address, random } = given.identity ?? this.#link.peer;
      bonds.keep({
        ownAddress: this.#link.own.address,
        identityAddress: address,
        random,
        irk: given.irk,
        key,
        secureConnections,
        keyBits,
      });
    }
    this.#reached({ pairing: secureConnections ? 'secure-connections' : 'legacy', keyBits, bonded });
  }

  #reached(reached: Pick<LinkSecurity, 'pairing' | 'keyBits' | 'bonded'>): void {
    const replayed = this.#link.replayed === true && { replayed: true };
    this.#state = { ...this.#state, level: 'just-works', ...reached, ...replayed };
  }

  /** The bond with the peer: by its identity address, or by the key that its present address resolves with. */
  #bond(): Bond | null {
    const { bonds } = this.#policy;
    if (!bonds) return null;
    const own = bonds.list().filter(({ ownAddress }) => ownAddress === this.#link.own.address);
    return own.find((bond) => isBondWith(bond, this.#link.peer)) ?? null;
  }

  #encrypt(key: EncryptionKey): Promise<number> {
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise<number>((resolve, reject) => {
      const cancel = this.#link.clock.after(ENCRYPTION_TIMEOUT_MS, () =>
        reject(new StationError('ENCRYPTION_FAILED', 'no answer', { retryable: true })),
      );
      this.#onEncryption = {
        resolve: (status) => {
          cancel();
          resolve(status);
        },
        reject: (error) => {
          cancel();
          reject(error);
        },
      };
      this.#link.encrypt(key).catch((error: unknown) => {
        this.#onEncryption = null;
        cancel();
        reject(error);
      });
    });
  }
}

function encryptionFailed(status: number): StationError {
  const detail = `HCI status 0x${status.toString(16).padStart(2, '0')}`;
  return new StationError('ENCRYPTION_FAILED', detail, { retryable: true });
}
