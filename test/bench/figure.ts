/** One figure of the benchmark. `ratio` is value / limit and is held against `goal`. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly limit: number;
  readonly ratio: number;
  readonly goal: string;
  readonly ok: boolean;
}

/** The ends of a measurement, and with which packet an answer rides, are worth up to a hundredth. */
const SLACK = 0.01;

/** A share of what is possible: at least `goal`, and never more than all of it, for then value or limit is wrong. */
export function atLeast(name: string, value: number, limit: number, goal: number, unit: string): Figure {
  const ratio = value / limit;
  return { name, value, unit, limit, ratio, goal: `>= ${goal}`, ok: ratio >= goal && ratio <= 1 + SLACK };
}

/** A cost: at most `goal` times the limit. */
export function atMost(name: string, value: number, limit: number, goal: number, unit: string): Figure {
  const ratio = value / limit;
  return { name, value, unit, limit, ratio, goal: `<= ${goal}`, ok: ratio <= goal };
}
