import { z } from 'zod';

/** The longest serial that is taken, in UTF-16 units. */
export const MAX_SERIAL_LENGTH = 100;

/** Letters, marks, digits, punctuation and symbols of any script, and single blanks between them. */
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S}]+( [\p{L}\p{M}\p{N}\p{P}\p{S}]+)*$/u;
/** What a decoder puts where octets were no text. */
const REPLACEMENT = '\ufffd';

/**
 * Why a text can be no serial; null when it can. The one rule for job files, labels, advertisements, what devices report, records and
 * screens: 1 to 100 printable characters of any script, blanks only between them. Control and format characters (NUL, ESC, direction
 * marks, zero-width ones) are none.
 */
export function serialProblem(text: string): string | null {
  if (text.length === 0) return 'a serial is not empty';
  if (text.length > MAX_SERIAL_LENGTH) return `a serial has at most ${MAX_SERIAL_LENGTH} characters`;
  if (!PRINTABLE.test(text) || text.includes(REPLACEMENT))
    return 'a serial is of printable characters, with single blanks only between them';
  return null;
}

/** A serial that follows the rule. */
export const serial = z.string().superRefine((text, context) => {
  const message = serialProblem(text);
  if (message !== null) context.addIssue({ code: 'custom', message });
});

/** What two serials share that differ only in case or width: such twins cannot be told apart by people. */
export function serialLikeness(text: string): string {
  return text.normalize('NFKC').toLowerCase();
}
