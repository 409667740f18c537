import type { Clock } from '../clock.ts';
import type { BoardChange, Tile } from '../contract/board.ts';
import { INITIAL_CREDIT, type ServerMessage } from '../contract/channel.ts';
import type { BoardStore } from './board-store.ts';

/** At most 20 messages a second of either kind. */
const EVERY_MS = 50;
/** Rates are read, not watched: twice a second will do, a tenth of the tiles at a time, so that no frame has them all to draw. */
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
 * One window's view of the board: a snapshot, then every change, in order, none left out, those of a twentieth of a second together;
 * gauges sampled, and only as fast as the window draws them. After a gap a snapshot heals.
 */
export class LiveFeed {
  readonly #board: BoardStore;
  readonly #outlet: Outlet;
  readonly #clock: Clock;
  #sequence = 0;
  /** The window has stopped taking messages: it is sent nothing until it has, and then a snapshot. */
  #behind = false;
  #credit = INITIAL_CREDIT;
  /** Changes that have not gone out yet. */
  #pending: BoardChange | null = null;
  #lastSentMs = Number.NEGATIVE_INFINITY;
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
    this.#pending = null;
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
    this.#pending = this.#pending ? joined(this.#pending, change) : change;
    // After a pause the first change goes out at once; those behind it wait for the next tick.
    if (this.#clock.now() - this.#lastSentMs >= EVERY_MS) this.#sendChange();
  }

  #sendChange(): void {
    if (!this.#pending) return;
    this.#behind ||= this.#outlet.backlog() > MAX_BACKLOG_BYTES;
    if (!this.#behind) this.#outlet.send({ type: 'change', sequence: ++this.#sequence, change: this.#pending });
    this.#pending = null;
    this.#lastSentMs = this.#clock.now();
  }

  #schedule(): void {
    this.#cancel = this.#clock.after(EVERY_MS, () => {
      this.#sendChange();
      if (!this.#behind) this.#sendGauges();
      else if (this.#outlet.backlog() === 0) this.snapshot();
      this.#schedule();
    });
  }

  #sendGauges(): void {
    if (this.#credit === 0) return;
    const turn = this.#tick++ % RATES_EVERY_TICKS;
    const progress: number[] = [];
    const rates: number[] = [];
    for (const [index, { permille, bytesPerSecond }] of this.#board.gauges.entries()) {
      if (this.#permille[index] !== permille) {
        this.#permille[index] = permille;
        progress.push(index, permille);
      }
      if (index % RATES_EVERY_TICKS === turn && this.#rates[index] !== bytesPerSecond) {
        this.#rates[index] = bytesPerSecond;
        rates.push(index, bytesPerSecond);
      }
    }
    if (progress.length === 0 && rates.length === 0) return;
    this.#credit -= 1;
    this.#outlet.send({ type: 'gauges', sequence: ++this.#sequence, progress, rates });
  }
}

/** Two changes as one: the board is the same after it. */
function joined(first: BoardChange, second: BoardChange): BoardChange {
  const tiles = new Map<number, Partial<Tile>>();
  const add = ([index, part]: readonly [number, Partial<Tile>]) => tiles.set(index, { ...tiles.get(index), ...part });
  const { length = Number.POSITIVE_INFINITY } = second;
  for (const each of first.tiles ?? []) if (each[0] < length) add(each);
  for (const each of second.tiles ?? []) add(each);
  const lengths = [first.length, second.length].filter((length) => length !== undefined);
  return {
    head: { ...first.head, ...second.head },
    tiles: [...tiles],
    ...(lengths.length > 0 ? { length: Math.min(...lengths) } : {}),
  };
}
