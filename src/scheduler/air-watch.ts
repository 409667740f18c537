import type { Clock } from '../clock.ts';
import { StationError } from '../contract/errors.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import type { Advertisement, Radio } from '../radio/radio.ts';
import { recognise } from './identity.ts';

/** A device as the radios hear it. */
export interface HeardDevice {
  readonly address: string;
  readonly serial: string | null;
  /** When, and how loud, each radio heard it last. */
  readonly heard: ReadonlyMap<Radio, { readonly atMs: number; readonly rssi: number }>;
}

/** A device that was heard and is not to be written. */
export interface RefusedDevice {
  readonly address: string;
  readonly code: 'WRONG_PRODUCT' | 'IDENTITY_UNREADABLE';
  readonly detail: string;
}

interface Known {
  readonly address: string;
  serial: string | null;
  readonly heard: Map<Radio, { atMs: number; rssi: number }>;
}

/** Listens on all radios and keeps what each device of the product was last heard to be. */
export class AirWatch {
  readonly #profile: ProductProfile;
  readonly #clock: Clock;
  readonly #onHeard: () => void;
  readonly #devices = new Map<string, Known>();
  readonly #refused = new Map<string, RefusedDevice>();
  readonly #stops = new Map<Radio, () => void>();
  readonly #waiters = new Set<() => void>();

  /** `onHeard` is called whenever a unit was heard: who waits for a radio that hears it may now have one. */
  constructor(profile: ProductProfile, clock: Clock, onHeard: () => void = () => undefined) {
    this.#profile = profile;
    this.#clock = clock;
    this.#onHeard = onHeard;
  }

  listen(radio: Radio): void {
    if (this.#stops.has(radio)) return;
    this.#stops.set(
      radio,
      radio.scan((advertisement) => this.#heard(radio, advertisement)),
    );
  }

  /** A radio is gone: what it heard does not count any more. */
  forget(radio: Radio): void {
    this.#stops.get(radio)?.();
    this.#stops.delete(radio);
    for (const device of this.#devices.values()) device.heard.delete(radio);
  }

  stop(): void {
    for (const stop of this.#stops.values()) stop();
    this.#stops.clear();
  }

  devices(): HeardDevice[] {
    return [...this.#devices.values()];
  }

  refused(): RefusedDevice[] {
    return [...this.#refused.values()];
  }

  /** Resolves as soon as `found` yields something; null after `withinMs`. Rejects with what `found` throws or the signal's reason. */
  until<T>(found: () => T | null, withinMs: number, signal: AbortSignal): Promise<T | null> {
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void) => {
        this.#waiters.delete(check);
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
    });
  }

  #heard(radio: Radio, advertisement: Advertisement): void {
    const recognition = recognise(this.#profile, advertisement);
    const { address, rssi } = advertisement;
    if (recognition.kind === 'other') return;
    if (recognition.kind !== 'unit') {
      const code = recognition.kind === 'wrong-product' ? 'WRONG_PRODUCT' : 'IDENTITY_UNREADABLE';
      this.#refused.set(address, { address, code, detail: recognition.detail });
      return;
    }
    let device = this.#devices.get(address);
    if (!device) {
      device = { address, serial: recognition.serial, heard: new Map() };
      this.#devices.set(address, device);
    }
    device.serial = recognition.serial;
    device.heard.set(radio, { atMs: this.#clock.now(), rssi });
    for (const check of this.#waiters) check();
    this.#onHeard();
  }
}
