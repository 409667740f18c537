import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readCapture } from '../../src/diagnostics/capture-file.ts';
import { AclScheduler } from '../../src/radio/hci/acl-scheduler.ts';
import { EVENT, HCI_ACL, HCI_EVENT } from '../../src/radio/hci/packets.ts';
import { PackedController, type PackedSetup } from '../support/packed-controller.ts';

const SETTLED_MS = 3_000;
const MEASURED_MS = 6_000;
const EXCHANGE_MS = 1.404;
const FRAME_PACKETS = 10;

/** Full packets that each link gets over the air in an interval, on average, when all have plenty to send. */
function packetsAnInterval(setup: PackedSetup): number[] {
  const controller = new PackedController(setup);
  const scheduler = new AclScheduler(
    setup.buffers,
    (packet) => controller.take(packet[1]!, packet),
    () => ({ intervalMs: setup.intervalMs, packetMs: 1.392 }),
    () => controller.hostMs,
    () => 2 * (setup.latencyMs ?? 0.3),
  );
  const sendFrame = (link: number) => {
    const packet = Buffer.alloc(256);
    packet[1] = link;
    scheduler.push(link, new Array(FRAME_PACKETS).fill(packet), {
      taken: () => controller.at(controller.nowMs + 0.2, () => sendFrame(link)),
      dropped: () => undefined,
    });
  };
  controller.onCompleted = (link) => scheduler.completed(link, 1);
  for (let link = 0; link < setup.links; link++) {
    scheduler.add(link);
    controller.at(100 + link, () => {
      for (let frames = 0; frames < 3; frames++) sendFrame(link);
    });
  }
  controller.run(SETTLED_MS);
  const before = [...controller.sent];
  controller.run(SETTLED_MS + MEASURED_MS);
  expect(controller.overflows).toBe(0);
  return controller.sent.map((sent, link) => ((sent - before[link]!) * setup.intervalMs) / MEASURED_MS);
}

/** What fits: whole packets from each link's anchor to the next one's, the last link's reaching to the first one's of the next interval. */
function fitting({ links, intervalMs, spacingMs = 4.76 }: PackedSetup): number[] {
  return Array.from({ length: links }, (_, link) => {
    const slotMs = link < links - 1 ? spacingMs : intervalMs - (links - 1) * spacingMs;
    return Math.floor(slotMs / EXCHANGE_MS + 1e-9);
  });
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const share = (setup: PackedSetup) => sum(packetsAnInterval(setup)) / sum(fitting(setup));

describe('a controller that packs its links’ events, and has 7 buffers', () => {
  test.each([
    [2, 30],
    [3, 30],
    [4, 30],
    [4, 50],
    [8, 60],
    [8, 80],
    [16, 120],
  ])('has its air filled by %i links at %i ms, what lies behind the last event included', (links, intervalMs) => {
    expect(share({ links, intervalMs, buffers: 7 })).toBeGreaterThan(0.98);
  });

  test('is refilled in time: each event of four links at 30 ms carries all that fits, three, three, three and eleven', () => {
    const packets = packetsAnInterval({ links: 4, intervalMs: 30, buffers: 7 });
    expect(packets.map((each) => Math.round(each))).toEqual([3, 3, 3, 11]);
  });

  test('has all its air filled by a link that is alone, over its own next anchors', () => {
    for (const intervalMs of [10, 30, 50]) {
      const [packets = 0] = packetsAnInterval({ links: 1, intervalMs, buffers: 7 });
      expect((packets * EXCHANGE_MS) / intervalMs).toBeGreaterThan(0.98);
    }
  });

  test('has it filled behind a transport that takes 1 ms each way', () => {
    expect(share({ links: 4, intervalMs: 30, buffers: 7, latencyMs: 1, jitterMs: 0.5 })).toBeGreaterThan(0.98);
  });

  test('gets as much as seven buffers can carry there and back behind one that takes 4 or 10 ms each way', () => {
    for (const [latencyMs, intervalMs] of [
      [4, 12.5],
      [10, 23.75],
    ] as const) {
      const [packets = 0] = packetsAnInterval({ links: 1, intervalMs, buffers: 7, latencyMs, jitterMs: 0 });
      expect(packets).toBeGreaterThan(6.9);
    }
  });

  test('may fall behind the clock, as a simulation does: the order of what is heard tells enough', () => {
    expect(share({ links: 4, intervalMs: 30, buffers: 7, dilation: 1.1 })).toBeGreaterThan(0.95);
  });
});

describe('other controllers', () => {
  test.each([4, 8, 16])('have their air filled with %i buffers', (buffers) => {
    expect(share({ links: 4, intervalMs: 30, buffers })).toBeGreaterThan(0.97);
  });

  test('have it filled wherever they place events', () => {
    const setups = fc.record({
      links: fc.integer({ min: 2, max: 8 }),
      spacingMs: fc.integer({ min: 30, max: 75 }).map((tenths) => tenths / 10),
      spareMs: fc.integer({ min: 0, max: 30 }),
      buffers: fc.integer({ min: 7, max: 12 }),
    });
    fc.assert(
      fc.property(setups, ({ links, spacingMs, spareMs, buffers }) => {
        const intervalMs = Math.ceil((links * spacingMs + spareMs) / 1.25) * 1.25;
        expect(share({ links, intervalMs, buffers, spacingMs })).toBeGreaterThan(0.9);
      }),
      { numRuns: 25, seed: 7 },
    );
  });
});

const recording = '../shared/captures/controller-four-units.btsnoop';

/** What a real controller said of its four links while all of them were uploaded to, and what its host had given it. */
function recorded() {
  const held = new Map<number, number>();
  const events: { link: number; served: number; left: number; atMs: number }[] = [];
  let together = 0;
  for (const { timeUs, packet, received } of readCapture(readFileSync(recording)).packets) {
    const atMs = timeUs / 1000;
    if (packet[0] === HCI_ACL && !received) {
      const link = packet.readUInt16LE(1) & 0x0fff;
      held.set(link, (held.get(link) ?? 0) + 1);
    }
    if (packet[0] !== HCI_EVENT || packet[1] !== EVENT.NUMBER_OF_COMPLETED_PACKETS) continue;
    const [link, count] = [packet.readUInt16LE(4), packet.readUInt16LE(6)];
    together = Math.max(together, packet[3]! * count);
    held.set(link, (held.get(link) ?? 0) - count);
    const last = events.at(-1);
    if (last?.link === link && atMs - last.atMs < 8) Object.assign(last, { served: last.served + count, atMs });
    else events.push({ link, served: count, left: 0, atMs });
    events.at(-1)!.left = held.get(link)!;
  }
  const began = events[0]!.atMs;
  return { together, events: events.filter(({ atMs }) => atMs > began + 2000 && atMs < began + 8000) };
}

describe.skipIf(!existsSync(recording))('the recording of a real controller with four units', () => {
  test('has each packet reported by an event of its own', () => {
    expect(recorded().together).toBe(1);
  });

  test('has its links served in the same order all the time', () => {
    const { events } = recorded();
    const inOrder = events.slice(1).filter(({ link }, i) => link === (events[i]!.link + 1) % 4);
    expect(inOrder.length / events.length).toBeGreaterThan(0.98);
  });

  test('shows what half of the air was lost for: the last link’s event, with room for eleven packets, ended dry after three', () => {
    const last = recorded().events.filter(({ link }) => link === 3);
    const dry = last.filter(({ served, left }) => served <= 3 && left === 0);
    expect(dry.length / last.length).toBeGreaterThan(0.9);
  });
});
