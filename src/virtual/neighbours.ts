import type { Ether } from './ether.ts';

/** Advertisers in the air that belong to nobody here. */
export interface NeighbourDescription {
  readonly count: number;
  /** How often each of them advertises. */
  readonly intervalMs: number;
}

/** An advertising PDU of 37 octets on 1M, the longest legacy one (Core 5.4, Vol 6 Part B, 2.1 and 2.3): (1 + 4 + 2 + 37 + 3) × 8 µs. */
const ADVERTISEMENT_US = 376;

/**
 * A hall full of other people's advertisers. What a scanner hears of them comes as often as if each of them had a timeline of its own, but
 * costs the simulation only what is heard. Two advertisements that overlap on their channel are both lost (pure ALOHA).
 */
export class Neighbours {
  readonly #ether: Ether;
  readonly #count: number;
  readonly #perUs: number;

  constructor(ether: Ether, { count, intervalMs }: NeighbourDescription) {
    this.#ether = ether;
    this.#count = count;
    this.#perUs = count / (intervalMs * 1000);
  }

  /** Whether an advertisement, ours or theirs, is lost to one of theirs. */
  collides(): boolean {
    if (this.#perUs === 0) return false;
    return this.#ether.random() >= Math.exp(-2 * ADVERTISEMENT_US * this.#perUs);
  }

  /**
   * Calls `onAir` with the number, 0 to `count` − 1, of each neighbour whose advertisement goes on the air, until the returned
   * is called.
   */
  advertise(onAir: (neighbour: number) => void): () => void {
    if (this.#perUs === 0) return () => undefined;
    let cancel: () => void = () => undefined;
    const next = () => {
      // Many independent advertisers together come at random times.
      const waitUs = -Math.log(1 - this.#ether.random()) / this.#perUs;
      cancel = this.#ether.at(this.#ether.now + waitUs, () => {
        next();
        onAir(Math.floor(this.#ether.random() * this.#count));
      });
    };
    next();
    return () => cancel();
  }
}
