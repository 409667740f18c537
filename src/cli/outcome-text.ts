import type { Outcome, Proof } from '../contract/records.ts';

/** An outcome in capitals, marked where it rests on indirect proof. */
export function outcomeText({
  outcome,
  proof,
}: {
  readonly outcome: Outcome | null;
  readonly proof: Proof | null;
}): string {
  if (outcome === null) return 'running';
  return proof === 'indirect' ? `${outcome.toUpperCase()} (indirect)` : outcome.toUpperCase();
}
