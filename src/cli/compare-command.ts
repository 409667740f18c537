import { readFile, writeFile } from 'node:fs/promises';
import type { LogComparison, LogReading } from '../contract/comparison.ts';
import { StationError } from '../contract/errors.ts';
import type { AttemptDetail } from '../contract/records.ts';
import { compareAttempt, comparisonText } from '../diagnostics/attempt-comparison.ts';
import type { RecordReader } from '../records/record-reader.ts';

/**
 * A device's log, or a capture taken on its side or in the air, against what is on record of an attempt.
 * @throws StationError DEVICE_LOG_UNKNOWN, FILE_NOT_FOUND, CAPTURE_TRUNCATED, CAPTURE_LINK_TYPE …
 */
export async function compareWithLog(
  reader: RecordReader,
  key: string,
  path: string,
  reading: LogReading,
): Promise<{ attempt: AttemptDetail; comparison: LogComparison; file: Buffer }> {
  const file = await readBytes(path);
  const attempt = reader.show(key);
  const capture = attempt.capture ? reader.capture(attempt.id) : null;
  return {
    attempt,
    file,
    comparison: compareAttempt({ attempt, frames: reader.frames(attempt.id), capture }, file, reading),
  };
}

/** Writes a comparison for a support ticket: as JSON if the name ends so, as text otherwise. @throws StationError FILE_UNREADABLE */
export async function writeComparison(path: string, attempt: AttemptDetail, comparison: LogComparison): Promise<void> {
  const { id, serial, appVersion, verdict } = attempt;
  const json = () => JSON.stringify({ attempt: { id, serial, appVersion, verdict }, ...comparison }, null, 2);
  try {
    await writeFile(path, `${path.endsWith('.json') ? json() : comparisonText(attempt, comparison)}\n`);
  } catch (error) {
    throw new StationError('FILE_UNREADABLE', path, { cause: error });
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
