import type { Ether } from './ether.ts';
import type { VirtualLink } from './virtual-link.ts';

/** Moments that are so near are the same one: they were worked out in different ways. */
const ROUNDING_US = 1;

/** Between two windows without a pause (Zephyr's `EVENT_OVERHEAD_XTAL_US`). */
const PREPARE_US = 1500;

/** Scanning or initiating: a window of each interval, in microseconds. */
interface Listening {
  readonly intervalUs: number;
  readonly windowUs: number;
  nextAt: number;
  servedAt: number;
  openUntil: number;
  cancel: () => void;
}

/** What listens on a controller's radio. */
type Listener = 'scanner' | 'initiator';

/**
 * Who has a controller's one radio, and when, as Zephyr's ticker decides it (`ticker.c`: `ticker_worker`, `ticker_resolve_collision`). Each
 * link's event reserves its slot from the anchor on, each window of scanner or initiator its length. What is due while somebody else's
 * reservation lasts is dropped. What is due and would reach into the time of another, who was served longer ago, is dropped as well: so
 * nobody starves, but a window of 40 in 60 ms goes before the events of a link of 10 ms. An event may last longer than its slot, until
 * anybody else's time begins (`lll.c`: `lll_is_abort_cb`). Listening without a pause reserves its whole interval but for what it takes to
 * prepare the next (`ull_scan.c`), and gives it up only to links that have had to wait longer.
 */
export class RadioTime {
  readonly #ether: Ether;
  /** Air that each event has for itself. */
  readonly #slotUs: number;
  readonly #listening = new Map<Listener, Listening>();
  readonly #links = new Set<VirtualLink>();
  /** The link whose event lasts. */
  #running: VirtualLink | null = null;
  #reservedUntil = 0;

  constructor(ether: Ether, slotUs: number) {
    this.#ether = ether;
    this.#slotUs = slotUs;
  }

  /** The links that this radio serves as their central. */
  get links(): ReadonlySet<VirtualLink> {
    return this.#links;
  }

  add(link: VirtualLink): void {
    this.#links.add(link);
  }

  remove(link: VirtualLink): void {
    this.#links.delete(link);
    this.eventOver(link);
  }

  /** Begins to listen from now on: `windowUs` of each `intervalUs`. */
  listen(who: Listener, intervalUs: number, windowUs: number): void {
    this.stopListening(who);
    const nextAt = this.#ether.now;
    const listening: Listening = {
      intervalUs,
      windowUs: Math.min(windowUs, intervalUs - PREPARE_US),
      nextAt,
      servedAt: nextAt - intervalUs,
      openUntil: 0,
      cancel: () => undefined,
    };
    this.#listening.set(who, listening);
    this.#window(listening);
  }

  stopListening(who: Listener): void {
    const listening = this.#listening.get(who);
    if (!listening) return;
    listening.cancel();
    this.#listening.delete(who);
    if (listening.openUntil === this.#reservedUntil) this.#reservedUntil = this.#ether.now;
  }

  /** Whether the scanner or the initiator hears what is on the air now. */
  hears(who: Listener): boolean {
    return this.#running === null && (this.#listening.get(who)?.openUntil ?? 0) > this.#ether.now;
  }

  /** Asks for the air for the event of a link that is due now. What another link has begun behind its own slot is cut off. */
  grant(link: VirtualLink): boolean {
    const now = this.#ether.now;
    if (!this.#isFree(now, this.#slotUs, link.starves(now) ? Number.NEGATIVE_INFINITY : link.servedAt)) return false;
    if (this.#running !== link) this.#running?.cutOff();
    this.#running = link;
    this.#reservedUntil = now + this.#slotUs;
    return true;
  }

  /** The link's event is over: what is left of its slot is not given to anybody. */
  eventOver(link: VirtualLink): void {
    if (this.#running === link) this.#running = null;
  }

  #window(listening: Listening): void {
    const now = listening.nextAt;
    listening.nextAt = now + listening.intervalUs;
    listening.cancel = this.#ether.at(listening.nextAt, () => this.#window(listening));
    if (!this.#isFree(now, listening.windowUs, listening.servedAt)) return;
    this.#running?.cutOff();
    listening.servedAt = now;
    listening.openUntil = now + listening.windowUs;
    this.#reservedUntil = listening.openUntil;
  }

  /** Whether nothing is reserved now, and nobody whose time comes within `lengthUs` was served before `servedAt`. */
  #isFree(now: number, lengthUs: number, servedAt: number): boolean {
    if (this.#reservedUntil > now + ROUNDING_US) return false;
    const end = now + lengthUs - ROUNDING_US;
    for (const link of this.#links) {
      const others = link.starves(now) ? Number.NEGATIVE_INFINITY : link.servedAt;
      if (link.nextAnchor < end && others < servedAt - ROUNDING_US) return false;
    }
    for (const { nextAt, servedAt: others } of this.#listening.values()) {
      if (nextAt < end && others < servedAt - ROUNDING_US) return false;
    }
    return true;
  }

  /**
   * Where a new link's events go: right behind those of another link, in the first gap that holds two slots; where there is none they
   * share somebody's air (Zephyr's `ull_sched.c`).
   */
  place(intervalUs: number, earliestUs: number): { anchorUs: number; shares: boolean } {
    const after = (phase: number) => earliestUs + ((((phase - earliestUs) % intervalUs) + intervalUs) % intervalUs);
    const phases = [...this.#links].flatMap((link) => {
      // A link of a shorter interval comes by more than once.
      const times = Math.ceil(intervalUs / link.timing.intervalUs);
      return Array.from({ length: times }, (_, i) => (link.nextAnchor + i * link.timing.intervalUs) % intervalUs);
    });
    const last = phases.at(-1);
    if (last === undefined) return { anchorUs: earliestUs, shares: false };
    for (const phase of phases) {
      const gaps = phases.filter((other) => other !== phase).map((other) => (other - phase + intervalUs) % intervalUs);
      if (Math.min(intervalUs, ...gaps) >= 2 * this.#slotUs - ROUNDING_US) {
        return { anchorUs: after(phase + this.#slotUs), shares: false };
      }
    }
    return { anchorUs: after(last + this.#slotUs), shares: true };
  }
}
