/** Control, format, private, unassigned and lone surrogate characters, and line separators: all that a terminal or screen may act upon. */
const ACTIVE = /[\p{C}\p{Zl}\p{Zp}]/gu;

/**
 * Text that came from a device, a file or a scanner, made safe to show: whatever is no visible character is written as `\x1b` or
 * `\u{200b}`. Everything else stays as it is.
 */
export function visible(text: string): string {
  return text.replace(ACTIVE, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });
}

/** The same for text of several lines: line feeds and tabs stay. */
export function visibleLines(text: string): string {
  return text.replace(/[^\n\t]+/g, visible);
}

/** A value as one line of JSON in which a terminal finds nothing to act upon. */
export function visibleJson(value: unknown): string {
  return JSON.stringify(value).replace(ACTIVE, (character) =>
    Array.from({ length: character.length }, (_, at) => {
      return `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`;
    }).join(''),
  );
}

/** No more of what a device says is quoted. */
const LONGEST_QUOTE = 100;

/** Text that a device has said, as it may be quoted within a sentence: in quotation marks, at most 100 characters of it, as `visibleJson` writes it. */
export function quoted(text: string): string {
  return visibleJson(text.length > LONGEST_QUOTE ? `${text.slice(0, LONGEST_QUOTE)}…` : text);
}
