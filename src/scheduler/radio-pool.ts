import { StationError } from '../contract/errors.ts';
import type { Radio } from '../radio/radio.ts';

/** A place on a radio for one link. */
export interface LinkPlace {
  readonly radio: Radio;
  release(): void;
}

interface Waiter {
  readonly urgent: boolean;
  /** Radios that will do, the best first. */
  readonly candidates: () => readonly Radio[];
  readonly take: (place: LinkPlace) => void;
}

/**
 * Shares the radios' links among units. A place is held only while a unit is connected: one that reboots leaves it to others, and
 * comes back before units that have not begun.
 */
export class RadioPool {
  readonly #linksPerRadio: number;
  readonly #used = new Map<Radio, number>();
  readonly #waiters: Waiter[] = [];

  constructor(radios: readonly Radio[], linksPerRadio: number) {
    this.#linksPerRadio = linksPerRadio;
    for (const radio of radios) this.#used.set(radio, 0);
  }

  get radios(): Radio[] {
    return [...this.#used.keys()];
  }

  /** A radio is gone. */
  remove(radio: Radio): void {
    this.#used.delete(radio);
  }

  /** Waits for a place on one of the candidates, `urgent` ones before the others. */
  acquire(candidates: () => readonly Radio[], urgent: boolean, signal: AbortSignal): Promise<LinkPlace> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const waiter: Waiter = {
        urgent,
        candidates,
        take: (place) => {
          signal.removeEventListener('abort', onAbort);
          resolve(place);
        },
      };
      const onAbort = () => {
        this.#drop(waiter);
        reject(signal.reason ?? new StationError('STOPPED'));
      };
      signal.addEventListener('abort', onAbort, { once: true });
      const at = urgent ? this.#waiters.findIndex((other) => !other.urgent) : -1;
      this.#waiters.splice(at < 0 ? this.#waiters.length : at, 0, waiter);
      this.serve();
    });
  }

  /** Gives free places to those who wait; call it when candidates may have changed. */
  serve(): void {
    for (const waiter of [...this.#waiters]) {
      const free = waiter
        .candidates()
        .filter((radio) => (this.#used.get(radio) ?? this.#linksPerRadio) < this.#linksPerRadio);
      const radio = free.toSorted((a, b) => this.#used.get(a)! - this.#used.get(b)!)[0];
      if (!radio) continue;
      this.#drop(waiter);
      this.#used.set(radio, this.#used.get(radio)! + 1);
      waiter.take({ radio, release: this.#releaser(radio) });
    }
  }

  #drop(waiter: Waiter): void {
    const index = this.#waiters.indexOf(waiter);
    if (index >= 0) this.#waiters.splice(index, 1);
  }

  #releaser(radio: Radio): () => void {
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const used = this.#used.get(radio);
      if (used !== undefined) this.#used.set(radio, used - 1);
      this.serve();
    };
  }
}
