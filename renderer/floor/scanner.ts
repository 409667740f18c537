import type { ScannerSetting } from '../../src/contract/commands.ts';

/** Shorter bursts are a person's. */
const MIN_LENGTH = 3;
/** Characters that were kept back and are followed by nothing are given to their field after this long. */
const LET_GO_MS = 150;

/** What a scan is handed to; the latest that is mounted gets it. */
export type ScanHandler = (code: string) => void;

interface Burst {
  text: string;
  lastMs: number;
  /** The field that had the focus, and what it held before the first character. */
  readonly field: HTMLInputElement | HTMLTextAreaElement | null;
  readonly held: string;
}

/**
 * A keyboard-wedge scanner: characters that follow each other faster than anybody types, or between a prefix and a suffix. Its keys are
 * kept from the page, so that its Enter never presses a button and its characters never end up in a field.
 */
export class Scanner {
  setting: ScannerSetting = { prefix: '', suffix: 'Enter', maxGapMs: 40 };
  readonly #handlers: ScanHandler[] = [];
  #burst: Burst | null = null;
  #timer = 0;

  constructor(target: Window) {
    target.addEventListener('keydown', (event) => this.#keydown(event), { capture: true });
    target.addEventListener('keyup', (event) => this.#keyup(event), { capture: true });
  }

  /** Hands scans to `handler` until the returned function is called. */
  listen(handler: ScanHandler): () => void {
    this.#handlers.push(handler);
    return () => {
      const index = this.#handlers.indexOf(handler);
      if (index >= 0) this.#handlers.splice(index, 1);
    };
  }

  /** A code that came another way: typed, or from the virtual scanner. */
  hand(code: string): void {
    this.#handlers.at(-1)?.(code);
  }

  #keydown(event: KeyboardEvent): void {
    const { key } = event;
    // A key that is held down repeats itself as fast as a scanner types.
    if (event.repeat) return;
    clearTimeout(this.#timer);
    const burst = this.#running(event.timeStamp);
    if (key === this.setting.suffix && burst && this.#isScan(burst)) {
      swallow(event);
      this.#burst = null;
      restore(burst);
      return this.hand(burst.text.slice(this.setting.prefix.length));
    }
    // Scanners send the group separator of GS1 labels as Ctrl+].
    const character = event.ctrlKey && key === ']' ? '\u001d' : key;
    if (character.length !== 1 || ((event.ctrlKey || event.altKey || event.metaKey) && character !== '\u001d')) return;
    if (!burst) {
      this.#burst = { text: character, lastMs: event.timeStamp, ...focusedField(event.target) };
      return;
    }
    burst.text += character;
    burst.lastMs = event.timeStamp;
    this.#timer = window.setTimeout(() => this.#running(Number.POSITIVE_INFINITY), LET_GO_MS);
    // The second character at a scanner's pace: from here on nothing of it reaches the page.
    swallow(event);
  }

  #keyup(event: KeyboardEvent): void {
    // A space pressed by the scanner would press a button when it is let go.
    if (event.key === ' ' && this.#burst && this.#burst.text.length > 1) swallow(event);
  }

  #running(nowMs: number): Burst | null {
    if (this.#burst && nowMs - this.#burst.lastMs > this.setting.maxGapMs) {
      this.#letGo(this.#burst);
      this.#burst = null;
    }
    return this.#burst;
  }

  /** It was a person after all: the characters that were kept back belong to the field. */
  #letGo({ field, text }: Burst): void {
    if (!field || text.length < 2) return;
    field.setRangeText(text.slice(1), field.selectionStart ?? 0, field.selectionEnd ?? 0, 'end');
    field.dispatchEvent(new Event('input', { bubbles: true }));
  }

  #isScan({ text }: Burst): boolean {
    const { prefix } = this.setting;
    return text.startsWith(prefix) && text.length - prefix.length >= MIN_LENGTH;
  }
}

function focusedField(target: EventTarget | null): Pick<Burst, 'field' | 'held'> {
  const field = target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement ? target : null;
  return { field, held: field?.value ?? '' };
}

/** Takes the first character, which could not be known to be a scanner's, out of the field again. */
function restore({ field, held }: Burst): void {
  if (!field || field.value === held) return;
  field.value = held;
  field.dispatchEvent(new Event('input', { bubbles: true }));
}

function swallow(event: KeyboardEvent): void {
  event.preventDefault();
  event.stopImmediatePropagation();
}

/** This window's scanner. */
export const scanner = new Scanner(window);
