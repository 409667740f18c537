import { createHash } from 'node:crypto';
import { type Clock, deadline } from '../../clock.ts';
import { StationError } from '../../contract/errors.ts';
import type { FirmwareImage } from '../../firmware/firmware-package.ts';
import type { UploadFigures } from '../driver.ts';
import { GROUP, IMAGE, OP, OS, SMP_HEADER_BYTES } from './codec.ts';
import { ANSWER_TIMEOUT_MS, type SmpClient, type SmpExchange } from './smp-client.ts';
import { smpError } from './smp-error.ts';

/** The first chunk erases, the last one closes the slot: both may take long. */
const FIRST_TIMEOUT_MS = 40_000;
const LAST_TIMEOUT_MS = 20_000;
/** While a long answer is awaited, an echo this often tells whether it was lost: servers answer in order. */
const PROBE_EVERY_MS = 3_000;
/** Time-outs in a row without any progress after which the device counts as silent. */
const STALLS_ALLOWED = 5;
/** Answers in a row that take nothing of what was sent, after which the device is given up. */
const REFUSALS_ALLOWED = 20;
/** How often a device may forget an upload that it had begun. */
const RESTARTS_ALLOWED = 2;
/** Room for the opening fields and an image header, which servers look at before they erase (Zephyr `img_mgmt.c`). */
const FIRST_FRAME_BYTES = 256;
/** Acknowledged chunks without loss before a wider window is tried. */
const GROW_AFTER = 8;
/** Chunks begin at multiples of this: flash of many devices is written in words. */
const ALIGNMENT_BYTES = 4;
const WIDEST_WINDOW = 8;

/** What the server said of its buffers; without it frames are kept to one write. */
export interface ServerBuffers {
  readonly frameBytes: number;
  readonly count: number | null;
}

/** How to upload. */
export interface UploadOptions {
  readonly buffers: ServerBuffers;
  readonly window: number | 'auto';
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Whether the device lists the image as complete: asked when the last answer does not come, because it may only have been lost. */
  isComplete(): Promise<boolean>;
  onProgress(acknowledgedBytes: number): void;
  /** Called when the upload ends, whole or broken off. */
  onEnd(figures: UploadFigures): void;
}

interface Chunk {
  readonly offset: number;
  readonly end: number;
  readonly exchange: SmpExchange;
}

type Answer = { readonly chunk: Chunk; readonly body: Readonly<Record<string, unknown>> } | { readonly error: unknown };

/**
 * Uploads one image, several requests in flight. What the device has acknowledged is the only truth: a request that was lost shows in
 * the next answer's offset or by time-out, the upload goes back to what is acknowledged, and the window shrinks to what the device holds.
 * A device that knows the image's `sha` from before answers where to go on.
 * @throws StationError DEVICE_SILENT, DEVICE_NONSENSE, what the server reports, the link's end, or the signal's reason
 */
export async function uploadImage(client: SmpClient, firmware: FirmwareImage, options: UploadOptions): Promise<void> {
  await new Upload(client, firmware, options).run();
}

class Upload {
  readonly #client: SmpClient;
  readonly #firmware: FirmwareImage;
  readonly #options: UploadOptions;
  readonly #total: number;
  readonly #answers: Answer[] = [];
  readonly #inFlight = new Set<Chunk>();
  #wake: () => void = () => undefined;
  #acknowledged = 0;
  #next = 0;
  #window: number;
  #ceiling: number;
  #sinceLoss = 0;
  #stalls = 0;
  #refusals = 0;
  #restarts = 0;
  #resends = 0;
  #fromOffset = 0;
  #sentBytes = 0;

  constructor(client: SmpClient, firmware: FirmwareImage, options: UploadOptions) {
    this.#client = client;
    this.#firmware = firmware;
    this.#options = options;
    this.#total = firmware.bytes.length;
    const widest = Math.max(2, Math.min(options.buffers.count ?? WIDEST_WINDOW, WIDEST_WINDOW));
    this.#ceiling = options.window === 'auto' ? widest : options.window;
    this.#window = options.window === 'auto' ? 2 : options.window;
  }

  async run(): Promise<void> {
    const { clock, signal } = this.#options;
    const startedAt = clock.now();
    const onAbort = () => this.#wake();
    signal.addEventListener('abort', onAbort);
    try {
      await this.#begin();
      while (this.#acknowledged < this.#total) {
        signal.throwIfAborted();
        await this.#fill();
        await this.#nextAnswer();
        for (const answer of this.#answers.splice(0)) await this.#take(answer);
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#forgetAll();
      this.#options.onEnd({
        image: this.#firmware.index,
        fromOffset: this.#fromOffset,
        sentBytes: this.#sentBytes,
        resends: this.#resends,
        window: this.#window,
        durationMs: clock.now() - startedAt,
      });
    }
  }

  /**
   * The first chunk erases, and its answer says where to go on. Usually that is behind it, so the second goes along: it is at hand when
   * the flash is free, and no connection event passes empty. A device that goes on elsewhere drops it and says so.
   */
  async #begin(): Promise<void> {
    for (;;) {
      const first = this.#send(0);
      await first.exchange.sent;
      const second = this.#window > 1 && first.end < this.#total ? this.#send(first.end) : null;
      const body = await this.#awaitLong(first, FIRST_TIMEOUT_MS, second);
      if (!body) {
        await this.#stalled();
        continue;
      }
      const offset = this.#offsetIn(body);
      const goesOn = offset === first.end;
      if (!goesOn) this.#forgetAll();
      this.#next = goesOn && second ? second.end : offset;
      this.#fromOffset = offset > first.end ? offset : 0;
      this.#acknowledge(offset);
      return;
    }
  }

  async #fill(): Promise<void> {
    while (this.#inFlight.size < this.#window && this.#next < this.#total) {
      const chunk = this.#send(this.#next);
      this.#next = chunk.end;
      await chunk.exchange.sent;
      if (this.#answers.length > 0) return;
    }
  }

  #send(offset: number): Chunk {
    const { bytes, index, image } = this.#firmware;
    const first = offset === 0;
    const size = chunkBytes(this.#frameBytes(first), offset, first, this.#total, index > 0);
    const end = Math.min(offset + size, this.#total);
    const data = bytes.subarray(offset, end);
    const exchange = this.#client.send({
      op: OP.WRITE,
      group: GROUP.IMAGE,
      command: IMAGE.UPLOAD,
      body: first ? { off: offset, data, ...this.#opening() } : { off: offset, data },
      imageBytes: first || !image ? null : { image: index, offset, length: data.length },
    });
    this.#sentBytes += data.length;
    const chunk: Chunk = { offset, end, exchange };
    this.#inFlight.add(chunk);
    const arrived = (answer: Answer) => {
      this.#answers.push(answer);
      this.#wake();
    };
    if (!first) {
      exchange.answered.then(
        (body) => arrived({ chunk, body }),
        (error: unknown) => arrived({ error }),
      );
    }
    return chunk;
  }

  /** What the first request says of the image. */
  #opening(): Readonly<Record<string, unknown>> {
    const { bytes, index } = this.#firmware;
    const sha = createHash('sha256').update(bytes).digest();
    return { len: this.#total, sha, ...(index > 0 && { image: index }) };
  }

  /** The first frame is one write, or what an image header needs: it is short in the air, and the erase begins sooner. */
  #frameBytes(first: boolean): number {
    const { frameBytes } = this.#options.buffers;
    return first ? Math.min(frameBytes, Math.max(this.#client.link.facts().mtu - 3, FIRST_FRAME_BYTES)) : frameBytes;
  }

  /** Waits for the next answer; a time-out goes back to what is acknowledged. */
  async #nextAnswer(): Promise<void> {
    if (this.#answers.length > 0 || this.#options.signal.aborted) return;
    const oldest = this.#inFlight.values().next().value;
    if (oldest && oldest.end >= this.#total && this.#inFlight.size === 1) {
      const body = await this.#awaitLong(oldest, LAST_TIMEOUT_MS);
      if (!body) await this.#stalled();
      return;
    }
    const { promise, resolve } = Promise.withResolvers<'woken' | 'timeout'>();
    this.#wake = () => resolve('woken');
    const cancelTimeout = this.#options.clock.after(ANSWER_TIMEOUT_MS, () => resolve('timeout'));
    const outcome = await promise;
    cancelTimeout();
    this.#wake = () => undefined;
    if (outcome === 'timeout' && this.#answers.length === 0) await this.#stalled();
  }

  /**
   * Waits for an answer that may take long. A request behind it, the next chunk's or an echo, that is answered while it is not proves it
   * lost, for servers answer in order. Null: lost or timed out.
   */
  async #awaitLong(
    chunk: Chunk,
    timeoutMs: number,
    next: Chunk | null = null,
  ): Promise<Readonly<Record<string, unknown>> | null> {
    const { clock, signal } = this.#options;
    const until = clock.now() + timeoutMs;
    let probe: SmpExchange | null = null;
    try {
      while (clock.now() < until) {
        const waits: Promise<Readonly<Record<string, unknown>> | 'lost'>[] = [chunk.exchange.answered];
        for (const behind of [next?.exchange, probe]) {
          if (behind) waits.push(behind.answered.then(() => 'lost' as const));
        }
        try {
          const result = await deadline(
            clock,
            PROBE_EVERY_MS,
            Promise.race(waits),
            () => new StationError('DEVICE_SILENT'),
            signal,
          );
          return typeof result === 'string' ? null : result;
        } catch (error) {
          if (!(error instanceof StationError && error.code === 'DEVICE_SILENT')) throw error;
        }
        probe?.forget();
        probe = this.#client.send({ op: OP.WRITE, group: GROUP.OS, command: OS.ECHO, body: { d: '' } });
      }
      return null;
    } finally {
      probe?.forget();
    }
  }

  async #take(answer: Answer): Promise<void> {
    if ('error' in answer) throw answer.error;
    const { chunk, body } = answer;
    const current = this.#inFlight.has(chunk);
    const offset = this.#offsetIn(body);
    const advanced = offset > this.#acknowledged;
    if (advanced) this.#acknowledge(offset);
    if (!current) return;
    this.#inFlight.delete(chunk);
    if (offset < this.#acknowledged) await this.#forgotten();
    else if (!advanced && offset < chunk.end) this.#lost();
  }

  #offsetIn(body: Readonly<Record<string, unknown>>): number {
    const error = smpError({ group: GROUP.IMAGE, command: IMAGE.UPLOAD }, body);
    if (error) throw error;
    const { off } = body;
    if (typeof off !== 'number' || !Number.isInteger(off) || off < 0 || off > this.#total) {
      throw new StationError('DEVICE_NONSENSE', `upload answered with offset ${String(off)}`);
    }
    return off;
  }

  #acknowledge(offset: number): void {
    this.#acknowledged = offset;
    this.#stalls = 0;
    this.#refusals = 0;
    if (this.#next < offset) this.#next = offset;
    for (const chunk of this.#inFlight) {
      if (chunk.end > offset) continue;
      this.#inFlight.delete(chunk);
      this.#sinceLoss += 1;
    }
    this.#options.onProgress(offset);
    const ranDry = this.#client.link.queued === 0;
    if (this.#options.window === 'auto' && ranDry && this.#sinceLoss >= GROW_AFTER && this.#window < this.#ceiling) {
      this.#window += 1;
      this.#sinceLoss = 0;
    }
  }

  /** The device has less than was sent: go back to it, and no further ahead than it can hold. */
  #lost(): void {
    this.#refusals += 1;
    if (this.#refusals > REFUSALS_ALLOWED) {
      throw new StationError('DEVICE_ERROR', `takes nothing beyond ${this.#acknowledged} bytes`, { retryable: true });
    }
    if (this.#options.window === 'auto' && this.#window > 1) {
      this.#window -= 1;
      this.#ceiling = Math.max(this.#window, 2);
    }
    this.#sinceLoss = 0;
    this.#resends += 1;
    this.#forgetAll();
    this.#next = this.#acknowledged;
  }

  /** The device answers an offset it was past already: the upload is over, or the device has lost it and it begins anew. */
  async #forgotten(): Promise<void> {
    if (await this.#finished()) return;
    this.#restarts += 1;
    if (this.#restarts > RESTARTS_ALLOWED)
      throw new StationError('DEVICE_ERROR', 'forgets the upload', { retryable: true });
    this.#forgetAll();
    this.#acknowledged = 0;
    await this.#begin();
  }

  async #stalled(): Promise<void> {
    if (await this.#finished()) return;
    this.#stalls += 1;
    if (this.#stalls >= STALLS_ALLOWED) throw this.#client.silence();
    this.#lost();
  }

  /** All has been sent and the device lists it: the answer that said so was lost. */
  async #finished(): Promise<boolean> {
    if (this.#next < this.#total || !(await this.#options.isComplete())) return false;
    this.#acknowledge(this.#total);
    return true;
  }

  /** Gives up what is in flight; an answer of it that has come and was not taken goes with it. */
  #forgetAll(): void {
    for (const chunk of this.#inFlight) chunk.exchange.forget();
    this.#inFlight.clear();
    this.#answers.length = 0;
  }
}

/** Image bytes that fit a frame of `frameBytes`: the header and the CBOR around them taken off, cut to whole words. */
export function chunkBytes(frameBytes: number, offset: number, first: boolean, total: number, named: boolean): number {
  const map = 1;
  const off = 4 + unsignedBytes(offset);
  const opening = first ? 4 + unsignedBytes(total) + 4 + 2 + 32 + (named ? 6 + 1 : 0) : 0;
  const data = 5 + 3;
  const room = frameBytes - SMP_HEADER_BYTES - map - off - opening - data;
  const aligned = Math.floor(room / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
  if (aligned <= 0) throw new StationError('DEVICE_ERROR', `frames of ${frameBytes} bytes cannot carry an image`);
  return aligned;
}

/** Octets of a CBOR unsigned integer (RFC 8949, 3). */
function unsignedBytes(value: number): number {
  if (value < 24) return 1;
  if (value < 0x100) return 2;
  if (value < 0x10000) return 3;
  return 5;
}
