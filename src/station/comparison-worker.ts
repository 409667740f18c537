import { parentPort, workerData } from 'node:worker_threads';
import { asStationError } from '../contract/errors.ts';
import { compareAttempt, comparisonText } from '../diagnostics/attempt-comparison.ts';
import { RecordReader } from '../records/record-reader.ts';
import type { ComparisonAnswer, ComparisonRequest } from './comparisons.ts';

/** The thread of one comparison. */
const { directory, id, attachment, format, pattern } = workerData as ComparisonRequest;

function answer(): ComparisonAnswer {
  try {
    const reader = new RecordReader(directory);
    const attempt = reader.show(id);
    const file = reader.attachment(attempt.id, attachment);
    const capture = attempt.capture ? reader.capture(attempt.id) : null;
    const comparison = compareAttempt({ attempt, frames: reader.frames(attempt.id), capture }, file, {
      format,
      pattern,
    });
    reader.close();
    return { comparison, text: comparisonText(attempt, comparison) };
  } catch (error) {
    const { code, detail } = asStationError(error);
    return { code, detail };
  }
}

parentPort?.postMessage(answer());
