import type { Clock } from '../../clock.ts';
import { StationError } from '../../contract/errors.ts';
import { OPCODE, uint16 } from './packets.ts';

/** A controller answers a command within a second (Core 5.4, Vol 4 Part E, 4.4: "normally"); a reset may take longer. */
const ANSWER_TIMEOUT_MS = 2000;
const RESET_TIMEOUT_MS = 5000;
/** So many times in a row without an answer, or without leave to send, and the controller counts as gone. */
const MOST_SILENCES = 2;
/** Commands that are given up and may still be answered. */
const MOST_LATE = 8;

/** What a controller said to a command: the whole event, and the parameters returned, status first (Command Status: the status alone). */
export interface CommandAnswer {
  readonly event: Buffer;
  readonly returned: Buffer;
}

/** Takes the answer, or why there is none: RADIO_REFUSED when the controller did not answer in time, else what ended the queue. */
export type OnAnswer = (answer: CommandAnswer | StationError) => void;

interface Waiting {
  readonly packet: Buffer;
  readonly opcode: number;
  readonly onAnswer: OnAnswer;
}

/**
 * Commands to a controller: one at a time, and only while its Num_HCI_Command_Packets gives leave (Core 5.4, Vol 4 Part E, 4.4). Each is
 * answered once: by the controller, by silence, or by the end. An answer that comes after its command was given up is known as late, and
 * never taken for the answer to the next of its kind about another link.
 */
export class CommandQueue {
  readonly #send: (packet: Buffer) => void;
  readonly #clock: Clock;
  readonly #onSilent: (detail: string) => void;
  #queue: Waiting[] = [];
  #inFlight: Waiting | null = null;
  #late: Waiting[] = [];
  #credits = 1;
  #silences = 0;
  #ended: StationError | null = null;
  #sentMs = 0;
  /** The shortest time in which a command has been answered: the way to the controller and back, in milliseconds; null before the first. */
  shortestTripMs: number | null = null;
  #cancelTimer: (() => void) | null = null;

  /** `onSilent` is told, once, that the controller does not answer any more. */
  constructor(send: (packet: Buffer) => void, clock: Clock, onSilent: (detail: string) => void) {
    this.#send = send;
    this.#clock = clock;
    this.#onSilent = onSilent;
  }

  /** Queues a command packet. */
  push(packet: Buffer, onAnswer: OnAnswer): void {
    if (this.#ended) return onAnswer(this.#ended);
    this.#queue.push({ packet, opcode: uint16(packet, 1), onAnswer });
    this.#next();
  }

  /**
   * Command Complete or Command Status: `credits` is what the host may send now, `opcode` 0 says no more than that. Returns whether the
   * command was one that waits for its answer, or has waited.
   */
  answered(opcode: number, credits: number, answer: CommandAnswer): boolean {
    this.#credits = credits;
    const inFlight = this.#inFlight;
    const late = this.#late.find((each) => each.opcode === opcode && fits(each, answer));
    let known = opcode === 0;
    if (inFlight?.opcode === opcode && (!late || fits(inFlight, answer))) {
      known = true;
      this.#silences = 0;
      this.shortestTripMs = Math.min(this.shortestTripMs ?? Number.POSITIVE_INFINITY, this.#clock.now() - this.#sentMs);
      this.#stopTimer();
      this.#inFlight = null;
      // A reset takes back whatever was said of credits.
      if (opcode === OPCODE.RESET) this.#credits = Math.max(1, credits);
      inFlight.onAnswer(answer);
    } else if (late) {
      known = true;
      this.#late.splice(this.#late.indexOf(late), 1);
    }
    if (!this.#inFlight && credits > 0) this.#stopTimer();
    this.#next();
    return known;
  }

  /** Nothing more is sent; what waits is answered with the reason. */
  end(reason: StationError): void {
    if (this.#ended) return;
    this.#ended = reason;
    this.#stopTimer();
    const waiting = [...(this.#inFlight ? [this.#inFlight] : []), ...this.#queue];
    this.#inFlight = null;
    this.#queue = [];
    this.#late = [];
    for (const { onAnswer } of waiting) onAnswer(reason);
  }

  #next(): void {
    if (this.#ended || this.#inFlight) return;
    const command = this.#queue[0];
    if (!command) return;
    if (this.#credits < 1) {
      this.#cancelTimer ??= this.#clock.after(ANSWER_TIMEOUT_MS, () => this.#silent('gives no leave for a command'));
      return;
    }
    this.#queue.shift();
    this.#credits -= 1;
    this.#inFlight = command;
    const patienceMs = command.opcode === OPCODE.RESET ? RESET_TIMEOUT_MS : ANSWER_TIMEOUT_MS;
    this.#stopTimer();
    this.#cancelTimer = this.#clock.after(patienceMs, () => this.#giveUp(command));
    this.#sentMs = this.#clock.now();
    this.#send(command.packet);
  }

  #giveUp(command: Waiting): void {
    const detail = `no answer to command ${shown(command.opcode)}`;
    this.#late.push(command);
    if (this.#late.length > MOST_LATE) this.#late.shift();
    this.#inFlight = null;
    command.onAnswer(new StationError('RADIO_REFUSED', detail, { retryable: true }));
    this.#silent(detail);
  }

  /** One silence is passed over; the controller may have lost the command. */
  #silent(detail: string): void {
    this.#cancelTimer = null;
    if (this.#ended) return;
    this.#silences += 1;
    if (this.#silences >= MOST_SILENCES) return this.#onSilent(detail);
    this.#credits = 1;
    this.#next();
  }

  #stopTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
  }
}

/** Whether an answer can be the command's: where both name a link, it is the same one. */
function fits({ packet }: Waiting, { returned }: CommandAnswer): boolean {
  if (packet.length < 6 || returned.length < 3) return true;
  return uint16(packet, 4) === uint16(returned, 1);
}

/** `0x200d`. */
function shown(opcode: number): string {
  return `0x${opcode.toString(16).padStart(4, '0')}`;
}
