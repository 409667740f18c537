import type { ComparedRow, LogComparison, LogReading } from '../contract/comparison.ts';
import { StationError } from '../contract/errors.ts';
import { findingText } from '../contract/findings.ts';
import { visible } from '../contract/foreign-text.ts';
import { productFile } from '../contract/product-file.ts';
import type { AttemptDetail } from '../contract/records.ts';
import { isCapture, readCapture, unpackCapture } from './capture-file.ts';
import { deviceCaptureAsLog, readDeviceLog } from './device-log.ts';
import { compareLogs } from './log-comparison.ts';
import { textTable } from './text-table.ts';

/** Rows of the text before and after the first divergence. */
const ROWS_BEFORE = 6;
const ROWS_AFTER = 8;

/** Beyond this a clock is not drifting but another one. */
const OTHER_CLOCK_PPM = 10_000;

/** What is on record of an attempt, as far as a comparison needs it. */
export interface RecordedAttempt {
  readonly attempt: AttemptDetail;
  readonly frames: Iterable<{
    readonly direction: 'to-device' | 'from-device';
    readonly channel: number;
    readonly timeUs: number;
    readonly bytes: Buffer;
    readonly length: number;
  }>;
  /** The HCI capture, packed, if one was kept. */
  readonly capture: Buffer | null;
}

/**
 * A device's log, or a capture taken on its side or in the air, against what is on record of an attempt.
 * @throws StationError ARGUMENT_INVALID, DEVICE_LOG_UNKNOWN, CAPTURE_TRUNCATED, CAPTURE_LINK_TYPE, CAPTURE_ENCRYPTED …
 */
export function compareAttempt(
  { attempt, frames, capture }: RecordedAttempt,
  file: Buffer,
  { format, pattern }: LogReading,
): LogComparison {
  const { fus } = productFile.parse(attempt.profile.content);
  if (!fus)
    throw new StationError('ARGUMENT_INVALID', `${attempt.product} is no FUS product: its frames have no markers`);
  const log = isCapture(file)
    ? deviceCaptureAsLog(fus, readCapture(file))
    : readDeviceLog(file, pattern === undefined ? format : expression(pattern), fus.markers);
  const values = [...frames]
    .filter(({ direction }) => direction === 'from-device')
    .map(({ channel, timeUs, bytes, length }) => ({
      uuid: attempt.channels[channel] ?? '',
      timeMs: timeUs / 1000,
      value: bytes,
      length,
    }));
  return compareLogs(
    fus,
    log,
    values,
    capture && { packets: unpackCapture(capture), leftOut: attempt.capture?.leftOut ?? 0 },
  );
}

/** The comparison as text, for a terminal or a support ticket: what was compared, the finding, and both sides around the place where they part. */
export function comparisonText(attempt: AttemptDetail, comparison: LogComparison): string {
  const { format, lines, deviceEvents, stationValues, hciValues, divergence, rows } = comparison;
  const from = Math.max(0, (divergence ?? 0) - ROWS_BEFORE);
  const shown = divergence === null ? [] : rows.slice(from, divergence + ROWS_AFTER);
  const side = (row: ComparedRow, at: number) => [
    from + at === divergence ? '>' : '',
    row.device?.line ?? '',
    row.device?.what ?? '',
    row.station?.what ?? '',
    row.hci ?? '',
  ];
  return [
    `unit ${attempt.serial}, attempt ${attempt.id} of ${attempt.startedAt}, firmware ${attempt.firmware.fileName}, DFU Station ${attempt.appVersion}`,
    `device log: ${deviceEvents} events in ${lines} lines (${format}); station: ${stationValues} values; HCI: ${hciValues ?? 'no capture'}`,
    ...comparison.counted.map(
      ({ what, count, line, text }) =>
        `counted as ${what}: ${count} lines, the first is line ${line}: ${visible(text.trim())}`,
    ),
    clockText(comparison),
    `reordered: ${comparison.reordered}; only in the device's log: ${comparison.onlyDevice}; only at the station: ${comparison.onlyStation}`,
    comparison.findings.map((finding) => findingText(finding)).join(' '),
    ...(shown.length > 0 ? [textTable(['', 'line', 'device', 'station', 'HCI'], shown.map(side))] : []),
    ...(attempt.verdict ? [`verdict: ${attempt.verdict.verdict}. ${findingText(attempt.verdict.reason)}`] : []),
  ].join('\n');
}

function clockText({ clock, format }: LogComparison): string {
  if (!clock) return 'clocks: the log has no times to compare';
  const rate = 1 + clock.driftPpm / 1e6;
  if (format === 'cycles')
    return `clocks: ${(rate * 1000).toFixed(0)} cycles of the device's are a second of the station's`;
  return Math.abs(clock.driftPpm) > OTHER_CLOCK_PPM
    ? `clocks: the device's runs ${rate.toPrecision(3)} times as fast as the station's`
    : `clocks: the device's is ${(clock.offsetMs / 1000).toFixed(3)} s ahead and drifts by ${clock.driftPpm.toFixed(0)} ppm`;
}

function expression(pattern: string): RegExp {
  try {
    return new RegExp(pattern);
  } catch (error) {
    throw new StationError('ARGUMENT_INVALID', `pattern: ${error instanceof Error ? error.message : error}`);
  }
}
