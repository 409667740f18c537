import { StationError } from '../contract/errors.ts';
import type { FusSettings } from '../contract/product-file.ts';
import { attValues } from './att-values.ts';
import type { ReadCapture } from './capture-file.ts';

/** What happened on the device, as one line of its log says it. */
export interface DeviceEvent {
  /** The line, counted from 1. */
  readonly line: number;
  readonly text: string;
  /** Milliseconds of the device's own clock; null where the line has none. */
  readonly timeMs: number | null;
  readonly kind: 'marker' | 'data';
  /** The marker's value. */
  readonly marker: number | null;
  /** Octets of the data; null where the line does not say. */
  readonly bytes: number | null;
}

/** How a log is called that is no text but a capture. */
export const DEVICE_CAPTURE = 'device capture';
export const AIR_CAPTURE = 'air capture';

/**
 * A capture that was taken on the device's side or in the air, as a log of what the device sent.
 * @throws StationError DEVICE_LOG_UNKNOWN when the service's values are not in it
 */
export function deviceCaptureAsLog(settings: FusSettings, { taken, packets }: ReadCapture): DeviceLog {
  const own = new Set([settings.response.uuid, settings.dataOut.uuid]);
  const values = attValues(packets, 'peripheral').filter(({ uuid }) => uuid !== null && own.has(uuid));
  if (values.length === 0)
    throw new StationError('DEVICE_LOG_UNKNOWN', 'no value of the service in the capture, or no discovery');
  const events = values.map(({ uuid, value, timeUs, packet }): DeviceEvent => {
    const marker = uuid === settings.response.uuid ? (value[0] ?? null) : null;
    const line = packet + 1;
    const what = { line, text: value.toString('hex'), timeMs: timeUs / 1000 };
    return marker === null
      ? { ...what, kind: 'data', marker, bytes: value.length }
      : { ...what, kind: 'marker', marker, bytes: null };
  });
  return { events, lines: packets.length, format: taken === 'air' ? AIR_CAPTURE : DEVICE_CAPTURE };
}

/** A log that has been read. */
export interface DeviceLog {
  readonly events: readonly DeviceEvent[];
  readonly lines: number;
  /** Which pattern its lines were understood by. */
  readonly format: string;
}

/**
 * How lines are read: an expression with the groups `time` and `event`, and, where it stands apart, `bytes`. In `event` a marker is
 * `Response=1` (or `:`), data are `Data`, with their octets behind.
 */
export const logFormats: Readonly<Record<string, RegExp>> = {
  zephyr: /^\[(?<time>\d+:\d+:\d+\.\d+(?:,\d+)?)\]\s*(?:<\w+>)?\s*(?<event>.*)$/,
  rtt: /^(?:\d+>)?\s*(?<time>\d+(?:\.\d+)?)\s*[:\s]\s*(?<event>.*)$/,
  csv: /^"?(?<time>[\d.:]+)"?[,;]\s*"?(?<event>[^",;]*)"?(?:[,;]\s*"?(?<bytes>\d*)"?)?/,
};
const MARKER = /\bresponse\s*[=:]\s*(\d+)/i;
const DATA = /\bdata\b(?:\D*(\d+))?/i;
/** Longer logs are read up to here. */
const MAX_LINES = 500_000;

/** Reads a device's log. Without a format the one that understands the most lines is taken. @throws StationError DEVICE_LOG_UNKNOWN */
export function readDeviceLog(text: string, format?: string | RegExp): DeviceLog {
  const lines = text.split(/\r?\n/).slice(0, MAX_LINES);
  const candidates: [string, RegExp][] =
    format === undefined
      ? Object.entries(logFormats)
      : typeof format === 'string'
        ? [[format, logFormats[format] ?? unknownFormat(format)]]
        : [['pattern', format]];
  const read = candidates.map(([name, pattern]) => ({
    format: name,
    lines: lines.length,
    events: lines.flatMap((line, index) => readLine(line, index + 1, pattern) ?? []),
  }));
  const best = read.toSorted((a, b) => b.events.length - a.events.length)[0];
  if (!best || best.events.length === 0) throw new StationError('DEVICE_LOG_UNKNOWN', `${lines.length} lines`);
  return best;
}

function unknownFormat(name: string): never {
  throw new StationError('DEVICE_LOG_UNKNOWN', `${name}: choose from ${Object.keys(logFormats).join(', ')}`);
}

function readLine(text: string, line: number, pattern: RegExp): DeviceEvent | null {
  const groups = pattern.exec(text)?.groups;
  if (!groups) return null;
  const event = groups.event ?? '';
  const timeMs = groups.time === undefined ? null : clockMs(groups.time);
  const marker = MARKER.exec(event);
  if (marker) return { line, text, timeMs, kind: 'marker', marker: Number(marker[1]), bytes: null };
  const data = DATA.exec(event);
  if (!data) return null;
  const bytes = groups.bytes || data[1];
  return { line, text, timeMs, kind: 'data', marker: null, bytes: bytes ? Number(bytes) : null };
}

/** `hh:mm:ss.mmm,uuu` as Zephyr prints it, or plain seconds, in milliseconds. */
function clockMs(text: string): number | null {
  const parts = text.replace(',', '').split(':').map(Number);
  if (parts.some(Number.isNaN)) return null;
  return parts.reduce((sum, part) => sum * 60 + part, 0) * 1000;
}
