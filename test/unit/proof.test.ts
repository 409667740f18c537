import { expect, test } from 'vitest';
import { countTray } from '../../renderer/floor/tray-figures.ts';
import { outcomeText } from '../../src/cli/outcome-text.ts';
import { emptyTile } from '../../src/contract/board.ts';
import { outcomes, proofOf } from '../../src/contract/records.ts';

const images = (...verified: ('read-back' | 'indirect' | 'no')[]) => verified.map((each) => ({ verified: each }));

test('a good outcome is proven when each image was read back, and indirect when one was not', () => {
  expect(proofOf('pass', images('read-back'))).toBe('read-back');
  expect(proofOf('skipped', images('read-back', 'read-back'))).toBe('read-back');
  expect(proofOf('pass', images('read-back', 'indirect'))).toBe('indirect');
  expect(proofOf('pass', images('no'))).toBe('indirect');
});

test('an outcome that does not say that the images run has no proof', () => {
  for (const outcome of outcomes.filter((each) => each !== 'pass' && each !== 'skipped'))
    expect(proofOf(outcome, images('read-back'))).toBeNull();
  expect(proofOf(null, images('read-back'))).toBeNull();
  expect(proofOf('pass', [])).toBeNull();
});

test('indirect proof is told apart on the command line and counted apart by the banner', () => {
  expect(outcomeText({ outcome: 'pass', proof: 'indirect' })).toBe('PASS (indirect)');
  expect(outcomeText({ outcome: 'pass', proof: 'read-back' })).toBe('PASS');
  const tile = (proof: 'read-back' | 'indirect', unit: string) =>
    ({ ...emptyTile('A1'), unit, state: 'ended', outcome: 'pass', proof }) as const;
  expect(countTray([tile('read-back', 'a'), tile('indirect', 'b')])).toMatchObject({ passed: 2, indirect: 1 });
});
