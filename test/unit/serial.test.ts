import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { quoted, visible, visibleJson, visibleLines } from '../../src/contract/foreign-text.ts';
import { jobFile } from '../../src/contract/job-file.ts';
import { readLabel } from '../../src/contract/label.ts';
import { productFile } from '../../src/contract/product-file.ts';
import { serialProblem } from '../../src/contract/serial.ts';
import { textTable } from '../../src/diagnostics/text-table.ts';
import { readSerial } from '../../src/scheduler/identity.ts';

const bySerial = productFile.parse({ product: 'p', protocol: 'smp', identity: { from: 'dis-serial' } });
const job = (units: unknown, tray?: unknown) => jobFile.safeParse({ job: 'WO-1', units, tray });

describe('a serial', () => {
  test.each(['SN0001', 'a', '12-34/56', 'ACME 7', '批次-07', 'x'.repeat(100)])('%s is taken everywhere', (serial) => {
    expect(serialProblem(serial)).toBeNull();
    expect(readSerial(bySerial, serial)).toEqual({ serial });
    expect(readLabel(serial)).toMatchObject({ serial });
    expect(job([{ serial }]).success).toBe(true);
  });

  test.each([
    ['that is empty', ''],
    ['with a NUL', 'SN\0'],
    ['with an escape', '\x1b[2J'],
    ['with C1 controls', '\x9b2J'],
    ['with a line feed', 'SN1\nSN2'],
    ['with a zero-width character', 'SN\u200b1'],
    ['that writes from right to left', 'SN\u202e1'],
    ['with a blank at its end', 'SN1 '],
    ['that was no text', 'SN\ufffd'],
    ['of 101 characters', 'x'.repeat(101)],
  ])('%s is refused everywhere', (_, serial) => {
    expect(serialProblem(serial)).not.toBeNull();
    expect(readSerial(bySerial, serial)).toMatchObject({ serial: null });
    expect(job([{ serial }]).success).toBe(false);
    if (serial.trim() === serial) expect(readLabel(serial)).toMatchObject({ serial: null });
  });
});

describe('a list of units', () => {
  const why = (units: unknown, tray?: unknown) => job(units, tray).error?.issues[0]?.message ?? null;

  test('with a serial or a slot twice, with twins, or with a slot that the tray has not is refused by a sentence', () => {
    expect(why([{ serial: 'A' }, { serial: 'A' }])).toBe('a serial is listed twice');
    expect(why([{ serial: 'sn1' }, { serial: 'SN1' }])).toBe('SN1 and sn1 differ only in case or width');
    expect(why([{ serial: 'SN1' }, { serial: 'ＳＮ１' }])).toBe('ＳＮ１ and SN1 differ only in case or width');
    expect(
      why([
        { serial: 'A', slot: 'A1' },
        { serial: 'B', slot: 'A1' },
      ]),
    ).toBe('a slot is listed twice');
    const tray = { rows: 2, columns: 4 };
    expect(why([{ serial: 'A', slot: 'C1' }], tray)).toBe('the tray of 2 × 4 has no slot C1');
    expect(why([{ serial: 'A', slot: 'A5' }], tray)).toBe('the tray of 2 × 4 has no slot A5');
    expect(why([{ serial: 'A', slot: 'B4' }], tray)).toBeNull();
  });
});

describe('foreign text', () => {
  test('is shown with nothing in it that a terminal acts upon, and can be told again', () => {
    expect(visible('a\x1b[31mb\x9bc\u200bd')).toBe('a\\x1b[31mb\\x9bc\\u{200b}d');
    expect(visibleLines('a\n\tb\x07')).toBe('a\n\tb\\x07');
    expect(textTable(['unit'], [['\x1b]0;x\x07']])).not.toMatch(/[^\P{C}\n]/u);
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(visible(text)).not.toMatch(/\p{C}/u);
        const json = visibleJson({ text });
        expect(json).not.toMatch(/\p{C}/u);
        expect(JSON.parse(json)).toEqual({ text });
      }),
    );
  });

  test('is quoted in a sentence to a hundred characters, wherever they are cut', () => {
    expect(quoted('1.2\x1b[31m\u200b')).toBe('"1.2\\u001b[31m\\u200b"');
    const long = quoted('\u{1f600}'.repeat(60).replace(/^/, 'x'));
    expect(long).toMatch(/…"$/);
    expect(long).not.toMatch(/\p{C}/u);
    expect(JSON.parse(long)).toHaveLength(101);
  });
});
