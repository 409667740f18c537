import { readFile } from 'node:fs/promises';
import { StationError } from '../contract/errors.ts';
import { productFile } from '../contract/product-file.ts';
import { isCapture, readCapture, unpackCapture } from '../diagnostics/capture-file.ts';
import { deviceCaptureAsLog, readDeviceLog } from '../diagnostics/device-log.ts';
import { type ComparedRow, compareLogs, type LogComparison } from '../diagnostics/log-comparison.ts';
import type { RecordReader } from '../records/record-reader.ts';
import { textTable } from './text-table.ts';

/** Rows shown before and after the first divergence. */
const ROWS_BEFORE = 6;
const ROWS_AFTER = 8;

/**
 * A device's log, or an HCI capture taken on its side, against what is on record of an attempt.
 * @throws StationError DEVICE_LOG_UNKNOWN, FILE_NOT_FOUND, CAPTURE_TRUNCATED, CAPTURE_LINK_TYPE …
 */
export async function compareWithLog(
  reader: RecordReader,
  key: string,
  path: string,
  options: { format?: string; pattern?: string },
): Promise<LogComparison> {
  const attempt = reader.show(key);
  const { fus } = productFile.parse(attempt.profile.content);
  if (!fus)
    throw new StationError('ARGUMENT_INVALID', `${attempt.product} is no FUS product: its frames have no markers`);
  const file = await readBytes(path);
  const log = isCapture(file)
    ? deviceCaptureAsLog(fus, readCapture(file))
    : readDeviceLog(
        file.toString('utf8'),
        options.pattern === undefined ? options.format : expression(options.pattern),
      );
  const values = [...reader.frames(attempt.id)]
    .filter(({ direction }) => direction === 'from-device')
    .map(({ channel, timeUs, bytes, length }) => ({
      uuid: attempt.channels[channel] ?? '',
      timeMs: timeUs / 1000,
      value: bytes,
      length,
    }));
  return compareLogs(fus, log, values, attempt.capture ? unpackCapture(reader.capture(attempt.id)) : null);
}

/** The comparison as the terminal shows it: the finding, and both sides around the place where they part. */
export function comparisonText(comparison: LogComparison): string {
  const { format, lines, deviceEvents, stationValues, hciValues, clock, divergence, rows } = comparison;
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
    `device log: ${deviceEvents} events in ${lines} lines (${format}); station: ${stationValues} values; HCI: ${hciValues ?? 'no capture'}`,
    clock
      ? `clocks: the device's is ${(clock.offsetMs / 1000).toFixed(3)} s ahead and drifts by ${clock.driftPpm.toFixed(0)} ppm`
      : 'clocks: the log has no times to compare',
    `reordered: ${comparison.reordered}; only in the device's log: ${comparison.onlyDevice}; only at the station: ${comparison.onlyStation}`,
    comparison.finding,
    ...(shown.length > 0 ? [textTable(['', 'line', 'device', 'station', 'HCI'], shown.map(side))] : []),
  ].join('\n');
}

function expression(pattern: string): RegExp {
  try {
    return new RegExp(pattern);
  } catch (error) {
    throw new StationError('ARGUMENT_INVALID', `--pattern: ${error instanceof Error ? error.message : error}`);
  }
}

async function readBytes(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw new StationError(missing ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE', path, { cause: error });
  }
}
