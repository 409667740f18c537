import { StationError } from '../contract/errors.ts';
import type { Radio } from '../radio/radio.ts';

/** What suits a link: `bulkMs` shared with the radio's others, and how short it may be for a few questions; null when there is more. */
export interface PlannedInterval {
  readonly bulkMs: number;
  readonly questionsMs: number | null;
}

/** A place on a radio for one link. */
export interface LinkPlace {
  readonly radio: Radio;
  /**
   * The connection interval for it: that of the radio's other links, or the bulk one when it is the first. A link for a few questions
   * gets a short one of its own while no other link fills the air, for then there are no events that it could cut.
   */
  intervalMs(planned: PlannedInterval): number;
  /** Whether the link fills the air now, or waits: for an erase, an answer, a check. */
  fill(air: boolean): void;
  /** The link failed: what is tried next had better be another radio. */
  failed(): void;
  release(): void;
}

/** A radio that would do for a unit, how loud it hears it, in dBm, and whether the two have a bond. */
export interface Candidate {
  readonly radio: Radio;
  readonly rssi: number;
  readonly bonded: boolean;
}

/** What a radio carries for a job, and how it has gone so far. */
export interface RadioLoad {
  /** Links that it has, or is about to have. */
  readonly links: number;
  /** How many of them fill the air now; the others wait for an erase, an answer, a check. */
  readonly uploading: number;
  /** Links of this job that have failed on it. */
  readonly failures: number;
}

interface Waiter {
  readonly unit: string;
  readonly urgent: boolean;
  readonly candidates: () => readonly Candidate[];
  readonly take: (place: LinkPlace | null) => void;
}

interface Shared {
  /** Whether each of its links fills the air. */
  readonly links: Map<LinkPlace, boolean>;
  /** Failures lately: halved by each link that ends without one. */
  recentFailures: number;
  failures: number;
  /** Links that fill the air share one interval: events of different ones would collide. */
  intervalMs: number | null;
}

/** What a link that only waits takes of the air, against one that fills it. */
const WAITING_SHARE = 0.1;
/** Below this a unit's packets begin to be lost; each further so many dB are worth as much as another link. */
const WEAK_DBM = -75;
const DB_PER_LINK = 5;
/** What a failure on a radio, and one with this very unit, weigh. */
const FAILURE_WEIGHT = 0.5;
const OWN_FAILURE_WEIGHT = 2;
/** A new bond with another adapter costs a place in the device's table: while there is room, the one that has it comes first. */
const NO_BOND_WEIGHT = 100;

/**
 * Shares the radios' links among units. A unit goes where the most air is free: links that fill it count whole, links that wait little,
 * a weak signal and what failed before count against a radio. A place is held only while a unit is connected: one that reboots leaves it
 * to others, and comes back before units that have not begun. How many links a controller carries is learnt from it.
 */
export class RadioPool {
  readonly #mostLinks: () => number;
  readonly #onLoad: (radio: Radio, load: RadioLoad) => void;
  readonly #listen: () => () => void;
  readonly #shared = new Map<Radio, Shared>();
  readonly #waiters: Waiter[] = [];
  /** How often a unit has failed on a radio. */
  readonly #unitFailures = new Map<string, Map<Radio, number>>();

  /** Stops the listening for those who wait although a radio has room, because that one has not heard them. */
  #stopListening: (() => void) | null = null;

  /**
   * `mostLinks` is what the plan gives each radio now; `onLoad` hears of each change of what a radio carries; `listen` has the radios listen
   * until the function that it returns is called.
   */
  constructor(
    mostLinks: () => number,
    onLoad: (radio: Radio, load: RadioLoad) => void = () => undefined,
    listen: () => () => void = () => () => undefined,
  ) {
    this.#mostLinks = mostLinks;
    this.#onLoad = onLoad;
    this.#listen = listen;
  }

  get radios(): Radio[] {
    return [...this.#shared.keys()];
  }

  /** Whether any of a radio's links fills its air. */
  isBusy(radio: Radio): boolean {
    return [...(this.#shared.get(radio)?.links.values() ?? [])].some(Boolean);
  }

  /** A radio is there. */
  add(radio: Radio): void {
    if (this.#shared.has(radio)) return;
    this.#shared.set(radio, { links: new Map(), recentFailures: 0, failures: 0, intervalMs: null });
    this.serve();
  }

  /** A radio is gone. */
  remove(radio: Radio): void {
    this.#shared.delete(radio);
    for (const failures of this.#unitFailures.values()) failures.delete(radio);
    this.serve();
  }

  /** Waits for a place on one of the candidates, `urgent` ones before the others. Null when there is no candidate any more. */
  acquire(
    unit: string,
    candidates: () => readonly Candidate[],
    urgent: boolean,
    signal: AbortSignal,
  ): Promise<LinkPlace | null> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const waiter: Waiter = {
        unit,
        urgent,
        candidates,
        take: (place) => {
          signal.removeEventListener('abort', onAbort);
          resolve(place);
        },
      };
      const onAbort = () => {
        this.#drop(waiter);
        this.#listenForWaiting();
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
      const candidates = waiter.candidates();
      if (candidates.length === 0) {
        this.#drop(waiter);
        waiter.take(null);
        continue;
      }
      const free = candidates.filter(({ radio }) => this.#hasRoom(radio));
      const best = free
        .map((candidate) => ({ radio: candidate.radio, cost: this.#cost(waiter.unit, candidate) }))
        .toSorted((a, b) => a.cost - b.cost)[0];
      if (!best) continue;
      this.#drop(waiter);
      waiter.take(this.#place(waiter.unit, best.radio));
    }
    this.#listenForWaiting();
  }

  #listenForWaiting(): void {
    const unheard = this.#waiters.length > 0 && this.radios.some((radio) => this.#hasRoom(radio));
    if (unheard) this.#stopListening ??= this.#listen();
    else {
      this.#stopListening?.();
      this.#stopListening = null;
    }
  }

  #hasRoom(radio: Radio): boolean {
    const shared = this.#shared.get(radio);
    const most = this.#mostLinks();
    return shared !== undefined && shared.links.size < Math.min(most, radio.linkLimit ?? most);
  }

  /** What it would cost to put the unit there, in links that fill the air. */
  #cost(unit: string, { radio, rssi, bonded }: Candidate): number {
    const { links, recentFailures } = this.#shared.get(radio)!;
    const air = [...links.values()].reduce((total, fills) => total + (fills ? 1 : WAITING_SHARE), 0);
    const weakness = Math.max(0, WEAK_DBM - rssi) / DB_PER_LINK;
    const own = this.#unitFailures.get(unit)?.get(radio) ?? 0;
    // Among equals the one with the fewest links, whatever they do.
    const failed = recentFailures * FAILURE_WEIGHT + own * OWN_FAILURE_WEIGHT;
    return air + weakness + failed + (bonded ? 0 : NO_BOND_WEIGHT) + links.size / 1000;
  }

  #drop(waiter: Waiter): void {
    const index = this.#waiters.indexOf(waiter);
    if (index >= 0) this.#waiters.splice(index, 1);
  }

  #tell(radio: Radio): void {
    const shared = this.#shared.get(radio);
    if (!shared) return;
    const { links, failures } = shared;
    this.#onLoad(radio, { links: links.size, uploading: [...links.values()].filter(Boolean).length, failures });
  }

  #place(unit: string, radio: Radio): LinkPlace {
    let failed = false;
    const place: LinkPlace = {
      radio,
      intervalMs: ({ bulkMs, questionsMs }) => {
        const shared = this.#shared.get(radio);
        if (!shared) return bulkMs;
        const idle = [...shared.links.values()].every((fills) => !fills);
        if (questionsMs !== null && idle) return questionsMs;
        shared.intervalMs ??= bulkMs;
        return shared.intervalMs;
      },
      fill: (air) => {
        const shared = this.#shared.get(radio);
        if (!shared?.links.has(place) || shared.links.get(place) === air) return;
        shared.links.set(place, air);
        this.#tell(radio);
      },
      failed: () => {
        const shared = this.#shared.get(radio);
        if (shared && !failed) {
          shared.recentFailures += 1;
          shared.failures += 1;
          this.#tell(radio);
        }
        failed = true;
        const failures = this.#unitFailures.get(unit) ?? new Map<Radio, number>();
        failures.set(radio, (failures.get(radio) ?? 0) + 1);
        this.#unitFailures.set(unit, failures);
      },
      release: () => {
        const shared = this.#shared.get(radio);
        if (!shared?.links.delete(place)) return;
        if (!failed) shared.recentFailures /= 2;
        if (shared.links.size === 0) shared.intervalMs = null;
        this.#tell(radio);
        this.serve();
      },
    };
    this.#shared.get(radio)!.links.set(place, false);
    this.#tell(radio);
    return place;
  }
}
