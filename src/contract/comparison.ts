import type { Finding } from './findings.ts';

/** What either side has of one value: `1`, `0` or `data 23`. */
export interface ComparedRow {
  readonly device: { readonly line: number; readonly timeMs: number | null; readonly what: string } | null;
  readonly station: { readonly number: number; readonly timeMs: number; readonly what: string } | null;
  /** What the controller delivered as the value of that number; null without a capture, or without a station value. */
  readonly hci: string | null;
}

/** Ways in which a device's log is understood: presets, or an expression of one's own. */
export interface LogReading {
  readonly format?: string | undefined;
  readonly pattern?: string | undefined;
}

/** A device's log against the station's frame log. */
export interface LogComparison {
  /** Which pattern its lines were understood by; `device capture` or `air capture` for a capture. */
  readonly format: string;
  readonly lines: number;
  readonly deviceEvents: number;
  readonly stationValues: number;
  readonly hciValues: number | null;
  /** How the device's clock lies to the station's, over all values that both have. */
  readonly clock: { readonly offsetMs: number; readonly driftPpm: number } | null;
  /** Values that both have at different places; that only the device has; that only the station has. */
  readonly reordered: number;
  readonly onlyDevice: number;
  readonly onlyStation: number;
  /** The row at which the two part; null when they agree. */
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
