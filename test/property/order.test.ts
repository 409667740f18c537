import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { analyseOrder, OrderAnalyser, type OrderToken } from '../../src/protocols/fus/order.ts';

/** Tokens as a text: 1 a start, 0 an end, d data, D the last data of a frame. */
const tokens = (text: string): OrderToken[] =>
  [...text].map((letter, atMs) => ({
    kind: letter === '1' ? 'open' : letter === '0' ? 'close' : 'data',
    endsFrame: letter === 'D',
    atMs,
  }));
const shapes = (text: string, delimited = true) =>
  analyseOrder(tokens(text), delimited).map(({ shape, frame }) => `${shape} ${frame}`);

describe('the order of a frame', () => {
  test.each([
    ['1D0', []],
    ['1ddD01D0', []],
    ['10D', ['end-before-data 0']],
    ['1d0D1D0', ['end-before-data 0']],
    ['1d0', ['end-before-data 0']],
    ['1D01d0', ['end-before-data 1']],
    ['D10', ['data-before-start 0']],
    ['D01D0', ['missing-start 0']],
    ['1D1D0', ['missing-end 0']],
    ['1D10D0', ['interleaved 0']],
    ['1D1D00', ['interleaved 0']],
    ['11D01D01D01D0', ['duplicate 0']],
    ['1D001D01D01D0', ['duplicate 1']],
    ['1D010D1D0', ['end-before-data 1']],
    ['101D01D01D0', ['end-before-data 0']],
  ])('%s is judged as it is', (text, expected) => {
    expect(shapes(text)).toEqual(expected);
  });

  test.each([
    ['1d0', []],
    ['1dd01d0', []],
    ['10d1d0', ['end-before-data 0']],
    ['10dd1d0', ['end-before-data 0']],
  ])('%s is judged as it is where data do not say where they end', (text, expected) => {
    expect(shapes(text, false)).toEqual(expected);
  });

  test('a pause inside a frame in order is none', () => {
    const analyser = new OrderAnalyser();
    const found = [...tokens('1d')].flatMap((token) => [...analyser.push(token), ...analyser.flush()]);
    expect([...found, ...tokens('D0').flatMap((token) => analyser.push(token))]).toEqual([]);
    expect(analyser.unsettled).toBe(false);
  });

  test('nothing is invented on frames in order, whatever their length and wherever there are pauses', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(4)), fc.array(fc.boolean(), { minLength: 1 }), (lengths, pauses) => {
        const analyser = new OrderAnalyser();
        const all = tokens(lengths.map((length) => `1${'d'.repeat(length)}D0`).join(''));
        const found = all.flatMap((token, index) => [
          ...analyser.push(token),
          ...(pauses[index % pauses.length] ? analyser.flush() : []),
        ]);
        expect(found).toEqual([]);
      }),
    );
  });

  test('whatever comes, every disorder is seen, the memory of it is bounded, and analysis never throws', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('1', '0', 'd', 'D'), { maxLength: 600 }), (letters) => {
        const text = letters.join('');
        const found = shapes(text);
        expect(found.length > 0, text).toBe(!/^(1d*D0)*(1d*D?)?$/.test(text));
      }),
    );
  });
});
