import type { StationError } from '../contract/errors.ts';
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

type OnEnded = (reason: StationError | null) => void;

const waiting = new WeakMap<Radio, Set<OnEnded>>();

/**
 * Calls `handler` when the radio has ended, until the function that is returned is called. A radio outlives the jobs that use it: a job
 * that hung on its promise would be held by it for as long.
 */
export function onRadioEnded(radio: Radio, handler: OnEnded): () => void {
  const known = waiting.get(radio);
  const handlers = known ?? new Set();
  handlers.add(handler);
  if (!known) {
    waiting.set(radio, handlers);
    void radio.ended.then((reason) => {
      waiting.delete(radio);
      for (const each of handlers) each(reason);
    });
  }
  return () => void handlers.delete(handler);
}
