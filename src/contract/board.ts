import type { ErrorCode } from './errors.ts';
import type { Outcome, Proof, StepName } from './records.ts';

/** Where the tray stands: `loading` units are placed; `ended` results stay until the next tray. */
export type Phase = 'no-job' | 'loading' | 'running' | 'stopping' | 'ended';

/** `expected`: the work order places a unit here that nobody has scanned; `waiting`: it has its turn to come. */
export type TileState = 'empty' | 'expected' | 'placed' | 'waiting' | 'working' | 'retrying' | 'ended';

/** One place of the tray, or one unit without a place. */
export interface Tile {
  /** Null when no scan, fixture or identification has placed the unit. */
  readonly slot: string | null;
  readonly unit: string | null;
  readonly state: TileState;
  readonly step: StepName | null;
  readonly outcome: Outcome | null;
  readonly proof: Proof | null;
  readonly code: ErrorCode | null;
  readonly detail: string | null;
  /** 0 before the first. */
  readonly attempt: number;
  readonly attemptId: string | null;
  readonly radio: string | null;
  readonly rssi: number | null;
  readonly totalBytes: number;
  readonly quarantined: boolean;
  /** Heard advertising lately, before the tray runs. */
  readonly heard: boolean;
}

/** Firmware as an operator is shown it. */
export interface FirmwareLabel {
  readonly sha256: string;
  readonly fileName: string;
  readonly version: string;
  readonly images: readonly {
    readonly index: number;
    readonly version: string;
    readonly hash: string;
    readonly bytes: number;
    /** What kind of image it is, in terms: hash, signatures or `unsigned`, `pure`, `encrypted`, `compressed`. */
    readonly traits: readonly string[];
  }[];
}

/** The work order that is loaded. */
export interface LoadedJob {
  readonly name: string;
  readonly product: string;
  readonly profileHash: string;
  readonly firmware: FirmwareLabel;
  readonly rows: number;
  readonly columns: number;
  /** Whether only listed units may be written. */
  readonly listed: boolean;
}

/** A radio as the banner shows it. */
export interface RadioState {
  readonly name: string;
  readonly state: 'ready' | 'lost';
  readonly address: string | null;
  /** Units that it is connected to now, or about to be. */
  readonly links: number;
  /** How many of them upload now; the others wait for an erase, a restart, an answer. */
  readonly uploading: number;
  /** Links of this run, or of the last one, that failed on it. */
  readonly failures: number;
  /** How many links its controller carries, once that is known. */
  readonly linkLimit: number | null;
  readonly controller: ControllerFacts | null;
  readonly detail: string | null;
}

/** What a controller says it can; null where the platform does not tell. */
export interface ControllerFacts {
  /** Buffers for data on their way, and octets that each holds. */
  readonly aclBuffers: number;
  readonly aclOctets: number;
  readonly encryption: boolean;
  /** Packets of up to 251 octets. */
  readonly dataLength: boolean;
  readonly phy2M: boolean;
  /** How long a packet takes to the controller and its answer back, together and at least, in milliseconds. */
  readonly roundTripMs: number;
}

/** A unit in the air that is not placed. */
export interface HeardUnit {
  readonly serial: string;
  readonly rssi: number;
  /** Why it would be refused, if it would. */
  readonly code: ErrorCode | null;
}

/** Something that went wrong beside the units: a radio lost, records that cannot be written. */
export interface Notice {
  readonly code: ErrorCode;
  readonly detail: string;
}

/** All of the board but its tiles. */
export interface BoardHead {
  readonly phase: Phase;
  readonly job: LoadedJob | null;
  /** The slot that the next scan fills. */
  readonly cursor: string | null;
  /** ISO time. */
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly outcome: 'pass' | 'fail' | 'aborted' | null;
  readonly code: ErrorCode | null;
  /** How many trays of this work order have been run since it was loaded. */
  readonly trayNumber: number;
  readonly radios: readonly RadioState[];
  readonly air: readonly HeardUnit[];
  readonly notices: readonly Notice[];
}

/** The tray as every screen shows it. */
export interface Board {
  readonly head: BoardHead;
  readonly tiles: readonly Tile[];
  readonly gauges: readonly Gauge[];
}

/** What changes many times a second and may be skipped: how far a tile is, in thousandths, and its bytes per second. */
export interface Gauge {
  readonly permille: number;
  readonly bytesPerSecond: number;
}

/** What of a board has changed. `tiles` holds indexes; with `length` tiles beyond it are gone. */
export interface BoardChange {
  readonly head?: Partial<BoardHead>;
  readonly tiles?: readonly (readonly [index: number, change: Partial<Tile>])[];
  readonly length?: number;
}

/** A tile with nothing in it. */
export function emptyTile(slot: string | null): Tile {
  return {
    slot,
    unit: null,
    state: 'empty',
    step: null,
    outcome: null,
    proof: null,
    code: null,
    detail: null,
    attempt: 0,
    attemptId: null,
    radio: null,
    rssi: null,
    totalBytes: 0,
    quarantined: false,
    heard: false,
  };
}

/** The slots of a tray in reading order: A1, A2 … B1. */
export function slotNames(rows: number, columns: number): string[] {
  return Array.from({ length: rows * columns }, (_, index) => {
    const row = String.fromCharCode(65 + Math.floor(index / columns));
    return `${row}${(index % columns) + 1}`;
  });
}

/** The board after a change. */
export function applyChange(board: Board, change: BoardChange): Board {
  const tiles = board.tiles.slice(0, change.length ?? board.tiles.length);
  for (const [index, part] of change.tiles ?? []) tiles[index] = { ...(tiles[index] ?? emptyTile(null)), ...part };
  const gauges = tiles.map((_, index) => board.gauges[index] ?? { permille: 0, bytesPerSecond: 0 });
  return { head: { ...board.head, ...change.head }, tiles, gauges };
}
