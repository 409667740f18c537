import type { Gauge } from '../../src/contract/board.ts';

/** Draws one tile's gauge: thousandths done, bytes per second. */
export type DrawGauge = (permille: number, bytesPerSecond: number) => void;

/**
 * What changes many times a second goes past the framework: values are kept in arrays, and what has changed is drawn once a frame.
 */
class Gauges {
  #permille: number[] = [];
  #rates: number[] = [];
  readonly #draw = new Map<number, DrawGauge>();
  readonly #changed = new Set<number>();
  readonly #drawn: (() => void)[] = [];
  readonly #watchers = new Set<() => void>();
  #scheduled = false;

  reset(all: readonly Gauge[]): void {
    this.#permille = all.map(({ permille }) => permille);
    this.#rates = all.map(({ bytesPerSecond }) => bytesPerSecond);
    for (const index of this.#draw.keys()) this.#changed.add(index);
    this.#schedule();
  }

  /** New values, flat: index, value, index, value … `drawn` is called when they are on the screen. */
  take(progress: readonly number[], rates: readonly number[], drawn: () => void): void {
    for (let i = 0; i < progress.length; i += 2) this.#permille[progress[i] ?? 0] = progress[i + 1] ?? 0;
    for (let i = 0; i < rates.length; i += 2) this.#rates[rates[i] ?? 0] = rates[i + 1] ?? 0;
    for (let i = 0; i < progress.length; i += 2) this.#changed.add(progress[i] ?? 0);
    for (let i = 0; i < rates.length; i += 2) this.#changed.add(rates[i] ?? 0);
    this.#drawn.push(drawn);
    this.#schedule();
  }

  /** Registers a tile; draws its present values at once. Returns how to end that. */
  attach(index: number, draw: DrawGauge): () => void {
    this.#draw.set(index, draw);
    draw(this.#permille[index] ?? 0, this.#rates[index] ?? 0);
    return () => {
      if (this.#draw.get(index) === draw) this.#draw.delete(index);
    };
  }

  /** Calls `handler` after each frame in which something changed. */
  watch(handler: () => void): () => void {
    this.#watchers.add(handler);
    return () => this.#watchers.delete(handler);
  }

  at(index: number): Gauge {
    return { permille: this.#permille[index] ?? 0, bytesPerSecond: this.#rates[index] ?? 0 };
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => this.#paint());
  }

  #paint(): void {
    this.#scheduled = false;
    for (const index of this.#changed) {
      this.#draw.get(index)?.(this.#permille[index] ?? 0, this.#rates[index] ?? 0);
    }
    this.#changed.clear();
    for (const watcher of this.#watchers) watcher();
    for (const drawn of this.#drawn.splice(0)) drawn();
  }
}

/** This window's gauges. */
export const gauges = new Gauges();
