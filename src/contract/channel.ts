import type { Board, BoardChange } from './board.ts';
import type { CommandAnswer, CommandInput, CommandName, Welcome } from './commands.ts';
import type { ErrorCode } from './errors.ts';

/** The largest message that a station accepts, in UTF-16 code units. */
export const MAX_MESSAGE_LENGTH = 128 * 1024;
/** Gauge messages that a window may be behind before it is sent no more of them. */
export const INITIAL_CREDIT = 4;

/** What carries messages: a WebSocket, Electron's IPC, or two functions in one process. Messages are JSON text, in order. */
export interface Port {
  send(message: string): void;
  /** Bytes that have been sent and not yet taken; 0 where that cannot be told. */
  backlog(): number;
  /** Called for each message, in order. */
  onMessage(handler: (message: string) => void): void;
  /** Called once when nothing will come any more. */
  onClose(handler: () => void): void;
  close(): void;
}

/**
 * From a window to the station. `hello` is the first; `credit` says that a gauges message has been drawn; `resync` asks for a snapshot
 * because a sequence number was skipped.
 */
export type ClientMessage =
  | { readonly type: 'hello'; readonly ticket: string | null; readonly takeOver: boolean }
  | { readonly type: 'ask'; readonly id: number; readonly command: string; readonly input: unknown }
  | { readonly type: 'credit' }
  | { readonly type: 'resync' };

/**
 * From the station to a window. `snapshot`, `change` and `gauges` share one sequence: a snapshot sets it, each of the others adds one.
 * Changes are never skipped. Gauges are: they come at most 20 times a second and only while the window has credit. `progress` is flat:
 * tile index, thousandths, tile index, thousandths …; so is `rates`, with bytes per second.
 */
export type ServerMessage =
  | { readonly type: 'welcome'; readonly welcome: Welcome }
  | { readonly type: 'occupied' }
  | { readonly type: 'replaced' }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly type: 'refusal'; readonly id: number; readonly code: ErrorCode; readonly detail: string }
  | { readonly type: 'snapshot'; readonly sequence: number; readonly board: Board }
  | { readonly type: 'change'; readonly sequence: number; readonly change: BoardChange }
  | {
      readonly type: 'gauges';
      readonly sequence: number;
      readonly progress: readonly number[];
      readonly rates: readonly number[];
    };

/** A command that the station refused, as a window sees it. */
export class Refusal extends Error {
  readonly code: ErrorCode;
  readonly detail: string;

  constructor(code: ErrorCode, detail: string) {
    super(detail ? `${code}: ${detail}` : code);
    this.name = 'Refusal';
    this.code = code;
    this.detail = detail;
  }
}

/** What a window wants to hear. */
export interface ChannelListener {
  /** At first, and again whenever somebody has signed in or out. */
  welcome(welcome: Welcome): void;
  /** Another window has the station: say hello again with `takeOver` to have it here. */
  occupied(): void;
  /** Another window has taken the station over. */
  replaced(): void;
  snapshot(board: Board): void;
  change(change: BoardChange): void;
  /** Call `drawn` on the client when they are on the screen: only then more come. */
  gauges(progress: readonly number[], rates: readonly number[]): void;
  closed(): void;
}

/** A window's end of the channel. */
export class ChannelClient {
  readonly #port: Port;
  readonly #listener: ChannelListener;
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  #nextId = 1;
  #sequence: number | null = null;
  #closed = false;

  constructor(port: Port, listener: ChannelListener) {
    this.#port = port;
    this.#listener = listener;
    port.onMessage((text) => this.#receive(JSON.parse(text) as ServerMessage));
    port.onClose(() => {
      this.#closed = true;
      for (const { reject } of this.#waiting.values()) reject(new Refusal('LINK_CLOSED', ''));
      this.#waiting.clear();
      listener.closed();
    });
  }

  hello(ticket: string | null, takeOver = false): void {
    this.#send({ type: 'hello', ticket, takeOver });
  }

  /** Gives a command. Rejects with Refusal. */
  ask<Name extends CommandName>(command: Name, input: CommandInput<Name>): Promise<CommandAnswer<Name>> {
    if (this.#closed) return Promise.reject(new Refusal('LINK_CLOSED', ''));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#send({ type: 'ask', id, command, input });
    });
  }

  /** One gauges message is on the screen. */
  drawn(): void {
    this.#send({ type: 'credit' });
  }

  close(): void {
    this.#port.close();
  }

  #receive(message: ServerMessage): void {
    switch (message.type) {
      case 'welcome':
        return this.#listener.welcome(message.welcome);
      case 'occupied':
        return this.#listener.occupied();
      case 'replaced':
        return this.#listener.replaced();
      case 'answer':
      case 'refusal':
        return this.#settle(message);
      case 'snapshot':
        this.#sequence = message.sequence;
        return this.#listener.snapshot(message.board);
      case 'change':
        if (this.#inSequence(message.sequence)) this.#listener.change(message.change);
        return;
      case 'gauges':
        if (this.#inSequence(message.sequence)) return this.#listener.gauges(message.progress, message.rates);
        return this.drawn();
    }
  }

  #settle(message: Extract<ServerMessage, { type: 'answer' | 'refusal' }>): void {
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.type === 'answer') waiting?.resolve(message.value as never);
    else waiting?.reject(new Refusal(message.code, message.detail));
  }

  /** After a gap nothing is applied until the snapshot that was asked for has come. */
  #inSequence(sequence: number): boolean {
    if (this.#sequence === null) return false;
    if (sequence === this.#sequence + 1) {
      this.#sequence = sequence;
      return true;
    }
    this.#sequence = null;
    this.#send({ type: 'resync' });
    return false;
  }

  #send(message: ClientMessage): void {
    this.#port.send(JSON.stringify(message));
  }
}
