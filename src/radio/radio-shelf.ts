import type { Radio } from './radio.ts';

/** One radio as the shelf holds it; `radio` is null while it is lost. */
export interface ShelfPlace {
  readonly name: string;
  readonly radio: Radio | null;
  /** Why it is lost. */
  readonly detail: string | null;
}

/** The radios of a station. Whoever builds them also brings lost ones back. */
export interface RadioShelf {
  places(): readonly ShelfPlace[];
  /** Called when a radio is lost or back. Returns how to stop that. */
  onChange(handler: () => void): () => void;
}

/** Radios that nobody brings back. */
export function fixedShelf(radios: readonly Radio[]): RadioShelf {
  const alive = new Set(radios);
  for (const radio of radios) void radio.ended.then(() => alive.delete(radio));
  return {
    places: () => [...alive].map((radio) => ({ name: radio.name, radio, detail: null })),
    onChange: () => () => undefined,
  };
}
