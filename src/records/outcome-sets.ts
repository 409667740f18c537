import { goodOutcomes, type Outcome, upgradedOutcomes } from '../contract/records.ts';

const list = (outcomes: readonly Outcome[]) => `(${outcomes.map((outcome) => `'${outcome}'`).join(', ')})`;

/** Outcomes as SQL lists them. */
export const GOOD = list(goodOutcomes);
export const UPGRADED = list(upgradedOutcomes);
