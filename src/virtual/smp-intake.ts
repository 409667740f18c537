import type { DeviceDescription } from '../contract/tray-file.ts';
import { HEADER_BYTES, type RequestHeader, readHeader } from './smp-frame.ts';

/** What a write to the SMP characteristic comes to. */
export type Taken =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'frame'; readonly header: RequestHeader; readonly body: Buffer }
  /** The frame is not there whole and never will be. */
  | { readonly kind: 'corrupt'; readonly header: RequestHeader }
  /** There was no buffer left for it. */
  | { readonly kind: 'no-room'; readonly header: RequestHeader };

const NOTHING: Taken = { kind: 'nothing' };

/**
 * How an SMP server over Bluetooth gets its frames together and where they wait. Each frame takes a buffer from its first write on until
 * it is released. Source: Zephyr `smp_bt.c`, `smp_reassembly.c` and `smp_process_request_packet` in `smp.c`; what was measured: a frame
 * beyond the buffers, or longer than one, vanishes.
 */
export class SmpIntake {
  readonly #smp: DeviceDescription['smp'];
  #parts: Buffer[] = [];
  #missing = 0;
  #fits = false;
  #held = 0;

  constructor(smp: DeviceDescription['smp']) {
    this.#smp = smp;
  }

  /** A write. What is taken as a frame holds a buffer until `release`. */
  push(part: Buffer): Taken {
    if (this.#smp.reassembly !== 'yes') return this.#alone(part);
    if (this.#missing === 0) {
      if (part.length < HEADER_BYTES) return NOTHING;
      const frameBytes = HEADER_BYTES + readHeader(part).bodyBytes;
      this.#missing = frameBytes;
      this.#parts = [];
      this.#fits = this.#held < this.#smp.holds && frameBytes <= this.#smp.bufferBytes;
      if (this.#fits) this.#held += 1;
    }
    this.#missing = Math.max(0, this.#missing - part.length);
    this.#parts.push(Buffer.from(part));
    if (this.#missing > 0) return NOTHING;
    const frame = Buffer.concat(this.#parts);
    this.#parts = [];
    if (this.#fits) return { kind: 'frame', header: readHeader(frame), body: frame.subarray(HEADER_BYTES) };
    return frame.length <= this.#smp.bufferBytes ? { kind: 'no-room', header: readHeader(frame) } : NOTHING;
  }

  /** A link ended: what had only partly arrived is gone. */
  reset(): void {
    if (this.#missing > 0 && this.#fits) this.#held -= 1;
    this.#missing = 0;
    this.#parts = [];
  }

  /** The buffer of a frame is free again. */
  release(): void {
    this.#held -= 1;
  }

  /** Without reassembly a write is a frame, or it is nothing. */
  #alone(part: Buffer): Taken {
    if (part.length < HEADER_BYTES) return NOTHING;
    const header = readHeader(part);
    if (part.length < HEADER_BYTES + header.bodyBytes) return { kind: 'corrupt', header };
    if (this.#held >= this.#smp.holds) return { kind: 'no-room', header };
    this.#held += 1;
    return { kind: 'frame', header, body: part.subarray(HEADER_BYTES, HEADER_BYTES + header.bodyBytes) };
  }
}
