import { describe, expect, test } from 'vitest';
import { productFile } from '../../src/contract/product-file.ts';
import type { Radio } from '../../src/radio/radio.ts';
import { recognise } from '../../src/scheduler/identity.ts';
import { type Selection, selectUnits } from '../../src/scheduler/unit-selection.ts';
import { checkOrder } from '../../src/station/station.ts';
import { testFirmware } from '../support/virtual-station.ts';

const profile = (more: object) => productFile.parse({ product: 'p', protocol: 'smp', ...more });

describe('an order', () => {
  test('for other hardware than the product is refused before any radio is used', async () => {
    const firmware = {
      ...(await testFirmware(100)),
      hardware: [{ image: 0, board: 'nrf52840dk/nrf52840', soc: 'nrf52840' }],
    };
    checkOrder(profile({ hardware: 'nrf52840dk' }), firmware);
    expect(() => checkOrder(profile({ hardware: 'nrf5340dk' }), firmware)).toThrow(
      expect.objectContaining({ code: 'FIRMWARE_FOR_OTHER_HARDWARE' }),
    );
  });
});

describe('a device is recognised', () => {
  const service = '8d53dc1d-1db7-4cd3-868b-8a527460aa84';
  const advertisement = {
    address: 'c0:00:00:00:00:01',
    addressType: 'random' as const,
    name: 'ACME-SN42',
    services: [service],
    manufacturerData: Buffer.from('ffff0042', 'hex'),
    rssi: -50,
  };
  const acme = { discover: { namePrefix: 'ACME-' } };

  test.each([
    [
      'by its name',
      { ...acme, identity: { from: 'name', pattern: 'ACME-(SN\\d+)' } },
      { kind: 'unit', serial: 'SN42' },
    ],
    ['by its address', { ...acme, identity: { from: 'address' } }, { kind: 'unit', serial: 'c0:00:00:00:00:01' }],
    [
      'by its manufacturer data',
      { ...acme, identity: { from: 'manufacturer-data', pattern: '^ffff(....)' } },
      { kind: 'unit', serial: '0042' },
    ],
    ['to be asked for its serial', { ...acme, identity: { from: 'dis-serial' } }, { kind: 'unit', serial: null }],
  ])('%s', (_, more, expected) => {
    expect(recognise(profile(more), advertisement)).toEqual(expected);
  });

  test('as another product, unreadable, or none of our business', () => {
    expect(recognise(profile({ discover: { namePrefix: 'OTHER-' } }), advertisement).kind).toBe('wrong-product');
    expect(recognise(profile({ identity: { from: 'name', pattern: '^X' } }), advertisement).kind).toBe('unreadable');
    expect(recognise(profile(acme), { ...advertisement, services: [] }).kind).toBe('other');
    expect(recognise(profile(acme), { ...advertisement, name: null }).kind).toBe('other');
  });
});

describe('of the devices heard', () => {
  const heard = (serial: string | null, address = `address of ${serial}`, rssi = -50) => ({
    serial,
    device: {
      address,
      serial,
      serials: new Set(serial === null ? [] : [serial]),
      serialSinceMs: 0,
      name: null,
      firstMs: 0,
      heard: new Map([[{} as Radio, { atMs: 0, rssi }]]),
    },
  });
  const rules = {
    profile: profile({ rssiMin: -75 }),
    units: null,
    wanted: null,
    quarantined: new Map([['Q1', 'SWAP_REVERTED']]),
  };
  const codes = (selection: Selection) => selection.rejected.map(({ serial, code }) => `${serial} ${code}`);

  test('all healthy ones are taken, in the order of their serials, and no more than wanted', () => {
    const selection = selectUnits([heard('S10'), heard('S9'), heard('S11')], { ...rules, wanted: 2 });
    expect(selection.units.map(({ serial }) => serial)).toEqual(['S9', 'S10']);
    expect(selection.strangers.map(({ serial }) => serial)).toEqual(['S11']);
    expect(selection.code).toBeNull();
  });

  test('doubles, quarantined, faint and unreadable ones are refused, each with its code', () => {
    const found = [heard('D', 'a'), heard('D', 'b'), heard('Q1'), heard('F', 'f', -90), heard(null, 'u')];
    expect(codes(selectUnits(found, rules)).sort()).toEqual([
      'D DUPLICATE_IDENTITY',
      'F SIGNAL_WEAK',
      'Q1 UNIT_QUARANTINED',
      'u IDENTITY_UNREADABLE',
    ]);
  });

  test('only listed ones are written, and who is missing is named', () => {
    const units = [
      { serial: 'S1', slot: 'A1' },
      { serial: 'S2', slot: 'A2' },
    ];
    const selection = selectUnits([heard('S1'), heard('X')], { ...rules, units, wanted: 2 });
    expect(selection.units).toMatchObject([{ serial: 'S1', slot: 'A1' }]);
    expect(selection.strangers.map(({ serial }) => serial)).toEqual(['X']);
    expect(codes(selection)).toEqual(['S2 UNIT_NOT_FOUND']);
    expect(selection.code).toBe('UNITS_MISSING');
  });
});
