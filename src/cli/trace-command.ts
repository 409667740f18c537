import { writeFile } from 'node:fs/promises';
import { StationError } from '../contract/errors.ts';
import { writeBtsnoop } from '../diagnostics/btsnoop-file.ts';
import { unpackCapture } from '../diagnostics/capture-file.ts';
import { writePcapng } from '../diagnostics/pcapng-file.ts';
import type { RecordReader } from '../records/record-reader.ts';

/** The formats that a capture is exported in. */
export const traceFormats = ['btsnoop', 'pcapng', 'jsonl'] as const;
export type TraceFormat = (typeof traceFormats)[number];

/** Writes an attempt's HCI capture to a file. Returns how many packets. @throws StationError CAPTURE_MISSING, FILE_UNREADABLE … */
export async function exportTrace(
  reader: RecordReader,
  key: string,
  format: TraceFormat,
  path: string,
): Promise<number> {
  const attempt = reader.show(key);
  const packets = unpackCapture(reader.capture(attempt.id));
  const comment = `DFU Station ${attempt.appVersion}: unit ${attempt.serial}, attempt ${attempt.id}, job ${attempt.job}, ${attempt.startedAt}; keys are redacted`;
  const lines = () =>
    packets
      .map(({ number, timeUs, received, packet }) =>
        JSON.stringify({ number, timeUs, direction: received ? 'received' : 'sent', packet: packet.toString('hex') }),
      )
      .join('\n');
  const content = {
    btsnoop: () => writeBtsnoop(packets),
    pcapng: () => writePcapng(packets, comment),
    jsonl: () => `${lines()}\n`,
  }[format]();
  try {
    await writeFile(path, content);
  } catch (error) {
    throw new StationError('FILE_UNREADABLE', path, { cause: error });
  }
  return packets.length;
}
