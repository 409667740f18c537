import type { ScannerSetting } from '../../src/contract/commands.ts';
import { LOST_KEY } from '../../src/contract/scanned-text.ts';

/** Shorter bursts are a person's. */
const MIN_LENGTH = 3;
/** Characters that were kept back and are followed by nothing are given to their field after this long. */
const LET_GO_MS = 150;
/** A burst this soon behind unfinished input may be the rest of one scan, whose beginning is lost. */
const SAME_SCAN_MS = 500;

/** Keys that only change what other keys say. */
const MODIFIERS: ReadonlySet<string> = new Set([
  'Alt',
  'AltGraph',
  'CapsLock',
  'Control',
  'Fn',
  'Meta',
  'NumLock',
  'Shift',
]);
/** Keys in whose place a character should have come: dead keys, keys that the layout does not have, an input method's. */
const NO_CHARACTER: ReadonlySet<string> = new Set(['Dead', 'Process', 'Unidentified']);
/** Control characters by the key that carries their sign on the scanner's own (US) keyboard: ESC, FS, GS, RS, US. */
const CONTROL_KEYS: Readonly<Record<string, string>> = {
  BracketLeft: '\u001b',
  Backslash: '\u001c',
  BracketRight: '\u001d',
  Digit6: '\u001e',
  Minus: '\u001f',
};
/** Keys that scanners send for characters: the group separator as F8, and line ends and tabs inside a code. */
const CHARACTER_KEYS: Readonly<Record<string, string>> = { F8: '\u001d', Enter: '\r', Tab: '\t' };

/** What a scan is handed to; the latest that is mounted gets it. */
export type ScanHandler = (code: string) => void;

interface Burst {
  text: string;
  lastMs: number;
  /** How many characters came so shortly before that this may be the rest of their scan. */
  readonly cut: number;
  /** The field that had the focus, and what it held before the first character. */
  readonly field: HTMLInputElement | HTMLTextAreaElement | null;
  readonly held: string;
}

/**
 * A keyboard-wedge scanner: characters that follow each other faster than anybody types, or between a prefix and a suffix. Its keys are
 * kept from the page, so that its Enter never presses a button and its characters never end up in a field. A scan in which a key was no
 * character, or whose beginning came apart from it, is handed on with LOST_KEY in that place, and is refused as damaged.
 */
export class Scanner {
  setting: ScannerSetting = { prefix: '', suffix: 'Enter', maxGapMs: 40 };
  readonly #handlers: ScanHandler[] = [];
  #burst: Burst | null = null;
  /** The last input that was finished by no key. */
  #unfinished: { readonly lastMs: number; readonly length: number } | null = null;
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
    if (MODIFIERS.has(key)) return;
    const burst = this.#running(event.timeStamp);
    // A key that is held down repeats itself as fast as a scanner types; a scanner lets go of every key.
    if (event.repeat && !burst) return;
    clearTimeout(this.#timer);
    if (key === this.setting.suffix && burst) return this.#finish(event, burst);
    const character = event.repeat ? LOST_KEY : characterOf(event);
    if (!burst) return this.#begin(event, character);
    this.#timer = window.setTimeout(() => this.#running(Number.POSITIVE_INFINITY), LET_GO_MS);
    const scanning = burst.text.length > 1;
    burst.text += character ?? LOST_KEY;
    burst.lastMs = event.timeStamp;
    // The second character at a scanner's pace: from here on nothing of it reaches the page. A person's Tab behind one letter does.
    if (scanning || (character !== null && key.length === 1) || character === LOST_KEY) swallow(event);
  }

  #begin(event: KeyboardEvent, character: string | null): void {
    const before = this.#unfinished;
    this.#unfinished = null;
    if (character === null || isControl(character)) return;
    const cut = before && event.timeStamp - before.lastMs <= SAME_SCAN_MS ? before.length : 0;
    this.#burst = { text: character, lastMs: event.timeStamp, cut, ...focusedField(event.target) };
  }

  #finish(event: KeyboardEvent, burst: Burst): void {
    const { prefix } = this.setting;
    this.#burst = null;
    this.#unfinished = null;
    if (!this.#isScan(burst)) return this.#letGo(burst);
    swallow(event);
    restore(burst);
    // A prefix says where a scan begins.
    const cut = prefix === '' && burst.cut > 0;
    this.hand(`${cut ? LOST_KEY : ''}${burst.text.slice(prefix.length)}`);
  }

  #keyup(event: KeyboardEvent): void {
    // A space pressed by the scanner would press a button when it is let go.
    if (event.key === ' ' && this.#burst && this.#burst.text.length > 1) swallow(event);
  }

  #running(nowMs: number): Burst | null {
    if (this.#burst && nowMs - this.#burst.lastMs > this.setting.maxGapMs) {
      this.#unfinished = { lastMs: this.#burst.lastMs, length: this.#burst.text.length };
      this.#letGo(this.#burst);
      this.#burst = null;
    }
    return this.#burst;
  }

  /** It was a person after all: the characters that were kept back belong to the field. */
  #letGo({ field, text }: Burst): void {
    const kept = [...text].slice(1).filter((character) => character !== LOST_KEY && !isControl(character));
    if (!field || kept.length === 0) return;
    field.setRangeText(kept.join(''), field.selectionStart ?? 0, field.selectionEnd ?? 0, 'end');
    field.dispatchEvent(new Event('input', { bubbles: true }));
  }

  #isScan({ text, cut }: Burst): boolean {
    const { prefix } = this.setting;
    if (prefix === '' && cut >= MIN_LENGTH && text.length > 1) return true;
    return text.startsWith(prefix) && text.length - prefix.length >= MIN_LENGTH;
  }
}

/**
 * The character that a key stands for in a scan: LOST_KEY where one should have come, null for keys that scanners have no use for.
 * Scanners send control characters as Ctrl and the key that has their sign on the layout that they believe in, which need not be the
 * computer's: the place of the key counts then.
 */
function characterOf(event: KeyboardEvent): string | null {
  const { key, code, ctrlKey, altKey, metaKey } = event;
  if (NO_CHARACTER.has(key)) return LOST_KEY;
  if (metaKey) return null;
  // Windows reports AltGr, which writes ] and @ on many layouts, as Ctrl and Alt.
  const writes = event.getModifierState('AltGraph') || (ctrlKey && altKey);
  if (!writes && altKey) return LOST_KEY;
  if (!writes && ctrlKey) {
    if (/^[a-z]$/i.test(key)) return String.fromCharCode(key.toUpperCase().charCodeAt(0) - 0x40);
    return /^[[\\\]^_]$/.test(key) ? String.fromCharCode(key.charCodeAt(0) - 0x40) : (CONTROL_KEYS[code] ?? LOST_KEY);
  }
  return key.length === 1 ? key : (CHARACTER_KEYS[key] ?? null);
}

function isControl(character: string): boolean {
  return character < ' ';
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
