const PLAIN = 'aeiouAEIOUncy';
const ACCENTED = 'áéíóúÁÉÍÓÚñçý';
const accents: Readonly<Record<string, string>> = Object.fromEntries(
  [...PLAIN].map((letter, index) => [letter, ACCENTED[index] ?? letter]),
);

/** A text as a pseudo-language has it: accented, a third longer, in brackets, with its placeholders as they were. */
export function pseudoText(text: string): string {
  const accented = text.replace(/\{\w+\}|[a-zA-Z]/g, (part) => accents[part] ?? part);
  return `[${accented}${'~'.repeat(Math.ceil(text.length / 3))}]`;
}

/** All messages of a catalogue in the pseudo-language: what stays readable as it was is not translated at all. */
export function pseudo<T>(messages: T): T {
  if (typeof messages === 'string') return pseudoText(messages) as T;
  return Object.fromEntries(Object.entries(messages as object).map(([key, value]) => [key, pseudo(value)])) as T;
}
