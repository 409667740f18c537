import type { Clock } from '../clock.ts';
import { asStationError, type StationError } from '../contract/errors.ts';
import type { Radio } from '../radio/radio.ts';
import type { RadioShelf, ShelfPlace } from '../radio/radio-shelf.ts';

/** A lost radio is tried again this often. */
const REOPEN_EVERY_MS = 3000;

/** A radio by name, and how to open it. */
export interface RadioOpener {
  readonly name: string;
  /** `signal`: the radio is not wanted any more. */
  open(signal: AbortSignal): Promise<Radio>;
}

interface Place {
  readonly opener: RadioOpener;
  radio: Radio | null;
  detail: string | null;
  error: StationError | null;
  cancel: () => void;
  /** What is still going on: a radio that is being opened, or let go of. */
  busy: Promise<void>;
}

/** Holds a station's radios open; one that is lost is let go of, whatever of it ended first, and tried again until it is back. */
export class RadioRack implements RadioShelf {
  readonly #places: Place[];
  readonly #clock: Clock;
  readonly #handlers = new Set<() => void>();
  readonly #stopped = new AbortController();

  constructor(openers: readonly RadioOpener[], clock: Clock) {
    this.#clock = clock;
    this.#places = openers.map((opener) => ({
      opener,
      radio: null,
      detail: null,
      error: null,
      cancel: () => undefined,
      busy: Promise.resolve(),
    }));
  }

  /** Tries every radio once; those that cannot be opened stay on the list as lost. */
  async start(): Promise<void> {
    for (const place of this.#places) await this.#tryAgain(place);
  }

  /** Why those could not be opened that are not open now. */
  lastErrors(): StationError[] {
    return this.#places.flatMap(({ error }) => error ?? []);
  }

  places(): ShelfPlace[] {
    return this.#places.map(({ opener, radio, detail }) => ({ name: opener.name, radio, detail }));
  }

  onChange(handler: () => void): () => void {
    this.#handlers.add(handler);
    return () => this.#handlers.delete(handler);
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    for (const place of this.#places) place.cancel();
    await Promise.all(
      this.#places.map(async (place) => {
        await place.busy;
        await place.radio?.stop();
        await place.busy;
      }),
    );
  }

  #tryAgain(place: Place): Promise<void> {
    place.busy = this.#open(place);
    return place.busy;
  }

  async #open(place: Place): Promise<void> {
    try {
      const radio = await place.opener.open(this.#stopped.signal);
      if (this.#stopped.signal.aborted) return await radio.stop();
      place.radio = radio;
      place.detail = null;
      place.error = null;
      void radio.ended.then((reason) => {
        place.radio = null;
        place.busy = radio.stop();
        if (reason) this.#lost(place, reason.detail || reason.code);
      });
    } catch (error) {
      place.error = asStationError(error);
      this.#lost(place, place.error.message);
    }
    this.#tell();
  }

  #lost(place: Place, detail: string): void {
    if (this.#stopped.signal.aborted) return;
    place.detail = detail;
    this.#tell();
    place.cancel = this.#clock.after(REOPEN_EVERY_MS, () => void this.#tryAgain(place));
  }

  #tell(): void {
    for (const handler of this.#handlers) handler();
  }
}
