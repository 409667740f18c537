import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Clock } from '../clock.ts';
import type { ComparisonPage, LogComparison, LogReading } from '../contract/comparison.ts';
import { type ErrorCode, StationError } from '../contract/errors.ts';

const TIMEOUT_MS = 60_000;

/** What the comparing thread is asked. */
export interface ComparisonRequest extends LogReading {
  readonly directory: string;
  readonly id: string;
  readonly attachment: number;
}

/** What it answers, once. */
export type ComparisonAnswer =
  | { readonly comparison: LogComparison; readonly text: string }
  | { readonly code: ErrorCode; readonly detail: string };

/**
 * Compares logs, each comparison in a thread of its own: long logs, and patterns that people write, must never hold up a tray. The last
 * comparison is kept, so that a screen can fetch its rows page by page.
 */
export class Comparisons {
  readonly #directory: string;
  readonly #clock: Clock;
  #last: { readonly key: string; readonly done: Promise<{ comparison: LogComparison; text: string }> } | null = null;

  constructor(directory: string, clock: Clock) {
    this.#directory = directory;
    this.#clock = clock;
  }

  /** @throws StationError COMPARISON_TIMEOUT, and as `compareAttempt` */
  async page(
    id: string,
    attachment: number,
    { format, pattern }: LogReading,
    from: number,
    count: number,
  ): Promise<ComparisonPage> {
    const request = { directory: this.#directory, id, attachment, format, pattern };
    const key = JSON.stringify(request);
    if (this.#last?.key !== key) {
      this.#last = { key, done: this.#compare(request) };
      this.#last.done.catch(() => {
        if (this.#last?.key === key) this.#last = null;
      });
    }
    const { comparison, text } = await this.#last.done;
    const { rows } = comparison;
    return { ...comparison, rows: rows.slice(from, from + count), from, totalRows: rows.length, text };
  }

  async #compare(request: ComparisonRequest): Promise<{ comparison: LogComparison; text: string }> {
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const worker = new Worker(new URL(`./comparison-worker.${extension}`, import.meta.url), { workerData: request });
    const timeout = new AbortController();
    const cancel = this.#clock.after(TIMEOUT_MS, () => timeout.abort());
    try {
      const [answer] = (await once(worker, 'message', { signal: timeout.signal })) as [ComparisonAnswer];
      if ('code' in answer) throw new StationError(answer.code, answer.detail);
      return answer;
    } catch (error) {
      if (timeout.signal.aborted) throw new StationError('COMPARISON_TIMEOUT', `${TIMEOUT_MS / 1000} s`);
      throw error;
    } finally {
      cancel();
      await worker.terminate();
    }
  }
}
