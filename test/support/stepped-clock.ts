import type { Clock } from '../../src/clock.ts';

/** Time that goes from one timer to the next as fast as the machine can, so that a wait of minutes takes none. */
export class SteppedClock implements Clock {
  #nowMs = 0;
  readonly #timers = new Set<{ readonly atMs: number; readonly fn: () => void }>();

  now(): number {
    return this.#nowMs;
  }

  wall(): Date {
    return new Date(this.#nowMs);
  }

  after(ms: number, fn: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, fn };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Timers that are set. */
  get waiting(): number {
    return this.#timers.size;
  }

  /** Goes on to the next timer. Returns false when there is none. */
  step(): boolean {
    const next = [...this.#timers].toSorted((a, b) => a.atMs - b.atMs)[0];
    if (!next) return false;
    this.#timers.delete(next);
    this.#nowMs = next.atMs;
    next.fn();
    return true;
  }

  /** Lets time pass until the promise has settled. @throws Error when it has not within `limitMs` */
  async settled<T>(promise: Promise<T>, limitMs: number): Promise<PromiseSettledResult<T>> {
    let result: PromiseSettledResult<T> | null = null;
    const settling = Promise.allSettled([promise]).then(([only]) => {
      result = only;
    });
    const untilMs = this.#nowMs + limitMs;
    for (;;) {
      // What follows of what has happened, happens first.
      for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
      if (result) break;
      if (this.#nowMs > untilMs || !this.step()) throw new Error(`has not settled within ${limitMs} ms`);
    }
    await settling;
    return result!;
  }

  /** The same, for what has to succeed. */
  async resolved<T>(promise: Promise<T>, limitMs: number): Promise<T> {
    const result = await this.settled(promise, limitMs);
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  }
}
