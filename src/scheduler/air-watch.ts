import type { Clock } from '../clock.ts';
import { StationError } from '../contract/errors.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import type { Advertisement, Radio } from '../radio/radio.ts';
import { recognise } from './identity.ts';

/** A device as the radios hear it. */
export interface HeardDevice {
  readonly address: string;
  /** The serial that it advertises now; null when it advertises none. */
  readonly serial: string | null;
  /** Every serial that it has advertised, in order. */
  readonly serials: ReadonlySet<string>;
  /** Since when it advertises the present one. */
  readonly serialSinceMs: number;
  /** The name under which it advertises, as it stands there. */
  readonly name: string | null;
  readonly firstMs: number;
  /** When, and how loud, each radio heard it last. */
  readonly heard: ReadonlyMap<Radio, { readonly atMs: number; readonly rssi: number }>;
}

/** A device that was heard and is not to be written. */
export interface RefusedDevice {
  readonly address: string;
  /** When it was heard so last. */
  readonly atMs: number;
  readonly code: 'WRONG_PRODUCT' | 'IDENTITY_UNREADABLE';
  readonly detail: string;
}

interface Known {
  readonly address: string;
  serial: string | null;
  readonly serials: Set<string>;
  serialSinceMs: number;
  name: string | null;
  readonly firstMs: number;
  readonly heard: Map<Radio, { atMs: number; rssi: number }>;
}

/** A wait for somebody. */
interface Wait {
  /** When it began, or when whoever is waited for may be there at the earliest. */
  readonly sinceMs: number;
}

/** So much of a busy radio's air a search may have cost each time that the wait for a unit has doubled. */
const SEARCH_MS = 200;
const MOST_SHARE_LOG2 = 2;
/** How often it is looked whether a wait has doubled. */
const STEER_MS = 400;
const LEAST_SHARE = 1 / 64;
/** While another radio has nothing to do the busy ones leave the beginning of a search to it. */
const IDLE_FIRST_MS = 3000;

/**
 * What listening may take of the air of a radio with uploads, `waitedMs` into the wait. To hear a device costs as much of the air at any
 * share, while one that is not there costs more the more is listened: a quarter at first, and half as much each time that the wait has doubled.
 */
export function searchShare(waitedMs: number): number {
  const doublings = Math.max(MOST_SHARE_LOG2, Math.ceil(Math.log2(waitedMs / SEARCH_MS)));
  return Math.max(LEAST_SHARE, 2 ** -doublings);
}

/**
 * Keeps what each device of the product was last heard to be. The radios listen while somebody is waited for: those that have nothing to do
 * as much as they can, those with uploads at the price of `searchShare`. Nobody waited for, none listens.
 */
export class AirWatch {
  readonly #profile: ProductProfile;
  readonly #clock: Clock;
  readonly #onHeard: () => void;
  readonly #isBusy: (radio: Radio) => boolean;
  readonly #devices = new Map<string, Known>();
  readonly #refused = new Map<string, RefusedDevice>();
  /** The radios, and the share of its links' air at which each listens; null while it does not. */
  readonly #radios = new Map<Radio, { readonly share: number; readonly stop: () => void } | null>();
  readonly #waits = new Set<Wait>();
  readonly #waiters = new Set<() => void>();
  #cancelNextShare: () => void = () => undefined;

  /**
   * `onHeard` is called whenever a unit was heard: who waits for a radio that hears it may now have one. `isBusy` tells whether a radio
   * has links that fill its air.
   */
  constructor(
    profile: ProductProfile,
    clock: Clock,
    onHeard: () => void = () => undefined,
    isBusy: (radio: Radio) => boolean = () => false,
  ) {
    this.#profile = profile;
    this.#clock = clock;
    this.#onHeard = onHeard;
    this.#isBusy = isBusy;
  }

  /** A radio to listen with. */
  add(radio: Radio): void {
    if (this.#radios.has(radio)) return;
    this.#radios.set(radio, null);
    this.steer();
  }

  /** A radio is gone: what it heard does not count any more. */
  forget(radio: Radio): void {
    this.#radios.get(radio)?.stop();
    this.#radios.delete(radio);
    for (const device of this.#devices.values()) device.heard.delete(radio);
    this.steer();
  }

  stop(): void {
    this.#waits.clear();
    this.steer();
  }

  /** Listens to whoever comes until the function that is returned is called. */
  listen(): () => void {
    return this.#wait(this.#clock.now());
  }

  #wait(sinceMs: number): () => void {
    const wait = { sinceMs };
    this.#waits.add(wait);
    this.steer();
    return () => {
      this.#waits.delete(wait);
      this.steer();
    };
  }

  /** Has each radio listen as much as it is to now; call it when what a radio carries has changed. */
  steer(): void {
    this.#cancelNextShare();
    const now = this.#clock.now();
    const waitedMs = [...this.#waits].map(({ sinceMs }) => now - sinceMs);
    const oneIsIdle = [...this.#radios.keys()].some((radio) => !this.#isBusy(radio));
    for (const [radio, listening] of this.#radios) {
      const shares = waitedMs.map((ms) => {
        if (!this.#isBusy(radio)) return 1;
        return ms < (oneIsIdle ? IDLE_FIRST_MS : 0) ? 0 : searchShare(ms);
      });
      const share = Math.max(0, ...shares);
      if (share === (listening?.share ?? 0)) continue;
      const stop = share > 0 ? radio.scan((advertisement) => this.#heard(radio, advertisement), share) : null;
      this.#radios.set(radio, stop && { share, stop });
      listening?.stop();
    }
    if (waitedMs.length === 0) return;
    this.#cancelNextShare = this.#clock.after(STEER_MS, () => this.steer());
  }

  devices(): HeardDevice[] {
    return [...this.#devices.values()];
  }

  refused(): RefusedDevice[] {
    return [...this.#refused.values()];
  }

  /**
   * Listens until `found` yields something, and resolves with that; with null after `withinMs`. For the first `absentMs` only radios that have
   * nothing else to do listen. Rejects with what `found` throws or the signal's reason.
   */
  until<T>(found: () => T | null, withinMs: number, signal: AbortSignal, absentMs = 0): Promise<T | null> {
    return new Promise((resolve, reject) => {
      let stopListening: () => void = () => undefined;
      const finish = (settle: () => void) => {
        this.#waiters.delete(check);
        stopListening();
        cancel();
        signal.removeEventListener('abort', onAbort);
        settle();
      };
      const check = () => {
        try {
          const result = found();
          if (result !== null) finish(() => resolve(result));
        } catch (error) {
          finish(() => reject(error));
        }
      };
      const onAbort = () => finish(() => reject(signal.reason ?? new StationError('STOPPED')));
      const cancel = this.#clock.after(withinMs, () => finish(() => resolve(null)));
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiters.add(check);
      check();
      // What is known already is not listened for.
      if (this.#waiters.has(check)) stopListening = this.#wait(this.#clock.now() + absentMs);
    });
  }

  #heard(radio: Radio, advertisement: Advertisement): void {
    const recognition = recognise(this.#profile, advertisement);
    const { address, rssi, name } = advertisement;
    const atMs = this.#clock.now();
    if (recognition.kind === 'other') return;
    if (recognition.kind !== 'unit') {
      const code = recognition.kind === 'wrong-product' ? 'WRONG_PRODUCT' : 'IDENTITY_UNREADABLE';
      this.#refused.set(address, { address, atMs, code, detail: recognition.detail });
      return;
    }
    const { serial } = recognition;
    let device = this.#devices.get(address);
    if (!device) {
      device = { address, serial, serials: new Set(), serialSinceMs: atMs, name, firstMs: atMs, heard: new Map() };
      this.#devices.set(address, device);
    }
    if (device.serial !== serial) device.serialSinceMs = atMs;
    if (serial !== null) device.serials.add(serial);
    device.serial = serial;
    device.name = name;
    device.heard.set(radio, { atMs, rssi });
    for (const check of this.#waiters) check();
    this.#onHeard();
  }
}
