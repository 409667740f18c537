import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';

/** The extension that job files have on the floor, so that opening one opens the station. */
const JOB_EXTENSION = '.dfujob';
const MAX_BYTES = 64 * 1024;

/** The job file among a program's arguments, if there is one. */
export function jobFileIn(args: readonly string[]): string | null {
  return args.find((arg) => extname(arg).toLowerCase() === JOB_EXTENSION) ?? null;
}

/** Reads a job file that was opened. @throws RangeError when it is too large to be one */
export async function readJobFile(path: string): Promise<string> {
  const bytes = await readFile(path);
  if (bytes.length > MAX_BYTES) throw new RangeError(`${bytes.length} bytes are no job file`);
  return bytes.toString('utf8');
}
