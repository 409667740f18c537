import { type Clock, sleep } from '../clock.ts';

/** Waits between tries, in milliseconds: what passes, passes within about three seconds. */
const WAITS_MS = [100, 200, 400, 800, 1600] as const;

/** Tries again in place: each time a little later, and not for ever. */
export class BackOff {
  readonly #clock: Clock;
  readonly #signal: AbortSignal | undefined;
  #tries = 0;

  constructor(clock: Clock, signal?: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
  }

  /** It went well: the next error is the first again. */
  reset(): void {
    this.#tries = 0;
  }

  /** Waits before the next try. @throws `error` when there have been as many as there may be, or the signal's reason */
  async after(error: Error): Promise<void> {
    const waitMs = WAITS_MS[this.#tries];
    if (waitMs === undefined) throw error;
    this.#tries += 1;
    await sleep(this.#clock, waitMs, this.#signal);
  }
}
