import type { Clock } from '../../src/clock.ts';

/** A clock whose time passes only when `run` lets it: what waits is woken in order, and what it wakes is let come to rest before. */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #timers: { atMs: number; order: number; fn: () => void }[] = [];
  #order = 0;

  now(): number {
    return this.#nowMs;
  }

  wall(): Date {
    return new Date(Date.UTC(2026, 0, 1) + this.#nowMs);
  }

  after(ms: number, fn: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, order: this.#order++, fn };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  /** Lets time pass until the promise settles; rejects when that takes longer than `withinMs` of this clock. */
  async run<T>(promise: Promise<T>, withinMs = 3_600_000): Promise<T> {
    let over = false;
    const settled = promise.finally(() => {
      over = true;
    });
    settled.catch(() => undefined);
    for (;;) {
      await atRest();
      if (over) return settled;
      const next = this.#timers.toSorted((a, b) => a.atMs - b.atMs || a.order - b.order)[0];
      if (!next || next.atMs > withinMs) throw new Error(next ? 'it takes too long' : 'nothing is left to happen');
      this.#timers = this.#timers.filter((each) => each !== next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.fn();
    }
  }
}

/** All promises that can settle without time have settled. */
function atRest(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => resolve()));
}
