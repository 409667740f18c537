import type { QualificationCheck } from '../contract/qualification.ts';

/** What is known of one thing. */
export interface Finding<T> {
  /** Null when it is not known. */
  readonly value: T | null;
  readonly holds: (value: T) => boolean;
  readonly say: (value: T) => string;
  readonly detail?: string | null | undefined;
  /** Why it is not known. */
  readonly unknown: { readonly verdict: 'not-tried' | 'not-in-recording'; readonly why: string };
}

/** A check by what is known: what is not known is neither held nor missed. */
export function check<T>(name: string, expectation: string, finding: Finding<T>): QualificationCheck {
  const { value, unknown } = finding;
  if (value === null) return { name, expectation, found: null, verdict: unknown.verdict, detail: unknown.why };
  const verdict = finding.holds(value) ? 'held' : 'not-held';
  return { name, expectation, found: finding.say(value), verdict, detail: finding.detail ?? null };
}

/** A check that was not made. */
export function notTried(name: string, expectation: string, why: string): QualificationCheck {
  return { name, expectation, found: null, verdict: 'not-tried', detail: why };
}
