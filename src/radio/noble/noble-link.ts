import type { EventEmitter } from 'node:events';
import { type Clock, deadline } from '../../clock.ts';
import { StationError } from '../../contract/errors.ts';
import { Lifetime } from '../lifetime.ts';
import type { Characteristic, Link, LinkEvidence, LinkFacts, WriteCommand } from '../radio.ts';
import type { NobleCharacteristic, NoblePeripheral, NobleService } from './noble-internals.ts';

/** An ATT transaction that takes longer is a dead link (Core 5.4, Vol 3 Part F, 3.3.3). */
const ATT_TIMEOUT_MS = 30_000;
/**
 * How long the end of a link is waited for that this side ends: the peer has to acknowledge it within the supervision timeout, which the
 * peer may have made as long as it likes. Patience is ours.
 */
const DISCONNECT_TIMEOUT_MS = 5_000;
const ATTRIBUTE_NOT_FOUND = 0x0a;
/** Insufficient authentication and insufficient encryption. */
const NEEDS_ENCRYPTION = new Set([0x05, 0x0f]);

/** What the radio lends a link: the ways around noble where the transport is ours. */
export interface LinkBackend {
  facts(): LinkFacts;
  readonly evidence: LinkEvidence | null;
  queued(): number;
  /** Sends ATT Write Commands; settles when the last one has left. @throws StationError SERVICE_NOT_FOUND, and then none is sent */
  writeCommands(commands: readonly WriteCommand[]): Promise<void>;
  /**
   * Calls `onValue` with each value that the device notifies or indicates, until the function that is returned is called.
   * @throws StationError SERVICE_NOT_FOUND
   */
  listen(characteristic: Characteristic, onValue: (value: Buffer) => void): () => void;
  rssi(): Promise<number | null>;
  expectRestart(): void;
  /** Encrypts the link; null where the platform does so by itself. */
  readonly secure: (() => Promise<void>) | null;
  /** Asks the controller to end the link. */
  disconnect(): void;
  /** Forgets the link when the controller does not answer. */
  abandon(): void;
}

/**
 * A link over noble's peripheral. Requests go one at a time, because noble answers all of a kind with the first answer; each settles
 * with its answer, the device's ATT error, the ATT timeout or the link's end.
 */
export class NobleLink implements Link {
  readonly address: string;
  readonly ended: Promise<StationError>;
  readonly #peripheral: NoblePeripheral;
  readonly #backend: LinkBackend;
  readonly #clock: Clock;
  #settleEnd: (reason: StationError) => void = () => undefined;
  readonly #life = new Lifetime();
  #tail: Promise<unknown> = Promise.resolve();
  #onAttError: ((code: number) => void) | null = null;
  #services: NobleService[] | null = null;
  readonly #characteristics = new Map<string, NobleCharacteristic[]>();
  #closing: Promise<void> | null = null;

  constructor(peripheral: NoblePeripheral, backend: LinkBackend, clock: Clock) {
    this.#peripheral = peripheral;
    this.address = peripheral.address;
    this.#backend = backend;
    this.#clock = clock;
    this.ended = new Promise((resolve) => {
      this.#settleEnd = resolve;
    });
  }

  facts(): LinkFacts {
    return this.#backend.facts();
  }

  get evidence(): LinkEvidence | null {
    return this.#backend.evidence;
  }

  get queued(): number {
    return this.#backend.queued();
  }

  /** The radio: the link is over. */
  end(reason: StationError): void {
    if (this.#life.over) return;
    this.#life.end(reason);
    this.#settleEnd(reason);
  }

  /** Settles as `work` does, or rejects with the link's end. */
  during<T>(work: Promise<T>): Promise<T> {
    return this.#life.during(work);
  }

  /** The radio: the device answered the request that is out with an ATT error. */
  attError(code: number): void {
    this.#onAttError?.(code);
  }

  async characteristic(service: string, uuid: string): Promise<Characteristic> {
    this.#services ??= await this.#request<NobleService[]>(this.#peripheral, 'servicesDiscover', () =>
      this.#peripheral.discoverServices([]),
    );
    const found = this.#services.find((each) => sameUuid(each.uuid, service));
    if (!found) throw new StationError('SERVICE_NOT_FOUND', service);
    let list = this.#characteristics.get(service);
    if (!list) {
      list = await this.#request<NobleCharacteristic[]>(found, 'characteristicsDiscover', () =>
        found.discoverCharacteristics([]),
      );
      this.#characteristics.set(service, list);
    }
    const characteristic = list.find((each) => sameUuid(each.uuid, uuid));
    if (!characteristic) throw new StationError('SERVICE_NOT_FOUND', `characteristic ${uuid}`);
    return { service, uuid, properties: characteristic.properties };
  }

  read(characteristic: Characteristic): Promise<Buffer> {
    const noble = this.#noble(characteristic);
    return this.#request<Buffer>(
      noble,
      'read',
      () => noble.read(),
      (_value, notification) => notification !== true,
    );
  }

  write(characteristic: Characteristic, value: Buffer): Promise<void> {
    const noble = this.#noble(characteristic);
    return this.#request<void>(noble, 'write', () => noble.write(value, false));
  }

  async writeCommands(commands: readonly WriteCommand[]): Promise<void> {
    if (this.#life.over) throw this.#life.over;
    const { mtu } = this.facts();
    for (const { value } of commands) {
      if (value.length > mtu - 3) throw new StationError('WRITE_TOO_LONG', `${value.length} octets, MTU ${mtu}`);
    }
    await this.#backend.writeCommands(commands);
  }

  async subscribe(characteristic: Characteristic, onValue: (value: Buffer) => void): Promise<void> {
    const noble = this.#noble(characteristic);
    if (this.#life.over) throw this.#life.over;
    const stopListening = this.#backend.listen(characteristic, onValue);
    try {
      await this.#request<boolean>(noble, 'notify', () => noble.notify(true));
    } catch (error) {
      stopListening();
      throw error;
    }
  }

  expectRestart(): void {
    if (!this.#life.over) this.#backend.expectRestart();
  }

  rssi(): Promise<number | null> {
    return this.#life.over ? Promise.reject(this.#life.over) : this.#backend.rssi();
  }

  disconnect(): Promise<void> {
    this.#closing ??= this.#disconnect();
    return this.#closing;
  }

  async #disconnect(): Promise<void> {
    if (this.#life.over) return;
    this.#backend.disconnect();
    try {
      await deadline(
        this.#clock,
        DISCONNECT_TIMEOUT_MS,
        this.ended,
        () => new StationError('LINK_LOST', 'no answer to disconnect'),
      );
    } catch (error) {
      this.#backend.abandon();
      this.end(error instanceof StationError ? error : new StationError('LINK_LOST'));
    }
  }

  #noble(characteristic: Characteristic): NobleCharacteristic {
    const list = this.#characteristics.get(characteristic.service);
    const found = list?.find((each) => sameUuid(each.uuid, characteristic.uuid));
    if (!found) throw new StationError('SERVICE_NOT_FOUND', characteristic.uuid);
    return found;
  }

  /** One ATT procedure of noble's: waits its turn, starts it, and takes the first event that `accepts`. */
  #request<T>(
    emitter: EventEmitter,
    event: string,
    start: () => void,
    accepts: (...values: unknown[]) => boolean = () => true,
  ): Promise<T> {
    const transact = () => this.#transact<T>(emitter, event, start, accepts);
    const turn = this.#tail.then(() => {
      const encrypted = this.#encrypted;
      return transact().catch((error: unknown) => this.#againWhenSecured(error, encrypted, transact));
    });
    this.#tail = turn.catch(() => undefined);
    return turn;
  }

  get #encrypted(): boolean {
    return this.facts().security?.level !== 'none';
  }

  /**
   * A device that wants the link encrypted is given that, once, and asked again (Vol 3 Part C, 10.3.1). What was asked in the clear may have
   * been refused while the link was just being encrypted: only what was asked on an encrypted link is refused for want of more.
   */
  async #againWhenSecured<T>(error: unknown, encrypted: boolean, transact: () => Promise<T>): Promise<T> {
    const { secure } = this.#backend;
    const wanted = error instanceof StationError && error.code === 'ENCRYPTION_REQUIRED';
    if (!wanted || !secure) throw error;
    if (encrypted) throw new StationError('PAIRING_NEEDS_MITM', error.detail);
    await secure();
    try {
      return await transact();
    } catch (again) {
      if (!(again instanceof StationError) || again.code !== 'ENCRYPTION_REQUIRED') throw again;
      throw new StationError('PAIRING_NEEDS_MITM', `${again.detail} on an encrypted link`);
    }
  }

  async #transact<T>(
    emitter: EventEmitter,
    event: string,
    start: () => void,
    accepts: (...values: unknown[]) => boolean,
  ): Promise<T> {
    if (this.#life.over) throw this.#life.over;
    const discovers = event.endsWith('Discover');
    let onEvent: (...values: unknown[]) => void = () => undefined;
    const answer = new Promise<T>((resolve, reject) => {
      onEvent = (...values) => {
        if (accepts(...values)) resolve(values[0] as T);
      };
      emitter.on(event, onEvent);
      this.#onAttError = (code) => {
        if (discovers && code === ATTRIBUTE_NOT_FOUND) return;
        const detail = `ATT error 0x${code.toString(16).padStart(2, '0')}`;
        reject(new StationError(NEEDS_ENCRYPTION.has(code) ? 'ENCRYPTION_REQUIRED' : 'ATT_ERROR', detail));
      };
      start();
    });
    try {
      return await deadline(this.#clock, ATT_TIMEOUT_MS, this.during(answer), () => {
        this.#backend.disconnect();
        return new StationError('ATT_TIMEOUT', event, { retryable: true });
      });
    } finally {
      this.#onAttError = null;
      emitter.off(event, onEvent);
    }
  }
}

/** noble's spelling: no hyphens; 16-bit UUIDs without leading zeros. */
export function nobleUuid(uuid: string): string {
  return uuid.replaceAll('-', '').toLowerCase();
}

function sameUuid(noble: string, uuid: string): boolean {
  return noble.padStart(4, '0') === nobleUuid(uuid);
}

/** noble's UUID in its usual spelling. */
export function usualUuid(noble: string): string {
  if (noble.length !== 32) return noble.padStart(4, '0');
  return [noble.slice(0, 8), noble.slice(8, 12), noble.slice(12, 16), noble.slice(16, 20), noble.slice(20)].join('-');
}
