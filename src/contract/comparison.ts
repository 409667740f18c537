import type { Finding } from './findings.ts';

/** What either side has of one value: `1`, `0` or `data 23`. */
export interface ComparedRow {
  readonly device: { readonly line: number; readonly timeMs: number | null; readonly what: string } | null;
  readonly station: { readonly number: number; readonly timeMs: number; readonly what: string } | null;
  /** What the controller delivered as the value of that number; null without a capture, or without a station value. */
  readonly hci: string | null;
}

/** By what stamp a log's lines are read: `clock` is a time of day, `plain` order alone, `csv` columns of time, event and octets. */
export const logFormats = ['zephyr', 'cycles', 'seconds', 'iso8601', 'clock', 'esp-idf', 'plain', 'csv'] as const;
/** One of them. */
export type LogFormat = (typeof logFormats)[number];

/** What was counted as an event: `data`, or a marker; how often, and the first line of its kind. */
export interface CountedEvent {
  readonly what: string;
  readonly count: number;
  readonly line: number;
  readonly text: string;
}

/** Ways in which a device's log is understood: presets, or an expression of one's own. */
export interface LogReading {
  readonly format?: string | undefined;
  readonly pattern?: string | undefined;
}

/** A device's log against the station's frame log. */
export interface LogComparison {
  /** How its lines were understood; `device capture` or `air capture` for a capture. */
  readonly format: string;
  readonly lines: number;
  readonly deviceEvents: number;
  readonly stationValues: number;
  readonly hciValues: number | null;
  /** How the device's clock lies to the station's, over all values that both have. */
  readonly clock: { readonly offsetMs: number; readonly driftPpm: number } | null;
  /** What was counted as an event in a log of text. */
  readonly counted: readonly CountedEvent[];
  /**
   * `agree`: all that the station saw stands in the log, in the same order. `incomplete`: the log lacks some of it, and the rest has the
   * same order. `differ`: it does not.
   */
  readonly result: 'agree' | 'incomplete' | 'differ';
  /** Values that both have at different places; that only the device has; that only the station has. */
  readonly reordered: number;
  readonly onlyDevice: number;
  readonly onlyStation: number;
  /** The row at which the two part; null when nothing says that they do. */
  readonly divergence: number | null;
  /** What happened there, and where HCI stood. */
  readonly findings: readonly Finding[];
  readonly rows: readonly ComparedRow[];
}

/** A comparison with some of its rows, as a screen fetches it. */
export interface ComparisonPage extends LogComparison {
  readonly from: number;
  readonly totalRows: number;
  /** Finding and the rows around the divergence as text for a support ticket. */
  readonly text: string;
}

/** A file that an engineer laid beside an attempt: a device's log, or a capture from the device's side or the air. */
export interface Attachment {
  /** Counted from 1 within the attempt. */
  readonly number: number;
  readonly fileName: string;
  readonly kind: 'device-log' | 'capture';
  readonly bytes: number;
  readonly sha256: string;
  readonly addedBy: string;
  readonly addedAt: string;
}
