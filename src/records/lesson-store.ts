import { type LearntFacts, type LearntProduct, NOTHING_LEARNT } from '../contract/learnt.ts';
import type { WriterPort } from './record-writer.ts';

/** Times are averaged over about so many units, so that one odd unit does not set them. */
const SMOOTHING = 0.3;

/**
 * What units taught of the servers of a product, by the firmware that they ran (version and beginning of the hash): another firmware's server
 * may behave otherwise. It survives restarts; a lesson that proves wrong is forgotten.
 */
export class LessonStore {
  readonly #port: WriterPort;

  constructor(port: WriterPort) {
    this.#port = port;
  }

  learnt(product: string, running: string): LearntFacts {
    const rows = this.#port.all('SELECT name, value FROM lesson WHERE product = ? AND running = ?', product, running);
    const facts = Object.fromEntries(
      rows.map(({ name, value }) => [String(name), JSON.parse(String(value)) as unknown]),
    );
    return { ...NOTHING_LEARNT, ...facts };
  }

  /** Keeps a lesson; null forgets what was known. Times are averaged with what earlier units took. */
  learn(product: string, running: string, lesson: Partial<LearntFacts>): void {
    const known = this.learnt(product, running);
    this.#port.write(() => {
      for (const name of ['frames', 'longestFrame', 'window', 'eraseMs', 'restartMs'] as const) {
        const value = lesson[name];
        if (value === undefined) continue;
        if (value === null) {
          this.#port.run('DELETE FROM lesson WHERE product = ? AND running = ? AND name = ?', product, running, name);
          continue;
        }
        this.#port.run(
          `INSERT INTO lesson (product, running, name, value, units, learnt_at) VALUES (?, ?, ?, ?, 1, ?)
           ON CONFLICT (product, running, name) DO UPDATE SET value = excluded.value, units = units + 1, learnt_at = excluded.learnt_at`,
          product,
          running,
          name,
          JSON.stringify(name === 'eraseMs' || name === 'restartMs' ? averaged(known[name], Number(value)) : value),
          this.#port.now(),
        );
      }
    });
  }
}

function averaged(known: number | null, value: number): number {
  return Math.round(known === null ? value : known + SMOOTHING * (value - known));
}

/** The rows that `learntProducts` reads. */
export const LESSONS =
  'SELECT running, name, value, units, learnt_at AS learntAt FROM lesson WHERE product = ? ORDER BY learnt_at DESC, name';

/** What was learnt of a product, by firmware, the latest first, from the rows of `LESSONS`. */
export function learntProducts(rows: readonly Record<string, unknown>[]): LearntProduct[] {
  const byFirmware = Map.groupBy(rows, ({ running }) => String(running));
  return [...byFirmware].map(([running, lessons]) => ({
    running,
    learntAt: String(lessons[0]?.learntAt),
    units: Math.max(...lessons.map(({ units }) => Number(units))),
    facts: {
      ...NOTHING_LEARNT,
      ...Object.fromEntries(lessons.map(({ name, value }) => [String(name), JSON.parse(String(value)) as unknown])),
    },
  }));
}
