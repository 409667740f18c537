import { type ErrorCode, StationError } from '../contract/errors.ts';
import { visible } from '../contract/foreign-text.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import type { IdentityProof } from '../contract/records.ts';
import { serialProblem } from '../contract/serial.ts';
import type { Bond } from '../radio/radio.ts';
import { isBondWith } from '../radio/security/link-security.ts';
import type { AddressBook } from './address-book.ts';
import type { HeardDevice } from './air-watch.ts';
import { readSerial } from './identity.ts';

/** How long to listen for a second device of the same identity before the first is believed. */
export const DUPLICATE_WATCH_MS = 500;
/** A link's end is noticed this much later than it happened at most: what is first heard since then may be the same device. */
const NOTICED_LATE_MS = 3_000;

/** What can be said of a device without a link: how it would be known to be the unit, or why it is not taken for it. */
export type Standing =
  | { readonly kind: 'known'; readonly proof: Exclude<IdentityProof, 'reported' | 'allowed'> }
  /** It says that it is the unit, at an address that is nobody's yet. */
  | { readonly kind: 'new'; readonly proof: 'reported' | 'allowed' }
  /** The unit's own device says that it is another. */
  | { readonly kind: 'changed'; readonly detail: string }
  | { readonly kind: 'refused'; readonly detail: string };

/** A device that may be the unit. */
export interface Claim {
  readonly device: HeardDevice;
  readonly standing: Standing;
}

/**
 * Which devices may be a unit, and what its links have shown of it so far. It lasts as long as the job: a later attempt is held to the
 * identity that an earlier one has proven. Pure of any radio.
 */
export class UnitIdentity {
  readonly serial: string;
  readonly #profile: ProductProfile;
  readonly #book: AddressBook;
  readonly #own: Set<string>;
  /** What the device itself reported on its first link that said anything. */
  #reported: string | null = null;
  /** Addresses at which another device was met. */
  readonly #strange = new Map<string, string>();

  /** `address` is where the unit was found. */
  constructor(serial: string, address: string, profile: ProductProfile, book: AddressBook) {
    this.serial = serial;
    this.#profile = profile;
    this.#book = book;
    this.#own = new Set([address]);
    book.enter(address, serial);
  }

  /** Whether the unit tells its serial only once connected. */
  get #byReading(): boolean {
    return this.#profile.identity.from === 'dis-serial';
  }

  /** Whether a bond is with the unit: the station has those of other units, too. */
  #isOwn(bond: Bond): boolean {
    return [...this.#own].some((address) => isBondWith(bond, { address, random: true }));
  }

  /** Where a device stands; null when it does not claim to be the unit. `linkEndedMs` is when the unit's last link was seen to end. */
  standing(device: HeardDevice, bonds: () => readonly Bond[], linkEndedMs: number): Standing | null {
    const { address, serial } = device;
    const claims = this.#byReading || serial === this.serial;
    if (this.#own.has(address)) {
      if (claims) return { kind: 'known', proof: linkEndedMs === Number.NEGATIVE_INFINITY ? 'advertised' : 'address' };
      return { kind: 'changed', detail: `${address} was ${this.serial} and says it is ${serial}` };
    }
    if (!claims) return null;
    const refused = (why: string): Standing => ({
      kind: 'refused',
      detail: `${this.serial} heard at ${address}: ${why}`,
    });
    const strange = this.#strange.get(address);
    if (strange !== undefined) return refused(strange);
    const owner = this.#book.owner(address);
    if (owner !== null && owner !== this.serial) return this.#byReading ? null : refused(`that is ${owner}`);
    const other = [...device.serials].find((each) => each !== this.serial);
    if (other !== undefined) return refused(`it said before that it was ${other}`);
    if (bonds().some((bond) => this.#isOwn(bond) && isBondWith(bond, { address, random: true })))
      return { kind: 'known', proof: 'bond' };
    if (device.firstMs < linkEndedMs - NOTICED_LATE_MS)
      return this.#byReading ? null : refused('it was there while the unit was connected');
    const { newAddress } = this.#profile.identity;
    if (newAddress === 'refuse') return refused('the profile allows no new address');
    return { kind: 'new', proof: newAddress === 'allow' && !this.#byReading ? 'allowed' : 'reported' };
  }

  /**
   * Settles whether the device of a link is the unit, by what it reports itself: its Device Information Service's serial number, null when
   * it has none. Returns how it is known.
   * @throws StationError IDENTITY_UNREADABLE, IDENTITY_CHANGED, ADDRESS_NOT_PROVEN
   */
  prove(claim: Claim, reported: string | null): IdentityProof {
    const { address } = claim.device;
    try {
      const proof = this.#judge(claim, reported);
      this.#own.add(address);
      this.#book.enter(address, this.serial);
      if (reported !== null && serialProblem(reported) === null) this.#reported ??= reported;
      return proof;
    } catch (error) {
      if (error instanceof StationError && claim.standing.kind === 'new') this.#strange.set(address, error.detail);
      throw error;
    }
  }

  #judge({ standing, device }: Claim, reported: string | null): IdentityProof {
    if (standing.kind !== 'known' && standing.kind !== 'new') throw new StationError('INTERNAL', standing.detail);
    const says = (code: ErrorCode) =>
      new StationError(code, `the device reports ${reported === null ? 'no serial' : `"${visible(reported)}"`}`);
    if (this.#byReading) {
      const read = readSerial(this.#profile, reported ?? '');
      if (read.serial === this.serial) return 'reported';
      if (standing.kind === 'known')
        throw read.serial === null ? new StationError('IDENTITY_UNREADABLE', read.problem) : says('IDENTITY_CHANGED');
      if (read.serial !== null) this.#book.enter(device.address, read.serial);
      throw says('ADDRESS_NOT_PROVEN');
    }
    const usable = reported !== null && serialProblem(reported) === null ? reported : null;
    const named = usable === null ? null : readSerial(this.#profile, usable).serial;
    const names = usable !== null && [usable, named].includes(this.serial);
    if (standing.proof === 'reported') {
      if (!names) throw says('ADDRESS_NOT_PROVEN');
      return 'reported';
    }
    if (usable === null || names) return standing.proof;
    // A number of another kind tells nothing; that it is another one than before, or another unit's, does.
    const changed = this.#reported !== null && this.#reported !== usable;
    if (changed || this.#book.knows(usable) || (named !== null && this.#book.knows(named)))
      throw says('IDENTITY_CHANGED');
    return standing.proof;
  }
}
