import type { Person, Role } from '../contract/commands.ts';
import type { Row, WriterPort } from './record-writer.ts';

/** A person as kept: PIN and badge only as digests. */
export interface StoredPerson {
  readonly name: string;
  readonly role: Role;
  /** As `hashPin` makes it. */
  readonly pin: string;
  readonly badge: string | null;
  readonly active: boolean;
  readonly wrongTries: number;
  /** ISO time of the last wrong try. */
  readonly wrongAt: string | null;
}

/** The people of the station and its recovery codes. Who may change them is not decided here. */
export class PeopleStore {
  readonly #port: WriterPort;

  constructor(port: WriterPort) {
    this.#port = port;
  }

  all(): StoredPerson[] {
    return this.#port.all('SELECT * FROM person ORDER BY name').map(asPerson);
  }

  byName(name: string): StoredPerson | null {
    const row = this.#port.get('SELECT * FROM person WHERE name = ?', name);
    return row ? asPerson(row) : null;
  }

  byBadge(badge: string): StoredPerson | null {
    const row = this.#port.get('SELECT * FROM person WHERE badge = ?', badge);
    return row ? asPerson(row) : null;
  }

  add(person: Pick<StoredPerson, 'name' | 'role' | 'pin' | 'badge'>): void {
    this.#port.run(
      'INSERT INTO person (name, role, pin, badge, active, created_at) VALUES (?, ?, ?, ?, 1, ?)',
      person.name,
      person.role,
      person.pin,
      person.badge,
      this.#port.now(),
    );
  }

  update(person: StoredPerson): void {
    this.#port.run(
      'UPDATE person SET role = ?, pin = ?, badge = ?, active = ?, wrong_tries = ?, wrong_at = ? WHERE name = ?',
      person.role,
      person.pin,
      person.badge,
      person.active ? 1 : 0,
      person.wrongTries,
      person.wrongAt,
      person.name,
    );
  }

  addRecoveryCodes(hashes: readonly string[]): void {
    for (const hash of hashes) this.#port.run('INSERT INTO recovery_code (hash) VALUES (?)', hash);
  }

  /** Uses a recovery code up. Returns false when there is no such unused code. */
  useRecoveryCode(hash: string): boolean {
    const row = this.#port.get('SELECT hash FROM recovery_code WHERE hash = ? AND used_at IS NULL', hash);
    if (row) this.#port.run('UPDATE recovery_code SET used_at = ? WHERE hash = ?', this.#port.now(), hash);
    return row !== undefined;
  }
}

/** A person as others may see them. */
export function publicPerson({ name, role, active, badge }: StoredPerson): Person {
  return { name, role, active, hasBadge: badge !== null };
}

function asPerson(row: Row): StoredPerson {
  return {
    name: String(row.name),
    role: row.role as Role,
    pin: String(row.pin),
    badge: row.badge === null ? null : String(row.badge),
    active: row.active === 1,
    wrongTries: Number(row.wrong_tries),
    wrongAt: row.wrong_at === null ? null : String(row.wrong_at),
  };
}
