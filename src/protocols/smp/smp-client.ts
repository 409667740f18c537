import { type Clock, deadline } from '../../clock.ts';
import { StationError } from '../../contract/errors.ts';
import { SMP_SERVICE_UUID } from '../../contract/product-file.ts';
import type { Characteristic, Link, WriteCommand } from '../../radio/radio.ts';
import { decodeSmpFrame, encodeSmpFrame, SmpReassembler } from './codec.ts';
import { smpError } from './smp-error.ts';

/**
 * The characteristic of SMP servers: written without response, answers notified. Sources: Zephyr `subsys/mgmt/mcumgr/transport/src/smp_bt.c`
 * (`smp_bt_chr_uuid`); Apache Mynewt newtmgr documentation, "Newtmgr Over BLE".
 */
export const SMP_CHARACTERISTIC_UUID = 'da2e7828-fbce-4e01-ae9e-261174997c48';
/** How long a command may take that neither erases nor reboots. */
export const ANSWER_TIMEOUT_MS = 2500;
const TRIES = 4;
/** Answers that make no sense, without one that does in between, after which the device is given up. */
const NONSENSE_LIMIT = 16;
/** No answer is longer: servers answer from buffers of a few kilobytes. */
const LONGEST_ANSWER_BYTES = 16_384;

type Body = Readonly<Record<string, unknown>>;

/** A request to the server. */
export interface SmpRequest {
  readonly op: number;
  readonly group: number;
  readonly command: number;
  readonly body: Body;
  /** The image bytes at the end of the body, for the frame log. */
  readonly imageBytes?: { readonly image: number; readonly offset: number; readonly length: number } | null;
}

/** A request that is on its way. */
export interface SmpExchange {
  /** Settles when the controller took the whole frame. */
  readonly sent: Promise<void>;
  /** Settles with the answer's body, or the link's end, unless it is forgotten before. There is no time-out. */
  readonly answered: Promise<Body>;
  /** Stops waiting; a late answer is ignored. */
  forget(): void;
}

/** Requests and answers over one link. Frames are cut into writes of the MTU and joined from notifications. */
export class SmpClient {
  readonly link: Link;
  readonly #characteristic: Characteristic;
  readonly #clock: Clock;
  readonly #reassembler = new SmpReassembler(LONGEST_ANSWER_BYTES);
  readonly #pending = new Map<number, PromiseWithResolvers<Body>>();
  #over: StationError | null = null;
  #sequence = 0;
  #nonsense = 0;
  #lastNonsense = '';

  private constructor(link: Link, characteristic: Characteristic, clock: Clock) {
    this.link = link;
    this.#characteristic = characteristic;
    this.#clock = clock;
    void link.ended.then((reason) => {
      this.#over = reason;
      for (const { reject } of this.#pending.values()) reject(reason);
      this.#pending.clear();
    });
  }

  /** Finds the SMP characteristic and subscribes to it. @throws StationError SERVICE_NOT_FOUND, ENCRYPTION_REQUIRED, ATT_ERROR */
  static async open(link: Link, clock: Clock): Promise<SmpClient> {
    const characteristic = await link.characteristic(SMP_SERVICE_UUID, SMP_CHARACTERISTIC_UUID);
    const client = new SmpClient(link, characteristic, clock);
    await link.subscribe(characteristic, (value) => client.#received(value));
    return client;
  }

  /** Sends a request without waiting for anything. */
  send(request: SmpRequest): SmpExchange {
    const sequence = this.#sequence;
    this.#sequence = (sequence + 1) & 0xff;
    const { op, group, command, body, imageBytes } = request;
    const frame = encodeSmpFrame({ op, version: 1, group, command, sequence, body });
    const answer = Promise.withResolvers<Body>();
    answer.promise.catch(() => undefined);
    if (this.#over) answer.reject(this.#over);
    else this.#pending.set(sequence, answer);
    const forget = () => {
      if (this.#pending.get(sequence) === answer) this.#pending.delete(sequence);
    };
    const sent = this.#write(frame, imageBytes);
    sent.catch(() => undefined);
    return { sent, answered: answer.promise, forget };
  }

  /**
   * Sends a request that may safely be repeated, and waits for its answer.
   * @throws StationError DEVICE_SILENT, DEVICE_NONSENSE, what the server reports, or the link's end
   */
  async request(
    request: SmpRequest,
    options: { tries?: number; timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<Body> {
    const { tries = TRIES, timeoutMs = ANSWER_TIMEOUT_MS, signal } = options;
    for (let attempt = 1; ; attempt++) {
      const exchange = this.send(request);
      try {
        await exchange.sent;
        const body = await deadline(this.#clock, timeoutMs, exchange.answered, () => this.silence(), signal);
        const error = smpError(request, body);
        if (error) throw error;
        return body;
      } catch (error) {
        const silent =
          error instanceof StationError && (error.code === 'DEVICE_SILENT' || error.code === 'DEVICE_NONSENSE');
        if (!silent || attempt >= tries) throw error;
      } finally {
        exchange.forget();
      }
    }
  }

  /** The error for an answer that did not come: nonsense, when that is what came instead. */
  silence(): StationError {
    const cutShort = this.#reassembler.pendingBytes;
    this.#reassembler.reset();
    if (cutShort > 0)
      return new StationError('DEVICE_NONSENSE', `an answer broke off after ${cutShort} bytes`, { retryable: true });
    if (this.#nonsense > 0) return new StationError('DEVICE_NONSENSE', this.#lastNonsense, { retryable: true });
    return new StationError('DEVICE_SILENT', 'no answer', { retryable: true });
  }

  async #write(frame: Buffer, imageBytes: SmpRequest['imageBytes']): Promise<void> {
    const size = this.link.facts().mtu - 3;
    const imageAt = imageBytes ? frame.length - imageBytes.length : frame.length;
    const commands: WriteCommand[] = [];
    for (let at = 0; at < frame.length; at += size) {
      const value = frame.subarray(at, at + size);
      const begins = Math.max(imageAt - at, 0);
      const marked =
        imageBytes && begins < value.length
          ? { image: imageBytes.image, offset: imageBytes.offset + at + begins - imageAt, at: begins }
          : null;
      commands.push({ characteristic: this.#characteristic, value, imageBytes: marked });
    }
    await this.link.writeCommands(commands);
  }

  #received(value: Buffer): void {
    try {
      const bytes = this.#reassembler.push(value);
      if (!bytes) return;
      const frame = decodeSmpFrame(bytes);
      if (frame.op % 2 === 0) throw new StationError('DEVICE_NONSENSE', `a request (op ${frame.op}) as an answer`);
      this.#nonsense = 0;
      this.#pending.get(frame.sequence)?.resolve(frame.body);
      this.#pending.delete(frame.sequence);
    } catch (error) {
      if (!(error instanceof StationError)) throw error;
      this.#nonsense += 1;
      this.#lastNonsense = error.detail;
      if (this.#nonsense >= NONSENSE_LIMIT) void this.link.disconnect();
    }
  }
}
