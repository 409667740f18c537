import { afterEach, describe, expect, test } from 'vitest';
import type { Radio } from '../../src/radio/radio.ts';
import { RadioPool } from '../../src/scheduler/radio-pool.ts';
import { outcomes, testFirmware, VirtualStation } from '../support/virtual-station.ts';

const passed = (units: number) =>
  Object.fromEntries(Array.from({ length: units }, (_, i) => [`SN000${i + 1}`, 'pass']));

describe('a controller that carries fewer links than there are units', () => {
  let station: VirtualStation;
  afterEach(() => station.stop());

  test('is learnt to be so: its units wait for a place, none fails, and the limit is known afterwards', async () => {
    station = await VirtualStation.start({ units: 7, device: { bootMs: 500 }, controller: { links: 3 } });
    let most = 0;
    let linked = 0;
    let limit: number | null = null;
    const summary = await station.run({
      units: 7,
      onEvent: (event, radios) => {
        if (event.type === 'linked') most = Math.max(most, ++linked);
        if (event.type === 'unlinked') linked -= 1;
        limit = radios[0]?.linkLimit ?? null;
      },
    });
    expect(outcomes(summary)).toEqual(passed(7));
    expect(summary.units.every(({ attempts }) => attempts === 1)).toBe(true);
    expect(most).toBe(3);
    expect(limit).toBe(3);
  });
});

describe('a unit that loses its link while every other place is taken', () => {
  let station: VirtualStation;
  afterEach(() => station.stop());

  test('is back on the radio that it left before anything else ends, whichever radio hears it first', async () => {
    const faults = [
      { unit: 1, do: 'drop-link', at: { bytes: 20_000 }, times: 1 },
      { unit: 2, do: 'drop-link', at: { bytes: 100_000 }, times: 1 },
    ] as const;
    station = await VirtualStation.start({ units: 4, device: { slotKiB: 480 }, faults: [...faults] }, 2);
    const story: string[] = [];
    const summary = await station.run({
      units: 4,
      firmware: await testFirmware(400_000),
      onEvent: (event) => {
        if (event.type === 'linked' || event.type === 'unlinked') story.push(`${event.unit} ${event.type}`);
      },
    });
    expect(outcomes(summary)).toEqual(passed(4));
    for (const unit of ['SN0001', 'SN0002']) {
      const [, lost, back] = story.flatMap((entry, index) => (entry.startsWith(unit) ? [index] : []));
      const others = story.slice(lost, back).filter((entry) => /SN000[34]/.test(entry));
      expect({ unit, others }).toEqual({ unit, others: [] });
    }
  });
});

describe('places on radios', () => {
  const radio = (name: string): Radio => ({
    name,
    address: null,
    linkLimit: null,
    controller: null,
    scan: () => () => undefined,
    connect: () => Promise.reject(new Error('not here')),
    ended: new Promise(() => undefined),
    stop: async () => undefined,
  });
  const [a, b] = [radio('a'), radio('b')];
  const heard = (rssiA: number, rssiB: number) => () => [
    { radio: a, rssi: rssiA },
    { radio: b, rssi: rssiB },
  ];
  const { signal } = new AbortController();
  function pool(mostLinks = 8): RadioPool {
    const made = new RadioPool(() => mostLinks);
    made.add(a);
    made.add(b);
    return made;
  }

  test('are given where the air is free: a link that only waits takes little of it', async () => {
    const places = pool();
    const busy = await places.acquire('1', heard(-50, -60), false, signal);
    expect(busy.radio).toBe(a);
    const waiting = [
      await places.acquire('2', () => [{ radio: b, rssi: -50 }], false, signal),
      await places.acquire('3', () => [{ radio: b, rssi: -50 }], false, signal),
    ];
    busy.fill(true);
    expect((await places.acquire('4', heard(-50, -50), false, signal)).radio).toBe(b);
    for (const place of waiting) place.fill(true);
    expect((await places.acquire('5', heard(-50, -50), false, signal)).radio).toBe(a);
  });

  test('are given where the signal is good enough, and not again where the unit has just failed', async () => {
    const places = pool();
    expect((await places.acquire('1', heard(-92, -60), false, signal)).radio).toBe(b);
    const failing = await places.acquire('2', heard(-50, -50), false, signal);
    expect(failing.radio).toBe(a);
    failing.failed();
    failing.release();
    expect((await places.acquire('2', heard(-50, -50), false, signal)).radio).toBe(b);
  });

  test('come with one interval for all that fill the air, and a short one for questions while none does', async () => {
    const places = pool();
    const onA = () => [{ radio: a, rssi: -50 }];
    const first = await places.acquire('1', onA, false, signal);
    const second = await places.acquire('2', onA, true, signal);
    const questions = { bulkMs: 60, questionsMs: 30 };
    expect(first.intervalMs({ bulkMs: 120, questionsMs: null })).toBe(120);
    expect(second.intervalMs(questions)).toBe(30);
    first.fill(true);
    expect(second.intervalMs(questions)).toBe(120);
    first.release();
    expect(second.intervalMs(questions)).toBe(30);
    second.release();
    const later = await places.acquire('3', onA, false, signal);
    expect(later.intervalMs({ bulkMs: 60, questionsMs: null })).toBe(60);
  });

  test('are waited for when all are taken, first by those who were begun with, and on a radio that comes later', async () => {
    const places = pool(1);
    const first = await places.acquire('1', heard(-50, -50), false, signal);
    await places.acquire('2', heard(-50, -50), false, signal);
    const order: string[] = [];
    const fresh = places.acquire('3', heard(-50, -50), false, signal).then(() => order.push('3'));
    const back = places.acquire('4', heard(-50, -50), true, signal).then(() => order.push('4'));
    first.release();
    await back;
    expect(order).toEqual(['4']);
    places.remove(b);
    places.add(b);
    await fresh;
    expect(order).toEqual(['4', '3']);
  });
});
