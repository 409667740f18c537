import {
  type ElementsRead,
  looksLikeUnit,
  readBracketed,
  readElementString,
  SEPARATOR,
  unitElements,
} from './element-string.ts';
import type { ErrorCode } from './errors.ts';
import { GTIN, gs1Fields, gtin14 } from './gs1-identifiers.ts';
import { LOST_KEY, scannedText } from './scanned-text.ts';
import { serialProblem } from './serial.ts';

/** What a label says. */
export interface Label {
  readonly serial: string;
  /** Global Trade Item Number, 14 digits (AI 01). */
  readonly gtin: string | null;
  /** Batch or lot (AI 10). */
  readonly batch: string | null;
  /** What the serial would be if a separator had been lost inside it. Empty when nothing of it looks so. */
  readonly others: readonly string[];
}

/** Why a label has no serial that can be used. */
export interface LabelProblem {
  readonly serial: null;
  readonly code: ErrorCode & ('LABEL_INVALID' | 'LABEL_DAMAGED');
  readonly why: string;
}

/**
 * Symbology identifiers that announce GS1 data: Code 128, Data Matrix (d5: with ECI), QR (Q4: with ECI), DataBar and composites, DotCode
 * (GS1 General Specifications, figure 7.2-2; ISO/IEC 15424).
 */
const GS1_SYMBOLOGY = /^(C1|d[25]|Q[34]|e[0-3]|J1)$/;
/** What only means GS1 with scanners that tell DotCode's modes apart; others send it for every DotCode. */
const DOTCODE = 'J1';

/** ISO/IEC 15434: the message header and trailer, and what ends and divides formats. */
const ENVELOPE = '[)>';
const RECORD_SEPARATOR = '\u001e';
const END_OF_TRANSMISSION = '\u0004';

/**
 * Data identifiers: serial of the supplier; lot by supplier and customer; GTIN (ANS MH10.8.2 by ISO/IEC 15418; S and 1T also EIGP 114, 8P
 * also the IFA Coding System).
 */
const DI_SERIAL = 'S';
const DI_LOTS = ['1T', 'T'];
const DI_GTIN = '8P';
/** How fields begin that stand beside a serial: item, quantity, lot, dates, vendor. */
const DI_BEGINS = /^(\d{1,2}[A-Z]|[DKPQSTV])./;

/**
 * Reads a label: a plain serial; GS1 in its bracketed spelling, with a symbology identifier, with separators or with neither; a GS1
 * Digital Link; an envelope of ISO/IEC 15434 with format 05 (GS1) or 06 (data identifiers). What claims to be one of these and does not
 * hold, and a scan with lost keys, is refused: never is a part of it taken for the whole.
 */
export function readLabel(scan: string): Label | LabelProblem {
  if (scan.includes(LOST_KEY)) return damaged('a key of the scan was no character');
  const { text, symbology } = scannedText(scan);
  if (text === '') return invalid('the label is empty');
  if (/\][A-Za-z]\d/.test(text)) return damaged('there are two labels in one scan');
  if (text.startsWith(ENVELOPE)) return envelope(text);
  if (text.startsWith('(')) return labelOf(readBracketed(text), invalid);
  if (/^https?:\/\//i.test(text) && /\/01\/\d/.test(text)) return labelOf(digitalLink(text), invalid);
  const announced =
    symbology !== null && GS1_SYMBOLOGY.test(symbology) && (symbology !== DOTCODE || /^\d\d/.test(text));
  if (announced || text.includes(SEPARATOR)) return labelOf(readElementString(text));
  if (looksLikeUnit(text)) return labelOf(readElementString(text));
  return checked({ serial: text, gtin: null, batch: null, others: [] });
}

/** Only where separators are sent can one have been lost: elsewhere what does not hold was printed so. */
function labelOf(read: ElementsRead, refused: (why: string) => LabelProblem = damaged): Label | LabelProblem {
  if ('problem' in read) return refused(read.problem);
  const { serial, ...rest } = read.elements;
  return serial === null ? invalid('the label carries no serial') : checked({ serial, ...rest });
}

function checked(label: Label): Label | LabelProblem {
  const problem = serialProblem(label.serial) ?? (label.batch === null ? null : serialProblem(label.batch));
  return problem === null ? label : damaged(problem);
}

const invalid = (why: string): LabelProblem => ({ serial: null, code: 'LABEL_INVALID', why });
const damaged = (why: string): LabelProblem => ({ serial: null, code: 'LABEL_DAMAGED', why });

/** A GS1 Digital Link: pairs of identifier and value in the path, further ones in the query (GS1 Digital Link Standard: URI Syntax, 4). */
function digitalLink(text: string): ElementsRead {
  const url = URL.parse(text);
  if (!url) return { problem: 'the link is no URL' };
  let path: string[];
  try {
    path = url.pathname.split('/').slice(1).map(decodeURIComponent);
  } catch {
    return { problem: 'the link is badly escaped' };
  }
  const first = path.findIndex((each, index) => each === GTIN && /^\d/.test(path[index + 1] ?? ''));
  if (first < 0) return { problem: 'the link has no GTIN' };
  const pairs: { identifier: string; value: string }[] = [];
  for (let at = first; at < path.length; at += 2) {
    const identifier = path[at] ?? '';
    if (identifier === '' && at === path.length - 1) break;
    pairs.push({ identifier, value: path[at + 1] ?? '' });
  }
  for (const [identifier, value] of url.searchParams)
    if (/^\d{2,4}$/.test(identifier)) pairs.push({ identifier, value });
  const elements: { identifier: string; value: string }[] = [];
  for (const { identifier, value } of pairs) {
    const whole = identifier === GTIN ? (gtin14(value) ?? value) : value;
    if (!gs1Fields.get(identifier)?.holds(whole)) return { problem: `the link's ${identifier}/${value} does not hold` };
    elements.push({ identifier, value: whole });
  }
  return unitElements(elements);
}

/** An envelope of ISO/IEC 15434: formats one behind the other, each with two digits, its fields, and a record separator. */
function envelope(text: string): Label | LabelProblem {
  const body = text.slice(ENVELOPE.length);
  const trailer = `${RECORD_SEPARATOR}${END_OF_TRANSMISSION}`;
  if (!body.startsWith(RECORD_SEPARATOR) || !body.endsWith(trailer))
    return damaged('the envelope has lost its separators');
  const formats = body.slice(1, -trailer.length).split(RECORD_SEPARATOR);
  const labels: (Label | LabelProblem)[] = [];
  for (const format of formats) {
    const kind = format.slice(0, 2);
    const fields = format.slice(3);
    if (!/^\d\d$/.test(kind) || format[2] !== SEPARATOR) return damaged('the envelope has lost its separators');
    if (kind === '05') labels.push(labelOf(readElementString(fields)));
    if (kind === '06') labels.push(dataIdentifiers(fields));
  }
  const [label, second] = labels;
  if (second) return damaged('the envelope holds two labels');
  return label ?? invalid('the envelope has neither format 05 nor 06');
}

function dataIdentifiers(fields: string): Label | LabelProblem {
  const values = new Map<string, string>();
  for (const field of fields.split(SEPARATOR).filter((each) => each !== '')) {
    const [, identifier, value] = /^(\d{0,3}[A-Z])(.+)$/.exec(field) ?? [];
    if (identifier === undefined || value === undefined)
      return damaged('a field of the envelope has no data identifier');
    if (values.has(identifier)) return damaged(`data identifier ${identifier} stands there twice`);
    values.set(identifier, value);
  }
  const serial = values.get(DI_SERIAL);
  if (serial === undefined) return invalid('the label carries no serial');
  const gtin = values.get(DI_GTIN);
  if (gtin !== undefined && gtin14(gtin) === null) return damaged(`the check digit of GTIN ${gtin} is wrong`);
  const batch = DI_LOTS.map((identifier) => values.get(identifier)).find((each) => each !== undefined);
  const others = Array.from(serial.slice(1), (_, index) => index + 1)
    .filter((at) => DI_BEGINS.test(serial.slice(at)))
    .map((at) => serial.slice(0, at));
  return checked({ serial, gtin: gtin === undefined ? null : gtin14(gtin), batch: batch ?? null, others });
}
