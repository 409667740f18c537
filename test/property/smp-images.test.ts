import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { z } from 'zod';
import type { trayFile } from '../../src/contract/tray-file.ts';
import { twoCoreFirmware, VirtualStation } from '../support/virtual-station.ts';

type Device = NonNullable<z.input<typeof trayFile>['device']>;
type Fault = NonNullable<z.input<typeof trayFile>['faults']>[number];

const UNITS = 4;

const image = fc.record({
  mode: fc.constantFrom('swap' as const, 'overwrite' as const),
  readBack: fc.boolean(),
  confirms: fc.constantFrom(true, true, false),
});
const device: fc.Arbitrary<Device> = fc.record({
  images: fc.tuple(fc.record({ mode: fc.constantFrom('swap' as const, 'overwrite' as const) }), image),
  slots: fc.constantFrom<Device['slots']>(
    [],
    [{ image: 0, version: '0.5.0', state: 'pending' }],
    [{ image: 1, version: '0.5.0', state: 'permanent' }],
    [{ image: 1, version: '0.5.0', state: 'pending' }],
    [
      { image: 0, slot: 0, version: '0.6.0', state: 'on-trial' },
      { image: 0, version: '0.5.0' },
    ],
  ),
});
const fault: fc.Arbitrary<Fault> = fc.record({
  unit: fc.integer({ min: 1, max: UNITS }),
  image: fc.nat(1),
  at: fc.constant('boot' as const),
  do: fc.constantFrom('reject-image' as const, 'other-hash' as const, 'revert' as const),
  times: fc.integer({ min: 1, max: 2 }),
});

test('several images, each with its own fate: what is called read back runs, and good outcomes are right', async () => {
  const firmware = await twoCoreFirmware();
  const wanted = firmware.images.map(({ image: { hash } }) => hash);
  const setting = fc.record({
    devices: fc.array(device, { minLength: UNITS, maxLength: UNITS }),
    faults: fc.array(fault, { maxLength: 4 }),
    mode: fc.constantFrom('confirm' as const, 'test-and-confirm' as const),
    demand: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(setting, async ({ devices, faults, mode, demand }) => {
      const overrides = devices.map((each, index) => ({ unit: index + 1, ...each }));
      const station = await VirtualStation.start({ units: UNITS, overrides, faults }, 1);
      try {
        const profile = { retries: 1, proof: { demand }, upgrade: { mode, swapTimeoutS: 10 } };
        const summary = await station.run({ units: UNITS, firmware, profile });
        const truth = station.truth();
        expect(summary.units).toHaveLength(UNITS);
        for (const { unit: serial, outcome, code, images } of summary.units) {
          if (outcome !== 'pass' && outcome !== 'skipped') continue;
          const told = `${serial} ${outcome} ${code} ${JSON.stringify(images)}`;
          expect(images, told).toHaveLength(2);
          for (const { index, verified } of images) {
            if (demand) expect(verified, told).toBe('read-back');
            // What only seems to run must at least go on as it is: nothing pending, nothing on trial.
            const core = truth.get(serial)?.[index];
            expect(core?.next, told).toBe(core?.hash);
            if (verified !== 'read-back') continue;
            const hash = wanted[index];
            expect(truth.get(serial)?.[index], told).toEqual({ hash, intact: true, confirmed: true, next: hash });
          }
          expect(images[0]?.verified, told).toBe('read-back');
        }
      } finally {
        await station.stop();
      }
    }),
    { seed: 20261126, numRuns: 10, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: false },
  );
});
