import type { Clock } from '../clock.ts';
import { StationError } from '../contract/errors.ts';

const MINUTE_MS = 60_000;

/**
 * Holds an upload to the least that it must get on in a minute, so that a device that takes a byte now and then does not hold its tray for
 * ever. The time between links does not count, what links did before they were lost does.
 */
export class LeastProgress {
  readonly #clock: Clock;
  readonly #bytesPerMinute: number;
  #runsSinceMs: number | null = null;
  #spentMs = 0;
  #fromBytes = 0;
  #furthest = 0;

  constructor(clock: Clock, bytesPerMinute: number) {
    this.#clock = clock;
    this.#bytesPerMinute = bytesPerMinute;
  }

  /** The device takes data from now on, and has so many bytes: what it has from before is no progress. */
  resume(bytes: number): void {
    this.#fromBytes += Math.max(0, bytes - this.#furthest);
    this.#furthest = Math.max(this.#furthest, bytes);
    this.#runsSinceMs ??= this.#clock.now();
  }

  /** It takes none: the link is gone, or it erases. */
  pause(): void {
    if (this.#runsSinceMs !== null) this.#spentMs += this.#clock.now() - this.#runsSinceMs;
    this.#runsSinceMs = null;
  }

  /** It has so many bytes now. @throws StationError DEVICE_TOO_SLOW */
  check(bytes: number): void {
    this.#furthest = Math.max(this.#furthest, bytes);
    const spentMs = this.#spentMs + (this.#runsSinceMs === null ? 0 : this.#clock.now() - this.#runsSinceMs);
    if (spentMs < MINUTE_MS) return;
    const gained = this.#furthest - this.#fromBytes;
    if (gained < (this.#bytesPerMinute * spentMs) / MINUTE_MS) {
      const detail = `${gained} bytes in ${Math.round(spentMs / 1000)} s, at least ${this.#bytesPerMinute} a minute`;
      throw new StationError('DEVICE_TOO_SLOW', detail, { retryable: true });
    }
    this.#fromBytes = this.#furthest;
    this.#spentMs = 0;
    if (this.#runsSinceMs !== null) this.#runsSinceMs = this.#clock.now();
  }
}
