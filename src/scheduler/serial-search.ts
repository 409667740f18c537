import { type Clock, deadline } from '../clock.ts';
import { asStationError, StationError } from '../contract/errors.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import type { Radio } from '../radio/radio.ts';
import type { AirWatch, HeardDevice } from './air-watch.ts';
import { readSerial } from './identity.ts';
import { QUESTIONS_INTERVAL_MS, SUPERVISION_TIMEOUT_MS } from './link-plan.ts';
import { DUPLICATE_WATCH_MS } from './unit-identity.ts';

/** Devices that are asked at a time over one radio. */
const ASKED_AT_ONCE = 4;
/** A device that has not told its serial in this time is mute. */
const ASK_TIMEOUT_MS = 5_000;
const DEVICE_INFORMATION = '180a';
const SERIAL_NUMBER_STRING = '2a25';

/** What a search for serials works with. */
export interface SearchSetting {
  readonly profile: ProductProfile;
  readonly clock: Clock;
  readonly watch: AirWatch;
  readonly radios: () => readonly Radio[];
  /** Whether all that is wanted has been found; called with the serials so far, and how many devices have still to tell theirs. */
  readonly complete: (serials: ReadonlySet<string>, open: number) => boolean;
  /** Addresses at which listed units were last time: they are asked first. */
  readonly expected: ReadonlySet<string>;
  /** A device did not tell. */
  readonly refused: (address: string, error: StationError) => void;
  readonly signal: AbortSignal;
}

/**
 * Asks devices that do not advertise their serial for it, several at once over each radio, until all that is wanted is found or the time
 * for the search is over. A device that does not tell holds nobody up.
 */
export class SerialSearch {
  readonly #setting: SearchSetting;
  /** Serials by address; null for devices that did not tell. */
  readonly #answers = new Map<string, string | null>();
  readonly #asking = new Map<string, Radio>();
  readonly #over = new AbortController();

  constructor(setting: SearchSetting) {
    this.#setting = setting;
  }

  /** Serials by address after at most `withinMs`; null for who was asked and did not tell. Rejects with the signal's reason. */
  async run(withinMs: number): Promise<ReadonlyMap<string, string | null>> {
    const { watch, clock, signal } = this.#setting;
    const asked: Promise<void>[] = [];
    const untilMs = clock.now() + withinMs;
    let completeSinceMs: number | null = null;
    const settled = () => {
      for (const device of this.#next()) asked.push(this.#ask(device, untilMs));
      const serials = new Set([...this.#answers.values()].filter((serial) => serial !== null));
      const open = watch.devices().length - this.#answers.size;
      completeSinceMs = this.#setting.complete(serials, open) ? (completeSinceMs ?? clock.now()) : null;
      // A second device of the same serial would have been asked by then.
      return completeSinceMs !== null && clock.now() - completeSinceMs >= DUPLICATE_WATCH_MS ? true : null;
    };
    try {
      await watch.until(settled, withinMs, signal);
    } finally {
      this.#over.abort(new StationError('UNIT_NOT_FOUND', 'the search is over', { retryable: true }));
      await Promise.all(asked);
    }
    return this.#answers;
  }

  /** Whom to ask now: expected ones first, then the loudest. */
  #next(): { device: HeardDevice; radio: Radio }[] {
    const { watch, expected, radios } = this.#setting;
    const loudness = ({ heard }: HeardDevice) => Math.max(...[...heard.values()].map(({ rssi }) => rssi));
    const unasked = watch
      .devices()
      .filter(({ address }) => !this.#answers.has(address) && !this.#asking.has(address))
      .toSorted(
        (a, b) => Number(expected.has(b.address)) - Number(expected.has(a.address)) || loudness(b) - loudness(a),
      );
    return unasked.flatMap((device) => {
      const free = radios()
        .filter((radio) => device.heard.has(radio) && this.#load(radio) < ASKED_AT_ONCE)
        .toSorted((a, b) => device.heard.get(b)!.rssi - device.heard.get(a)!.rssi);
      const radio = free[0];
      if (!radio) return [];
      this.#asking.set(device.address, radio);
      return [{ device, radio }];
    });
  }

  #load(radio: Radio): number {
    return [...this.#asking.values()].filter((each) => each === radio).length;
  }

  async #ask({ device: { address }, radio }: { device: HeardDevice; radio: Radio }, untilMs: number): Promise<void> {
    const { clock, profile, refused, signal } = this.#setting;
    try {
      const patienceMs = Math.max(0, Math.min(ASK_TIMEOUT_MS, untilMs - clock.now()));
      const text = await askSerial(radio, address, {
        clock,
        patienceMs,
        signal: AbortSignal.any([signal, this.#over.signal]),
      });
      const read = readSerial(profile, text);
      this.#answers.set(address, read.serial);
      if (read.serial === null) refused(address, new StationError('IDENTITY_UNREADABLE', read.problem));
    } catch (error) {
      if (this.#over.signal.aborted || signal.aborted) return;
      this.#answers.set(address, null);
      refused(address, asStationError(error));
    } finally {
      this.#asking.delete(address);
    }
  }
}

/**
 * The serial number in a device's Device Information Service (org.bluetooth.characteristic.serial_number_string), as it stands there.
 * @throws StationError as Radio.connect and Link.read, CONNECT_TIMEOUT after `patienceMs`, or the signal's reason
 */
async function askSerial(
  radio: Radio,
  address: string,
  { clock, patienceMs, signal }: { clock: Clock; patienceMs: number; signal: AbortSignal },
): Promise<string> {
  const mute = () => new StationError('CONNECT_TIMEOUT', `${address} did not tell its serial`, { retryable: true });
  const untilMs = clock.now() + patienceMs;
  const link = await radio.connect(address, {
    intervalMs: QUESTIONS_INTERVAL_MS,
    supervisionTimeoutMs: SUPERVISION_TIMEOUT_MS,
    timeoutMs: patienceMs,
    signal,
  });
  try {
    const reading = link
      .characteristic(DEVICE_INFORMATION, SERIAL_NUMBER_STRING)
      .then((characteristic) => link.read(characteristic));
    const value = await deadline(clock, Math.max(0, untilMs - clock.now()), reading, mute, signal);
    return value.toString('utf8');
  } finally {
    await link.disconnect();
    link.evidence?.release();
  }
}
