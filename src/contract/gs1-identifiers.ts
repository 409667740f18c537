/** An application identifier's data field. */
export interface Gs1Field {
  readonly identifier: string;
  /** Characters of the field without its identifier. */
  readonly minLength: number;
  readonly maxLength: number;
  /** Whether the identifier's first two digits fix the length, so that the next element follows without a separator. */
  readonly predefined: boolean;
  /** Whether a text can be this field: characters and length. */
  holds(value: string): boolean;
}

/** Trade item number (GTIN). */
export const GTIN = '01';
/** Batch or lot number. */
export const BATCH = '10';
/** Serial number. */
export const SERIAL = '21';

/**
 * Every application identifier with its data field: N digits, X of the 82 characters for element strings (figure 7.11-1), Y of the 39,
 * Z base64url; `..` up to so many; brackets: may be missing. A star: of predefined length (figure 7.8.5-2).
 * GS1 General Specifications, section 3.2; GS1 Barcode Syntax Dictionary of 2026-07 (gs1/gs1-syntax-dictionary). The tests hold it to a
 * third: the table in BWIPP.
 */
const table = `
00 N18* | 01-03 N14* | 10 X..20 | 11-13 N6* | 15-17 N6* | 20 N2* | 21-22 X..20 | 235 X..28 | 240-241 X..30 | 242 N..6 | 243 X..20
250-251 X..30 | 253 N13 [X..17] | 254 X..20 | 255 N13 [N..12] | 30 N..8 | 37 N..8
3100-3105 N6* | 3110-3115 N6* | 3120-3125 N6* | 3130-3135 N6* | 3140-3145 N6* | 3150-3155 N6* | 3160-3165 N6*
3200-3205 N6* | 3210-3215 N6* | 3220-3225 N6* | 3230-3235 N6* | 3240-3245 N6* | 3250-3255 N6* | 3260-3265 N6* | 3270-3275 N6*
3280-3285 N6* | 3290-3295 N6* | 3300-3305 N6* | 3310-3315 N6* | 3320-3325 N6* | 3330-3335 N6* | 3340-3345 N6* | 3350-3355 N6*
3360-3365 N6* | 3370-3375 N6* | 3400-3405 N6* | 3410-3415 N6* | 3420-3425 N6* | 3430-3435 N6* | 3440-3445 N6* | 3450-3455 N6*
3460-3465 N6* | 3470-3475 N6* | 3480-3485 N6* | 3490-3495 N6* | 3500-3505 N6* | 3510-3515 N6* | 3520-3525 N6* | 3530-3535 N6*
3540-3545 N6* | 3550-3555 N6* | 3560-3565 N6* | 3570-3575 N6* | 3600-3605 N6* | 3610-3615 N6* | 3620-3625 N6* | 3630-3635 N6*
3640-3645 N6* | 3650-3655 N6* | 3660-3665 N6* | 3670-3675 N6* | 3680-3685 N6* | 3690-3695 N6*
3900-3909 N..15 | 3910-3919 N3 N..15 | 3920-3929 N..15 | 3930-3939 N3 N..15 | 3940-3943 N4 | 3950-3955 N6
400-401 X..30 | 402 N17 | 403 X..30 | 410-417 N13* | 420 X..20 | 421 N3 X..9 | 422 N3 | 423 N3 [N3] [N3] [N3] [N3] | 424 N3
425 N3 [N3] [N3] [N3] [N3] | 426 N3 | 427 X..3
4300-4301 X..35 | 4302-4306 X..70 | 4307 X2 | 4308 X..30 | 4309 N20 | 4310-4311 X..35 | 4312-4316 X..70 | 4317 X2 | 4318 X..20
4319 X..30 | 4320 X..35 | 4321-4323 N1 | 4324-4325 N10 | 4326 N6 | 4330-4333 N6 [X1]
7001 N13 | 7002 X..30 | 7003 N10 | 7004 N..4 | 7005 X..12 | 7006 N6 | 7007 N6 [N6] | 7008 X..3 | 7009 X..10 | 7010 X..2
7011 N6 [N4] | 7020-7022 X..20 | 7023 X..30 | 7030-7039 N3 X..27 | 7040 N1 X3 | 7041 X..4 | 710-717 X..20 | 7230-7239 X2 X..28
7240 X..20 | 7241 N2 | 7242 X..25 | 7250 N8 | 7251 N12 | 7252 N1 | 7253-7254 X..40 | 7255 X..10 | 7256 X..90 | 7257 X..70
7258 X3 | 7259 X..40
8001 N14 | 8002 X..20 | 8003 N14 [X..16] | 8004 X..30 | 8005 N6 | 8006 N18 | 8007 X..34 | 8008 N8 [N2] [N2] | 8009 X..50
8010 Y..30 | 8011 N..12 | 8012 X..20 | 8013-8014 X..25 | 8017-8018 N18 | 8019 N..10 | 8020 X..25 | 8026 N18 | 8030 Z..90
8040-8041 N15 | 8042 N32 | 8043 N18 [N..2] | 8110 X..70 | 8111 N4 | 8112 X..70 | 8200 X..70 | 90 X..30 | 91-99 X..90`;

const characters = {
  N: '[0-9]',
  X: '[!"%&\'()*+,\\-./0-9:;<=>?A-Z_a-z]',
  Y: '[#\\-/0-9A-Z]',
  Z: '[0-9A-Za-z_=\\-]',
} as const;

/** Every GS1 application identifier's field, by its identifier. */
export const gs1Fields: ReadonlyMap<string, Gs1Field> = new Map(
  table
    .trim()
    .split(/\s*[|\n]\s*/)
    .flatMap((row) => {
      const [identifiers = '', ...format] = row.split(' ');
      return identifiersOf(identifiers).map((identifier) => [identifier, field(identifier, format)] as const);
    }),
);

/** The field whose identifier begins at an index of a text. No identifier begins like another one, so there is one at most. */
export function gs1FieldAt(text: string, index: number): Gs1Field | null {
  for (const length of [2, 3, 4]) {
    const found = gs1Fields.get(text.slice(index, index + length));
    if (found) return found;
  }
  return null;
}

function identifiersOf(range: string): string[] {
  const [first = '', last = first] = range.split('-');
  const count = Number(last) - Number(first) + 1;
  return Array.from({ length: count }, (_, index) => String(Number(first) + index).padStart(first.length, '0'));
}

function field(identifier: string, format: readonly string[]): Gs1Field {
  const parts = format.map((part) => {
    const [, open, type = '', upTo, length] = /^(\[?)([NXYZ])(\.\.)?(\d+)/.exec(part) ?? [];
    return {
      optional: open === '[',
      type: type as keyof typeof characters,
      upTo: upTo !== undefined,
      length: Number(length),
    };
  });
  const pattern = parts.map(({ optional, type, upTo, length }) => {
    const text = `${characters[type]}{${upTo ? `1,${length}` : length}}`;
    return optional ? `(?:${text})?` : text;
  });
  const whole = new RegExp(`^${pattern.join('')}$`);
  return {
    identifier,
    minLength: parts.reduce((sum, { optional, upTo, length }) => sum + (optional ? 0 : upTo ? 1 : length), 0),
    maxLength: parts.reduce((sum, { length }) => sum + length, 0),
    predefined: format.at(-1)?.endsWith('*') ?? false,
    holds: (value) => whole.test(value),
  };
}

/** The last digit of a GTIN, GLN or SSCC: weights 3 and 1 from the right (GS1 General Specifications, 7.9.1; ISO/IEC 15420). */
export function checkDigitHolds(digits: string): boolean {
  if (!/^\d{2,}$/.test(digits)) return false;
  const sum = [...digits]
    .toReversed()
    .reduce((total, digit, index) => total + Number(digit) * (index % 2 === 0 ? 1 : 3), 0);
  return sum % 10 === 0;
}

/** A GTIN of 8, 12, 13 or 14 digits in its form of 14; null when it is none, or its check digit is wrong. */
export function gtin14(digits: string): string | null {
  return /^(\d{8}|\d{12,14})$/.test(digits) && checkDigitHolds(digits) ? digits.padStart(14, '0') : null;
}
