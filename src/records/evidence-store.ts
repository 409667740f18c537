import { createHash } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import type { Attachment } from '../contract/comparison.ts';
import { StationError } from '../contract/errors.ts';
import type { WriterPort } from './record-writer.ts';

/** What people lay beside attempts that are over: never changed, never taken away. */
export class EvidenceStore {
  readonly #port: WriterPort;

  constructor(port: WriterPort) {
    this.#port = port;
  }

  /** Call it inside `write`. @throws StationError RECORD_NOT_FOUND */
  attach(
    attemptId: string,
    file: Buffer,
    { fileName, kind, addedBy }: Pick<Attachment, 'fileName' | 'kind' | 'addedBy'>,
  ): Attachment {
    const attempt = this.#port.get('SELECT sequence FROM attempt WHERE id = ?', attemptId);
    if (!attempt) throw new StationError('RECORD_NOT_FOUND', attemptId);
    const last = this.#port.get('SELECT max(number) AS number FROM attachment WHERE attempt = ?', attempt.sequence);
    const attachment: Attachment = {
      number: Number(last?.number ?? 0) + 1,
      fileName,
      kind,
      bytes: file.length,
      sha256: createHash('sha256').update(file).digest('hex'),
      addedBy,
      addedAt: this.#port.now(),
    };
    this.#port.run(
      'INSERT INTO attachment (attempt, number, file_name, kind, bytes, sha256, added_by, added_at, packed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
      attempt.sequence,
      attachment.number,
      fileName,
      kind,
      file.length,
      attachment.sha256,
      addedBy,
      attachment.addedAt,
      deflateRawSync(file),
    );
    return attachment;
  }
}
