import { parentPort, workerData } from 'node:worker_threads';
import { asStationError } from '../contract/errors.ts';
import type { ReadAnswer, ReadRequest } from './async-reader.ts';
import { RecordReader } from './record-reader.ts';

/** The thread that reads: a large query never holds up a link. */
const reader = new RecordReader(workerData as string);

parentPort?.on('message', ({ id, method, args }: ReadRequest) => {
  let answer: ReadAnswer;
  try {
    const call = reader[method] as (...values: unknown[]) => unknown;
    answer = { id, value: call.apply(reader, args) };
  } catch (error) {
    const { code, detail } = asStationError(error);
    answer = { id, code, detail };
  }
  parentPort?.postMessage(answer);
});
