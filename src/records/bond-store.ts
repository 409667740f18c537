import type { Bond, BondStore } from '../radio/radio.ts';
import type { WriterPort } from './record-writer.ts';

/** How keys are kept from whoever reads the disk. */
export interface Sealer {
  /** What it is called where it is shown: `safe-storage`, or `none` where the platform offers nothing. */
  readonly name: string;
  seal(plain: Buffer): Buffer;
  /** @throws when it was sealed elsewhere */
  open(sealed: Buffer): Buffer;
}

/** Where the platform offers nothing: the keys lie as they are, and `doctor` says so. */
export const noSealer: Sealer = { name: 'none', seal: (plain) => plain, open: (sealed) => sealed };

/** Bonds that are kept for good, by the device's identity address. Their keys are sealed and leave the database for the radio alone. */
export class KeptBonds implements BondStore {
  readonly #port: WriterPort;
  readonly #sealer: Sealer;

  constructor(port: WriterPort, sealer: Sealer = noSealer) {
    this.#port = port;
    this.#sealer = sealer;
  }

  list(): Bond[] {
    return this.#port
      .all('SELECT * FROM bond WHERE sealer = ?', this.#sealer.name)
      .flatMap((row) =>
        Buffer.isBuffer(row.keys)
          ? (this.#read(row.keys, String(row.own_address), String(row.identity_address)) ?? [])
          : [],
      );
  }

  keep(bond: Bond): void {
    const { ownAddress, identityAddress, random, irk, key, secureConnections, keyBits } = bond;
    const plain = Buffer.from(
      JSON.stringify({
        random,
        irk: irk?.toString('hex') ?? null,
        ltk: key.ltk.toString('hex'),
        ediv: key.ediv,
        rand: key.rand.toString('hex'),
        secureConnections,
        keyBits,
      } satisfies WrittenKeys),
    );
    this.#port.write(() =>
      this.#port.run(
        'INSERT OR REPLACE INTO bond (own_address, identity_address, sealer, keys, created_at) VALUES (?, ?, ?, ?, ?)',
        ownAddress,
        identityAddress,
        this.#sealer.name,
        this.#sealer.seal(plain),
        this.#port.now(),
      ),
    );
  }

  forget({ ownAddress, identityAddress }: Bond): void {
    const sql = 'DELETE FROM bond WHERE own_address = ? AND identity_address = ?';
    this.#port.write(() => this.#port.run(sql, ownAddress, identityAddress));
  }

  /** Null for what was sealed on another machine: the device is paired with again. */
  #read(sealed: Buffer, ownAddress: string, identityAddress: string): Bond | null {
    let written: WrittenKeys;
    try {
      written = JSON.parse(this.#sealer.open(sealed).toString('utf8'));
    } catch {
      return null;
    }
    const { random, irk, ltk, ediv, rand, secureConnections, keyBits } = written;
    const key = { ltk: Buffer.from(ltk, 'hex'), ediv, rand: Buffer.from(rand, 'hex') };
    return {
      ownAddress,
      identityAddress,
      random,
      irk: irk === null ? null : Buffer.from(irk, 'hex'),
      key,
      secureConnections,
      keyBits,
    };
  }
}

interface WrittenKeys {
  readonly random: boolean;
  readonly irk: string | null;
  readonly ltk: string;
  readonly ediv: number;
  readonly rand: string;
  readonly secureConnections: boolean;
  readonly keyBits: number;
}

/** Bonds of one attempt: gone with it. */
export class PassingBonds implements BondStore {
  readonly #bonds = new Map<string, Bond>();

  list(): Bond[] {
    return [...this.#bonds.values()];
  }

  keep(bond: Bond): void {
    this.#bonds.set(`${bond.ownAddress} ${bond.identityAddress}`, bond);
  }

  forget({ ownAddress, identityAddress }: Bond): void {
    this.#bonds.delete(`${ownAddress} ${identityAddress}`);
  }
}
