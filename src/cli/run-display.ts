import { sentences } from '../contract/errors.ts';
import { visible, visibleLines } from '../contract/foreign-text.ts';
import type { JobEvent, JobSummary } from '../contract/job-events.ts';
import { textTable } from '../diagnostics/text-table.ts';
import { outcomeText } from './outcome-text.ts';

const REDRAW_MS = 100;
const BAR_CELLS = 24;

interface Line {
  text: string;
  done: number;
  total: number;
  startedMs: number;
}

/** Where output goes; a terminal has `isTTY`. */
interface Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** A run on a terminal: one line a unit, redrawn in place; plain lines when the output is no terminal. */
export class RunDisplay {
  readonly #output: Output;
  readonly #lines = new Map<string, Line>();
  #drawn = 0;
  #lastDrawMs = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  show(event: JobEvent): void {
    switch (event.type) {
      case 'job-started':
        if (event.practice) this.#say('PRACTICE: virtual devices; nothing of this counts as production.');
        return this.#say(`Job ${event.job}: ${event.firmware} over ${event.radios.join(', ')}`);
      case 'unit-found':
        return this.#set(event.unit, 'found', 0, 0);
      case 'unit-refused':
        return this.#say(`${event.unit} refused: ${event.code} ${sentences[event.code]} ${event.detail}`.trimEnd());
      case 'attempt-started':
        return this.#set(event.unit, event.number === 1 ? 'started' : `attempt ${event.number}`, 0, 0);
      case 'step':
        return this.#set(event.unit, event.step);
      case 'progress':
        return this.#set(event.unit, 'upload', event.bytes, event.totalBytes, true);
      case 'attempt-ended': {
        const why = event.code ? ` ${event.code}${event.detail ? ` (${event.detail})` : ''}` : '';
        return this.#set(event.unit, `${outcomeText(event)}${why}${event.willRetry ? ', trying again' : ''}`, 0, 0);
      }
      case 'unit-quarantined':
        return this.#say(`${event.unit} is quarantined: ${event.code}`);
      case 'radio-load':
        return;
      case 'radio-lost':
        return this.#say(`Radio ${event.radio} lost: ${event.detail}`);
      case 'summary':
        this.#draw(true);
        this.#drawn = 0;
        this.#lines.clear();
        return this.#say(summaryText(event));
    }
  }

  #set(name: string, said: string, done?: number, total?: number, frequent = false): void {
    const unit = visible(name);
    const text = visible(said);
    const line = this.#lines.get(unit) ?? { text: '', done: 0, total: 0, startedMs: performance.now() };
    this.#lines.set(unit, line);
    line.text = text;
    line.done = done ?? line.done;
    line.total = total ?? line.total;
    if (this.#output.isTTY) this.#draw(!frequent);
    else if (!frequent) this.#output.write(`${unit}  ${text}\n`);
  }

  #say(text: string): void {
    if (this.#output.isTTY && this.#drawn > 0) this.#output.write(`\x1b[${this.#drawn}A\x1b[J`);
    this.#drawn = 0;
    this.#output.write(`${visibleLines(text)}\n`);
    if (this.#output.isTTY && this.#lines.size > 0) this.#draw(true);
  }

  #draw(now: boolean): void {
    if (!this.#output.isTTY) return;
    const ms = performance.now();
    if (!now && ms - this.#lastDrawMs < REDRAW_MS) return;
    this.#lastDrawMs = ms;
    const width = Math.max(...[...this.#lines.keys()].map((unit) => unit.length));
    // A terminal that does not know its width says 0.
    const columns = this.#output.columns || 80;
    const rows = [...this.#lines].map(([unit, line]) =>
      `${unit.padEnd(width)}  ${bar(line)}${line.text}`.slice(0, columns - 1),
    );
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : '';
    this.#output.write(`${up}${rows.map((row) => `\x1b[2K${row}\n`).join('')}`);
    this.#drawn = rows.length;
  }
}

function bar({ done, total }: Line): string {
  if (total === 0 || done === 0) return '';
  const share = done / total;
  const full = Math.round(share * BAR_CELLS);
  return `${'█'.repeat(full)}${'░'.repeat(BAR_CELLS - full)} ${String(Math.floor(share * 100)).padStart(3)} %  `;
}

/** The table of results and the tray's outcome in one sentence. */
export function summaryText(summary: JobSummary): string {
  const heads = ['unit', 'slot', 'outcome', 'code', 'attempts', 'kB/s', 'resumed at', 'image hash', 'seconds'];
  const rows = summary.units.map((unit) => [
    unit.unit,
    unit.slot,
    outcomeText(unit),
    unit.code,
    unit.attempts,
    unit.bytesPerSecond === null ? null : Number((unit.bytesPerSecond / 1000).toFixed(1)),
    unit.resumedFrom,
    unit.images.map((image) => `${image.hash.slice(0, 12)} ${image.verified}`).join(' ') || null,
    Number((unit.durationMs / 1000).toFixed(1)),
  ]);
  const counts = Map.groupBy(summary.units, outcomeText);
  const tally = [...counts].map(([outcome, units]) => `${units.length} ${outcome}`).join(', ');
  const why = summary.code ? ` ${summary.code}: ${sentences[summary.code]}` : '';
  const table = rows.length > 0 ? `\n${textTable(heads, rows)}\n\n` : '';
  return `${table}${summary.practice ? 'PRACTICE. ' : ''}Job ${summary.job}: ${tally || 'no units'}.${why}`;
}
