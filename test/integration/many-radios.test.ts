import { afterEach, describe, expect, test } from 'vitest';
import type { Radio } from '../../src/radio/radio.ts';
import { type Candidate, type RadioLoad, RadioPool } from '../../src/scheduler/radio-pool.ts';
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
  const heard =
    (rssiA: number, rssiB: number, bonded: Radio | null = null) =>
    () => [
      { radio: a, rssi: rssiA, bonded: bonded === a },
      { radio: b, rssi: rssiB, bonded: bonded === b },
    ];
  const only = (by: Radio) => () => [{ radio: by, rssi: -50, bonded: false }];
  const { signal } = new AbortController();
  function pool(mostLinks = 8): RadioPool {
    const made = new RadioPool(() => mostLinks);
    made.add(a);
    made.add(b);
    return made;
  }
  /** A place that is sure to be given. */
  async function place(places: RadioPool, unit: string, candidates: () => Candidate[], urgent = false) {
    const given = await places.acquire(unit, candidates, urgent, signal);
    if (!given) throw new Error('no radio hears the unit');
    return given;
  }

  test('are given where the air is free: a link that only waits takes little of it', async () => {
    const places = pool();
    const busy = await place(places, '1', heard(-50, -60));
    expect(busy.radio).toBe(a);
    const waiting = [await place(places, '2', only(b)), await place(places, '3', only(b))];
    busy.fill(true);
    expect((await place(places, '4', heard(-50, -50))).radio).toBe(b);
    for (const each of waiting) each.fill(true);
    expect((await place(places, '5', heard(-50, -50))).radio).toBe(a);
  });

  test('are given where the signal is good enough, and not again where the unit has just failed', async () => {
    const places = pool();
    expect((await place(places, '1', heard(-92, -60))).radio).toBe(b);
    const failing = await place(places, '2', heard(-50, -50));
    expect(failing.radio).toBe(a);
    failing.failed();
    failing.release();
    expect((await place(places, '2', heard(-50, -50))).radio).toBe(b);
  });

  test('are given less on a radio where links fail, until they succeed there again', async () => {
    const places = pool();
    const busy = await place(places, 'busy', only(b));
    busy.fill(true);
    const attempt = async (unit: string, fails: boolean) => {
      const given = await place(places, unit, only(a));
      if (fails) given.failed();
      given.release();
    };
    for (const unit of ['1', '2', '3']) await attempt(unit, true);
    const shunned = await place(places, '4', heard(-50, -50));
    expect(shunned.radio).toBe(b);
    shunned.release();
    for (const unit of ['5', '6', '7']) await attempt(unit, false);
    expect((await place(places, '8', heard(-50, -50))).radio).toBe(a);
  });

  test('are counted: links, those that fill the air, and those that failed', async () => {
    const loads: RadioLoad[] = [];
    const places = new RadioPool(
      () => 8,
      (_radio, load) => loads.push(load),
    );
    places.add(a);
    const given = await place(places, '1', only(a));
    given.fill(true);
    given.fill(true);
    given.failed();
    given.failed();
    given.release();
    given.release();
    expect(loads).toEqual([
      { links: 1, uploading: 0, failures: 0 },
      { links: 1, uploading: 1, failures: 0 },
      { links: 1, uploading: 1, failures: 1 },
      { links: 0, uploading: 0, failures: 1 },
    ]);
  });

  test('come with one interval for all that fill the air, and a short one for questions while none does', async () => {
    const places = pool();
    const first = await place(places, '1', only(a));
    const second = await place(places, '2', only(a), true);
    const questions = { bulkMs: 60, questionsMs: 30 };
    expect(first.intervalMs({ bulkMs: 120, questionsMs: null })).toBe(120);
    expect(second.intervalMs(questions)).toBe(30);
    first.fill(true);
    expect(second.intervalMs(questions)).toBe(120);
    first.release();
    expect(second.intervalMs(questions)).toBe(30);
    second.release();
    const later = await place(places, '3', only(a));
    expect(later.intervalMs({ bulkMs: 60, questionsMs: null })).toBe(60);
  });

  test('are waited for when all are taken, first by those who were begun with, and on a radio that comes later', async () => {
    const places = pool(1);
    const first = await place(places, '1', heard(-50, -50));
    await place(places, '2', heard(-50, -50));
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

  test('are given on the radio that has a bond with the unit while that one has room', async () => {
    const places = pool(1);
    expect((await place(places, '1', heard(-50, -80, b))).radio).toBe(b);
    expect((await place(places, '2', heard(-80, -50, b))).radio).toBe(a);
  });

  test('are not waited for by a unit that no radio hears any more', async () => {
    const places = pool(1);
    await place(places, '1', only(a));
    const hears: Radio[] = [a];
    const waits = places.acquire('2', () => hears.flatMap((by) => only(by)()), false, signal);
    hears.pop();
    places.remove(a);
    expect(await waits).toBeNull();
  });
});
