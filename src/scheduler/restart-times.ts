/** What is taken for it before the first has come back: no device with an image to move is back sooner. Milliseconds. */
const UNKNOWN_MS = 2000;
/** Of the shortest absence so much is waited before a busy radio searches: no two restarts are quite alike. */
const SURE_SHARE = 0.9;

/** What a job has learnt of how long its units are gone when they restart. */
export class RestartTimes {
  #shortestMs: number | null = null;

  /** For how long a unit that restarts need not be searched for by a radio that has other units to upload to, in milliseconds. */
  get absentMs(): number {
    return (this.#shortestMs ?? UNKNOWN_MS) * SURE_SHARE;
  }

  /** A unit was heard again so long after its link had ended. */
  seen(ms: number): void {
    this.#shortestMs = Math.min(this.#shortestMs ?? ms, ms);
  }
}
