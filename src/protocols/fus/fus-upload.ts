import { type Clock, sleep } from '../../clock.ts';
import { StationError } from '../../contract/errors.ts';
import type { FirmwareImage } from '../../firmware/firmware-package.ts';
import { BackOff } from '../back-off.ts';
import type { UploadFigures } from '../driver.ts';
import type { LeastProgress } from '../least-progress.ts';
import { encodeBegin, FUS, FUS_CRC_BYTES, FUS_HEADER_BYTES, type FusHello, u32 } from './codec.ts';
import { afterStatus, type FusClient, passes } from './fus-client.ts';

const OFFSET_BYTES = 4;
const WORD_BYTES = 4;
/** An erase of a whole slot may come before BEGIN's answer. */
const BEGIN_TIMEOUT_MS = 60_000;
/** The device reads its flash back before it answers FINISH. */
const FINISH_TIMEOUT_MS = 30_000;
/** So long without an answer to DATA the device is asked where it stands. */
const DATA_TIMEOUT_MS = 2_000;
const ASKS_WITHOUT_PROGRESS = 3;

/** What an upload works with. */
export interface FusUploadPort {
  readonly hello: FusHello;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** DATA frames on the way at once; `auto` takes what the device offers. */
  readonly window: number | 'auto';
  readonly leastProgress: LeastProgress;
  onProgress(bytes: number): void;
  onEnd(figures: UploadFigures): void;
}

/** Image bytes that one DATA frame carries: whole parts of the MTU where that costs no more than a tenth, whole words always. */
export function dataBytes(
  maxFrame: number,
  mtu: number,
  header: 'standard' | 'none',
  checksum: 'crc16' | 'none',
): number {
  const overhead = header === 'none' ? 1 : FUS_HEADER_BYTES + (checksum === 'none' ? 0 : FUS_CRC_BYTES);
  const part = mtu - 3;
  const whole = Math.floor(maxFrame / part) * part;
  const frame = whole >= maxFrame * 0.9 ? whole : maxFrame;
  return Math.floor((frame - overhead - OFFSET_BYTES) / WORD_BYTES) * WORD_BYTES;
}

/**
 * Sends one image: BEGIN says where to go on, DATA frames go out in a window, FINISH's hash must be the image's.
 * @throws StationError IMAGE_HASH_MISMATCH, DEVICE_SILENT, DEVICE_TOO_SLOW, what the device answers, or the link's end
 */
export async function uploadFusImage(
  fus: FusClient,
  image: FirmwareImage,
  hash: string,
  settings: { readonly header: 'standard' | 'none'; readonly checksum: 'crc16' | 'none' },
  port: FusUploadPort,
): Promise<void> {
  const { clock, signal, hello, leastProgress } = port;
  const { bytes } = image;
  const begin = encodeBegin(image.index, bytes.length, image.image.version, Buffer.from(hash, 'hex'));
  const fromOffset = offsetOf(
    await fus.request(FUS.BEGIN, begin, { timeoutMs: BEGIN_TIMEOUT_MS, signal }),
    bytes.length,
  );
  const startedMs = clock.now();
  const chunk = dataBytes(hello.maxFrame, fus.link.facts().mtu, settings.header, settings.checksum);
  const window = port.window === 'auto' ? hello.window : Math.min(port.window, hello.window);
  const state = {
    acknowledged: fromOffset,
    sent: fromOffset,
    sentTo: fromOffset,
    unsentBytes: 0,
    resends: 0,
    asks: 0,
    sentBytes: 0,
    lastMs: clock.now(),
    /** An error that usually passes, not yet waited out. */
    passing: null as StationError | null,
  };
  const backOff = new BackOff(clock, signal);
  let wake: () => void = () => undefined;
  /** The frame before, on its way to the controller. */
  let writing: Promise<void> = Promise.resolve();
  let refused: StationError | null = null;
  fus.onDataAnswer((body) => {
    try {
      const next = offsetOf(afterStatus(FUS.DATA, body), bytes.length);
      if (next > state.acknowledged) {
        state.unsentBytes += Math.max(0, next - state.sentTo);
        state.sentTo = Math.max(state.sentTo, next);
        state.acknowledged = next;
        state.sent = Math.max(state.sent, next);
        state.asks = 0;
        backOff.reset();
        port.onProgress(next);
      }
      state.lastMs = clock.now();
    } catch (error) {
      // A frame that came damaged or out of place is sent again; anything else ends the upload.
      if (!(error instanceof StationError)) throw error;
      if (passes(error)) state.passing = error;
      else if (error.code === 'DEVICE_ERROR' && error.retryable) state.lastMs = Number.NEGATIVE_INFINITY;
      else refused = error;
    }
    wake();
  });
  leastProgress.resume(fromOffset);
  try {
    while (state.acknowledged < bytes.length) {
      signal.throwIfAborted();
      leastProgress.check(state.acknowledged);
      if (refused) throw refused;
      if (state.passing) {
        await fus.whileUsable(backOff.after(state.passing));
        state.passing = null;
        await askWhereItStands();
        continue;
      }
      const onTheWay = Math.ceil((state.sent - state.acknowledged) / chunk);
      if (state.sent < bytes.length && onTheWay < window) {
        const offset = state.sent;
        const data = bytes.subarray(offset, offset + chunk);
        state.sent += data.length;
        state.sentTo = Math.max(state.sentTo, state.sent);
        state.sentBytes += data.length;
        const body = Buffer.concat([u32(offset), data]);
        const write = fus.send(FUS.DATA, body, { image: image.index, offset, at: OFFSET_BYTES });
        // Whoever waits for it hears of it; a link that ends meanwhile must not leave it to nobody.
        write.catch(() => undefined);
        // The next frame is ready before the last part of this one has gone: a link that runs dry ends its connection event.
        await fus.whileUsable(writing);
        writing = write;
        continue;
      }
      if (clock.now() - state.lastMs > DATA_TIMEOUT_MS) {
        await askWhereItStands();
        continue;
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      const left = new AbortController();
      const timeout = sleep(clock, DATA_TIMEOUT_MS, AbortSignal.any([signal, left.signal])).catch(() => undefined);
      await fus.whileUsable(Promise.race([promise, timeout])).finally(() => left.abort());
    }
    await fus.whileUsable(writing);
    const finish = await fus.request(FUS.FINISH, Buffer.alloc(0), { timeoutMs: FINISH_TIMEOUT_MS, signal });
    const found = finish.toString('hex');
    if (found !== hash) {
      const detail = `image ${image.index}: sent ${hash.slice(0, 16)}, in flash ${found.slice(0, 16)}`;
      throw new StationError('IMAGE_HASH_MISMATCH', detail, { retryable: true });
    }
  } finally {
    fus.onDataAnswer(null);
    leastProgress.pause();
    port.onEnd({
      image: image.index,
      fromOffset,
      sentBytes: state.sentBytes,
      unsentBytes: state.unsentBytes,
      resends: state.resends,
      window,
      durationMs: clock.now() - startedMs,
    });
  }

  /** An answer stays out or a frame was refused: the device says where to go on. */
  async function askWhereItStands(): Promise<void> {
    if (++state.asks > ASKS_WITHOUT_PROGRESS)
      throw new StationError('DEVICE_SILENT', 'no progress', { retryable: true });
    const status = await fus.request(FUS.STATUS, Buffer.alloc(0), { signal });
    const next = status.length >= 5 ? status.readUInt32LE(1) : 0;
    if (next > bytes.length) throw new StationError('DEVICE_NONSENSE', `next offset ${next} of ${bytes.length}`);
    if (next > state.acknowledged) state.asks = 0;
    state.acknowledged = next;
    state.resends += Math.ceil((state.sent - next) / chunk);
    state.sent = next;
    state.lastMs = clock.now();
    port.onProgress(next);
  }
}

function offsetOf(body: Buffer, size: number): number {
  const offset = body.length === 4 ? body.readUInt32LE(0) : Number.NaN;
  if (!(offset <= size)) throw new StationError('DEVICE_NONSENSE', `offset ${body.toString('hex')} of ${size}`);
  return offset;
}
