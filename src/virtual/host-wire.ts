import type { Ether } from './ether.ts';

/** What a way between a controller and its host costs, in one direction. */
export interface WireCost {
  /** From one end to the other. */
  readonly latencyMs: number;
  /** What the wire carries; absent: a packet takes no time of its own. A UART of 1 Mbaud carries about 96,000. */
  readonly bytesPerSecond?: number | undefined;
}

/** One direction between a controller and its host: packets keep their order, and each takes its time. */
export class HostWire {
  readonly #ether: Ether;
  readonly #cost: WireCost;
  readonly #deliver: (packet: Buffer) => void;
  #freeAt = 0;

  constructor(ether: Ether, cost: WireCost, deliver: (packet: Buffer) => void) {
    this.#ether = ether;
    this.#cost = cost;
    this.#deliver = deliver;
  }

  send(packet: Buffer): void {
    const { latencyMs, bytesPerSecond } = this.#cost;
    if (latencyMs === 0 && bytesPerSecond === undefined) return this.#deliver(packet);
    const takesUs = bytesPerSecond === undefined ? 0 : (packet.length * 1e6) / bytesPerSecond;
    this.#freeAt = Math.max(this.#freeAt, this.#ether.now) + takesUs;
    this.#ether.at(this.#freeAt + latencyMs * 1000, () => this.#deliver(packet));
  }
}
