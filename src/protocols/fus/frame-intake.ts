import { decodeFrame, type FrameFormat, FUS_CRC_BYTES, FUS_HEADER_BYTES, type FusFrame, frameLength } from './codec.ts';
import type { OrderToken } from './order.ts';

/** What came of one notification. */
export interface Intake {
  readonly token: OrderToken;
  readonly frame: FusFrame | null;
  /** Why what had gathered was thrown away. */
  readonly malformed: string | null;
}

/**
 * Puts a device's frames together. With a header a frame is complete when header, length and checksum say so: the markers are evidence,
 * not the judge. Without one the end marker is the judge, and data after it are taken for the frame that it should have ended.
 */
export class FrameIntake {
  readonly #format: FrameFormat;
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;
  #lastMs = 0;
  /** Without a header: the end marker came before the data. */
  #endedEarly = false;

  constructor(format: FrameFormat, maxBytes: number) {
    this.#format = format;
    this.#maxBytes = maxBytes;
  }

  /** A marker: 1 opens a frame, 0 closes it. */
  marker(opens: boolean, atMs: number): Intake {
    const token: OrderToken = { kind: opens ? 'open' : 'close', endsFrame: false, atMs };
    if (this.#format.header === 'standard') return { token, frame: null, malformed: null };
    if (opens) {
      this.#endedEarly = false;
      return { token, frame: null, malformed: null };
    }
    if (this.#bytes > 0) return this.#complete(token);
    this.#endedEarly = true;
    return { token, frame: null, malformed: null };
  }

  /** A part of a frame. */
  data(part: Buffer, atMs: number): Intake {
    this.#parts.push(Buffer.from(part));
    this.#bytes += part.length;
    this.#lastMs = atMs;
    const token = (endsFrame: boolean): OrderToken => ({ kind: 'data', endsFrame, atMs });
    if (this.#format.header === 'none') {
      if (this.#bytes > this.#maxBytes)
        return this.#drop(token(true), `more than ${this.#maxBytes} octets without an end`);
      if (!this.#endedEarly) return { token: token(false), frame: null, malformed: null };
      this.#endedEarly = false;
      return this.#complete(token(true));
    }
    const gathered = this.#gathered();
    const length = frameLength(gathered, this.#format);
    if (length === null) return { token: token(false), frame: null, malformed: null };
    if (length > Math.max(this.#maxBytes, FUS_HEADER_BYTES + FUS_CRC_BYTES)) {
      return this.#drop(token(true), `a frame of ${length} octets, at most ${this.#maxBytes} are agreed`);
    }
    if (gathered.length < length) return { token: token(false), frame: null, malformed: null };
    return this.#complete(token(true));
  }

  /** Throws away a frame of which nothing has come for so long. Returns whether there was one. */
  expire(nowMs: number, graceMs: number): boolean {
    if (this.#bytes === 0 || nowMs - this.#lastMs < graceMs) return false;
    this.#forget();
    return true;
  }

  #gathered(): Buffer {
    if (this.#parts.length > 1) this.#parts = [Buffer.concat(this.#parts)];
    return this.#parts[0] ?? Buffer.alloc(0);
  }

  #complete(token: OrderToken): Intake {
    const bytes = this.#gathered();
    this.#forget();
    try {
      return { token, frame: decodeFrame(bytes, this.#format), malformed: null };
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return { token, frame: null, malformed: error.message };
    }
  }

  #drop(token: OrderToken, malformed: string): Intake {
    this.#forget();
    return { token, frame: null, malformed };
  }

  #forget(): void {
    this.#parts = [];
    this.#bytes = 0;
  }
}
