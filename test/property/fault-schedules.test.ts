import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { z } from 'zod';
import type { trayFile } from '../../src/contract/tray-file.ts';
import { testFirmware, VirtualStation } from '../support/virtual-station.ts';

type Fault = NonNullable<z.input<typeof trayFile>['faults']>[number];

const UNITS = 4;
const IMAGE_BYTES = 40_000;

const unit = fc.integer({ min: 1, max: UNITS });
const times = fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined });
const bytes = fc.record({ bytes: fc.integer({ min: 0, max: IMAGE_BYTES }) });
const fault: fc.Arbitrary<Fault> = fc
  .oneof(
    fc.record({
      unit,
      times,
      at: bytes,
      do: fc.constantFrom('drop-link' as const, 'flip-bit' as const, 'silent' as const),
    }),
    fc.record({
      unit,
      times,
      at: fc.constant('connect' as const),
      do: fc.constantFrom('drop-link' as const, 'refuse-connect' as const),
    }),
    fc.record({
      unit,
      times,
      at: fc.constant('boot' as const),
      do: fc.constantFrom('reject-image' as const, 'revert' as const, 'no-reboot' as const),
    }),
    fc.record({ unit, times, at: fc.constant('confirm' as const), do: fc.constant('revert' as const) }),
    fc.record({
      unit,
      times,
      every: fc.integer({ min: 2, max: 5 }),
      do: fc.constantFrom('drop-answer' as const, 'nonsense' as const),
    }),
  )
  .map(({ times: often, ...rest }) => ({ ...rest, ...(often !== undefined && { times: often }) }));

test('whatever goes wrong: no wrong PASS, no unit without an outcome, no open record, and healthy units pass', async () => {
  const firmware = await testFirmware(IMAGE_BYTES);
  const { hash } = firmware.images[0]!.image;
  const schedule = fc.record({
    faults: fc.array(fault, { maxLength: 5 }),
    lossRate: fc.constantFrom(0, 0, 0.1),
    // One of the two radios is unplugged when some unit has come that far.
    pulledAt: fc.option(fc.nat(IMAGE_BYTES)),
  });
  await fc.assert(
    fc.asyncProperty(schedule, async ({ faults, lossRate, pulledAt }) => {
      const station = await VirtualStation.start({ units: UNITS, device: { lossRate }, faults }, 2);
      try {
        const summary = await station.run({
          units: UNITS,
          firmware,
          profile: { retries: 1, upgrade: { swapTimeoutS: 10 } },
          onEvent: (event) => {
            if (pulledAt !== null && event.type === 'progress' && event.bytes >= pulledAt) station.pull(0);
          },
        });
        const truth = station.truth();
        expect(summary.units).toHaveLength(UNITS);
        for (const { unit: serial, outcome } of summary.units) {
          if (outcome === 'pass' || outcome === 'skipped') {
            expect(truth.get(serial), serial).toEqual([{ hash, intact: true, confirmed: true, next: hash }]);
          }
          const healthy = faults.every((each) => `SN000${each.unit}` !== serial);
          if (healthy) expect(outcome, serial).toBe('pass');
          // Whatever became of it, it runs an image whose content holds.
          expect(
            truth.get(serial)?.every(({ intact }) => intact),
            serial,
          ).toBe(true);
        }
        const reader = station.reader();
        expect(reader.list({ limit: 100 }).filter(({ outcome }) => outcome === null)).toEqual([]);
        reader.close();
      } finally {
        await station.stop();
      }
    }),
    { seed: 20261122, numRuns: 15, interruptAfterTimeLimit: 45_000, markInterruptAsFailure: false },
  );
});
