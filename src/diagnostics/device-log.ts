import type { CountedEvent, LogFormat } from '../contract/comparison.ts';
import { logFormats } from '../contract/comparison.ts';
import { StationError } from '../contract/errors.ts';
import type { FusSettings } from '../contract/product-file.ts';
import { attValues } from './att-values.ts';
import type { ReadCapture } from './capture-file.ts';
import { lineFront, takeModule } from './line-front.ts';
import { eventIn } from './log-event.ts';
import { logLines } from './log-text.ts';

/** What happened on the device, as one line of its log says it. */
export interface DeviceEvent {
  /** The line, counted from 1. */
  readonly line: number;
  readonly text: string;
  /** Milliseconds of the device's own clock (of cycles, their number); null where the line has none. */
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
export function deviceCaptureAsLog(settings: FusSettings, { taken, packets, cut, missing }: ReadCapture): DeviceLog {
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
  return {
    events,
    lines: packets.length,
    format: taken === 'air' ? AIR_CAPTURE : DEVICE_CAPTURE,
    dropped: [],
    cut,
    missing,
    counted: [],
  };
}

/** A log that has been read. */
export interface DeviceLog {
  readonly events: readonly DeviceEvent[];
  readonly lines: number;
  /** How its lines were understood. */
  readonly format: string;
  /** Lines in which the log says itself that messages are missing there; `messages` where it says how many. */
  readonly dropped: readonly { readonly line: number; readonly messages: number | null }[];
  /** Of a capture: whether it ends in the middle of a packet, and how many packets it says are missing. */
  readonly cut: boolean;
  readonly missing: number;
  /** What was counted as an event, with the first line of each kind. */
  readonly counted: readonly CountedEvent[];
}

/** Longer logs are read up to here, and then count as incomplete. */
const MAX_LINES = 500_000;
/** 32-bit cycle counters start again at 0. */
const CYCLES_WRAP = 2 ** 32;

const CSV = /^"?(?<time>[\d.:]+)"?[,;]\s*"?(?<event>[^",;]*)"?(?:[,;]\s*"?(?<bytes>\d*)"?)?/;

/**
 * Lines in which a log says that messages are missing: Zephyr's `--- 3 messages dropped ---` (subsys/logging/log_output.c) and what others
 * print in its place.
 */
const DROPPED = [
  /\b(\d+)\s+(?:log )?(?:messages?|lines?|records?|events?) (?:were |have been )?(?:dropped|lost|discarded)\b/i,
  /\b(?:dropped|lost|discarded) (\d+) (?:log )?(?:messages?|lines?|records?)\b/i,
  /\b(?:messages?|lines?) (?:were |have been )?(?:dropped|lost|discarded)\b()/i,
];

interface ReadLine extends DeviceEvent {
  readonly module: string | null;
  readonly stamp: string | null;
}

/**
 * Reads a device's log. A line is an event when, behind all that stands in front of it, it begins as the devices of the profile print
 * theirs (see `eventIn`), and comes from a module that prints markers. Without a format the stamp that most events have is taken for the
 * device's clock.
 * @throws StationError DEVICE_LOG_UNKNOWN
 */
export function readDeviceLog(
  file: Buffer | string,
  format?: string | RegExp,
  markers: FusSettings['markers'] = { open: 1, close: 0 },
): DeviceLog {
  const all = logLines(typeof file === 'string' ? Buffer.from(file) : file);
  const lines = all.slice(0, MAX_LINES);
  const named =
    typeof format === 'string' ? (logFormats.find((each) => each === format) ?? unknownFormat(format)) : format;
  const expression = named instanceof RegExp ? named : named === 'csv' ? CSV : null;
  const found = expression ? byExpression(lines, expression, markers) : byFront(lines, markers);
  const byCsv = named === undefined ? byExpression(lines, CSV, markers) : [];
  const isCsv = byCsv.length > found.length || named === 'csv';
  const own = ofMarkersModules(isCsv && named === undefined ? byCsv : found);
  const kind: string = named instanceof RegExp ? 'pattern' : isCsv ? 'csv' : (named ?? mostUsed(own));
  const events = clocked(own, kind, typeof named === 'string');
  if (events.length === 0) throw new StationError('DEVICE_LOG_UNKNOWN', `${lines.length} lines`);
  const dropped = lines.flatMap((text, index) => droppedIn(text, index + 1) ?? []);
  return {
    events,
    lines: lines.length,
    format: kind,
    dropped: all.length > MAX_LINES ? [...dropped, { line: MAX_LINES, messages: null }] : dropped,
    cut: false,
    missing: 0,
    counted: counted(events),
  };
}

function unknownFormat(name: string): never {
  throw new StationError('DEVICE_LOG_UNKNOWN', `${name}: choose from ${logFormats.join(', ')}`);
}

function byFront(lines: readonly string[], markers: FusSettings['markers']): ReadLine[] {
  return lines.flatMap((text, index) => {
    const { stamp, rest } = lineFront(text);
    const named = eventIn(rest, markers) ? null : takeModule(rest);
    const event = eventIn(named?.rest ?? rest, markers);
    const read = { line: index + 1, text, timeMs: stamp?.time ?? null, stamp: stamp?.kind ?? null };
    return event ? [{ ...read, ...event, module: named?.module ?? null }] : [];
  });
}

function byExpression(lines: readonly string[], expression: RegExp, markers: FusSettings['markers']): ReadLine[] {
  return lines.flatMap((text, index) => {
    const groups = expression.exec(text)?.groups;
    if (!groups) return [];
    const whole = (groups.event ?? '').trim();
    const named = eventIn(whole, markers) ? null : takeModule(whole);
    const event = eventIn(named?.rest ?? whole, markers);
    if (!event) return [];
    const timeMs = groups.time === undefined ? null : clockMs(groups.time);
    const bytes = event.kind === 'data' && groups.bytes ? Number(groups.bytes) : event.bytes;
    return [{ line: index + 1, text, timeMs, stamp: 'pattern', ...event, bytes, module: named?.module ?? null }];
  });
}

/** Where modules are named, data are those of modules that print markers too: another module's data are no event of this service. */
function ofMarkersModules(lines: readonly ReadLine[]): readonly ReadLine[] {
  const speaking = new Set(lines.filter(({ kind }) => kind === 'marker').map(({ module }) => module));
  const own = lines.filter(({ kind, module }) => kind === 'marker' || speaking.has(module));
  return own.some(({ kind }) => kind === 'data') || speaking.size === 0 ? (speaking.size === 0 ? lines : own) : lines;
}

function mostUsed(lines: readonly ReadLine[]): LogFormat {
  const kinds = Map.groupBy(lines, ({ stamp }) => stamp);
  const most = [...kinds].toSorted(([, a], [, b]) => b.length - a.length)[0]?.[0];
  return logFormats.find((each) => each === most) ?? 'plain';
}

/** Times of the one clock that counts; a format that was asked for keeps only its own lines. */
function clocked(lines: readonly ReadLine[], kind: string, asked: boolean): DeviceEvent[] {
  const own = (stamp: string | null) => stamp === kind || kind === 'pattern' || kind === 'csv';
  const kept = asked && kind !== 'plain' ? lines.filter(({ stamp }) => own(stamp)) : lines;
  let wrapped = 0;
  let before = 0;
  return kept.map(({ line, text, timeMs, stamp, kind: what, marker, bytes }) => {
    const counts = timeMs !== null && own(stamp);
    if (kind === 'cycles' && counts) {
      if (timeMs < before - CYCLES_WRAP / 2) wrapped += CYCLES_WRAP;
      before = timeMs;
    }
    return { line, text, timeMs: counts ? timeMs + wrapped : null, kind: what, marker, bytes };
  });
}

function droppedIn(text: string, line: number): DeviceLog['dropped'][number] | null {
  const match = DROPPED.map((each) => each.exec(text)).find((each) => each !== null);
  return match ? { line, messages: match[1] ? Number(match[1]) : null } : null;
}

function counted(events: readonly DeviceEvent[]): CountedEvent[] {
  const kinds = Map.groupBy(events, ({ kind, marker }) => (kind === 'data' ? 'data' : String(marker)));
  return [...kinds].map(([what, all]) => ({
    what,
    count: all.length,
    line: all[0]?.line ?? 0,
    text: all[0]?.text ?? '',
  }));
}

/** `hh:mm:ss.mmm,uuu`, or plain seconds, in milliseconds. */
function clockMs(text: string): number | null {
  const parts = text.replace(',', '').split(':').map(Number);
  if (parts.some(Number.isNaN)) return null;
  return parts.reduce((sum, part) => sum * 60 + part, 0) * 1000;
}
