import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Clock } from '../../src/clock.ts';
import { applyChange, type Board, type BoardChange, emptyTile, type Tile } from '../../src/contract/board.ts';
import { ChannelClient, type ServerMessage } from '../../src/contract/channel.ts';
import { BoardStore } from '../../src/station/board-store.ts';
import { LiveFeed } from '../../src/station/live-feed.ts';
import { portPair } from '../support/open-test-station.ts';

/** A clock that stands until it is moved. */
class ManualClock implements Clock {
  #nowMs = 0;
  #timers: { at: number; fn: () => void }[] = [];
  now = () => this.#nowMs;
  wall = () => new Date(this.#nowMs);

  after(ms: number, fn: () => void): () => void {
    const timer = { at: this.#nowMs + ms, fn };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  advance(ms: number): void {
    const until = this.#nowMs + ms;
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((each) => each !== next);
      this.#nowMs = next.at;
      next.fn();
    }
    this.#nowMs = until;
  }
}

/** A window's picture of the board, as its listener builds it. */
class Picture {
  board: Board | null = null;
  snapshots = 0;
  gaugeMessages = 0;
  hold = false;
  readonly client: ChannelClient;
  readonly pair = portPair();

  constructor() {
    const ignore = () => undefined;
    this.client = new ChannelClient(this.pair.near, {
      welcome: ignore,
      occupied: ignore,
      replaced: ignore,
      closed: ignore,
      snapshot: (board) => {
        this.snapshots += 1;
        this.board = board;
      },
      change: (change) => {
        if (this.board) this.board = { ...applyChange(this.board, change) };
      },
      gauges: (progress, rates) => {
        this.gaugeMessages += 1;
        const gauges = this.board?.gauges.map((gauge) => ({ ...gauge })) ?? [];
        for (let i = 0; i < progress.length; i += 2)
          Object.assign(gauges[progress[i]!]!, { permille: progress[i + 1] });
        for (let i = 0; i < rates.length; i += 2) Object.assign(gauges[rates[i]!]!, { bytesPerSecond: rates[i + 1] });
        if (this.board) this.board = { ...this.board, gauges };
        if (!this.hold) this.client.drawn();
      },
    });
  }
}

/** A feed with a window behind a line that loses what it is told to. */
function connected(store: BoardStore, clock: Clock, loses: () => boolean = () => false) {
  const picture = new Picture();
  const { far } = picture.pair;
  const outlet = {
    send: (message: ServerMessage) => {
      if (!loses() || message.type === 'snapshot') far.send(JSON.stringify(message));
    },
    backlog: () => far.backlog(),
  };
  let feed: LiveFeed | null = null;
  far.onMessage((text) => {
    const { type } = JSON.parse(text) as { type: string };
    if (type === 'credit') feed?.drawn();
    if (type === 'resync') feed?.snapshot();
  });
  feed = new LiveFeed(store, outlet, clock);
  return { picture, feed };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

const tileChange: fc.Arbitrary<Partial<Tile>> = fc.record(
  {
    state: fc.constantFrom('placed', 'working', 'ended' as const),
    outcome: fc.constantFrom('pass', 'fail', null),
    attempt: fc.nat(5),
    rssi: fc.integer({ min: -100, max: 0 }),
  },
  { requiredKeys: [] },
);
const change: fc.Arbitrary<BoardChange> = fc.record(
  {
    tiles: fc.array(fc.tuple(fc.nat(7), tileChange), { maxLength: 4 }),
    head: fc.record({ trayNumber: fc.nat(100) }),
  },
  { requiredKeys: [] },
);
const gauge = fc.record({ gauge: fc.tuple(fc.nat(7), fc.nat(1000), fc.nat(200_000)) });

function fresh(): BoardStore {
  const store = new BoardStore();
  store.reset(
    Array.from({ length: 8 }, (_, index) => emptyTile(`A${index + 1}`)),
    {},
  );
  return store;
}

describe('the live channel', () => {
  test('brings every window to the very board of the station, whatever happens and however the line loses messages', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(change, gauge, fc.constant('tick' as const)), { maxLength: 60 }),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }),
        async (happenings, losses) => {
          const store = fresh();
          const clock = new ManualClock();
          let sent = 0;
          let lossy = true;
          const { picture, feed } = connected(store, clock, () => lossy && losses[sent++ % losses.length] === true);
          for (const each of happenings) {
            if (each === 'tick') clock.advance(60);
            else if ('gauge' in each)
              store.gauge(each.gauge[0], { permille: each.gauge[1], bytesPerSecond: each.gauge[2] });
            else store.change(each);
            await settled();
          }
          // The line is whole again: the next message shows the gap, and a snapshot heals it.
          lossy = false;
          store.setHead({ trayNumber: 101 });
          for (let i = 0; i < 30; i++) {
            clock.advance(60);
            await settled();
          }
          expect(picture.board).toEqual(JSON.parse(JSON.stringify(store.board)));
          feed.stop();
        },
      ),
      { numRuns: 150, seed: 20261122 },
    );
  });

  test('sends gauges at most twenty times a second, and none beyond the credit of a window that does not draw', async () => {
    const store = fresh();
    const clock = new ManualClock();
    const { picture, feed } = connected(store, clock);
    await settled();
    for (let ms = 0; ms < 1000; ms += 5) {
      store.gauge(ms % 8, { permille: ms });
      clock.advance(5);
      await settled();
    }
    expect(picture.gaugeMessages).toBeLessThanOrEqual(20);
    expect(picture.gaugeMessages).toBeGreaterThan(15);
    picture.hold = true;
    const before = picture.gaugeMessages;
    for (let ms = 0; ms < 1000; ms += 50) {
      store.gauge(1, { permille: ms % 1000 });
      clock.advance(50);
      await settled();
    }
    expect(picture.gaugeMessages - before).toBeLessThanOrEqual(4);
    feed.stop();
  });

  test('sends a window that has stopped taking messages nothing more, and a snapshot when it takes them again', async () => {
    const store = fresh();
    const clock = new ManualClock();
    const { picture, feed } = connected(store, clock);
    await settled();
    picture.pair.far.backlog = () => 2_000_000;
    const before = picture.pair.sent.length;
    for (let i = 0; i < 1000; i++) store.tile(1, { attempt: i });
    clock.advance(500);
    expect(picture.pair.sent.length).toBe(before);
    picture.pair.far.backlog = () => 0;
    clock.advance(100);
    await settled();
    expect(picture.board?.tiles[1]?.attempt).toBe(999);
    feed.stop();
  });
});
