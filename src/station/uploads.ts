import { randomUUID } from 'node:crypto';
import { StationError } from '../contract/errors.ts';

interface Upload {
  readonly fileName: string;
  readonly bytes: number;
  readonly chunks: Buffer[];
  received: number;
}

/** Files on their way from a screen to the library, piece by piece, one at a time: a new one replaces one that was left. */
export class Uploads {
  #current: { readonly id: string; readonly upload: Upload } | null = null;

  begin(fileName: string, bytes: number): string {
    const id = randomUUID();
    this.#current = { id, upload: { fileName, bytes, chunks: [], received: 0 } };
    return id;
  }

  /** @throws StationError UPLOAD_INCOMPLETE when it is another upload or more than was announced */
  add(id: string, chunk: Buffer): void {
    const upload = this.#get(id);
    upload.received += chunk.length;
    if (upload.received > upload.bytes) {
      this.#current = null;
      throw new StationError('UPLOAD_INCOMPLETE', `more than the ${upload.bytes} bytes announced`);
    }
    upload.chunks.push(chunk);
  }

  /** The whole file, once. @throws StationError UPLOAD_INCOMPLETE */
  take(id: string): { fileName: string; file: Buffer } {
    const { fileName, bytes, received, chunks } = this.#get(id);
    if (received !== bytes) throw new StationError('UPLOAD_INCOMPLETE', `${received} of ${bytes} bytes`);
    this.#current = null;
    return { fileName, file: Buffer.concat(chunks) };
  }

  #get(id: string): Upload {
    if (this.#current?.id !== id) throw new StationError('UPLOAD_INCOMPLETE');
    return this.#current.upload;
  }
}
