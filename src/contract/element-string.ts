import { BATCH, checkDigitHolds, type Gs1Field, GTIN, gs1FieldAt, gs1Fields, SERIAL } from './gs1-identifiers.ts';

/** FNC1 as scanners send it: the ASCII group separator ends an element of variable length (GS1 General Specifications, 7.8.5). */
export const SEPARATOR = '\u001d';

/** What an element string says of a unit. */
export interface UnitElements {
  readonly serial: string | null;
  readonly gtin: string | null;
  readonly batch: string | null;
  /** What the serial would be if a separator had been lost inside it: each a beginning of it behind which whole elements follow. */
  readonly others: readonly string[];
}

/** What reading came to: the elements, or why they do not hold. */
export type ElementsRead = { readonly elements: UnitElements } | { readonly problem: string };

interface Element {
  readonly identifier: string;
  readonly value: string;
  /** Where the value begins and ends in the text. */
  readonly start: number;
  readonly end: number;
}

/**
 * Reads a GS1 element string as scanners send it, without symbology identifier: by the lengths of the whole table and by separators.
 * Unknown identifiers, values that are too long or hold characters that they cannot, and an identifier twice are problems: that is what
 * lost separators, two labels in one scan and damage look like.
 */
export function readElementString(text: string): ElementsRead {
  const elements: Element[] = [];
  let at = 0;
  while (at < text.length) {
    if (text[at] === SEPARATOR) {
      at++;
      continue;
    }
    const field = gs1FieldAt(text, at);
    if (!field) return { problem: `no GS1 application identifier at character ${at + 1}` };
    const start = at + field.identifier.length;
    const separator = text.indexOf(SEPARATOR, start);
    const end = field.predefined ? start + field.maxLength : separator < 0 ? text.length : separator;
    const value = text.slice(start, end);
    const problem = valueProblem(field, value);
    if (problem !== null) return { problem };
    elements.push({ identifier: field.identifier, value, start, end });
    at = end;
  }
  const read = unitElements(elements);
  if ('problem' in read) return read;
  const whole = readable(text);
  const serial = elements.find(({ identifier }) => identifier === SERIAL);
  const batch = elements.find(({ identifier }) => identifier === BATCH);
  const others = serial ? endings(text, serial, whole) : [];
  // A batch that may have swallowed its neighbour is not known, unless separators came along.
  const known = !batch || text.includes(SEPARATOR) || endings(text, batch, whole).length === 0;
  return { elements: { ...read.elements, batch: known ? read.elements.batch : null, others } };
}

/** Reads elements in the spelling for people: `(01)09506000134352(21)SN0001` (GS1 General Specifications, 4.14). */
export function readBracketed(text: string): ElementsRead {
  const elements: Element[] = [];
  let rest = text.trim();
  while (rest !== '') {
    const [whole = '', identifier = '', spaced = ''] = /^\((\d{2,4})\)([^()]+)/.exec(rest) ?? [];
    const value = spaced.trim();
    const field = gs1Fields.get(identifier);
    if (!field)
      return { problem: whole ? `(${identifier}) is no GS1 application identifier` : 'brackets do not close' };
    const problem = valueProblem(field, value);
    if (problem !== null) return { problem };
    elements.push({ identifier, value, start: 0, end: 0 });
    rest = rest.slice(whole.length);
  }
  return unitElements(elements);
}

/**
 * What pairs of identifier and value say of a unit, with the rules for a label: none twice with two values, one serial, a GTIN with its
 * check digit.
 */
export function unitElements(
  elements: readonly { readonly identifier: string; readonly value: string }[],
): ElementsRead {
  const values = new Map<string, string>();
  for (const { identifier, value } of elements) {
    const before = values.get(identifier);
    if (before !== undefined && (before !== value || identifier === SERIAL))
      return { problem: `application identifier ${identifier} stands there twice` };
    values.set(identifier, value);
  }
  const gtin = values.get(GTIN) ?? null;
  if (gtin !== null && !checkDigitHolds(gtin)) return { problem: `the check digit of GTIN ${gtin} is wrong` };
  return { elements: { serial: values.get(SERIAL) ?? null, gtin, batch: values.get(BATCH) ?? null, others: [] } };
}

/**
 * Whether a text that nothing marks as GS1 can be read as the elements of a unit, GTIN and serial among them, wherever separators may
 * have been lost. A plain serial does not look so by chance.
 */
export function looksLikeUnit(text: string): boolean {
  return ((readable(text)[0] ?? 0) & (1 << UNIT)) !== 0;
}

/** Why a text cannot be a field's value; null when it can. */
function valueProblem({ identifier, maxLength, minLength, holds }: Gs1Field, value: string): string | null {
  if (holds(value)) return null;
  const length = `has ${value.length} characters`;
  if (value.length > maxLength) return `application identifier ${identifier} ${length}, at most ${maxLength} are its`;
  if (value.length < minLength) return `application identifier ${identifier} ${length}, at least ${minLength} are its`;
  return `application identifier ${identifier} holds what it cannot hold`;
}

const HAS_GTIN = 1;
const HAS_SERIAL = 2;
const UNIT = HAS_GTIN | HAS_SERIAL;

/**
 * For each index of a text how it can be read from there to the end when separators may be missing, as a set of bits: bit n stands for a
 * reading with the elements n (HAS_GTIN, HAS_SERIAL). 0: not at all.
 */
function readable(text: string): readonly number[] {
  const from = new Array<number>(text.length + 1).fill(0);
  from[text.length] = 1;
  for (let at = text.length - 1; at >= 0; at--) {
    if (text[at] === SEPARATOR) {
      from[at] = from[at + 1] ?? 0;
      continue;
    }
    const field = gs1FieldAt(text, at);
    if (!field) continue;
    const start = at + field.identifier.length;
    for (let end = start + field.minLength; end <= Math.min(text.length, start + field.maxLength); end++) {
      const behind = from[end] ?? 0;
      const value = text.slice(start, end);
      if (behind === 0 || !field.holds(value) || (field.identifier === GTIN && !checkDigitHolds(value))) continue;
      const adds = field.identifier === GTIN ? HAS_GTIN : field.identifier === SERIAL ? HAS_SERIAL : 0;
      for (let has = 0; has <= UNIT; has++) if (behind & (1 << has)) from[at] = (from[at] ?? 0) | (1 << (has | adds));
    }
  }
  return from;
}

/** Beginnings of a value behind which whole elements follow. */
function endings(text: string, { start, end }: Element, whole: readonly number[]): string[] {
  return Array.from({ length: end - start - 1 }, (_, index) => start + 1 + index)
    .filter((at) => whole[at] !== 0)
    .map((at) => text.slice(start, at));
}
