import type { StationError } from '../contract/errors.ts';

/**
 * How long something lives that much waits for: a radio, a link. A promise that lives as long collects every waiter that was ever raced
 * against it, with all that the waiter holds; here a waiter is forgotten as soon as what it waited for is there.
 */
export class Lifetime {
  readonly #waiting = new Set<(reason: StationError) => void>();
  #over: StationError | null = null;

  /** Why it is over; null while it is not. */
  get over(): StationError | null {
    return this.#over;
  }

  /** It is over: whoever waits is told the reason. Only the first reason counts. */
  end(reason: StationError): void {
    if (this.#over) return;
    this.#over = reason;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const reject of waiting) reject(reason);
  }

  /** Settles as `work` does, or rejects with the reason once this is over. What `work` does afterwards is ignored, never unhandled. */
  during<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const onOver = (reason: StationError) => reject(reason);
      if (this.#over) onOver(this.#over);
      else this.#waiting.add(onOver);
      work.then(
        (value) => {
          this.#waiting.delete(onOver);
          resolve(value);
        },
        (error: unknown) => {
          this.#waiting.delete(onOver);
          reject(error);
        },
      );
    });
  }
}
