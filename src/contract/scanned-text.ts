/** What stands for a key of a scan that was no character: a scan with it is damaged. */
export const LOST_KEY = '\ufffd';

const START_OF_TEXT = '\u0002';
const END_OF_TEXT = '\u0003';
/** ISO/IEC 15424: `]`, the symbology's letter, a modifier. */
const SYMBOLOGY = /^\][A-Za-z][0-9A-Za-z]/;
/** Full-width forms of ASCII, as an input method in its wide mode types them. */
const WIDE = /[\uff01-\uff5e]/g;
const WIDE_OFFSET = 0xfee0;

/** A scan without what scanners put around it. */
export interface ScannedText {
  /** What the code holds. */
  readonly text: string;
  /** The symbology identifier without its bracket (`C1`); null when the scanner sends none. */
  readonly symbology: string | null;
}

/**
 * Takes off what scanners put around a code (framing, symbology identifier), and makes full-width characters plain. Holds for every code
 * that is scanned: labels, work orders, slots.
 */
export function scannedText(scan: string): ScannedText {
  const plain = scan.replace(WIDE, (wide) => String.fromCharCode(wide.charCodeAt(0) - WIDE_OFFSET)).trim();
  const framed = unframed(plain);
  const symbology = SYMBOLOGY.exec(framed)?.[0].slice(1) ?? null;
  // ISO 15434 ends its envelope with EOT, which is part of the code.
  return { text: symbology === null ? framed : framed.slice(3).trim(), symbology };
}

/** Without STX in front and ETX behind, and the blanks and line ends around both. The separators of element strings are no framing. */
function unframed(text: string): string {
  const begun = text.startsWith(START_OF_TEXT) ? text.slice(1) : text;
  return (begun.endsWith(END_OF_TEXT) ? begun.slice(0, -1) : begun).trim();
}
