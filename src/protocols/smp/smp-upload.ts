import { createHash } from 'node:crypto';
import { type Clock, deadline, sleep } from '../../clock.ts';
import { StationError } from '../../contract/errors.ts';
import type { FirmwareImage } from '../../firmware/firmware-package.ts';
import { BackOff } from '../back-off.ts';
import type { UploadFigures } from '../driver.ts';
import type { LeastProgress } from '../least-progress.ts';
import { GROUP, IMAGE, OP, OS, RC } from './codec.ts';
import { ANSWER_TIMEOUT_MS, type SmpClient, type SmpExchange } from './smp-client.ts';
import { type SmpRefusal, smpError } from './smp-error.ts';
import { chunkBytes, openingOf } from './upload-chunk.ts';

/** The first chunk erases, the last one closes the slot: both may take long. */
const FIRST_TIMEOUT_MS = 40_000;
const LONGEST_FIRST_TIMEOUT_MS = 180_000;
const LAST_TIMEOUT_MS = 20_000;
/** While a long answer is awaited, an echo this often tells whether it was lost: servers answer in order. */
const PROBE_EVERY_MS = 3_000;
/** Time-outs in a row without any progress after which the device counts as silent. */
const STALLS_ALLOWED = 5;
/** Answers in a row that take nothing of what was sent, after which the device is given up. */
const REFUSALS_ALLOWED = 20;
/** How often a device may forget an upload without having come further than ever before. */
const RESTARTS_ALLOWED = 3;
/** Frames that a server which does not say what it takes is tried with, one after the other, when one write is more than its buffer. */
const SHORTER_FRAMES = [384, 256, 128] as const;
/** Acknowledged chunks without loss before a wider window is tried; many more before one that lost something is tried again. */
const GROW_AFTER = 8;
const GROW_AGAIN_AFTER = 256;
const WIDEST_WINDOW = 8;
/** A server whose buffer is still held when the next request comes is given this long, doubled while it helps, between answer and request. */
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 160;

/** What the server said of its buffers; without it frames are kept to one write. */
export interface ServerBuffers {
  readonly frameBytes: number;
  /** Buffers that it has, one of which takes the answer; null when it does not say. */
  readonly count: number | null;
}

/**
 * How frames are cut: `one-write` for servers that do not join the writes of one; `auto` begins with one write, because every server takes
 * that, goes on with longer ones where the server names larger buffers, and falls back as soon as they are not taken.
 */
export type FrameCut = 'auto' | 'one-write';

/** How to upload. */
export interface UploadOptions {
  readonly buffers: ServerBuffers;
  readonly window: number | 'auto';
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** `auto` where it is left out. */
  readonly frames?: FrameCut;
  /** The longest frame that an earlier upload found the server to take, where that was less than one write. */
  readonly longestFrame?: number | null;
  /** What an earlier upload to the same firmware got to: where `window: auto` begins. */
  readonly startWindow?: number | null;
  /** How long an earlier erase took, in milliseconds; a longer one is waited for. */
  readonly eraseMs?: number | null;
  /** Holds it to the least progress a minute. */
  readonly leastProgress?: LeastProgress;
  /** Whether the device lists the image as complete: asked when the last answer does not come, because it may only have been lost. */
  isComplete(): Promise<boolean>;
  onProgress(acknowledgedBytes: number): void;
  /** Called when the upload ends, whole or broken off. */
  onEnd(figures: UploadFigures): void;
  /** How the server takes frames, as soon as it is known; the milliseconds until the first answer, which erases. */
  onLearnt?(lesson: {
    readonly frames?: 'one-write' | 'joined';
    readonly longestFrame?: number;
    readonly eraseMs?: number;
  }): void;
}

interface Chunk {
  readonly offset: number;
  readonly end: number;
  readonly exchange: SmpExchange;
  /** Its frame is more than one write. */
  readonly long: boolean;
}

type Answer = { readonly chunk: Chunk; readonly body: Readonly<Record<string, unknown>> } | { readonly error: unknown };

/**
 * Uploads one image, several requests in flight. What the device has acknowledged is the only truth: a request that was lost shows in
 * the next answer's offset or by time-out, the upload goes back to what is acknowledged, and the window shrinks to what the device holds.
 * A device that knows the image's `sha` from before answers where to go on. Errors that usually pass are waited out; a server that does not
 * join the writes of a frame is given frames of one write.
 * @throws StationError DEVICE_SILENT, DEVICE_NONSENSE, DEVICE_TOO_SLOW, MTU_TOO_SMALL, IMAGE_HASH_MISMATCH, what the server reports, the
 * link's end, or the signal's reason
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
  readonly #backOff: BackOff;
  #wake: () => void = () => undefined;
  #acknowledged = 0;
  #furthest = 0;
  #next = 0;
  #window: number;
  readonly #widest: number;
  /** The narrowest window that has lost something. */
  #lostAt = Number.POSITIVE_INFINITY;
  #frames: FrameCut;
  #longestFrame: number;
  /** A frame of several writes was acknowledged: the server joins them. */
  #joins = false;
  /** Frames were cut shorter, and it is not known yet whether that helps. */
  #narrowed = false;
  #sinceLoss = 0;
  #pauseMs = 0;
  #stalls = 0;
  #refusals = 0;
  #restarts = 0;
  #lastRefusal: SmpRefusal | null = null;
  #resends = 0;
  #fromOffset = 0;
  #sentBytes = 0;
  /** Where what was sent, or what the device had from before, ends. */
  #sentTo = 0;
  #unsentBytes = 0;

  constructor(client: SmpClient, firmware: FirmwareImage, options: UploadOptions) {
    this.#client = client;
    this.#firmware = firmware;
    this.#options = options;
    this.#total = firmware.bytes.length;
    this.#backOff = new BackOff(options.clock, options.signal);
    this.#longestFrame = options.longestFrame ?? Number.POSITIVE_INFINITY;
    const joins = options.buffers.frameBytes > client.writeBytes;
    this.#frames = joins ? (options.frames ?? 'auto') : 'one-write';
    const { window, startWindow, buffers } = options;
    // The answer needs a buffer of its own.
    const holds = buffers.count === null ? WIDEST_WINDOW : Math.max(1, buffers.count - 1);
    this.#widest = window === 'auto' ? Math.min(holds, WIDEST_WINDOW) : window;
    this.#window = window === 'auto' ? Math.min(startWindow ?? 2, this.#widest) : window;
  }

  async run(): Promise<void> {
    const { clock, signal, leastProgress } = this.#options;
    const startedAt = clock.now();
    const onAbort = () => this.#wake();
    signal.addEventListener('abort', onAbort);
    try {
      await this.#begin();
      leastProgress?.resume(this.#acknowledged);
      while (this.#acknowledged < this.#total) {
        signal.throwIfAborted();
        leastProgress?.check(this.#acknowledged);
        await this.#fill();
        await this.#nextAnswer();
        for (const answer of this.#answers.splice(0)) await this.#take(answer);
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      leastProgress?.pause();
      this.#forgetAll();
      this.#options.onEnd({
        image: this.#firmware.index,
        fromOffset: this.#fromOffset,
        sentBytes: this.#sentBytes,
        unsentBytes: this.#unsentBytes,
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
    const { clock, eraseMs, onLearnt } = this.#options;
    const timeoutMs = Math.min(Math.max(FIRST_TIMEOUT_MS, 3 * (eraseMs ?? 0)), LONGEST_FIRST_TIMEOUT_MS);
    for (;;) {
      const sentAt = clock.now();
      const first = this.#send(0);
      await first.exchange.sent;
      const second = this.#window > 1 && first.end < this.#total ? this.#send(first.end) : null;
      const body = await this.#awaitLong(first, timeoutMs, second);
      if (body === null || body === 'lost') {
        if (first.long) throw this.#tooSmall('no answer to');
        if (body === null || !this.#shorten()) await this.#stalled();
        continue;
      }
      const refusal = this.#refusalIn(body);
      if (refusal) {
        if (first.long && saysOfTheFrame(refusal)) throw this.#tooSmall(`${refusal.detail} for`);
        await this.#refused(first, refusal);
        continue;
      }
      if (first.long) this.#joins = true;
      const offset = this.#offsetIn(body);
      const goesOn = offset === first.end;
      if (goesOn) onLearnt?.({ eraseMs: clock.now() - sentAt });
      if (Number.isFinite(this.#longestFrame)) onLearnt?.({ longestFrame: this.#longestFrame });
      if (!goesOn) this.#forgetAll();
      this.#next = goesOn && second ? second.end : offset;
      if (offset > first.end) {
        this.#fromOffset = offset;
        // What it has from before is its own word; that it has everything is no resumption: then it would list the image.
        if (offset < this.#total) this.#sentTo = offset;
      }
      this.#acknowledge(offset);
      return;
    }
  }

  async #fill(): Promise<void> {
    while (this.#inFlight.size < this.#window && this.#next < this.#total) {
      if (this.#pauseMs > 0 && this.#window === 1)
        await sleep(this.#options.clock, this.#pauseMs, this.#options.signal);
      const chunk = this.#send(this.#next);
      this.#next = chunk.end;
      await chunk.exchange.sent;
      if (this.#answers.length > 0) return;
    }
  }

  #send(offset: number): Chunk {
    const { bytes, index, image } = this.#firmware;
    const first = offset === 0;
    const opening = first ? this.#opening() : null;
    const size = opening?.dataBytes ?? chunkBytes(this.#frameBytes(), offset);
    const end = Math.min(offset + size, this.#total);
    const data = bytes.subarray(offset, end);
    const exchange = this.#client.send({
      op: OP.WRITE,
      group: GROUP.IMAGE,
      command: IMAGE.UPLOAD,
      body: opening ? { off: offset, data, ...opening.fields } : { off: offset, data },
      imageBytes: first || !image ? null : { image: index, offset, length: data.length },
    });
    this.#sentBytes += data.length;
    if (offset <= this.#sentTo) this.#sentTo = Math.max(this.#sentTo, end);
    const long = opening ? opening.long : this.#frameBytes() > this.#client.writeBytes;
    const chunk: Chunk = { offset, end, exchange, long };
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

  /**
   * What the first request says of the image, and how much of it goes along: one write where an image header fits into it, because it is
   * short in the air, the erase begins sooner, and every server takes it.
   * @throws StationError MTU_TOO_SMALL
   */
  #opening() {
    const { bytes, index } = this.#firmware;
    const sha = createHash('sha256').update(bytes).digest();
    const { writeBytes } = this.#client;
    const { frameBytes } = this.#options.buffers;
    const short = openingOf(this.#oneWrite(), { total: this.#total, index, sha });
    if (short) return { ...short, long: false };
    const long = frameBytes > writeBytes ? openingOf(frameBytes, { total: this.#total, index, sha }) : null;
    if (!long) throw this.#tooSmall('the opening fields and an image header do not fit');
    return { ...long, long: true };
  }

  #oneWrite(): number {
    return Math.min(this.#options.buffers.frameBytes, this.#client.writeBytes, this.#longestFrame);
  }

  /** The first frame was lost, though the server answers: it may be longer than the server's buffer. False when there is no shorter one. */
  #shorten(): boolean {
    const shorter = SHORTER_FRAMES.find((bytes) => bytes < this.#oneWrite());
    if (shorter === undefined) return false;
    this.#longestFrame = shorter;
    this.#resends += 1;
    this.#forgetAll();
    return true;
  }

  #tooSmall(what: string): StationError {
    const { mtu } = this.#client.link.facts();
    return new StationError('MTU_TOO_SMALL', `${what} the first frame at an MTU of ${mtu}`, { retryable: true });
  }

  /** Octets of the frames after the first. */
  #frameBytes(): number {
    const { frameBytes } = this.#options.buffers;
    return this.#frames === 'one-write' ? this.#oneWrite() : Math.min(frameBytes, this.#longestFrame);
  }

  /** Waits for the next answer; a time-out goes back to what is acknowledged. */
  async #nextAnswer(): Promise<void> {
    if (this.#answers.length > 0 || this.#options.signal.aborted) return;
    const oldest = this.#inFlight.values().next().value;
    if (oldest && oldest.end >= this.#total && this.#inFlight.size === 1) {
      const body = await this.#awaitLong(oldest, LAST_TIMEOUT_MS);
      if (body === null || body === 'lost') await this.#stalled();
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
   * lost, for servers answer in order. Null when nothing at all is answered in time.
   */
  async #awaitLong(
    chunk: Chunk,
    timeoutMs: number,
    next: Chunk | null = null,
  ): Promise<Readonly<Record<string, unknown>> | 'lost' | null> {
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
          const silent = () => new StationError('DEVICE_SILENT');
          return await deadline(clock, PROBE_EVERY_MS, Promise.race(waits), silent, signal);
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
    const refusal = this.#refusalIn(body);
    if (refusal) {
      if (current) await this.#refused(chunk, refusal);
      return;
    }
    const offset = this.#offsetIn(body);
    const advanced = offset > this.#acknowledged;
    if (advanced) this.#acknowledge(offset);
    if (advanced && chunk.long && offset >= chunk.end && !this.#joins) {
      this.#joins = true;
      this.#options.onLearnt?.({ frames: 'joined' });
    }
    if (!current) return;
    this.#inFlight.delete(chunk);
    if (offset < this.#acknowledged) await this.#forgotten();
    else if (!advanced && offset < chunk.end) this.#lost();
  }

  #refusalIn(body: Readonly<Record<string, unknown>>): SmpRefusal | null {
    return smpError({ group: GROUP.IMAGE, command: IMAGE.UPLOAD }, body);
  }

  /**
   * The server answers an error. Of a longer frame than it was ever seen to take, that says more about the frame than about its content:
   * older servers call half a request invalid. What usually passes is waited out.
   */
  async #refused(chunk: Chunk, refusal: SmpRefusal): Promise<void> {
    if (chunk.long && !this.#joins && chunk.offset > 0) return this.#narrow();
    if (!this.#client.passes(refusal)) throw refusal;
    this.#lastRefusal = refusal;
    this.#forgetAll();
    this.#next = this.#acknowledged;
    // No buffer was left for an answer.
    if (refusal.group === null && refusal.rc === RC.NO_MEMORY) this.#narrowWindow();
    await this.#backOff.after(refusal);
  }

  /** The server does not join writes: from here on a frame is one. */
  #narrow(): void {
    this.#frames = 'one-write';
    this.#narrowed = true;
    this.#resends += 1;
    this.#forgetAll();
    this.#next = this.#acknowledged;
  }

  #offsetIn(body: Readonly<Record<string, unknown>>): number {
    const { off, match } = body;
    // Some servers check what they have against the `sha` of the first chunk, and say so at the end.
    if (match === false && this.#opening().fullSha) {
      throw new StationError('IMAGE_HASH_MISMATCH', 'the device says that it does not match', { retryable: true });
    }
    if (typeof off !== 'number' || !Number.isInteger(off) || off < 0 || off > this.#total) {
      throw new StationError('DEVICE_NONSENSE', `upload answered with offset ${String(off)}`);
    }
    return off;
  }

  #acknowledge(offset: number): void {
    if (offset > this.#sentTo) {
      this.#unsentBytes += offset - this.#sentTo;
      this.#sentTo = offset;
    }
    this.#acknowledged = offset;
    this.#stalls = 0;
    this.#refusals = 0;
    if (offset > this.#furthest) {
      this.#furthest = offset;
      this.#restarts = 0;
      this.#backOff.reset();
      if (this.#narrowed) this.#options.onLearnt?.({ frames: 'one-write' });
      this.#narrowed = false;
    }
    if (this.#next < offset) this.#next = offset;
    for (const chunk of this.#inFlight) {
      if (chunk.end > offset) continue;
      this.#inFlight.delete(chunk);
      this.#sinceLoss += 1;
    }
    this.#options.onProgress(offset);
    const ranDry = this.#client.link.queued === 0;
    const growAfter = this.#window + 1 < this.#lostAt ? GROW_AFTER : GROW_AGAIN_AFTER;
    if (ranDry && this.#sinceLoss >= growAfter && this.#window < this.#widest) {
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
    this.#narrowWindow();
    this.#resends += 1;
    this.#forgetAll();
    this.#next = this.#acknowledged;
  }

  #narrowWindow(): void {
    this.#sinceLoss = 0;
    if (this.#options.window !== 'auto' || this.#window === 1) return;
    this.#lostAt = Math.min(this.#lostAt, this.#window);
    this.#window -= 1;
  }

  /** The device answers an offset it was past already: the upload is over, or the device has lost it and it begins anew. */
  async #forgotten(): Promise<void> {
    if (await this.#finished()) return;
    this.#restarts += 1;
    if (this.#restarts > RESTARTS_ALLOWED) {
      throw this.#lastRefusal ?? new StationError('DEVICE_ERROR', 'forgets the upload', { retryable: true });
    }
    this.#forgetAll();
    this.#acknowledged = 0;
    this.#sentTo = 0;
    this.#options.leastProgress?.pause();
    await this.#begin();
    this.#options.leastProgress?.resume(this.#acknowledged);
  }

  async #stalled(): Promise<void> {
    if (await this.#finished()) return;
    if (!this.#joins && [...this.#inFlight].some(({ long, offset }) => long && offset > 0)) return this.#narrow();
    this.#stalls += 1;
    if (this.#stalls >= STALLS_ALLOWED) throw this.#client.silence();
    if (this.#window === 1) this.#pauseMs = Math.min(Math.max(FIRST_PAUSE_MS, 2 * this.#pauseMs), LONGEST_PAUSE_MS);
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

/** Whether an error may be about half a frame: what a server says of one depends on its age. */
function saysOfTheFrame({ group, rc }: SmpRefusal): boolean {
  return group === null && (rc === RC.CORRUPT || rc === RC.MESSAGE_SIZE || rc === RC.INVALID);
}
