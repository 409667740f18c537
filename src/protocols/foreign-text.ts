const LONGEST = 100;

/**
 * Text that a device has said, as it may be shown and written down: in quotation marks, at most 100 characters, everything that a terminal
 * or a screen would act upon in the notation of JSON.
 */
export function foreignText(text: string): string {
  const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  return JSON.stringify(shown).replace(
    /[\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
