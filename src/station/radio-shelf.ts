import type { Radio } from '../radio/radio.ts';

/** One radio as the shelf holds it; `radio` is null while it is lost. */
export interface ShelfPlace {
  readonly name: string;
  readonly radio: Radio | null;
  /** Why it is lost. */
  readonly detail: string | null;
}

/** The radios of a station that runs for long. Whoever builds them also brings lost ones back. */
export interface RadioShelf {
  places(): readonly ShelfPlace[];
  /** Called when a radio is lost or back. Returns how to stop that. */
  onChange(handler: () => void): () => void;
}

/** What a practising station has besides: units to load. */
export interface Practice {
  /** What is printed on the units that stand in front of the station. */
  labels(): readonly string[];
  /** Takes the tray away and brings the next. */
  nextTray(): Promise<void>;
}
