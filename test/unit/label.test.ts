import { describe, expect, test } from 'vitest';
import { readLabel } from '../../src/contract/label.ts';

const GS = '\u001d';

describe('a label', () => {
  test('without GS1 marks is a serial', () => {
    expect(readLabel(' SN0001 ')).toEqual({ serial: 'SN0001', gtin: null, batch: null });
  });

  test('in brackets yields serial, GTIN and batch', () => {
    expect(readLabel('(01)09506000134352(10)LOT-7(21)SN0001')).toEqual({
      serial: 'SN0001',
      gtin: '09506000134352',
      batch: 'LOT-7',
    });
  });

  test('with a symbology identifier is read to its separators', () => {
    const label = { serial: 'SN0001', gtin: '09506000134352', batch: 'LOT-7' };
    expect(readLabel(`]d20109506000134352${'10'}LOT-7${GS}21SN0001`)).toEqual(label);
    expect(readLabel(`]C10109506000134352${'21'}SN0001${GS}10LOT-7`)).toEqual(label);
    expect(readLabel(`${GS}0109506000134352${'17'}271231${'10'}LOT-7${GS}21SN0001`)).toEqual(label);
  });

  test.each([
    ['nothing', '  '],
    ['a GTIN with a wrong check digit', '(01)09506000134351(21)SN0001'],
    ['no serial', '(01)09506000134352'],
    ['an unknown element', ']d2990001'],
    ['a GTIN cut short', ']d2010950600'],
    ['brackets with something outside', '(21)SN0001(x)'],
  ])('with %s is none', (_what, text) => {
    expect(readLabel(text)).toBeNull();
  });
});
