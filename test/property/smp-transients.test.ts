import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { z } from 'zod';
import type { trayFile } from '../../src/contract/tray-file.ts';
import { testFirmware, VirtualStation } from '../support/virtual-station.ts';

type Device = NonNullable<z.input<typeof trayFile>['device']>;
type Server = NonNullable<Device['smp']>;
type Answer = NonNullable<Server['answers']>[number];

const UNITS = 4;
const IMAGE_BYTES = 30_000;

const passing = fc.constantFrom<Answer['with']>(
  { rc: 1 },
  { rc: 2 },
  { rc: 10 },
  { rc: 10, rsn: 'busy' },
  { err: { group: 0, rc: 1 } },
  { err: { group: 1, rc: 12 } },
  { err: { group: 1, rc: 13 } },
  { err: { group: 1, rc: 15 } },
);
/** An error that goes away: some requests in a row, at any point, with or without the upload being lost by it. */
const transient: fc.Arbitrary<Answer> = fc.record({
  to: fc.constantFrom<Answer['to']>(
    'params',
    'image-list',
    'bootloader-info',
    'slot-info',
    'upload',
    'upload',
    'image-state',
    'reset',
  ),
  nth: fc.integer({ min: 1, max: 12 }),
  times: fc.integer({ min: 1, max: 8 }),
  every: fc.integer({ min: 1, max: 3 }),
  with: passing,
  forgetsUpload: fc.boolean(),
});
const server: fc.Arbitrary<Server> = fc.record({
  version: fc.constantFrom(1 as const, 2 as const),
  bufferCount: fc.integer({ min: 2, max: 5 }),
  bufferBytes: fc.constantFrom(256, 512, 2475),
  holds: fc.integer({ min: 1, max: 3 }),
  whenFull: fc.constantFrom('lost' as const, 'rc-2' as const),
  reassembly: fc.constantFrom('yes' as const, 'rc-9' as const, 'silence' as const),
  params: fc.boolean(),
  slotInfo: fc.boolean(),
  cbor: fc.constantFrom('definite' as const, 'indefinite' as const),
  answers: fc.array(transient, { maxLength: 3 }),
});
const unit: fc.Arbitrary<Device> = fc.record({
  smp: server,
  mtu: fc.constantFrom(100, 252, 498),
  slots: fc.constantFrom<Device['slots']>(
    [],
    [{ version: '0.5.0', state: 'pending' }],
    [{ version: '0.5.0', state: 'permanent' }],
    [{ version: '0.5.0' }, { slot: 0, version: '0.6.0', state: 'on-trial' }],
  ),
});

test('servers of any kind with errors that pass: a right PASS or an honest error, and no unit quarantined for one', async () => {
  const firmware = await testFirmware(IMAGE_BYTES);
  const { hash } = firmware.images[0]!.image;
  await fc.assert(
    fc.asyncProperty(fc.array(unit, { minLength: UNITS, maxLength: UNITS }), async (devices) => {
      const overrides = devices.map((device, index) => ({ unit: index + 1, ...device }));
      const station = await VirtualStation.start({ units: UNITS, overrides }, 1);
      try {
        const profile = { retries: 2, upgrade: { swapTimeoutS: 10 } };
        const summary = await station.run({ units: UNITS, firmware, profile });
        const truth = station.truth();
        for (const { unit: serial, outcome, code, detail, images } of summary.units) {
          const told = `${serial} ${outcome} ${code} ${detail}`;
          if (outcome === 'pass' || outcome === 'skipped') {
            expect(truth.get(serial), told).toEqual([{ hash, intact: true, confirmed: true, next: hash }]);
            expect(
              images.map(({ verified }) => verified),
              told,
            ).toEqual(['read-back']);
          } else {
            expect(['DEVICE_NOT_READY', 'DEVICE_BUSY', 'DEVICE_FLASH_ERROR', 'RESET_FAILED'], told).toContain(code);
          }
        }
        const held = station.events.filter(({ type }) => type === 'unit-quarantined');
        expect(held).toEqual([]);
      } finally {
        await station.stop();
      }
    }),
    { seed: 20261125, numRuns: 12, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: false },
  );
});
