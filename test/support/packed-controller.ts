/**
 * How a controller serves its links, as recorded of Zephyr's link layer (captures of four units, 2M, PDUs of 251 octets): anchors packed behind
 * one another, whatever the interval; an event that goes on while another packet was queued when the one on the air began, up to the next
 * anchor, or without a limit when the link is alone; each packet reported as soon as it is acknowledged. Nothing here comes from the
 * virtual ether.
 */
export interface PackedSetup {
  readonly links: number;
  readonly intervalMs: number;
  readonly buffers: number;
  /** From one link's anchor to the next one's; 4.76 ms on the recorded one. */
  readonly spacingMs?: number;
  /** A full packet with its answer; 1.404 ms on the recorded one. */
  readonly exchangeMs?: number;
  /** One way between host and controller: at least, and how much more by chance. */
  readonly latencyMs?: number;
  readonly jitterMs?: number;
  /** Times of the wall run so much slower than those of the air (a simulation that falls behind). */
  readonly dilation?: number;
}

/** Octets of ACL data below which a packet takes `SMALL_SHARE` of a full one's time. */
const SMALL_OCTETS = 64;
const SMALL_SHARE = 0.4;
/** An empty exchange on 2M with its answer: 2 × (44 + 150) µs (Core 5.4, Vol 6 Part B, 2.1 and 4.1.1). */
const EMPTY_MS = 0.388;

interface Due {
  readonly atMs: number;
  readonly order: number;
  readonly act: () => void;
}

/** A scripted controller at work in a time of its own. */
export class PackedController {
  nowMs = 0;
  /** Packets that have crossed the air, by link. */
  readonly sent: number[];
  /** What the host handed over beyond the buffers. */
  overflows = 0;
  /** Number Of Completed Packets as the host hears it. */
  onCompleted: (link: number) => void = () => undefined;
  /** A packet has crossed the air. */
  onSent: (link: number, packet: Buffer) => void = () => undefined;
  readonly #setup: Required<PackedSetup>;
  readonly #queues: Buffer[][];
  readonly #gone = new Set<number>();
  readonly #due: Due[] = [];
  readonly #random: () => number;
  #order = 0;
  #toHostMs = 0;
  #toControllerMs = 0;
  /** The link whose event lasts. */
  #running: number | null = null;

  constructor(setup: PackedSetup, seed = 1) {
    this.#setup = { spacingMs: 4.76, exchangeMs: 1.404, latencyMs: 0.3, jitterMs: 0.3, dilation: 1, ...setup };
    this.sent = new Array<number>(setup.links).fill(0);
    this.#queues = Array.from({ length: setup.links }, () => []);
    let state = seed;
    this.#random = () => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return state / 2_147_483_648;
    };
    for (let link = 0; link < setup.links; link++) this.at(link * this.#setup.spacingMs, () => this.#event(link, 0));
  }

  at(atMs: number, act: () => void): void {
    const due = { atMs, order: this.#order++, act };
    let at = this.#due.length;
    while (at > 0 && this.#due[at - 1]!.atMs > atMs) at -= 1;
    this.#due.splice(at, 0, due);
  }

  run(untilMs: number): void {
    while (this.#due.length > 0 && this.#due[0]!.atMs <= untilMs) {
      const { atMs, act } = this.#due.shift()!;
      this.nowMs = Math.max(this.nowMs, atMs);
      act();
    }
    this.nowMs = untilMs;
  }

  /** The host's clock. */
  get hostMs(): number {
    return this.nowMs * this.#setup.dilation;
  }

  /** The host hands a packet over. */
  take(link: number, packet: Buffer): void {
    this.#toControllerMs = Math.max(this.#toControllerMs, this.nowMs + this.#way());
    this.at(this.#toControllerMs, () => {
      if (this.#gone.has(link)) return;
      if (this.#queues.reduce((sum, queue) => sum + queue.length, 0) >= this.#setup.buffers) this.overflows += 1;
      this.#queues[link]!.push(packet);
    });
  }

  /** A link is over: the others keep their anchors. */
  end(link: number): void {
    this.#gone.add(link);
    this.#queues[link] = [];
  }

  #way(): number {
    return this.#setup.latencyMs + this.#setup.jitterMs * this.#random();
  }

  /** The next anchor of another link after now. */
  #limitMs(link: number): number {
    const { links, spacingMs, intervalMs } = this.#setup;
    let limit = Number.POSITIVE_INFINITY;
    for (let other = 0; other < links; other++) {
      if (other === link || this.#gone.has(other)) continue;
      const phase = other * spacingMs;
      const next = phase + Math.ceil((this.nowMs + 1e-6 - phase) / intervalMs) * intervalMs;
      limit = Math.min(limit, next);
    }
    return limit;
  }

  #event(link: number, count: number): void {
    if (this.#gone.has(link)) return;
    const { spacingMs, intervalMs } = this.#setup;
    this.at(link * spacingMs + (count + 1) * intervalMs, () => this.#event(link, count + 1));
    if (this.#running === null) this.#exchange(link, this.#limitMs(link));
  }

  #exchange(link: number, limitMs: number): void {
    const queue = this.#queues[link]!;
    const packet = queue[0];
    const { exchangeMs } = this.#setup;
    const takesMs = !packet ? EMPTY_MS : packet.length < SMALL_OCTETS ? exchangeMs * SMALL_SHARE : exchangeMs;
    const more = queue.length > 1;
    this.#running = null;
    if (this.nowMs + takesMs > limitMs) return;
    this.#running = link;
    this.at(this.nowMs + takesMs, () => {
      this.#running = null;
      if (this.#gone.has(link)) return;
      if (packet) {
        queue.shift();
        this.sent[link]! += 1;
        this.onSent(link, packet);
        this.#toHostMs = Math.max(this.#toHostMs, this.nowMs + this.#way());
        this.at(this.#toHostMs, () => this.onCompleted(link));
      }
      if (more) this.#exchange(link, limitMs);
    });
  }
}
