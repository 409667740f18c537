import type { Clock } from '../clock.ts';
import type { BoardChange } from '../contract/board.ts';
import { INITIAL_CREDIT, type ServerMessage } from '../contract/channel.ts';
import type { BoardStore } from './board-store.ts';

/** At most 20 gauge messages a second. */
const GAUGES_EVERY_MS = 50;
/** Rates are read, not watched: twice a second will do. */
const RATES_EVERY_TICKS = 10;

/** A window that has this much before it does not look. */
const MAX_BACKLOG_BYTES = 1024 * 1024;

/** Where a feed's messages go. */
export interface Outlet {
  send(message: ServerMessage): void;
  /** Bytes sent and not yet taken. */
  backlog(): number;
}

/**
 * One window's view of the board: a snapshot, then every change in order and as it happens; gauges sampled, and only as fast as the
 * window draws them. After a gap a snapshot heals.
 */
export class LiveFeed {
  readonly #board: BoardStore;
  readonly #outlet: Outlet;
  readonly #clock: Clock;
  #sequence = 0;
  /** The window has stopped taking messages: it is sent nothing until it has, and then a snapshot. */
  #behind = false;
  #credit = INITIAL_CREDIT;
  #tick = 0;
  #permille: number[] = [];
  #rates: number[] = [];
  #cancel: () => void = () => undefined;
  readonly #unlisten: () => void;

  constructor(board: BoardStore, outlet: Outlet, clock: Clock) {
    this.#board = board;
    this.#outlet = outlet;
    this.#clock = clock;
    this.#unlisten = board.onChange((change) => this.#change(change));
    this.snapshot();
    this.#schedule();
  }

  /** The whole board, as at the beginning and after a gap. */
  snapshot(): void {
    const { board } = this.#board;
    this.#behind = false;
    this.#permille = board.gauges.map(({ permille }) => permille);
    this.#rates = board.gauges.map(({ bytesPerSecond }) => bytesPerSecond);
    this.#outlet.send({ type: 'snapshot', sequence: this.#sequence, board });
  }

  /** The window has drawn one gauges message. */
  drawn(): void {
    this.#credit = Math.min(this.#credit + 1, INITIAL_CREDIT);
  }

  stop(): void {
    this.#unlisten();
    this.#cancel();
  }

  #change(change: BoardChange): void {
    this.#behind ||= this.#outlet.backlog() > MAX_BACKLOG_BYTES;
    if (!this.#behind) this.#outlet.send({ type: 'change', sequence: ++this.#sequence, change });
  }

  #schedule(): void {
    this.#cancel = this.#clock.after(GAUGES_EVERY_MS, () => {
      if (!this.#behind) this.#sendGauges();
      else if (this.#outlet.backlog() === 0) this.snapshot();
      this.#schedule();
    });
  }

  #sendGauges(): void {
    if (this.#credit === 0) return;
    const withRates = this.#tick++ % RATES_EVERY_TICKS === 0;
    const progress: number[] = [];
    const rates: number[] = [];
    for (const [index, { permille, bytesPerSecond }] of this.#board.gauges.entries()) {
      if (this.#permille[index] !== permille) {
        this.#permille[index] = permille;
        progress.push(index, permille);
      }
      if (withRates && this.#rates[index] !== bytesPerSecond) {
        this.#rates[index] = bytesPerSecond;
        rates.push(index, bytesPerSecond);
      }
    }
    if (progress.length === 0 && rates.length === 0) return;
    this.#credit -= 1;
    this.#outlet.send({ type: 'gauges', sequence: ++this.#sequence, progress, rates });
  }
}
