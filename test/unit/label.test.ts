import bwipjs from '@bwip-js/node';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StationError } from '../../src/contract/errors.ts';
import { checkDigitHolds, gs1Fields } from '../../src/contract/gs1-identifiers.ts';
import { readLabel } from '../../src/contract/label.ts';
import { productFile } from '../../src/contract/product-file.ts';
import { checkLabel } from '../../src/station/label-check.ts';

const GS = '\u001d';
const RS = '\u001e';
const EOT = '\u0004';
const GTIN = '09506000134352';
const OTHER_GTIN = '02000000000008';
const serialOf = (text: string) => readLabel(text).serial;

const rule = (label: object) => productFile.parse({ product: 'p', protocol: 'smp', label }).label;
/** The serial that a profile's label block finds, or the code that it refuses with. */
function found(text: string, label: object = {}, listed: readonly string[] | null = null): string {
  try {
    return checkLabel(text, rule(label), listed?.map((serial) => ({ serial })) ?? null).serial;
  } catch (error) {
    if (error instanceof StationError) return error.code;
    throw error;
  }
}

describe('a label', () => {
  test('without GS1 marks is a serial', () => {
    expect(readLabel(' SN0001 ')).toEqual({ serial: 'SN0001', gtin: null, batch: null, others: [] });
  });

  test.each([']C0', ']A0', ']d1', ']Q1', ']J1', ']E0', ']L0', ']z0', ']I0', ']F0', ']G0'])(
    'has %s taken off',
    (identifier) => {
      expect(serialOf(`${identifier}SN0001`)).toBe('SN0001');
      expect(serialOf(`\u0002${identifier}SN0001\u0003\r\n`)).toBe('SN0001');
    },
  );

  test.each([']C1', ']d2', ']Q3', ']e0', ']J1', ']d5', GS])('is GS1 behind %j', (mark) => {
    expect(readLabel(`${mark}01${GTIN}10LOT-7${GS}21SN0001`)).toMatchObject({
      serial: 'SN0001',
      gtin: GTIN,
      batch: 'LOT-7',
    });
  });

  test.each([
    ['in brackets', `(01)${GTIN}(10)LOT-7(21)SN0001`],
    ['in brackets, with blanks', `(01) ${GTIN} (10) LOT-7 (21) SN0001`],
    ['with separators', `01${GTIN}10LOT-7${GS}21SN0001`],
    ['with an identifier and a date', `]C101${GTIN}1727123110LOT-7${GS}21SN0001`],
    ['with the serial first', `]C121SN0001${GS}10LOT-7${GS}01${GTIN}`],
    ['with the elements of companies', `]d201${GTIN}91AB/1${GS}99xyz${GS}10LOT-7${GS}21SN0001`],
    ['with a place and a weight', `]d24149506000134352310300125001${GTIN}10LOT-7${GS}21SN0001`],
    ['with a time of production', `]d201${GTIN}80082601011230${GS}10LOT-7${GS}21SN0001`],
    ['with a national number', `]d201${GTIN}711ABC${GS}10LOT-7${GS}21SN0001`],
    ['with separators at both ends', `]d2${GS}01${GTIN}10LOT-7${GS}21SN0001${GS}`],
    ['as an envelope of format 05', `[)>${RS}05${GS}01${GTIN}10LOT-7${GS}21SN0001${RS}${EOT}`],
    ['as an envelope of format 06', `[)>${RS}06${GS}8P${GTIN}${GS}1PA-1${GS}SSN0001${GS}1TLOT-7${RS}${EOT}`],
    ['as an envelope with a symbology identifier', `]d1[)>${RS}06${GS}8P${GTIN}${GS}SSN0001${GS}TLOT-7${RS}${EOT}`],
    ['as a link', `https://id.gs1.org/01/${GTIN}/10/LOT-7/21/SN0001`],
    [
      'as a link with a query and a short GTIN',
      'https://example.com/some/path/01/9506000134352/21/SN0001?10=LOT-7&utm=x',
    ],
    ['as an escaped link', `http://example.com/01/${GTIN}/21/SN%30001/?10=LOT%2D7#top`],
  ])('%s yields serial, GTIN and batch', (_what, text) => {
    expect(readLabel(text)).toEqual({ serial: 'SN0001', gtin: GTIN, batch: 'LOT-7', others: [] });
  });

  test.each([
    ['nothing', '  '],
    ['a GTIN with a wrong check digit', '(01)09506000134351(21)SN0001'],
    ['no serial', `(01)${GTIN}`],
    ['an unknown element', ']d2050001'],
    ['a GTIN cut short', ']d2010950600'],
    ['brackets with something outside', '(21)SN0001(x)'],
    ['brackets that do not close', '(21SN0001'],
    ['an empty serial', `]d201${GTIN}21`],
    ['a serial of 21 characters', `]d201${GTIN}21${'A'.repeat(21)}`],
    ['a second serial', `]d201${GTIN}21SN0001${GS}21SN0002`],
    ['the same serial twice', `]d221SN0001${GS}21SN0001`],
    ['two GTINs', `]d201${GTIN}01${OTHER_GTIN}21SN0001`],
    ['two labels in one scan', `(01)${GTIN}(21)SN0001(01)${GTIN}(21)SN0002`],
    ['two labels with their identifiers', ']C0SN0001]C0SN0002'],
    ['two labels on two lines', 'SN0001\rSN0002'],
    ['two labels with a tab between', 'SN0001\tSN0002'],
    ['two labels between STX and ETX', '\u0002SN0001\u0003\u0002SN0002\u0003'],
    ['a lost key', 'SN\ufffd0001'],
    ['a mangled separator', `]d201${GTIN}10LOT-7^21SN0001`],
    ['a zero-width character', 'SN\u200b0001'],
    ['a direction mark', 'SN0001\u200f'],
    ['an envelope without separators', '[)>06S123451PABC'],
    ['an envelope that is cut off', `[)>${RS}06${GS}SSN0001`],
    ['an envelope with two serials', `[)>${RS}06${GS}SSN0001${GS}SSN0002${RS}${EOT}`],
    ['an envelope with two labels', `[)>${RS}06${GS}SSN0001${RS}06${GS}SSN0002${RS}${EOT}`],
    ['an envelope without a serial', `[)>${RS}06${GS}1PABC${RS}${EOT}`],
    ['a link without a serial', `https://id.gs1.org/01/${GTIN}`],
    ['a link with a wrong GTIN', 'https://id.gs1.org/01/09506000134351/21/SN0001'],
    ['a link with two serials', `https://id.gs1.org/01/${GTIN}/21/SN0001?21=SN0002`],
    ['a badly escaped link', `https://id.gs1.org/01/${GTIN}/21/SN%E0%A4%A`],
  ])('with %s is refused', (_what, text) => {
    expect(readLabel(text)).toMatchObject({ serial: null });
  });

  test('in full-width characters is read as what it shows', () => {
    expect(serialOf('ＳＮ０００１')).toBe('SN0001');
  });
});

describe('a separator that was lost', () => {
  test('never makes one serial of two fields', () => {
    for (const text of [
      `]d201${GTIN}21SN000110LOT-7`,
      `${GS}01${GTIN}21SN000110LOT-7`,
      `01${GTIN}21SN000110LOT-7`,
      `]d201${GTIN}21SN0001+10LOT-7`,
      `21SN000101${GTIN}`,
      `[)>${RS}06${GS}SSN00011PABC${RS}${EOT}`,
    ]) {
      expect(found(text)).toMatch(/^LABEL_(AMBIGUOUS|DAMAGED)$/);
      expect(found(text, { pattern: '^SN\\d{4}$' })).not.toMatch(/^SN/);
    }
  });

  test('is no matter where pattern or list tell where the serial ends', () => {
    expect(found(`]d201${GTIN}21SN001012`)).toBe('LABEL_AMBIGUOUS');
    expect(found(`]d201${GTIN}21SN001012`, { pattern: '^SN\\d{6}$' })).toBe('SN001012');
    expect(found(`]d201${GTIN}21SN001012`, {}, ['SN001012'])).toBe('SN001012');
    expect(found(`]d201${GTIN}21SN001012`, {}, ['SN001012', 'SN00'])).toBe('LABEL_AMBIGUOUS');
  });

  test('leaves the batch unknown where nothing tells its end', () => {
    expect(readLabel(`]d201${GTIN}10A17261231`)).toMatchObject({ serial: null });
    expect(readLabel(`(01)${GTIN}(10)A17261231(21)SN0001`)).toMatchObject({ batch: 'A17261231' });
  });
});

describe('a product that says more of its labels', () => {
  test('and demands its GTIN takes no label without it', () => {
    const demands = { gtin: GTIN, require: true };
    expect(found(`(01)${GTIN}(21)SN0001`, demands)).toBe('SN0001');
    expect(found(`01${GTIN}21SN0001`, demands)).toBe('SN0001');
    expect(found('SN0001', demands)).toBe('LABEL_WITHOUT_GTIN');
    expect(found('21SN0001', demands)).toBe('LABEL_WITHOUT_GTIN');
    expect(found('(21)SN0001', demands)).toBe('LABEL_WITHOUT_GTIN');
    expect(found(`(01)${OTHER_GTIN}(21)SN0001`, demands)).toBe('LABEL_OF_OTHER_PRODUCT');
    expect(found('SN0001', { gtin: GTIN })).toBe('SN0001');
  });

  test("does not take its own GTIN's bars for a serial", () => {
    expect(found(']E09506000134352', { gtin: GTIN })).toBe('LABEL_INVALID');
  });

  test('and names a GTIN that cannot be is told so', () => {
    const problem = (label: object) =>
      productFile.safeParse({ product: 'p', protocol: 'smp', label }).error?.issues[0]?.message;
    expect(problem({ gtin: '9506000134351' })).toBe('the check digit of this GTIN is wrong');
    expect(problem({ gtin: '123456789' })).toBe('a GTIN of 8, 12, 13 or 14 digits');
    expect(problem({ require: true })).toBe('demands the GTIN that gtin names: add it');
    expect(rule({ gtin: '9506000134352' }).gtin).toBe(GTIN);
  });

  test('is told when only the case differs', () => {
    expect(found('sn0001', { pattern: '^SN\\d{4}$' })).toBe('LABEL_CASE_DIFFERS');
    expect(found('sn0001', { pattern: '^[Ss][Nn]\\d{4}$' })).toBe('sn0001');
    expect(found('sn0001', {}, ['SN0001'])).toBe('LABEL_CASE_DIFFERS');
    expect(found('XX0001', { pattern: '^SN\\d{4}$' })).toBe('LABEL_INVALID');
  });

  test('by a pattern finds the serial in a link, and none in two labels', () => {
    expect(found('https://example.com/u?sn=SN0001')).toBe('LABEL_INVALID');
    expect(found('https://example.com/u?sn=SN0001', { pattern: 'sn=(SN\\d{4})$' })).toBe('SN0001');
    expect(found('SN0001SN0002', { pattern: 'SN\\d{4}' })).toBe('LABEL_DAMAGED');
    expect(found('SN0001SN0001', { pattern: 'SN\\d{4}' })).toBe('SN0001');
  });
});

/** What BWIPP says of an element on its own: the name of its refusal, null when it takes it. */
function bwippRefusal(identifier: string, value: string): string | null {
  try {
    bwipjs.raw({ bcid: 'gs1datamatrix', text: `(${identifier})${value}` });
    return null;
  } catch (error) {
    return /GS1\w+/.exec(String(error))?.[0] ?? String(error);
  }
}
const wrongLength = new Set(['GS1valueTooShort', 'GS1valueTooLong']);

describe('the table of application identifiers', () => {
  test('has every identifier that BWIPP has, and no other', () => {
    const all = [100, 1000, 10_000].flatMap((end) =>
      Array.from({ length: end }, (_, number) => String(number).padStart(String(end).length - 1, '0')),
    );
    const theirs = all.filter((identifier) => bwippRefusal(identifier, '0') !== 'GS1unknownAI');
    expect([...gs1Fields.keys()].toSorted()).toEqual(theirs.toSorted());
  });

  test('has the lengths that BWIPP has', () => {
    for (const { identifier, minLength, maxLength, holds } of gs1Fields.values()) {
      for (let length = 1; length <= maxLength + 1; length++) {
        const refusal = bwippRefusal(identifier, '1'.repeat(length));
        const fits = !wrongLength.has(refusal ?? '');
        // Their linters tell a part that is cut in two from its length.
        if (!fits || holds('1'.repeat(length)))
          expect([identifier, length, holds('1'.repeat(length))]).toEqual([identifier, length, fits]);
        if (length < minLength || length > maxLength)
          expect([identifier, length, fits]).toEqual([identifier, length, false]);
      }
    }
  });

  test('has no identifier that begins like another one', () => {
    const identifiers = [...gs1Fields.keys()];
    expect(identifiers.filter((one) => identifiers.some((other) => other !== one && other.startsWith(one)))).toEqual(
      [],
    );
  });

  test('knows check digits (samples of the GS1 General Specifications and of ISBN)', () => {
    for (const good of ['9506000134352', '09506000134352', '9780306406157', '36000291452', '73513537'].map((each) =>
      each.padStart(8, '0'),
    ))
      expect([good, checkDigitHolds(good)]).toEqual([good, true]);
    expect(checkDigitHolds('9506000134351')).toBe(false);
  });
});

/** Elements to build labels of: written down from the GS1 General Specifications, not taken from the table under test. */
const alphanumeric = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!"%&\'()*+,-./:;<=>?_';
const text = (minLength: number, maxLength: number) =>
  fc.string({ unit: fc.constantFrom(...alphanumeric), minLength, maxLength });
const digits = (minLength: number, maxLength = minLength) =>
  fc.string({ unit: fc.constantFrom(...'0123456789'), minLength, maxLength });
const weighed = (body: string) =>
  [...body].toReversed().reduce((sum, digit, index) => sum + Number(digit) * (index % 2 === 0 ? 3 : 1), 0);
const gtin = digits(13).map((body) => `${body}${(10 - (weighed(body) % 10)) % 10}`);
const fixed = {
  '11': digits(6),
  '17': digits(6),
  '20': digits(2),
  '414': digits(13),
  '3103': digits(6),
  '3925': digits(1, 15),
};
const others = fc.record(
  {
    '11': fixed['11'],
    '17': fixed['17'],
    '20': fixed['20'],
    '414': fixed['414'],
    '3103': fixed['3103'],
    '10': text(1, 20),
    '240': text(1, 30),
    '30': digits(1, 8),
    '422': digits(3),
    '711': text(1, 20),
    '8008': digits(8),
    '91': text(1, 90),
    '99': text(1, 90),
  },
  { requiredKeys: [] },
);
const needsNoSeparator = new Set(['01', '11', '17', '20', '414', '3103']);
const unit = fc
  .record({ gtin, serial: text(1, 20), others, order: fc.array(fc.nat(), { minLength: 16, maxLength: 16 }) })
  .map(({ gtin, serial, others, order }) => {
    const fields = Object.entries({ ...others, '01': gtin, '21': serial } as Record<string, string>);
    const rank = new Map(fields.map(([identifier], index) => [identifier, order[index] ?? 0]));
    return fields.toSorted(([a], [b]) => (rank.get(a) ?? 0) - (rank.get(b) ?? 0));
  });
/** An element string: each element as text, with whether a separator stands behind it. */
const pieces = (fields: readonly (readonly [string, string])[]) =>
  fields.map(([identifier, value], index) => ({
    piece: `${identifier}${value}`,
    separated: !needsNoSeparator.has(identifier) && index < fields.length - 1,
  }));
const joined = (parts: readonly { piece: string; separated: boolean }[]) =>
  parts.map(({ piece, separated }) => `${piece}${separated ? GS : ''}`).join('');

describe('GS1 element strings at random', () => {
  test('are read back field by field', () => {
    fc.assert(
      fc.property(unit, fc.constantFrom(']C1', ']d2', ']Q3', ']e0', GS), (fields, mark) => {
        const values = new Map(fields);
        const label = readLabel(`${mark}${joined(pieces(fields))}`);
        expect(label).toMatchObject({ serial: values.get('21'), gtin: values.get('01') });
        if (label.serial !== null && label.batch !== null) expect(label.batch).toBe(values.get('10'));
      }),
      { numRuns: 500 },
    );
  });

  test('never yield a serial that is not theirs when separators are lost or mangled', () => {
    fc.assert(
      fc.property(
        unit,
        fc.array(fc.constantFrom('', GS, '+', '^', '\ufffd', '|', ' '), { minLength: 16, maxLength: 16 }),
        fc.constantFrom(']C1', ']d2', GS, ''),
        (fields, instead, mark) => {
          const damaged = pieces(fields)
            .map(({ piece, separated }, index) => `${piece}${separated ? instead[index] : ''}`)
            .join('');
          const serial = new Map(fields).get('21');
          // Without mark and separators a label may look plain: it is one text then, and no profile that demands a GTIN takes it.
          const label = { gtin: new Map(fields).get('01'), require: true };
          const outcome = found(`${mark}${damaged}`, label);
          if (!outcome.startsWith('LABEL_')) expect(outcome).toBe(serial);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('are refused with junk inside', () => {
    const junk = fc.constantFrom('\ufffd', '\u200b', '\0', '\u0003', '^', '~', '{', '[', ']', '#', ' ', '\u00e9');
    fc.assert(
      fc.property(unit, junk, fc.nat(), (fields, character, place) => {
        const whole = joined(pieces(fields));
        const at = 1 + (place % (whole.length - 1));
        expect(found(`]d2${whole.slice(0, at)}${character}${whole.slice(at)}`)).toMatch(/^LABEL_/);
      }),
      { numRuns: 500 },
    );
  });
});
