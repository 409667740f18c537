import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AclScheduler } from '../../src/radio/hci/acl-scheduler.ts';

type Step =
  | { readonly act: 'push'; readonly link: number; readonly count: number; readonly packets: number }
  | { readonly act: 'serve'; readonly link: number; readonly count: number }
  | { readonly act: 'end'; readonly link: number }
  | { readonly act: 'wait'; readonly ms: number };

const buffers = fc.integer({ min: 1, max: 16 });
const links = fc.integer({ min: 1, max: 5 });
const link = fc.integer({ min: 0, max: 4 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      act: fc.constant('push' as const),
      link,
      count: fc.integer({ min: 1, max: 6 }),
      packets: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ act: fc.constant('serve' as const), link, count: fc.integer({ min: 1, max: 6 }) }),
  },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('end' as const), link }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 300 }) }) },
);

/** A controller with so many buffers, and a host that uses it through the scheduler. */
class Bench {
  nowMs = 0;
  readonly held = new Map<number, number[]>();
  readonly taken: string[] = [];
  readonly dropped: string[] = [];
  readonly pushed = new Map<number, number>();
  most = 0;
  readonly scheduler: AclScheduler;

  constructor(buffers: number) {
    this.scheduler = new AclScheduler(
      buffers,
      (packet) => {
        this.held.get(packet[0]!)!.push(packet[1]!);
        this.most = Math.max(this.most, this.inController());
      },
      () => ({ intervalMs: 50, packetMs: 1.4 }),
      () => this.nowMs,
    );
  }

  inController(): number {
    return [...this.held.values()].reduce((sum, packets) => sum + packets.length, 0);
  }

  add(handle: number): void {
    this.held.set(handle, []);
    this.scheduler.add(handle);
  }

  /** So many PDUs, of so many packets each. */
  push(handle: number, count: number, packets = 1): void {
    for (let i = 0; i < count; i++) {
      const number = this.pushed.get(handle) ?? 0;
      this.pushed.set(handle, number + 1);
      this.scheduler.push(handle, Array(packets).fill(Buffer.of(handle, number & 0xff)), {
        taken: () => this.taken.push(`${handle}/${number}`),
        dropped: () => this.dropped.push(`${handle}/${number}`),
      });
    }
  }

  serve(handle: number, count: number): void {
    const served = this.held.get(handle)?.splice(0, count) ?? [];
    this.nowMs += 1.4 * served.length;
    for (const _ of served) this.scheduler.completed(handle, 1);
  }

  end(handle: number): void {
    this.held.delete(handle);
    this.scheduler.remove(handle);
  }
}

describe('the ACL scheduler', () => {
  test('never overruns the controller, keeps each link’s order, and loses nothing, whatever happens', () => {
    fc.assert(
      fc.property(buffers, links, fc.array(step, { maxLength: 80 }), (buffers, links, steps) => {
        const bench = new Bench(buffers);
        for (let handle = 0; handle < links; handle++) bench.add(handle);
        for (const each of steps) {
          if (each.act === 'wait') bench.nowMs += each.ms;
          else if (each.act === 'push') bench.push(each.link % links, each.count, each.packets);
          else if (each.act === 'serve') bench.serve(each.link % links, each.count);
          else bench.end(each.link % links);
        }
        // Every link that is left is served in turn until nothing waits.
        for (
          let round = 0;
          round < 500 && [...bench.held.keys()].some((handle) => bench.scheduler.queued(handle) > 0);
          round++
        ) {
          for (const handle of [...bench.held.keys()]) bench.serve(handle, 4);
          bench.nowMs += 10;
        }
        expect(bench.most).toBeLessThanOrEqual(buffers);
        const pushed = [...bench.pushed.values()].reduce((sum, count) => sum + count, 0);
        expect(bench.taken.length + bench.dropped.length).toBe(pushed);
        for (let handle = 0; handle < 5; handle++) {
          const numbers = bench.taken
            .filter((name) => name.startsWith(`${handle}/`))
            .map((name) => Number(name.split('/')[1]));
          expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
        }
      }),
    );
  });

  test('refills a link that is alone two of eight buffers at a time, and with its last packets at once', () => {
    const bench = new Bench(8);
    bench.add(0);
    bench.push(0, 12);
    const inController = [...Array(8).keys()].map(() => {
      bench.serve(0, 1);
      return bench.inController();
    });
    expect(inController).toEqual([7, 8, 7, 8, 7, 6, 5, 4]);
    bench.push(0, 1);
    expect(bench.inController()).toBe(5);
  });

  test('goes on with the others when a link stalls with all that it may hold', () => {
    const bench = new Bench(8);
    bench.add(0);
    bench.add(1);
    bench.push(0, 50);
    expect(bench.held.get(0)).toHaveLength(7);
    bench.push(1, 50);
    for (let round = 0; round < 60; round++) {
      bench.serve(1, 4);
      bench.nowMs += 50;
    }
    expect(bench.taken.filter((name) => name.startsWith('1/'))).toHaveLength(50);
    expect(bench.held.get(0)).toHaveLength(7);
  });
});
