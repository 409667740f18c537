import {
  applyChange,
  type Board,
  type BoardChange,
  type BoardHead,
  emptyTile,
  type Gauge,
  type Tile,
} from '../contract/board.ts';

const emptyHead: BoardHead = {
  phase: 'no-job',
  job: null,
  cursor: null,
  startedAt: null,
  endedAt: null,
  outcome: null,
  code: null,
  trayNumber: 0,
  radios: [],
  air: [],
  notices: [],
};

/** The board: what changes is told to listeners at once and in order; gauges are there to be looked at. */
export class BoardStore {
  #board: Board = { head: emptyHead, tiles: [], gauges: [] };
  #gauges: { permille: number; bytesPerSecond: number }[] = [];
  readonly #listeners = new Set<(change: BoardChange) => void>();

  /** The whole board as it stands. */
  get board(): Board {
    return { ...this.#board, gauges: this.#gauges.map((gauge) => ({ ...gauge })) };
  }

  get head(): BoardHead {
    return this.#board.head;
  }

  get tiles(): readonly Tile[] {
    return this.#board.tiles;
  }

  /** Live: read them, do not keep them. */
  get gauges(): readonly Gauge[] {
    return this.#gauges;
  }

  onChange(listener: (change: BoardChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  change(change: BoardChange): void {
    this.#board = applyChange(this.#board, change);
    this.#gauges = this.#board.tiles.map((_, index) => this.#gauges[index] ?? { permille: 0, bytesPerSecond: 0 });
    for (const listener of this.#listeners) listener(change);
  }

  setHead(head: Partial<BoardHead>): void {
    this.change({ head });
  }

  tile(index: number, change: Partial<Tile>): void {
    this.change({ tiles: [[index, change]] });
  }

  /** Replaces all tiles; gauges begin at nothing. */
  reset(tiles: readonly Tile[], head: Partial<BoardHead>): void {
    this.#gauges = [];
    this.change({
      head,
      length: tiles.length,
      tiles: tiles.map((tile, index) => [index, { ...emptyTile(null), ...tile }]),
    });
  }

  gauge(index: number, gauge: Partial<Gauge>): void {
    const held = this.#gauges[index];
    if (held) Object.assign(held, gauge);
  }
}
