import { type Clock, deadline } from '../../clock.ts';
import { StationError } from '../../contract/errors.ts';
import type { FusSettings } from '../../contract/product-file.ts';
import type { OrderAnomaly } from '../../contract/records.ts';
import type { Characteristic, ImageBytes, Link, WriteCommand } from '../../radio/radio.ts';
import { BackOff } from '../back-off.ts';
import { encodeFrame, FUS, FUS_STATUS, type FusFrame } from './codec.ts';
import { FrameIntake, type Intake } from './frame-intake.ts';
import { OrderAnalyser } from './order.ts';

/** Octets that a device's answer may have before HELLO has said more. */
const FIRST_MAX_FRAME = 8192;
const ANSWER_TIMEOUT_MS = 3_000;
const TRIES = 3;
/** Malformed frames on one link after which the device is not listened to any more. */
const MAX_MALFORMED = 64;
/** Grace for parts of a frame that are late: at least this, and four connection intervals. */
const LEAST_GRACE_MS = 100;
const GRACE_INTERVALS = 4;

/** An answer: its status is 0, or the request has thrown. */
export type FusAnswer = Buffer;

/** Hears what goes wrong with the order, in order. */
export type OnAnomaly = (anomaly: OrderAnomaly) => void;

interface Waiting {
  readonly type: number;
  readonly accept: (body: Buffer) => void;
}

/**
 * A FUS link: subscribed to everything before the first command, one synchronous intake, requests with answers. Source:
 * docs/protocols/fus.md.
 */
export class FusClient {
  readonly link: Link;
  readonly #clock: Clock;
  readonly #settings: FusSettings;
  readonly #onAnomaly: OnAnomaly;
  readonly #control: Characteristic;
  readonly #dataIn: Characteristic;
  readonly #intake: FrameIntake;
  readonly #order: OrderAnalyser;
  readonly #waiting: Waiting[] = [];
  #onData: ((body: Buffer) => void) | null = null;
  #seq = 0;
  /** The frames before, where they go one at a time. */
  #tail: Promise<unknown> = Promise.resolve();
  #malformed = 0;
  #broken: StationError | null = null;
  #fail: (error: StationError) => void = () => undefined;
  /** Rejects as soon as the link cannot be used any more: order broken under `strict`, or nothing but nonsense. */
  readonly #failed: Promise<never>;
  #cancelGrace: () => void = () => undefined;

  private constructor(
    link: Link,
    characteristics: { control: Characteristic; dataIn: Characteristic },
    around: { clock: Clock; settings: FusSettings; onAnomaly: OnAnomaly },
  ) {
    this.link = link;
    this.#control = characteristics.control;
    this.#dataIn = characteristics.dataIn;
    this.#clock = around.clock;
    this.#settings = around.settings;
    this.#onAnomaly = around.onAnomaly;
    this.#intake = new FrameIntake(around.settings, FIRST_MAX_FRAME);
    this.#order = new OrderAnalyser(around.settings.header === 'standard');
    this.#failed = new Promise((_, reject) => {
      this.#fail = (error) => {
        this.#broken ??= error;
        reject(error);
      };
    });
    this.#failed.catch(() => undefined);
    void link.ended.then(() => {
      this.#cancelGrace();
      this.#tell(this.#order.flush());
    });
  }

  /** Finds the service and subscribes, markers and data, before anything is said. @throws StationError as Link's methods */
  static async open(
    link: Link,
    around: { clock: Clock; settings: FusSettings; onAnomaly: OnAnomaly },
  ): Promise<FusClient> {
    const { settings } = around;
    const find = (uuid: string) => link.characteristic(settings.service, uuid);
    const control = await find(settings.control.uuid);
    const dataIn = await find(settings.dataIn.uuid);
    const response = await find(settings.response.uuid);
    const dataOut = await find(settings.dataOut.uuid);
    const client = new FusClient(link, { control, dataIn }, around);
    await link.subscribe(response, (value) => client.#marker(value));
    await link.subscribe(dataOut, (value) => client.#part(value));
    return client;
  }

  /** How long the device may be late with a part of a frame. */
  get graceMs(): number {
    const { graceMs } = this.#settings;
    if (graceMs !== 'auto') return graceMs;
    return Math.max(LEAST_GRACE_MS, GRACE_INTERVALS * (this.link.facts().intervalMs ?? 0));
  }

  /**
   * Sends a request and returns its answer's body after the status. Asked again when it stays out, up to three times in all, and a little
   * later each time while the device is busy or cannot write its flash.
   * @throws StationError DEVICE_SILENT, DEVICE_ERROR and its kin by status, FRAME_ORDER, DEVICE_NONSENSE, or the link's end
   */
  async request(type: number, body: Buffer, options: { timeoutMs?: number; signal: AbortSignal }): Promise<FusAnswer> {
    const timeoutMs = options.timeoutMs ?? ANSWER_TIMEOUT_MS;
    const backOff = new BackOff(this.#clock, options.signal);
    for (let attempt = 1; ; ) {
      try {
        return await this.#ask(type, body, timeoutMs, options.signal);
      } catch (error) {
        if (error instanceof StationError && passes(error)) {
          await backOff.after(error);
          continue;
        }
        const silent = error instanceof StationError && error.code === 'DEVICE_SILENT';
        if (!silent || attempt >= TRIES) throw error;
        attempt += 1;
      }
    }
  }

  /** Sends a frame and does not wait for its answer; settles when the controller took it. */
  async send(type: number, body: Buffer, image?: Omit<ImageBytes, 'at'> & { readonly at: number }): Promise<void> {
    if (this.#broken) throw this.#broken;
    const seq = this.#seq;
    this.#seq = (this.#seq + 1) & 0xff;
    const frame = encodeFrame({ type, seq, body }, this.#settings);
    const headBytes =
      frame.length - body.length - (this.#settings.header === 'standard' && this.#settings.checksum !== 'none' ? 2 : 0);
    const work = () =>
      this.#writeFrame(frame, image && { ...image, at: headBytes + image.at, end: headBytes + body.length });
    if (this.#settings.control.write === 'without-response') return work();
    // Markers that wait for an answer must not let the next frame in between.
    const turn = this.#tail.then(work);
    this.#tail = turn.catch(() => undefined);
    return turn;
  }

  /** Hears the bodies of DATA's answers until it is called with null. */
  onDataAnswer(handler: ((body: Buffer) => void) | null): void {
    this.#onData = handler;
  }

  /** Settles as `work` does, or rejects when the link cannot be used any more. */
  whileUsable<T>(work: Promise<T>): Promise<T> {
    const over = this.link.ended.then((reason): never => {
      throw reason;
    });
    return Promise.race([work, this.#failed, over]);
  }

  async #ask(type: number, body: Buffer, timeoutMs: number, signal: AbortSignal): Promise<Buffer> {
    signal.throwIfAborted();
    const answerType = type | FUS.ANSWER;
    const { promise, resolve } = Promise.withResolvers<Buffer>();
    const waiting: Waiting = { type: answerType, accept: resolve };
    this.#waiting.push(waiting);
    try {
      await this.whileUsable(this.send(type, body));
      const silent = () => new StationError('DEVICE_SILENT', `no answer to ${name(type)}`, { retryable: true });
      return afterStatus(type, await deadline(this.#clock, timeoutMs, this.whileUsable(promise), silent, signal));
    } finally {
      const index = this.#waiting.indexOf(waiting);
      if (index >= 0) this.#waiting.splice(index, 1);
    }
  }

  /** Marker, parts, marker: in this order on the one bearer that there is. */
  async #writeFrame(frame: Buffer, image?: ImageBytes & { readonly end: number }): Promise<void> {
    const { control, markers } = this.#settings;
    const open = { characteristic: this.#control, value: Buffer.of(markers.open) };
    const close = { characteristic: this.#control, value: Buffer.of(markers.close) };
    const partBytes = this.link.facts().mtu - 3;
    const parts: WriteCommand[] = [];
    for (let at = 0; at < frame.length; at += partBytes) {
      const value = frame.subarray(at, at + partBytes);
      // Only parts that end in image bytes: the frame log keeps the rest.
      const first = image ? Math.max(0, image.at - at) : value.length;
      const imageBytes =
        image && first < value.length && at + value.length <= image.end
          ? { image: image.image, offset: image.offset + at + first - image.at, at: first }
          : null;
      parts.push({ characteristic: this.#dataIn, value, imageBytes });
    }
    if (control.write === 'without-response') return this.link.writeCommands([open, ...parts, close]);
    await this.link.write(open.characteristic, open.value);
    await this.link.writeCommands(parts);
    await this.link.write(close.characteristic, close.value);
  }

  #marker(value: Buffer): void {
    const { open, close } = this.#settings.markers;
    const atMs = this.#clock.now();
    if (value.length === 1 && value[0] === open) return this.#take(this.#intake.marker(true, atMs));
    if (value.length === 1 && value[0] === close) return this.#take(this.#intake.marker(false, atMs));
    this.#nonsense(`marker ${value.subarray(0, 8).toString('hex')}`);
  }

  #part(value: Buffer): void {
    const atMs = this.#clock.now();
    this.#intake.expire(atMs, this.graceMs);
    this.#take(this.#intake.data(value, atMs));
  }

  #take({ token, frame, malformed }: Intake): void {
    this.#tell(this.#order.push(token));
    if (malformed !== null) this.#nonsense(malformed);
    if (frame) this.#deliver(frame);
    this.#cancelGrace();
    if (this.#order.unsettled) {
      this.#cancelGrace = this.#clock.after(this.graceMs, () => {
        this.#intake.expire(this.#clock.now(), 0);
        this.#tell(this.#order.flush());
      });
    }
  }

  #deliver({ type, body }: FusFrame): void {
    if (type === (FUS.DATA | FUS.ANSWER) && this.#onData) return this.#onData(body);
    // An answer that was asked for twice and comes twice has nobody who waits: that is no fault.
    this.#waiting.find((waiting) => waiting.type === type)?.accept(body);
  }

  #tell(anomalies: readonly OrderAnomaly[]): void {
    for (const anomaly of anomalies) {
      this.#onAnomaly(anomaly);
      if (this.#settings.order === 'strict') {
        this.#fail(new StationError('FRAME_ORDER', `${anomaly.shape} in frame ${anomaly.frame}`));
      }
    }
  }

  #nonsense(detail: string): void {
    this.#malformed += 1;
    if (this.#malformed > MAX_MALFORMED) this.#fail(new StationError('DEVICE_NONSENSE', detail));
  }
}

/** Whether an error usually passes: flash that could not be written, a device that is busy. */
export function passes({ code }: StationError): boolean {
  return code === 'DEVICE_FLASH_ERROR' || code === 'DEVICE_BUSY';
}

/** The body after its status. @throws StationError by the status */
export function afterStatus(type: number, body: Buffer): Buffer {
  const status = body[0];
  if (status === undefined) throw new StationError('DEVICE_NONSENSE', `an empty answer to ${name(type)}`);
  if (status === 0) return body.subarray(1);
  const said = FUS_STATUS[status] ?? `status ${status}`;
  const code =
    {
      4: 'DEVICE_FLASH_ERROR',
      5: 'IMAGE_TOO_LARGE',
      6: 'IMAGE_HASH_MISMATCH',
      7: 'DOWNGRADE_REFUSED',
      8: 'DEVICE_BUSY',
    }[status] ?? 'DEVICE_ERROR';
  const retryable = status === 1 || status === 3 || status === 4 || status === 6 || status === 8;
  throw new StationError(code as 'DEVICE_ERROR', `${name(type)}: ${said}`, { retryable });
}

const name = (type: number) =>
  Object.entries(FUS).find(([, value]) => value === type)?.[0] ?? `0x${type.toString(16).padStart(2, '0')}`;
