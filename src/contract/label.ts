import { serialProblem } from './serial.ts';

/** What a scanned label says: a plain serial, or the elements of a GS1 element string. */
export interface Label {
  readonly serial: string;
  /** Global Trade Item Number, 14 digits (AI 01). */
  readonly gtin: string | null;
  /** Batch or lot (AI 10). */
  readonly batch: string | null;
}

/** FNC1 as scanners send it: the ASCII group separator ends an element of variable length (GS1 General Specifications, 7.8). */
const SEPARATOR = '\u001d';
/** Symbology identifiers that announce GS1 data (ISO/IEC 15424): Code 128, DataMatrix, QR, DataBar. */
const GS1_IDENTIFIER = /^\](C1|d2|Q3|e0)/;
/** Application identifiers of fixed length, by their length in digits (GS1 General Specifications, figure 7.8.5-2). */
const FIXED: Readonly<Record<string, number>> = {
  '00': 18,
  '01': 14,
  '02': 14,
  '11': 6,
  '12': 6,
  '13': 6,
  '15': 6,
  '16': 6,
  '17': 6,
  '20': 2,
};
const VARIABLE = new Set(['10', '21', '22', '235', '240', '241', '250', '251', '400', '37', '30']);

/**
 * Reads a label: GS1 in its bracketed spelling, GS1 with a symbology identifier or FNC1, or a plain serial.
 * Returns null when it claims to be GS1 and does not hold (wrong check digit, no serial, unknown element).
 */
export function readLabel(text: string): Label | null {
  const trimmed = text.trim();
  if (trimmed.length === 0) return null;
  const elements = trimmed.startsWith('(')
    ? bracketed(trimmed)
    : GS1_IDENTIFIER.test(trimmed) || trimmed.includes(SEPARATOR)
      ? elementString(trimmed.replace(GS1_IDENTIFIER, ''))
      : new Map([['21', trimmed]]);
  const serial = elements?.get('21');
  const gtin = elements?.get('01') ?? null;
  if (!serial || serialProblem(serial) !== null || (gtin !== null && !checkDigitHolds(gtin))) return null;
  return { serial, gtin, batch: elements?.get('10') ?? null };
}

function bracketed(text: string): Map<string, string> | null {
  const elements = new Map<string, string>();
  const rest = text.replace(/\((\d{2,4})\)([^(]+)/g, (_whole, identifier: string, value: string) => {
    elements.set(identifier, value.trim());
    return '';
  });
  return rest.trim() === '' ? elements : null;
}

function elementString(text: string): Map<string, string> | null {
  const elements = new Map<string, string>();
  let at = text.startsWith(SEPARATOR) ? 1 : 0;
  while (at < text.length) {
    const identifier = [2, 3]
      .map((length) => text.slice(at, at + length))
      .find((each) => each in FIXED || VARIABLE.has(each));
    if (identifier === undefined) return null;
    at += identifier.length;
    const fixed = FIXED[identifier];
    const separator = text.indexOf(SEPARATOR, at);
    const end = fixed !== undefined ? at + fixed : separator < 0 ? text.length : separator;
    if (end > text.length) return null;
    elements.set(identifier, text.slice(at, end));
    at = text[end] === SEPARATOR ? end + 1 : end;
  }
  return elements;
}

/** The GTIN's check digit: weights 3 and 1 from the right (GS1 General Specifications, 7.9.1). */
function checkDigitHolds(gtin: string): boolean {
  if (!/^\d{14}$/.test(gtin)) return false;
  const sum = [...gtin].reduce((total, digit, index) => total + Number(digit) * (index % 2 === 0 ? 3 : 1), 0);
  return sum % 10 === 0;
}
