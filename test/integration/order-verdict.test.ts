import { afterEach, describe, expect, test } from 'vitest';
import { outcomes, type TestRun, VirtualStation } from '../support/virtual-station.ts';

let station: VirtualStation;
afterEach(() => station.stop());

type Faults = NonNullable<Parameters<typeof VirtualStation.start>[0]['faults']>;
const device = { protocol: 'fus' as const, slotKiB: 256, bootMs: 500 };
const profile = (settings: object = {}): NonNullable<TestRun['profile']> => ({ protocol: 'fus', ...settings });

async function verdictOf(faults: Faults, settings: object = {}) {
  station = await VirtualStation.start({ units: 1, device, faults });
  expect(outcomes(await station.run({ profile: profile(settings), units: 1 }))).toEqual({ SN0001: 'pass' });
  const reader = station.reader();
  const { anomalies, verdict, capture } = reader.show('SN0001');
  reader.close();
  return { anomalies: anomalies.length, verdict, capture };
}

describe('who broke the order', () => {
  test.each(['late-data', 'late-start', 'two-queues', 'double-marker'] as const)(
    'was the peripheral when the controller delivered it so (%s)',
    async (act) => {
      const { anomalies, verdict, capture } = await verdictOf([{ unit: 1, do: act, every: 4 }]);
      expect(anomalies).toBeGreaterThan(0);
      expect(verdict).toMatchObject({ verdict: 'peripheral' });
      expect(verdict?.packets.length).toBeGreaterThan(0);
      expect(capture?.packets).toBeGreaterThan(100);
    },
  );

  test.each(['host-late-data', 'host-queues'] as const)(
    'was this host when the controller delivered it in order (%s)',
    async (act) => {
      const { anomalies, verdict } = await verdictOf([{ unit: 1, do: act, every: 4 }]);
      expect(anomalies).toBeGreaterThan(0);
      expect(verdict).toMatchObject({ verdict: 'host' });
    },
  );

  test.each(['lose-start', 'lose-end'] as const)(
    'is undecided when something is missing already in the capture (%s)',
    async (act) => {
      const { verdict } = await verdictOf([{ unit: 1, do: act, every: 4 }]);
      expect(verdict).toMatchObject({ verdict: 'undecided', reason: { code: 'MISSING_IN_CAPTURE' } });
    },
  );

  test('is undecided, with the reason, when no capture is kept', async () => {
    const { verdict, capture } = await verdictOf([{ unit: 1, do: 'late-data', every: 4 }], { capture: 'never' });
    expect(verdict).toMatchObject({ verdict: 'undecided', reason: { code: 'CAPTURE_ABSENT' } });
    expect(capture).toBeNull();
  });

  test('is no question when nobody did, and then no capture is kept unless the profile asks for it', async () => {
    expect(await verdictOf([])).toEqual({ anomalies: 0, verdict: null, capture: null });
    await station.stop();
    expect((await verdictOf([], { capture: 'always' })).capture?.packets).toBeGreaterThan(100);
  });
});
