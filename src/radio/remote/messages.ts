import type { ControllerFacts } from '../../contract/board.ts';
import type { ErrorCode } from '../../contract/errors.ts';
import { StationError } from '../../contract/errors.ts';
import type { LinkFacts } from '../../contract/records.ts';
import type { Advertisement, Bond, ConnectOptions } from '../radio.ts';

/** A channel between a station and a radio in a process of its own. Messages are structured clones, in order. */
export interface RadioChannel {
  send(message: unknown): void;
  onMessage(handler: (message: unknown) => void): void;
}

/** An error as it crosses the channel. */
export interface WireError {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly retryable: boolean;
}

/** Calls on a link that have an answer. */
export type LinkMethod =
  | 'characteristic'
  | 'read'
  | 'write'
  | 'writeCommands'
  | 'subscribe'
  | 'rssi'
  | 'disconnect'
  | 'evidence';

/** How a connection is asked for, without what cannot cross: the signal, and the store of bonds, of which the list goes along. */
export interface WireConnectOptions extends Omit<ConnectOptions, 'signal' | 'security'> {
  readonly security: {
    readonly required: boolean;
    readonly pairAgain: boolean;
    readonly bonds: readonly Bond[] | null;
  };
}

/** From the station to the radio's process. `id` numbers what is answered; `link` is the id of the connect that made it. */
export type ToRadio =
  | { readonly type: 'scan' /** Of the links' air; null: not at all. */; readonly share: number | null }
  | { readonly type: 'connect'; readonly id: number; readonly address: string; readonly options: WireConnectOptions }
  | { readonly type: 'abort'; readonly id: number }
  | {
      readonly type: 'call';
      readonly id: number;
      readonly link: number;
      readonly method: LinkMethod;
      readonly args: readonly unknown[];
    }
  | { readonly type: 'mark'; readonly link: number }
  | { readonly type: 'expect-restart'; readonly link: number }
  | { readonly type: 'release'; readonly link: number }
  | { readonly type: 'stop' };

/** From the radio's process to the station. */
export type FromRadio =
  | { readonly type: 'ready'; readonly address: string | null; readonly controller: ControllerFacts | null }
  | { readonly type: 'alive' }
  | { readonly type: 'heard'; readonly advertisement: Advertisement }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly type: 'refusal'; readonly id: number; readonly error: WireError }
  | { readonly type: 'facts'; readonly link: number; readonly facts: LinkFacts }
  | {
      readonly type: 'value';
      readonly link: number;
      readonly subscription: number;
      readonly value: Uint8Array;
      readonly queued: number;
    }
  | { readonly type: 'link-ended'; readonly link: number; readonly facts: LinkFacts; readonly error: WireError }
  | { readonly type: 'bond'; readonly link: number; readonly kept: boolean; readonly bond: Bond }
  | { readonly type: 'link-limit'; readonly links: number }
  | { readonly type: 'ended'; readonly error: WireError | null };

/** An error for the channel. */
export function toWire({ code, detail, retryable }: StationError): WireError {
  return { code, detail, retryable };
}

/** An error from the channel. */
export function fromWire({ code, detail, retryable }: WireError): StationError {
  return new StationError(code, detail, { retryable });
}

/** Sends what comes up within one turn of the loop as one message: a list. */
export function batched<T>(channel: RadioChannel): (message: T) => void {
  let waiting: T[] = [];
  return (message) => {
    if (waiting.length === 0) {
      queueMicrotask(() => {
        const batch = waiting;
        waiting = [];
        channel.send(batch);
      });
    }
    waiting.push(message);
  };
}

/** Buffers arrive as plain octets, or as what JSON makes of them. */
export function asBuffer(value: unknown): Buffer {
  return Buffer.isBuffer(value) ? value : Buffer.from(value as Uint8Array);
}

/** A bond with its octets as buffers again. */
export function asBond(bond: Bond): Bond {
  const { ltk, ediv, rand } = bond.key;
  return {
    ...bond,
    irk: bond.irk && asBuffer(bond.irk),
    key: { ltk: asBuffer(ltk), ediv, rand: asBuffer(rand) },
  };
}
