import { describe, expect, test } from 'vitest';
import { productFile } from '../../src/contract/product-file.ts';
import type { Bond } from '../../src/radio/radio.ts';
import { AddressBook } from '../../src/scheduler/address-book.ts';
import type { HeardDevice } from '../../src/scheduler/air-watch.ts';
import { UnitIdentity } from '../../src/scheduler/unit-identity.ts';

const OWN = 'c0:00:00:00:00:01';
const OTHER = 'c0:00:00:00:00:02';
/** Core 5.4, Vol 3 Part H, D.7: what this key makes of prand 708194. */
const IRK = Buffer.from('ec0234a357c8ad05341010a60a397d9b', 'hex');
const RESOLVABLE = '70:81:94:0d:fb:aa';

const profile = productFile.parse({ product: 'p', protocol: 'smp' });

function bond(identityAddress: string, irk: Buffer | null = null): Bond {
  const key = { ltk: Buffer.alloc(16), rand: Buffer.alloc(8), ediv: 0 } as unknown as Bond['key'];
  return { ownAddress: 'aa', identityAddress, random: true, irk, key, secureConnections: true, keyBits: 128 };
}

function standing(address: string, bonds: readonly Bond[]) {
  const device = {
    address,
    name: 'A1',
    serial: 'A1',
    serials: new Set(['A1']),
    heard: new Map(),
    firstMs: 5000,
    serialSinceMs: 5000,
  };
  return new UnitIdentity('A1', OWN, profile, new AddressBook()).standing(device as HeardDevice, () => bonds, 4000);
}

describe('a unit that says its serial at a new address', () => {
  test('is known by the bond of an address that it had', () => {
    expect(standing(RESOLVABLE, [bond(OWN, IRK)])).toEqual({ kind: 'known', proof: 'bond' });
  });

  test('is not known by a bond of another device', () => {
    expect(standing(OTHER, [bond(OTHER)])).toMatchObject({ kind: 'new' });
    expect(standing(RESOLVABLE, [bond(OTHER, IRK)])).toMatchObject({ kind: 'new' });
  });
});
