import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Scanner } from '../../renderer/floor/scanner.ts';
import { readLabel } from '../../src/contract/label.ts';

const GS = '\u001d';
const LOST = '\ufffd';
const GAP_MS = 8;

/** A key as the browser tells it: by what it writes, and where it differs, by its place and the modifiers that are held. */
interface Key {
  readonly key: string;
  readonly code?: string;
  readonly ctrlKey?: boolean;
  readonly altKey?: boolean;
  readonly altGraph?: boolean;
  readonly repeat?: boolean;
  /** How long after the key before it, in milliseconds. */
  readonly afterMs?: number;
}

/** A window that keys can be pressed in, and that says which of them reached the page. */
class Page extends EventTarget {
  #nowMs = 1000;
  readonly reached: string[] = [];
  readonly setTimeout = () => 0;

  press({ altGraph = false, afterMs = GAP_MS, ...key }: Key): void {
    this.#nowMs += afterMs;
    const event = new Event('keydown', { cancelable: true });
    const held = { getModifierState: (name: string) => name === 'AltGraph' && altGraph };
    const defaults = { code: '', ctrlKey: false, altKey: false, metaKey: false, repeat: false };
    Object.assign(event, defaults, key, held);
    Object.defineProperty(event, 'timeStamp', { value: this.#nowMs });
    this.dispatchEvent(event);
    if (!event.defaultPrevented) this.reached.push(key.key);
  }
}

const letters = (text: string): Key[] => [...text].map((key) => ({ key }));
const enter: Key = { key: 'Enter' };

describe('a keyboard-wedge scanner', () => {
  let made: new (target: Window) => Scanner;
  let page: Page;
  let scans: string[];

  beforeAll(async () => {
    vi.stubGlobal('window', new Page());
    vi.stubGlobal('HTMLInputElement', class {});
    vi.stubGlobal('HTMLTextAreaElement', class {});
    made = (await import('../../renderer/floor/scanner.ts')).Scanner;
  });

  beforeEach(() => {
    page = new Page();
    scans = [];
    new made(page as unknown as Window).listen((code) => scans.push(code));
  });

  const type = (...keys: readonly Key[]) => {
    for (const key of keys) page.press(key);
  };

  test('hands on what it typed, and nothing but its first key reaches the page', () => {
    type(...letters('SN0001'), enter, { key: 'S', afterMs: 20 }, ...letters('N0002'), enter);
    expect(scans).toEqual(['SN0001', 'SN0002']);
    expect(page.reached).toEqual(['S', 'S']);
  });

  test.each<[string, Key]>([
    ['Ctrl and ]', { key: ']', code: 'BracketRight', ctrlKey: true }],
    ['Ctrl and the key of ] on QWERTZ', { key: '+', code: 'BracketRight', ctrlKey: true }],
    ['Ctrl and the key of ] on AZERTY', { key: '$', code: 'BracketRight', ctrlKey: true }],
    ['F8', { key: 'F8', code: 'F8' }],
    ['the character itself', { key: GS }],
  ])('sends the group separator as %s', (_what, separator) => {
    type(...letters(']d2010950600013435210LOT-7'), { key: 'Control' }, separator, ...letters('21SN0001'), enter);
    expect(scans).toEqual([`]d2010950600013435210LOT-7${GS}21SN0001`]);
    expect(readLabel(scans[0] ?? '')).toMatchObject({ serial: 'SN0001', batch: 'LOT-7' });
    expect(page.reached).toEqual([']', 'Control']);
  });

  test.each<[string, Key]>([
    ['on Linux', { key: ']', code: 'Digit9', altGraph: true }],
    ['on Windows', { key: ']', code: 'Digit9', ctrlKey: true, altKey: true, altGraph: true }],
  ])('writes ] with AltGr on QWERTZ, %s, and that is no separator', (_where, bracket) => {
    type({ key: 'AltGraph' }, bracket, ...letters('C0SN0001'), enter);
    expect(scans).toEqual([']C0SN0001']);
  });

  test('sends an envelope with its record separators and its end', () => {
    const ctrl = (key: string, code: string): Key => ({ key, code, ctrlKey: true });
    const [rs, gs] = [ctrl('6', 'Digit6'), ctrl(']', 'BracketRight')];
    type(...letters('[)>'), rs, ...letters('06'), gs, ...letters('SSN0001'), rs, ctrl('d', 'KeyD'), enter);
    expect(readLabel(scans[0] ?? '')).toMatchObject({ serial: 'SN0001' });
  });

  test.each<[string, Key]>([
    ['a dead key', { key: 'Dead', code: 'Equal' }],
    ['a key that the layout does not have', { key: 'Unidentified' }],
    ["an input method's key", { key: 'Process', code: 'KeyN' }],
    ['a key that is no character', { key: 'F2' }],
    ['an arrow', { key: 'ArrowLeft' }],
    ['Alt and a digit', { key: '0', code: 'Numpad0', altKey: true }],
    ['Ctrl and a key without a sign', { key: 'Enter', code: 'NumpadEnter', ctrlKey: true }],
    ['a key that repeats itself', { key: 'N', repeat: true }],
  ])('with %s inside hands on a scan that is refused, and the key does nothing', (_what, key) => {
    const other = key.key === 'Enter' ? { ...key, key: 'Insert' } : key;
    type(...letters('SN'), other, ...letters('0001'), enter);
    expect(scans).toEqual([`SN${LOST}0001`]);
    expect(readLabel(scans[0] ?? '')).toMatchObject({ serial: null, code: 'LABEL_DAMAGED' });
    expect(page.reached).toEqual(['S']);
  });

  test.each<[string, Key]>([
    ['a dead key', { key: 'Dead' }],
    ["an input method's key", { key: 'Process' }],
  ])('that begins with %s hands on a scan that is refused', (_what, key) => {
    type(key, ...letters('N0001'), enter);
    expect(scans).toEqual([`${LOST}N0001`]);
  });

  test('that stumbles never hands on the rest as if it were the whole', () => {
    type(...letters('SN00'), { key: '0', afterMs: 120 }, ...letters('12'), enter);
    type(...letters('SN00'), { key: '0', afterMs: 300 }, ...letters('1'), enter);
    type({ key: 'S', afterMs: 2000 }, { key: 'N', afterMs: 100 }, ...letters('0001'), enter);
    expect(scans).toEqual([`${LOST}012`, `${LOST}01`, `${LOST}N0001`]);
  });

  test('is whole behind a prefix, and after a person who typed before', () => {
    type(...letters('1234').map((key) => ({ ...key, afterMs: 90 })), { key: 'Enter', afterMs: 90 });
    type({ key: 'S', afterMs: 90 }, ...letters('N0001'), enter);
    type({ key: 'x', afterMs: 2000 }, { key: 'S', afterMs: 2000 }, ...letters('N0002'), enter);
    expect(scans).toEqual(['SN0001', 'SN0002']);
  });

  test('is not a person who types two letters and Enter fast', () => {
    type(...letters('ab'), enter, { key: 'c', afterMs: 100 }, { key: 'Tab', afterMs: 20 });
    expect(scans).toEqual([]);
    expect(page.reached).toEqual(['a', 'Enter', 'c', 'Tab']);
  });
});
