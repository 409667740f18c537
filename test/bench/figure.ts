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

/** A share of what is possible: at least `goal` of the limit, and never more than `ceiling`, for then value or limit is wrong. */
export function atLeast(
  name: string,
  value: number,
  limit: number,
  goal: number,
  unit: string,
  ceiling: number = limit,
): Figure {
  const ratio = value / limit;
  return { name, value, unit, limit, ratio, goal: `>= ${goal}`, ok: ratio >= goal && value <= ceiling };
}

/** A figure beside others, held against nothing. */
export function shown(name: string, value: number, limit: number, unit: string): Figure {
  return { name, value, unit, limit, ratio: value / limit, goal: '–', ok: true };
}

/** A cost: at most `goal` times the limit. */
export function atMost(name: string, value: number, limit: number, goal: number, unit: string): Figure {
  const ratio = value / limit;
  return { name, value, unit, limit, ratio, goal: `<= ${goal}`, ok: ratio <= goal };
}
