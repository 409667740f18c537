import type { ChangeRow } from '../contract/commands.ts';
import type { WriterPort } from './record-writer.ts';

/** A change as it is written down. */
export interface Change {
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly before?: unknown;
  readonly after?: unknown;
  readonly reason?: string;
}

/** Who changed what about the station, when and why. Append-only. */
export class ChangeLog {
  readonly #port: WriterPort;

  constructor(port: WriterPort) {
    this.#port = port;
  }

  /** Does the work and writes down the change, both or neither. */
  record<T>(change: Change, work: () => T): T {
    return this.#port.write(() => {
      const value = work();
      this.#port.run(
        'INSERT INTO change (at, actor, action, subject, before_json, after_json, reason) VALUES (?, ?, ?, ?, ?, ?, ?)',
        this.#port.now(),
        change.actor,
        change.action,
        change.subject,
        change.before === undefined ? null : JSON.stringify(change.before),
        change.after === undefined ? null : JSON.stringify(change.after),
        change.reason ?? null,
      );
      return value;
    });
  }

  /** A page, the newest first; `before` is the id of the last row of the page before. */
  list(before: number | undefined, limit: number): ChangeRow[] {
    return this.#port
      .all('SELECT * FROM change WHERE id < ? ORDER BY id DESC LIMIT ?', before ?? Number.MAX_SAFE_INTEGER, limit)
      .map((row) => ({
        id: Number(row.id),
        at: String(row.at),
        actor: String(row.actor),
        action: String(row.action),
        subject: String(row.subject),
        before: parsed(row.before_json),
        after: parsed(row.after_json),
        reason: row.reason === null ? null : String(row.reason),
      }));
  }
}

function parsed(json: unknown): unknown {
  return typeof json === 'string' ? JSON.parse(json) : null;
}
