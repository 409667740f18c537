import type { Attachment } from '../contract/comparison.ts';
import { isCapture, readCapture } from '../diagnostics/capture-file.ts';
import { logLines } from '../diagnostics/log-text.ts';
import { ChangeLog } from '../records/change-log.ts';
import { EvidenceStore } from '../records/evidence-store.ts';
import type { WriterPort } from '../records/record-writer.ts';

/**
 * Lays a device's log or a capture beside an attempt, for good, and writes down who did it.
 * @throws StationError RECORD_NOT_FOUND, DEVICE_LOG_UNKNOWN when it is neither text nor capture, CAPTURE_TRUNCATED, CAPTURE_LINK_TYPE …
 */
export function attachEvidence(
  port: WriterPort,
  actor: string,
  attemptId: string,
  { fileName, file }: { readonly fileName: string; readonly file: Buffer },
): Attachment {
  const kind = isCapture(file) ? 'capture' : 'device-log';
  if (kind === 'capture') readCapture(file);
  else logLines(file);
  const change = { actor, action: 'attach-evidence', subject: attemptId, after: { fileName, kind } };
  return new ChangeLog(port).record(change, () =>
    new EvidenceStore(port).attach(attemptId, file, { fileName, kind, addedBy: actor }),
  );
}
