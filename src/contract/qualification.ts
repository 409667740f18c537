/** How an expectation came out. `not-tried`: the detail says why; `not-in-recording`: a recording does not hold it. */
export const verdicts = ['held', 'not-held', 'not-tried', 'not-in-recording'] as const;
export type Verdict = (typeof verdicts)[number];

/** One thing that was looked at. */
export interface QualificationCheck {
  readonly name: string;
  /** What a good radio or product does. */
  readonly expectation: string;
  /** What this one does; null when it is not known. */
  readonly found: string | null;
  readonly verdict: Verdict;
  /** Why it was not tried, what follows from what was found, or the attempt that shows it. */
  readonly detail: string | null;
}

/** Checks that belong together. */
export interface QualificationSection {
  readonly title: string;
  readonly checks: readonly QualificationCheck[];
}

/** What `dfu-station qualify` writes: one radio or one product, each expectation held or not. JSON of `--output FILE.json`. */
export interface Qualification {
  readonly kind: 'radio' | 'product';
  /** The radio as it was named; the product and its unit. */
  readonly subject: string;
  /** ISO 8601. */
  readonly takenAt: string;
  readonly appVersion: string;
  readonly practice: boolean;
  readonly sections: readonly QualificationSection[];
  /** YAML with what the profile of the product should say; null for a radio. */
  readonly profile: string | null;
  /** How the unit was left; null for a radio. */
  readonly left: string | null;
}

/** How many checks came out in each way. */
export function tally({ sections }: Pick<Qualification, 'sections'>): Readonly<Record<Verdict, number>> {
  const counts = { held: 0, 'not-held': 0, 'not-tried': 0, 'not-in-recording': 0 };
  for (const { checks } of sections) for (const { verdict } of checks) counts[verdict] += 1;
  return counts;
}
