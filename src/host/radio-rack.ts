import type { Clock } from '../clock.ts';
import { asStationError, type StationError } from '../contract/errors.ts';
import type { Radio } from '../radio/radio.ts';
import type { RadioShelf, ShelfPlace } from '../radio/radio-shelf.ts';

/** A lost radio is tried again this often. */
const REOPEN_EVERY_MS = 3000;

/** A radio by name, and how to open it. */
export interface RadioOpener {
  readonly name: string;
  open(): Promise<Radio>;
}

interface Place {
  readonly opener: RadioOpener;
  radio: Radio | null;
  detail: string | null;
  error: StationError | null;
  cancel: () => void;
}

/** Holds a station's radios open; one that is lost is tried again until it is back. */
export class RadioRack implements RadioShelf {
  readonly #places: Place[];
  readonly #clock: Clock;
  readonly #handlers = new Set<() => void>();
  #stopped = false;

  constructor(openers: readonly RadioOpener[], clock: Clock) {
    this.#clock = clock;
    this.#places = openers.map((opener) => ({
      opener,
      radio: null,
      detail: null,
      error: null,
      cancel: () => undefined,
    }));
  }

  /** Tries every radio once; those that cannot be opened stay on the list as lost. */
  async start(): Promise<void> {
    for (const place of this.#places) await this.#open(place);
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
    this.#stopped = true;
    for (const place of this.#places) place.cancel();
    await Promise.all(this.#places.map(({ radio }) => radio?.stop()));
  }

  async #open(place: Place): Promise<void> {
    try {
      const radio = await place.opener.open();
      if (this.#stopped) return await radio.stop();
      place.radio = radio;
      place.detail = null;
      place.error = null;
      void radio.ended.then((reason) => {
        place.radio = null;
        if (reason) this.#lost(place, reason.detail || reason.code);
      });
    } catch (error) {
      place.error = asStationError(error);
      this.#lost(place, place.error.message);
    }
    this.#tell();
  }

  #lost(place: Place, detail: string): void {
    if (this.#stopped) return;
    place.detail = detail;
    this.#tell();
    place.cancel = this.#clock.after(REOPEN_EVERY_MS, () => void this.#open(place));
  }

  #tell(): void {
    for (const handler of this.#handlers) handler();
  }
}
