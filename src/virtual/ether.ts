import type { Clock } from '../clock.ts';
import type { ControllerDescription } from '../contract/tray-file.ts';
import { VirtualController } from './controller.ts';
import { EventQueue } from './event-queue.ts';
import { Neighbours } from './neighbours.ts';
import { seededRandom } from './random.ts';
import type { VirtualLink } from './virtual-link.ts';

/**
 * The air between virtual controllers: one timeline in microseconds that everything on it shares. Time is only ever moved forward by
 * `advance`, so that air time is accounted for and never slept for; `runInRealTime` ties it to the machine's clock.
 */
export class Ether {
  readonly controllers = new Set<VirtualController>();
  /** The controllers that listen for advertisements: they scan or want to connect. */
  readonly listeners = new Set<VirtualController>();
  readonly links = new Set<VirtualLink>();
  readonly random: () => number;
  readonly neighbours: Neighbours;
  readonly #events = new EventQueue();
  readonly #startedAt = Date.now();
  #now = 0;

  constructor(seed = 1, neighbours = { count: 0, intervalMs: 1000 }) {
    this.random = seededRandom(seed);
    this.neighbours = new Neighbours(this, neighbours);
  }

  /** The ether's time in microseconds. */
  get now(): number {
    return this.#now;
  }

  /** Runs `fn` when the ether's time reaches `atUs`; the returned function cancels it. */
  at(atUs: number, fn: () => void): () => void {
    return this.#events.add(Math.max(atUs, this.#now), fn);
  }

  /** Moves time forward and lets everything happen that falls into it, each at its own moment. */
  advance(toUs: number): void {
    while (this.#events.nextAt() <= toUs) {
      const event = this.#events.shift()!;
      this.#now = event.at;
      event.run();
    }
    if (toUs > this.#now) this.#now = toUs;
  }

  /** When the next thing happens, in microseconds. */
  nextEventAt(): number {
    return this.#events.nextAt();
  }

  /** The ether's time as the clock that devices on it live by. */
  readonly clock: Clock = {
    now: () => this.#now / 1000,
    wall: () => new Date(this.#startedAt + this.#now / 1000),
    after: (ms, fn) => this.at(this.#now + ms * 1000, fn),
  };

  /** A controller on this ether. `address` is its public address; what is not described is as usual. */
  createController(address: string, description: Partial<ControllerDescription> = {}): VirtualController {
    const controller = new VirtualController(this, address, description);
    this.controllers.add(controller);
    return controller;
  }
}

/** Ties an ether to the machine's clock, `speed` times as fast. Call `sync` before handing it anything from outside. */
export class RealTime {
  readonly #ether: Ether;
  readonly #speed: number;
  readonly #base = performance.now();
  #timer: NodeJS.Timeout | null = null;
  #stopped = false;
  /** Called after time has moved: the moment to flush what hosts are to be told. */
  onAdvanced: () => void = () => undefined;

  constructor(ether: Ether, speed: number) {
    this.#ether = ether;
    this.#speed = speed;
    this.#schedule();
  }

  /** Brings the ether's time up to the present, then runs `fn` at that moment. */
  sync(fn?: () => void): void {
    this.#ether.advance((performance.now() - this.#base) * 1000 * this.#speed);
    fn?.();
    this.onAdvanced();
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer) clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#stopped) return;
    if (this.#timer) clearTimeout(this.#timer);
    const elapsedUs = (performance.now() - this.#base) * 1000 * this.#speed;
    const waitMs = (this.#ether.nextEventAt() - elapsedUs) / 1000 / this.#speed;
    this.#timer = setTimeout(() => this.sync(), Math.min(Math.max(waitMs, 0), 1000));
  }
}
