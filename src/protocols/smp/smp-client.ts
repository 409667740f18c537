import { type Clock, deadline } from '../../clock.ts';
import { StationError } from '../../contract/errors.ts';
import { SMP_SERVICE_UUID } from '../../contract/product-file.ts';
import type { Characteristic, Link, WriteCommand } from '../../radio/radio.ts';
import { BackOff } from '../back-off.ts';
import { decodeSmpFrame, encodeSmpFrame, RC, type SmpFrame, SmpReassembler } from './codec.ts';
import { SmpRefusal, smpError } from './smp-error.ts';

/**
 * The characteristic of SMP servers: written without response, answers notified. Sources: Zephyr `subsys/mgmt/mcumgr/transport/src/smp_bt.c`
 * (`smp_bt_chr_uuid`); Apache Mynewt newtmgr documentation, "Newtmgr Over BLE".
 */
export const SMP_CHARACTERISTIC_UUID = 'da2e7828-fbce-4e01-ae9e-261174997c48';
/** How long a command may take that neither erases nor reboots. */
export const ANSWER_TIMEOUT_MS = 2500;
const TRIES = 4;
/** What need not be known is asked for twice, and not waited for as long. */
const OPTIONAL_TIMEOUT_MS = 1500;
const OPTIONAL_TRIES = 2;
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

/** Hears of errors that the server answered and that are hoped to pass. */
export type OnPassing = (refusal: SmpRefusal) => void;

interface Pending {
  readonly request: SmpRequest;
  readonly answer: PromiseWithResolvers<Body>;
}

/** Requests and answers over one link. Frames are cut into writes of the MTU and joined from notifications. */
export class SmpClient {
  readonly link: Link;
  readonly #characteristic: Characteristic;
  readonly #clock: Clock;
  readonly #onPassing: OnPassing;
  readonly #reassembler = new SmpReassembler(LONGEST_ANSWER_BYTES);
  readonly #pending = new Map<number, Pending>();
  #over: StationError | null = null;
  #sequence = 0;
  /** As on the wire: 1 is protocol version 2, which servers that do not know it answer in version 1. */
  #version = 1;
  #nonsense = 0;
  #lastNonsense = '';

  private constructor(link: Link, characteristic: Characteristic, clock: Clock, onPassing: OnPassing) {
    this.link = link;
    this.#characteristic = characteristic;
    this.#clock = clock;
    this.#onPassing = onPassing;
    void link.ended.then((reason) => {
      this.#over = reason;
      for (const { answer } of this.#pending.values()) answer.reject(reason);
      this.#pending.clear();
    });
  }

  /** Finds the SMP characteristic and subscribes to it. @throws StationError SERVICE_NOT_FOUND, ENCRYPTION_REQUIRED, ATT_ERROR */
  static async open(link: Link, clock: Clock, onPassing: OnPassing = () => undefined): Promise<SmpClient> {
    const characteristic = await link.characteristic(SMP_SERVICE_UUID, SMP_CHARACTERISTIC_UUID);
    const client = new SmpClient(link, characteristic, clock, onPassing);
    await link.subscribe(characteristic, (value) => client.#received(value));
    return client;
  }

  /** Octets of image data and all that one write carries. */
  get writeBytes(): number {
    return this.link.facts().mtu - 3;
  }

  /** Sends a request without waiting for anything. */
  send(request: SmpRequest): SmpExchange {
    const sequence = this.#sequence;
    this.#sequence = (sequence + 1) & 0xff;
    const { op, group, command, body, imageBytes } = request;
    const frame = encodeSmpFrame({ op, version: this.#version, group, command, sequence, body });
    const answer = Promise.withResolvers<Body>();
    answer.promise.catch(() => undefined);
    const pending = { request, answer };
    if (this.#over) answer.reject(this.#over);
    else this.#pending.set(sequence, pending);
    const forget = () => {
      if (this.#pending.get(sequence) === pending) this.#pending.delete(sequence);
    };
    const sent = this.#write(frame, imageBytes);
    sent.catch(() => undefined);
    return { sent, answered: answer.promise, forget };
  }

  /**
   * Sends a request that may safely be repeated, and waits for its answer. An error that usually passes is waited out, unless `patient` is
   * false.
   * @throws StationError DEVICE_SILENT, DEVICE_NONSENSE, what the server reports, or the link's end
   */
  async request(
    request: SmpRequest,
    options: { tries?: number; timeoutMs?: number; signal?: AbortSignal; patient?: boolean } = {},
  ): Promise<Body> {
    const { tries = TRIES, timeoutMs = ANSWER_TIMEOUT_MS, signal, patient = true } = options;
    const backOff = new BackOff(this.#clock, signal);
    for (let attempt = 1; ; ) {
      const exchange = this.send(request);
      try {
        await exchange.sent;
        const body = await deadline(this.#clock, timeoutMs, exchange.answered, () => this.silence(), signal);
        const refusal = smpError(request, body);
        if (!refusal) return body;
        if (this.#speaksOlder(refusal)) continue;
        if (!patient || !this.passes(refusal)) throw refusal;
        await backOff.after(refusal);
      } catch (error) {
        const silent =
          error instanceof StationError && (error.code === 'DEVICE_SILENT' || error.code === 'DEVICE_NONSENSE');
        if (!silent || attempt >= tries) throw error;
        attempt += 1;
      } finally {
        exchange.forget();
      }
    }
  }

  /**
   * Asks for something that servers need not know. Null, which means no more than that it is unknown: when the server answers any error,
   * nonsense, or not at all.
   * @throws StationError the link's end, or the signal's reason
   */
  async ask(request: SmpRequest, signal: AbortSignal): Promise<Body | null> {
    try {
      return await this.request(request, { tries: OPTIONAL_TRIES, timeoutMs: OPTIONAL_TIMEOUT_MS, signal });
    } catch (error) {
      if (error instanceof SmpRefusal) return null;
      if (error instanceof StationError && (error.code === 'DEVICE_SILENT' || error.code === 'DEVICE_NONSENSE'))
        return null;
      throw error;
    }
  }

  /** Whether the same may be sent again in a moment; says so to who listens. A frame of one write that came in incomplete was disturbed. */
  passes(refusal: SmpRefusal): boolean {
    const again = refusal.kind === 'passing' || refusal.kind === 'frame';
    if (again) this.#onPassing(refusal);
    return again;
  }

  /** A server that knows version 1 only and says so is spoken to in version 1. */
  #speaksOlder(refusal: SmpRefusal): boolean {
    if (refusal.group !== null || refusal.rc !== RC.TOO_NEW || this.#version === 0) return false;
    this.#version = 0;
    return true;
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
    const size = this.writeBytes;
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
      const pending = this.#pending.get(frame.sequence);
      // A server that takes the second write of a frame for a request of its own answers that, whatever its bytes look like.
      if (!pending || !answers(frame, pending.request)) return;
      pending.answer.resolve(frame.body);
      this.#pending.delete(frame.sequence);
    } catch (error) {
      if (!(error instanceof StationError)) throw error;
      this.#nonsense += 1;
      this.#lastNonsense = error.detail;
      if (this.#nonsense >= NONSENSE_LIMIT) void this.link.disconnect();
    }
  }
}

function answers({ group, command }: SmpFrame, request: SmpRequest): boolean {
  return group === request.group && command === request.command;
}
