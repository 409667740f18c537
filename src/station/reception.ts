import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { type ClientMessage, MAX_MESSAGE_LENGTH, type Port, type ServerMessage } from '../contract/channel.ts';
import { asStationError, StationError } from '../contract/errors.ts';
import type { Desk } from './desk.ts';
import { LiveFeed } from './live-feed.ts';

const clientMessage: z.ZodType<ClientMessage> = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('hello'), ticket: z.string().max(64).nullable(), takeOver: z.boolean() }),
  z.strictObject({ type: z.literal('ask'), id: z.int().positive(), command: z.string().max(64), input: z.unknown() }),
  z.strictObject({ type: z.literal('credit') }),
  z.strictObject({ type: z.literal('resync') }),
]);

/** Commands that a window may have under way at once. */
const MAX_ASKED = 32;

/** Lets windows in: one at a time has the station; another may take it over, and the tray goes on either way. */
export class Reception {
  readonly #desk: Desk;
  readonly #clock: Clock;
  #active: Visitor | null = null;
  readonly #visitors = new Set<Visitor>();

  constructor(desk: Desk, clock: Clock) {
    this.#desk = desk;
    this.#clock = clock;
  }

  /** A window has come, over whatever carries its messages. */
  accept(port: Port): void {
    const visitor: Visitor = new Visitor(port, this.#desk, this.#clock, {
      isInside: () => this.#active === visitor,
      mayEnter: (takeOver) => this.#enter(visitor, takeOver),
      left: () => {
        this.#visitors.delete(visitor);
        if (this.#active === visitor) this.#active = null;
      },
    });
    this.#visitors.add(visitor);
  }

  close(): void {
    for (const visitor of this.#visitors) visitor.close();
  }

  #enter(visitor: Visitor, takeOver: boolean): boolean {
    if (this.#active && this.#active !== visitor) {
      if (!takeOver) return false;
      this.#active.replace();
    }
    this.#active = visitor;
    return true;
  }
}

interface Door {
  isInside(): boolean;
  mayEnter(takeOver: boolean): boolean;
  left(): void;
}

class Visitor {
  readonly #port: Port;
  readonly #desk: Desk;
  readonly #clock: Clock;
  readonly #door: Door;
  #ticket: string | null = null;
  #feed: LiveFeed | null = null;
  #asked = 0;
  #open = true;
  readonly #outlet = {
    send: (message: ServerMessage) => this.#send(message),
    backlog: () => this.#port.backlog(),
  };

  constructor(port: Port, desk: Desk, clock: Clock, door: Door) {
    this.#port = port;
    this.#desk = desk;
    this.#clock = clock;
    this.#door = door;
    port.onMessage((text) => this.#receive(text));
    port.onClose(() => this.#leave());
  }

  /** Another window has the station now. */
  replace(): void {
    this.#send({ type: 'replaced' });
    this.close();
  }

  close(): void {
    this.#leave();
    this.#port.close();
  }

  #leave(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#feed?.stop();
    this.#door.left();
  }

  #receive(text: string): void {
    if (!this.#open) return;
    const message = parseMessage(text);
    // Who sends what no window of ours sends is not talked to.
    if (!message) return this.close();
    switch (message.type) {
      case 'hello':
        return this.#hello(message.ticket, message.takeOver);
      case 'ask':
        return void this.#answer(message.id, message.command, message.input);
      case 'credit':
        return this.#feed?.drawn();
      case 'resync':
        return this.#feed?.snapshot();
    }
  }

  #hello(ticket: string | null, takeOver: boolean): void {
    const known = ticket !== null && ticket === this.#desk.session?.ticket;
    if (!this.#door.mayEnter(takeOver || known)) return this.#send({ type: 'occupied' });
    this.#welcome(ticket);
  }

  async #answer(id: number, command: string, input: unknown): Promise<void> {
    if (this.#asked >= MAX_ASKED) return this.close();
    this.#asked += 1;
    try {
      if (!this.#door.isInside()) throw new StationError('WINDOW_NOT_ACTIVE');
      const value = await this.#desk.carryOut(command, input, this.#ticket);
      this.#followSession(command);
      this.#send({ type: 'answer', id, value });
    } catch (error) {
      const { code, detail } = asStationError(error);
      this.#send({ type: 'refusal', id, code, detail });
    } finally {
      this.#asked -= 1;
    }
  }

  /** After signing in or out the window's session is the desk's. */
  #followSession(command: string): void {
    if (!['first-start', 'sign-in', 'sign-in-badge', 'recover', 'sign-out'].includes(command)) return;
    this.#welcome(this.#desk.session?.ticket ?? null);
  }

  #welcome(ticket: string | null): void {
    const welcome = this.#desk.welcome(ticket);
    this.#ticket = welcome.session?.ticket ?? null;
    this.#send({ type: 'welcome', welcome });
    this.#feedIfSignedIn();
  }

  /** The board is for people who are signed in. */
  #feedIfSignedIn(): void {
    this.#feed?.stop();
    this.#feed = this.#ticket === null ? null : new LiveFeed(this.#desk.board, this.#outlet, this.#clock);
  }

  #send(message: ServerMessage): void {
    if (this.#open) this.#port.send(JSON.stringify(message));
  }
}

function parseMessage(text: string): ClientMessage | null {
  if (text.length > MAX_MESSAGE_LENGTH) return null;
  try {
    return clientMessage.safeParse(JSON.parse(text)).data ?? null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
