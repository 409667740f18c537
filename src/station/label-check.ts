import { StationError } from '../contract/errors.ts';
import { visible } from '../contract/foreign-text.ts';
import { gtin14 } from '../contract/gs1-identifiers.ts';
import { type Label, readLabel } from '../contract/label.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import { serialLikeness, serialProblem } from '../contract/serial.ts';

/** What a label says of the unit that carries it. */
export interface UnitOfLabel {
  readonly serial: string;
  readonly batch: string | null;
}

/** How much of a label is repeated when it is refused. */
const SHOWN_CHARACTERS = 60;

/**
 * The unit that a scanned label names, by what the product profile says of its labels. `listed` are the work order's units, null without a
 * list: where a lost separator is possible, pattern and list tell where the serial ends.
 * @throws StationError LABEL_INVALID, LABEL_DAMAGED, LABEL_AMBIGUOUS, LABEL_CASE_DIFFERS, LABEL_OF_OTHER_PRODUCT, LABEL_WITHOUT_GTIN
 */
export function checkLabel(
  scan: string,
  rule: ProductProfile['label'],
  listed: readonly { readonly serial: string }[] | null,
): UnitOfLabel {
  const label = readLabel(scan);
  if (label.serial === null) throw new StationError(label.code, `${shown(scan)}: ${label.why}`);
  if (rule.gtin !== undefined && label.gtin !== null && label.gtin !== rule.gtin)
    throw new StationError('LABEL_OF_OTHER_PRODUCT', `GTIN ${label.gtin}`);
  if (rule.require && label.gtin === null) throw new StationError('LABEL_WITHOUT_GTIN', shown(label.serial));
  const serial = serialOf(label, rule, new Set(listed?.map((unit) => unit.serial)));
  const twin = listed?.find((unit) => unit.serial !== serial && serialLikeness(unit.serial) === serialLikeness(serial));
  if (twin) throw new StationError('LABEL_CASE_DIFFERS', `${shown(serial)}, the list has ${twin.serial}`);
  return { serial, batch: label.batch };
}

function serialOf(label: Label, { gtin, pattern }: ProductProfile['label'], listed: ReadonlySet<string>): string {
  if (gtin !== undefined && gtin14(label.serial) === gtin)
    throw new StationError('LABEL_INVALID', `${label.serial} is the product's GTIN, not the unit's serial`);
  if (pattern === undefined && /^[a-z][a-z0-9+.-]*:\/\//i.test(label.serial))
    throw new StationError(
      'LABEL_INVALID',
      `${shown(label.serial)} is a link; a pattern has to say where its serial is`,
    );
  const [serial, second] = serialsIn(label.serial, pattern);
  if (serial === undefined) {
    const code = serialsIn(label.serial, pattern, 'i').length > 0 ? 'LABEL_CASE_DIFFERS' : 'LABEL_INVALID';
    throw new StationError(code, `${shown(label.serial)} does not match ${pattern}`);
  }
  if (second !== undefined)
    throw new StationError('LABEL_DAMAGED', `${shown(serial)} and ${shown(second)} in one scan`);
  const problem = serialProblem(serial);
  if (problem !== null) throw new StationError('LABEL_INVALID', `"${shown(serial)}": ${problem}`);
  const others = label.others.flatMap((other) => serialsIn(other, pattern)).filter((other) => other !== serial);
  const decided = listed.has(serial) && !others.some((other) => listed.has(other));
  if (others.length > 0 && !decided)
    throw new StationError('LABEL_AMBIGUOUS', [...new Set([serial, ...others])].map(shown).join(' or '));
  return serial;
}

/** The serials that a text holds, each once: all of it, or each match of the pattern (its first group if it has one). */
function serialsIn(text: string, pattern: string | undefined, flags = ''): string[] {
  if (pattern === undefined) return [text];
  const found = [...text.matchAll(new RegExp(pattern, `g${flags}`))].map((match) => match[1] ?? match[0]);
  return [...new Set(found)].filter((serial) => serial !== '');
}

const shown = (text: string) => visible(text.slice(0, SHOWN_CHARACTERS));
