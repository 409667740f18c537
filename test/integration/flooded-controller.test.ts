import { describe, expect, test } from 'vitest';
import { type Choice, FloodingHost } from '../support/flooding-host.ts';

/** A full packet of 251 octets and its empty answer on 2M, in microseconds. */
const EXCHANGE_US = 1392;
/** Reports of a link that are further apart belong to different events. */
const PAUSE_US = 4000;

/** One link after the other. */
function roundRobin(): Choice {
  let turn = 0;
  return ({ held }) => turn++ % held.length;
}

/** Frames of ten packets in one queue, as a host does that knows nothing of links. */
function frameByFrame(): Choice {
  let packets = 0;
  return ({ held }) => Math.floor(packets++ / 10) % held.length;
}

/** The link that holds least, and at most so many each. */
function atMost(most: number): Choice {
  return ({ held }) => {
    const least = Math.min(...held);
    return least < most ? held.indexOf(least) : null;
  };
}

/**
 * First the link whose event lasts, as much as fits before the next one's anchor, three packets ahead; then the others in the order of their
 * anchors, three each. Anchors are learnt from when packets are reported.
 */
function byAnchors(intervalMs: number): Choice {
  const intervalUs = intervalMs * 1000;
  const anchors = new Map<number, number>();
  const heard = new Map<number, number>();
  let known = 0;
  const within = (us: number) => ((us % intervalUs) + intervalUs) % intervalUs;
  return ({ ether, held, completed }) => {
    for (; known < completed.length; known++) {
      const { atUs, handle } = completed[known]!;
      if (atUs - (heard.get(handle) ?? Number.NEGATIVE_INFINITY) > PAUSE_US) anchors.set(handle, atUs - EXCHANGE_US);
      heard.set(handle, atUs);
    }
    if (anchors.size < held.length) return held.includes(0) ? held.indexOf(0) : null;
    const since = (handle: number) => within(ether.now - anchors.get(handle)!);
    const [running, ...others] = [...held.keys()].sort((a, b) => since(a) - since(b));
    const inOrder = [running!, ...others.reverse()];
    const slotUs = (place: number) => within(since(inOrder[place]!) - since(inOrder[(place + 1) % held.length]!));
    const room = (place: number) => Math.floor((slotUs(place) - (place === 0 ? since(running!) : 0)) / EXCHANGE_US);
    const place = inOrder.findIndex((handle, index) => held[handle]! < Math.min(3, room(index)));
    return place < 0 ? null : inOrder[place]!;
  };
}

/** What a raw host was measured to get out of Zephyr's own controller, 7 buffers of 251 octets unless said, scanning off. */
const MEASURED: {
  readonly what: string;
  readonly links: number;
  readonly intervalMs: number;
  readonly buffers: number;
  readonly choice: (intervalMs: number) => Choice;
  readonly kBs: number;
}[] = [
  { what: 'one link', links: 1, intervalMs: 10, buffers: 7, choice: roundRobin, kBs: 171 },
  { what: 'one link', links: 1, intervalMs: 15, buffers: 7, choice: roundRobin, kBs: 163 },
  { what: 'one link', links: 1, intervalMs: 30, buffers: 7, choice: roundRobin, kBs: 171 },
  { what: 'one link', links: 1, intervalMs: 50, buffers: 7, choice: roundRobin, kBs: 171 },
  { what: 'four links in turn', links: 4, intervalMs: 30, buffers: 7, choice: roundRobin, kBs: 98 },
  { what: 'four links, two buffers each', links: 4, intervalMs: 30, buffers: 7, choice: () => atMost(2), kBs: 57 },
  { what: 'four links, frame by frame', links: 4, intervalMs: 30, buffers: 7, choice: frameByFrame, kBs: 65 },
  { what: 'four links by their anchors', links: 4, intervalMs: 30, buffers: 7, choice: byAnchors, kBs: 160 },
  { what: 'four links by their anchors', links: 4, intervalMs: 50, buffers: 7, choice: byAnchors, kBs: 166 },
  { what: 'four links, four buffers each', links: 4, intervalMs: 30, buffers: 16, choice: () => atMost(4), kBs: 163 },
  { what: 'four links, four buffers each', links: 4, intervalMs: 50, buffers: 16, choice: () => atMost(4), kBs: 166 },
];

describe('a host that floods a virtual controller gets what it gets of a real one', () => {
  test.each(MEASURED)('$what at $intervalMs ms with $buffers buffers: $kBs kB/s', (measured) => {
    const { links, intervalMs, buffers, choice, kBs } = measured;
    const host = new FloodingHost({ aclBuffers: buffers, latencyMs: 0.5 });
    host.connect(links, intervalMs);
    const reached = host.flood(choice(intervalMs));
    expect(host.central.overflows).toBe(0);
    expect(Math.abs(reached / kBs - 1)).toBeLessThan(0.02);
  });

  test('buffers by anchors need an answer within one packet’s air: with 0.8 ms each way they are worth less than half', () => {
    const host = new FloodingHost({ latencyMs: 0.8 });
    host.connect(4, 30);
    expect(host.flood(byAnchors(30))).toBeLessThan(80);
  });

  test('a round trip of 20 ms between host and controller leaves what the buffers bridge', () => {
    const host = new FloodingHost({ latencyMs: 10 });
    host.connect(1, 30);
    // Seven packets of 244 octets a round trip.
    expect(host.flood(() => 0)).toBeLessThanOrEqual((7 * 244) / 20);
  });

  test('a wire of 1 Mbaud carries less than the air', () => {
    const host = new FloodingHost({ wireBytesPerSecond: 96_000 });
    host.connect(1, 30);
    const reached = host.flood(() => 0);
    expect(reached).toBeLessThan((96 * 244) / 256);
    expect(reached).toBeGreaterThan(80);
  });
});

describe('a virtual controller that scans beside a link', () => {
  /** Over where in the interval the scan begins. */
  const scanned = (intervalMs: number, windowMs: number) => {
    const reached = [0, 3, 7, 11, 17].map((waitMs) => {
      const host = new FloodingHost({ latencyMs: 0.5 });
      host.connect(1, intervalMs);
      host.advance(waitMs);
      if (windowMs > 0) host.scan(windowMs);
      return host.flood(() => 0);
    });
    return reached.reduce((sum, each) => sum + each, 0) / reached.length;
  };

  test('for 40 of 60 ms leaves it about a fifth of its events: 19 % of those of 11.25 ms', () => {
    const share = scanned(11.25, 40) / scanned(11.25, 0);
    expect(share).toBeGreaterThan(0.17);
    expect(share).toBeLessThan(0.25);
  });

  test('for 40 of 60 ms leaves 27 to 57 kB/s at 10 ms, for 2.5 ms five events of six', () => {
    expect(scanned(10, 40)).toBeGreaterThan(27);
    expect(scanned(10, 40)).toBeLessThan(57);
    expect(scanned(10, 2.5) / 171).toBeGreaterThan(5 / 6 - 0.02);
    expect(scanned(10, 2.5)).toBeLessThan(160);
  });

  test('without a pause leaves it an interval for each that the scan had: the longer one has waited, the sooner one is served', () => {
    const share = scanned(10, 60) / scanned(10, 0);
    expect(share).toBeGreaterThan(0.4);
    expect(share).toBeLessThan(0.55);
  });

  test('starves no link whose anchor falls into every window', () => {
    const host = new FloodingHost({ latencyMs: 0.5 });
    host.connect(4, 60);
    host.scan(40);
    host.flood(atMost(2), 10_000);
    for (const handle of [0, 1, 2, 3]) {
      expect(host.completed.filter((each) => each.handle === handle).length).toBeGreaterThan(80);
    }
  });
});

describe('more links than an interval has room for', () => {
  test('share the air of another: four links at 15 ms, of which three have slots of their own', () => {
    const host = new FloodingHost({ aclBuffers: 16 });
    host.connect(4, 15);
    host.flood(atMost(4));
    const of = (handle: number) => host.completed.filter((each) => each.handle === handle).length;
    expect(of(3)).toBeGreaterThan(0);
    expect(of(3)).toBeLessThan(0.7 * Math.max(of(0), of(1), of(2)));
  });

  test('are never established where the controller is such a one', () => {
    const host = new FloodingHost({ crowded: 'fail' });
    expect(() => host.connect(4, 15)).toThrow('link 3 was not established');
    expect(host.failures).toEqual([0x3e]);
  });
});
