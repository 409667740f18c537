import { createHash, randomBytes, randomInt, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import type { Clock } from '../clock.ts';
import type { Person, Role } from '../contract/commands.ts';
import { StationError } from '../contract/errors.ts';
import type { ChangeLog } from '../records/change-log.ts';
import { type PeopleStore, publicPerson, type StoredPerson } from '../records/people-store.ts';

const derive = promisify<string, Buffer, number, { N: number }, Buffer>(scrypt);
const COST = { N: 2 ** 14 };
const KEY_BYTES = 32;
/** Wrong PINs that cost nothing but the try. */
const FREE_TRIES = 3;
const FIRST_WAIT_MS = 5_000;
const LONGEST_WAIT_MS = 300_000;
const RECOVERY_CODES = 8;
/** Letters and digits that nobody mistakes for one another. */
const ALPHABET = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789';

/** Who may work here: signing in, first start, lost PINs, and who has which role. Every try that fails and every change is on record. */
export class People {
  readonly #store: PeopleStore;
  readonly #changes: ChangeLog;
  readonly #clock: Clock;

  constructor(store: PeopleStore, changes: ChangeLog, clock: Clock) {
    this.#store = store;
    this.#changes = changes;
    this.#clock = clock;
  }

  get needsFirstStart(): boolean {
    return !this.#store.all().some(({ role, active }) => role === 'administrator' && active);
  }

  list(): Person[] {
    return this.#store.all().map(publicPerson);
  }

  /** Makes the first administrator; the codes are shown once and kept as digests. @throws StationError FIRST_START_DONE */
  async firstStart(name: string, pin: string): Promise<{ person: Person; recoveryCodes: string[] }> {
    const hash = await hashPin(pin);
    if (!this.needsFirstStart) throw new StationError('FIRST_START_DONE');
    const recoveryCodes = Array.from({ length: RECOVERY_CODES }, recoveryCode);
    const person = { name, role: 'administrator' as const, pin: hash, badge: null };
    this.#changes.record({ actor: name, action: 'first-start', subject: name, after: { role: person.role } }, () => {
      this.#store.add(person);
      this.#store.addRecoveryCodes(recoveryCodes.map(digest));
    });
    return { person: this.#get(name), recoveryCodes };
  }

  /** @throws StationError SIGN_IN_WRONG, SIGN_IN_BLOCKED */
  async signIn(name: string, pin: string): Promise<Person> {
    const person = this.#store.byName(name);
    if (!person?.active) {
      // As long as for a person that exists, so that names cannot be found out.
      await hashPin(pin);
      throw new StationError('SIGN_IN_WRONG');
    }
    this.#refuseEarly(person);
    if (!(await pinMatches(pin, person.pin))) this.#wrong(person);
    this.#welcome(person, 'sign-in');
    return publicPerson(person);
  }

  /** @throws StationError BADGE_UNKNOWN */
  signInBadge(badge: string): Person {
    const person = this.#store.byBadge(digest(badge));
    if (!person?.active) throw new StationError('BADGE_UNKNOWN');
    this.#welcome(person, 'sign-in');
    return publicPerson(person);
  }

  /** A new PIN for an administrator who lost theirs. @throws StationError RECOVERY_CODE_WRONG, SIGN_IN_BLOCKED */
  async recover(name: string, code: string, pin: string): Promise<Person> {
    const person = this.#store.byName(name);
    const hash = await hashPin(pin);
    if (person?.role !== 'administrator') throw new StationError('RECOVERY_CODE_WRONG');
    this.#refuseEarly(person);
    const held = this.#changes.record({ actor: name, action: 'recover', subject: name }, () =>
      this.#store.useRecoveryCode(digest(code.trim().toUpperCase())),
    );
    if (!held) this.#wrong(person, 'RECOVERY_CODE_WRONG');
    this.#store.update({ ...person, pin: hash, active: true, wrongTries: 0, wrongAt: null });
    return this.#get(name);
  }

  /** @throws StationError PERSON_EXISTS */
  async add(
    actor: string,
    person: { name: string; role: Role; pin: string; badge?: string | undefined },
  ): Promise<void> {
    const pin = await hashPin(person.pin);
    const badge = person.badge === undefined ? null : digest(person.badge);
    if (this.#store.byName(person.name) || (badge && this.#store.byBadge(badge))) {
      throw new StationError('PERSON_EXISTS', person.name);
    }
    const { name, role } = person;
    this.#changes.record({ actor, action: 'add-person', subject: name, after: { role, badge: badge !== null } }, () =>
      this.#store.add({ name, role, pin, badge }),
    );
  }

  /** @throws StationError PERSON_UNKNOWN, PERSON_EXISTS, LAST_ADMINISTRATOR */
  async change(
    actor: string,
    name: string,
    change: {
      role?: Role | undefined;
      pin?: string | undefined;
      badge?: string | null | undefined;
      active?: boolean | undefined;
    },
  ): Promise<void> {
    const pin = change.pin === undefined ? undefined : await hashPin(change.pin);
    const before = this.#store.byName(name);
    if (!before) throw new StationError('PERSON_UNKNOWN', name);
    const badge = typeof change.badge === 'string' ? digest(change.badge) : change.badge;
    const holder = badge ? this.#store.byBadge(badge) : null;
    if (holder && holder.name !== before.name) throw new StationError('PERSON_EXISTS', holder.name);
    const after: StoredPerson = {
      ...before,
      role: change.role ?? before.role,
      pin: pin ?? before.pin,
      badge: badge === undefined ? before.badge : badge,
      active: change.active ?? before.active,
      ...(pin ? { wrongTries: 0, wrongAt: null } : {}),
    };
    const administrators = this.#store.all().filter(({ role, active }) => role === 'administrator' && active);
    const stays = after.role === 'administrator' && after.active;
    if (!stays && administrators.length === 1 && administrators[0]?.name === before.name) {
      throw new StationError('LAST_ADMINISTRATOR');
    }
    const shown = (person: StoredPerson) => ({ ...publicPerson(person), ...(pin ? { pin: 'changed' } : {}) });
    this.#changes.record(
      { actor, action: 'change-person', subject: before.name, before: publicPerson(before), after: shown(after) },
      () => this.#store.update(after),
    );
  }

  #get(name: string): Person {
    const person = this.#store.byName(name);
    if (!person) throw new StationError('PERSON_UNKNOWN', name);
    return publicPerson(person);
  }

  #refuseEarly({ wrongTries, wrongAt }: StoredPerson): void {
    if (wrongTries < FREE_TRIES || wrongAt === null) return;
    const waitMs = Math.min(FIRST_WAIT_MS * 2 ** (wrongTries - FREE_TRIES), LONGEST_WAIT_MS);
    const leftMs = Date.parse(wrongAt) + waitMs - this.#clock.wall().getTime();
    if (leftMs > 0) throw new StationError('SIGN_IN_BLOCKED', `${Math.ceil(leftMs / 1000)} s`);
  }

  #wrong(person: StoredPerson, code: 'SIGN_IN_WRONG' | 'RECOVERY_CODE_WRONG' = 'SIGN_IN_WRONG'): never {
    const wrongTries = person.wrongTries + 1;
    const wrongAt = this.#clock.wall().toISOString();
    this.#changes.record(
      { actor: person.name, action: 'sign-in-refused', subject: person.name, after: { code, wrongTries } },
      () => this.#store.update({ ...person, wrongTries, wrongAt }),
    );
    throw new StationError(code);
  }

  #welcome(person: StoredPerson, action: string): void {
    this.#changes.record({ actor: person.name, action, subject: person.name }, () => {
      if (person.wrongTries > 0) this.#store.update({ ...person, wrongTries: 0, wrongAt: null });
    });
  }
}

async function hashPin(pin: string): Promise<string> {
  const salt = randomBytes(16);
  const key = await derive(pin, salt, KEY_BYTES, COST);
  return `scrypt$${COST.N}$${salt.toString('base64')}$${key.toString('base64')}`;
}

async function pinMatches(pin: string, kept: string): Promise<boolean> {
  const [, cost = '', salt = '', key = ''] = kept.split('$');
  const expected = Buffer.from(key, 'base64');
  const found = await derive(pin, Buffer.from(salt, 'base64'), expected.length, { N: Number(cost) });
  return timingSafeEqual(found, expected);
}

const digest = (text: string) => createHash('sha256').update(text).digest('hex');

function recoveryCode(): string {
  const letters = Array.from({ length: 12 }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
  return letters.replace(/(.{4})(?=.)/g, '$1-');
}
