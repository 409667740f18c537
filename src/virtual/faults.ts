import type { FaultDescription } from '../contract/tray-file.ts';

type Act = FaultDescription['do'];

/** The faults of one virtual device and how often each has still to happen. */
export class Faults {
  readonly #faults: { description: FaultDescription; left: number; count: number }[];

  constructor(descriptions: readonly FaultDescription[]) {
    this.#faults = descriptions.map((description) => ({
      description,
      left: description.times ?? Number.POSITIVE_INFINITY,
      count: 0,
    }));
  }

  /** Whether the fault happens now, at a named step; uses it up. `image` asks for one that concerns this image alone. */
  happens(act: Act, step: 'connect' | 'boot' | 'confirm' | 'always', image?: number): boolean {
    return this.#use(act, (fault) => fault.image === image && (fault.at === step || fault.at === 'always'));
  }

  /** Whether the fault happens while the image bytes `from` up to `to` are received; uses it up. */
  happensBetween(act: Act, from: number, to: number): boolean {
    return this.#use(act, ({ at }) => typeof at === 'object' && 'bytes' in at && at.bytes >= from && at.bytes < to);
  }

  /** What is to happen in place of the n-th PDU of a pairing; uses it up. */
  inPairing(nth: number): Act | null {
    const acts = this.#faults.filter(({ description: { at } }) => typeof at === 'object' && 'pairingPdu' in at);
    const here = ({ at }: FaultDescription) => typeof at === 'object' && 'pairingPdu' in at && at.pairingPdu === nth;
    return acts.find(({ description }) => this.#use(description.do, here))?.description.do ?? null;
  }

  #use(act: Act, applies: (description: FaultDescription) => boolean): boolean {
    for (const fault of this.#faults) {
      if (fault.description.do !== act || fault.left <= 0 || !applies(fault.description)) continue;
      fault.count += 1;
      if (fault.count % fault.description.every !== 0) continue;
      fault.left -= 1;
      return true;
    }
    return false;
  }
}
