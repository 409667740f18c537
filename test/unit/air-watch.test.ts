import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Clock } from '../../src/clock.ts';
import { productFile } from '../../src/contract/product-file.ts';
import { readCapture } from '../../src/diagnostics/capture-file.ts';
import { HCI_EVENT, LE_EVENT } from '../../src/radio/hci/packets.ts';
import { RepeatFilter } from '../../src/radio/hci/repeat-filter.ts';
import type { Advertisement, Radio } from '../../src/radio/radio.ts';
import { AirWatch } from '../../src/scheduler/air-watch.ts';
import { RadioPool } from '../../src/scheduler/radio-pool.ts';
import { RestartTimes } from '../../src/scheduler/restart-times.ts';

const profile = productFile.parse({
  product: 'test',
  protocol: 'smp',
  discover: { namePrefix: 'DFU-' },
  identity: { from: 'name', pattern: '^DFU-(.+)$' },
});

/** A clock that is set by hand. */
class HandClock implements Clock {
  nowMs = 0;
  readonly #due = new Set<{ atMs: number; fn: () => void }>();

  now(): number {
    return this.nowMs;
  }

  wall(): Date {
    return new Date(this.nowMs);
  }

  after(ms: number, fn: () => void): () => void {
    const entry = { atMs: this.nowMs + ms, fn };
    this.#due.add(entry);
    return () => this.#due.delete(entry);
  }

  pass(ms: number): void {
    const until = this.nowMs + ms;
    for (;;) {
      const next = [...this.#due].sort((a, b) => a.atMs - b.atMs)[0];
      if (!next || next.atMs > until) break;
      this.#due.delete(next);
      this.nowMs = next.atMs;
      next.fn();
    }
    this.nowMs = until;
  }
}

/** A radio that does nothing but listen: the shares at which it is asked to. */
class Ear implements Radio {
  readonly address = null;
  readonly linkLimit = null;
  readonly controller = null;
  readonly ended = new Promise<null>(() => undefined);
  readonly #listeners = new Map<(advertisement: Advertisement) => void, number>();
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  get share(): number {
    return Math.max(0, ...this.#listeners.values());
  }

  scan(onAdvertisement: (advertisement: Advertisement) => void, share = 1): () => void {
    this.#listeners.set(onAdvertisement, share);
    return () => this.#listeners.delete(onAdvertisement);
  }

  hear(serial: string): void {
    for (const listener of this.#listeners.keys()) {
      listener({
        address: `c0:00:00:00:00:${serial}`,
        addressType: 'random',
        name: `DFU-${serial}`,
        services: [profile.discover.service],
        manufacturerData: null,
        rssi: -50,
      });
    }
  }

  connect(): Promise<never> {
    return Promise.reject(new Error('not here'));
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }
}

const { signal } = new AbortController();

function watch(radios: readonly Ear[], busy: ReadonlySet<Ear> = new Set()) {
  const clock = new HandClock();
  const air = new AirWatch(
    profile,
    clock,
    () => undefined,
    (radio) => busy.has(radio as Ear),
  );
  for (const radio of radios) air.add(radio);
  return { clock, air };
}

const serials = (air: AirWatch) => air.devices().map(({ serial }) => serial);

describe('the radios of a job', () => {
  test('listen while somebody is waited for, and not otherwise', async () => {
    const radio = new Ear('a');
    const { air } = watch([radio]);
    expect(radio.share).toBe(0);
    const waiting = air.until(() => (serials(air).includes('01') ? 'there' : null), 1000, signal);
    expect(radio.share).toBe(1);
    radio.hear('02');
    expect(radio.share).toBe(1);
    radio.hear('01');
    expect(await waiting).toBe('there');
    expect(radio.share).toBe(0);
  });

  test('do not listen for what is known already', async () => {
    const radio = new Ear('a');
    const { air } = watch([radio]);
    expect(await air.until(() => 'known', 1000, signal)).toBe('known');
    expect(radio.share).toBe(0);
  });

  test('stop listening when the wait has been in vain, and when it is called off', async () => {
    const radio = new Ear('a');
    const { air, clock } = watch([radio]);
    const waiting = air.until(() => null, 1000, signal);
    clock.pass(1000);
    expect(await waiting).toBeNull();
    expect(radio.share).toBe(0);
    const abort = new AbortController();
    const calledOff = air.until(() => null, 1000, abort.signal);
    expect(radio.share).toBe(1);
    abort.abort(new Error('called off'));
    await expect(calledOff).rejects.toThrow('called off');
    expect(radio.share).toBe(0);
  });

  test('give a search the less of their uploads’ air the longer it has been in vain', () => {
    const radio = new Ear('a');
    const { air, clock } = watch([radio], new Set([radio]));
    air.listen();
    const shares = [0, 700, 600, 800, 1600, 30_000].map((ms) => {
      clock.pass(ms);
      return radio.share;
    });
    expect(shares).toEqual([1 / 4, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64]);
  });

  test('give it a quarter of the air again when another one is missed', () => {
    const radio = new Ear('a');
    const { air, clock } = watch([radio], new Set([radio]));
    air.listen();
    clock.pass(30_000);
    const stop = air.listen();
    expect(radio.share).toBe(1 / 4);
    stop();
    expect(radio.share).toBe(1 / 64);
  });

  test('with uploads leave the first seconds of a search to one without', () => {
    const [busy, idle] = [new Ear('busy'), new Ear('idle')];
    const { air, clock } = watch([busy, idle], new Set([busy]));
    air.listen();
    expect([busy.share, idle.share]).toEqual([0, 1]);
    clock.pass(3700);
    expect([busy.share, idle.share]).toEqual([1 / 32, 1]);
  });

  test('follow what they carry: one whose last upload has ended listens as much as it can', () => {
    const radio = new Ear('a');
    const carrying = new Set([radio]);
    const { air } = watch([radio], carrying);
    air.listen();
    expect(radio.share).toBe(1 / 4);
    carrying.clear();
    air.steer();
    expect(radio.share).toBe(1);
  });

  test('with uploads do not search for a unit while its restart cannot be over', () => {
    const [radio, restarts] = [new Ear('a'), new RestartTimes()];
    const { air, clock } = watch([radio], new Set([radio]));
    expect(restarts.absentMs).toBe(1800);
    restarts.seen(6000);
    restarts.seen(5000);
    restarts.seen(9000);
    void air.until(() => null, 60_000, signal, restarts.absentMs);
    clock.pass(4400);
    expect(radio.share).toBe(0);
    clock.pass(400);
    expect(radio.share).toBe(1 / 4);
  });

  test('that come later, or are gone, take part or do not', () => {
    const [first, second] = [new Ear('a'), new Ear('b')];
    const { air } = watch([first]);
    air.listen();
    air.add(second);
    air.forget(first);
    expect([first.share, second.share]).toEqual([0, 1]);
    air.stop();
    expect(second.share).toBe(0);
  });
});

describe('a unit that waits for a place although a radio has room', () => {
  test('is listened for until that one has heard it', async () => {
    const [full, free] = [new Ear('full'), new Ear('free')];
    let listening = 0;
    const pool = new RadioPool(
      () => 1,
      () => undefined,
      () => {
        listening += 1;
        return () => {
          listening -= 1;
        };
      },
    );
    pool.add(full);
    const by = (radio: Radio) => ({ radio, rssi: -50, bonded: false });
    await pool.acquire('1', () => [by(full)], false, signal);
    const heardBy: Radio[] = [full];
    const waiting = pool.acquire('2', () => heardBy.map(by), false, signal);
    expect(listening).toBe(0);
    pool.add(free);
    expect(listening).toBe(1);
    heardBy.push(free);
    pool.serve();
    expect((await waiting)?.radio).toBe(free);
    expect(listening).toBe(0);
  });
});

describe('what a device repeats', () => {
  /** One report of Core 5.4, Vol 4 Part E, 7.7.65.2: connectable undirected (0x00) or scan response (0x04). */
  const report = (address: number, data: string, kind = 0, rssi = -50) => {
    const said = Buffer.from(data);
    const head = [HCI_EVENT, 0x3e, said.length + 12, LE_EVENT.ADVERTISING_REPORT, 1, kind, 1];
    return Buffer.from([...head, address, 0, 0, 0, 0, 0xc0, said.length, ...said, rssi & 0xff]);
  };

  test('passes once a second; what is new passes at once', () => {
    let nowMs = 0;
    const filter = new RepeatFilter(() => nowMs);
    const passes = (...packet: Parameters<typeof report>) => filter.isNews(report(...packet));
    expect(passes(1, 'one')).toBe(true);
    expect(passes(1, 'one', 0, -70)).toBe(false);
    expect(passes(1, 'one', 4)).toBe(true);
    expect(passes(2, 'one')).toBe(true);
    expect(passes(1, 'other')).toBe(true);
    nowMs = 999;
    expect(passes(1, 'other')).toBe(false);
    nowMs = 1000;
    expect(passes(1, 'other')).toBe(true);
    filter.clear();
    expect(passes(1, 'other')).toBe(true);
  });

  const recording = '../shared/captures/controller-four-units.btsnoop';
  test.skipIf(!existsSync(recording))('is most of what a real controller reports of four units that wait', () => {
    let nowMs = 0;
    const filter = new RepeatFilter(() => nowMs);
    const { packets } = readCapture(readFileSync(recording));
    const reports = packets.filter(
      ({ packet }) => packet[0] === HCI_EVENT && packet[1] === 0x3e && packet[3] === LE_EVENT.ADVERTISING_REPORT,
    );
    const passed = reports.filter(({ packet, timeUs }) => {
      nowMs = timeUs / 1000;
      return filter.isNews(packet);
    });
    const devices = new Set(reports.map(({ packet }) => packet.toString('hex', 5, 13)));
    expect(new Set(passed.map(({ packet }) => packet.toString('hex', 5, 13)))).toEqual(devices);
    expect(passed.length).toBeLessThan(reports.length / 2);
  });
});
