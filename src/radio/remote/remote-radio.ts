import type { Clock } from '../../clock.ts';
import type { ControllerFacts } from '../../contract/board.ts';
import { StationError } from '../../contract/errors.ts';
import type { LinkFacts } from '../../contract/records.ts';
import { Lifetime } from '../lifetime.ts';
import type {
  Advertisement,
  BondStore,
  CaptureContent,
  Characteristic,
  ConnectOptions,
  Link,
  LinkEvidence,
  Radio,
  WriteCommand,
} from '../radio.ts';
import {
  asBond,
  asBuffer,
  batched,
  type FromRadio,
  fromWire,
  type LinkMethod,
  type RadioChannel,
  type ToRadio,
  type WireError,
} from './messages.ts';

/** A process that has said nothing for so long hangs. */
const HANGS_AFTER_MS = 5000;
const READY_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 5000;

/** The process that a radio runs in, as the station holds it. */
export interface RadioProcess extends RadioChannel {
  /** Ends it at once, whatever it is doing. */
  kill(): void;
  /** Resolves when it has ended, with what it complained of. */
  readonly ended: Promise<string>;
}

interface Asked {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: StationError) => void;
}

/**
 * A radio in a process of its own, behind the same port: a native abort, an exit or a hang in there costs its links, not the station. The
 * process is the radio's: it is ended with it, whatever ended first. `signal` gives up a radio that is not yet ready.
 * @throws StationError RADIO_LOST when the process ends or hangs before it is ready, else what it says
 */
export async function openRemoteRadio(
  name: string,
  process: RadioProcess,
  clock: Clock,
  signal?: AbortSignal,
): Promise<Radio> {
  const radio = new RemoteRadio(name, process, clock);
  const giveUp = () => process.kill();
  signal?.addEventListener('abort', giveUp, { once: true });
  try {
    if (signal?.aborted) giveUp();
    await radio.ready;
    return radio;
  } catch (error) {
    await radio.stop();
    throw error;
  } finally {
    signal?.removeEventListener('abort', giveUp);
  }
}

class RemoteRadio implements Radio {
  readonly name: string;
  readonly ended: Promise<StationError | null>;
  readonly ready: Promise<void>;
  address: string | null = null;
  linkLimit: number | null = null;
  controller: ControllerFacts | null = null;
  readonly #process: RadioProcess;
  readonly #clock: Clock;
  readonly #send: (message: ToRadio) => void;
  readonly #asked = new Map<number, Asked>();
  readonly #links = new Map<number, RemoteLink>();
  readonly #bonds = new Map<number, BondStore>();
  readonly #listeners = new Map<(advertisement: Advertisement) => void, number>();
  /** What the radio's process was told last. */
  #share: number | null = null;
  #settleReady: { resolve: () => void; reject: (error: StationError) => void };
  #settleEnded: (reason: StationError | null) => void = () => undefined;
  #over: StationError | null = null;
  #stopping = false;
  #nextId = 1;
  #cancelWatchdog: () => void = () => undefined;

  constructor(name: string, process: RadioProcess, clock: Clock) {
    this.name = name;
    this.#process = process;
    this.#clock = clock;
    this.#send = batched(process);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#settleReady = { resolve, reject };
    this.ended = new Promise((settle) => {
      this.#settleEnded = settle;
    });
    process.onMessage((batch) => {
      if (!Array.isArray(batch)) return;
      for (const message of batch as FromRadio[]) this.#received(message);
    });
    void process.ended.then((complaint) =>
      this.#finish(new StationError('RADIO_LOST', complaint || 'its process has ended', { retryable: true })),
    );
    this.#watch(READY_TIMEOUT_MS);
  }

  scan(onAdvertisement: (advertisement: Advertisement) => void, share = 1): () => void {
    this.#listeners.set(onAdvertisement, share);
    this.#steerScan();
    return () => {
      this.#listeners.delete(onAdvertisement);
      this.#steerScan();
    };
  }

  #steerScan(): void {
    const share = this.#listeners.size > 0 ? Math.max(...this.#listeners.values()) : null;
    if (share === this.#share) return;
    this.#share = share;
    this.#send({ type: 'scan', share });
  }

  async connect(address: string, { signal, security, ...options }: ConnectOptions): Promise<Link> {
    signal?.throwIfAborted();
    const id = this.#nextId++;
    const bonds = security?.bonds ?? null;
    if (bonds) this.#bonds.set(id, bonds);
    const { required = false, pairAgain = true } = security ?? {};
    const abort = () => this.#send({ type: 'abort', id });
    signal?.addEventListener('abort', abort, { once: true });
    try {
      const wire = { ...options, security: { required, pairAgain, bonds: bonds?.list() ?? null } };
      const answer = this.#ask(id, { type: 'connect', id, address, options: wire });
      // The link exists before the next message is looked at: that may already be its end.
      return (await answer) as Link;
    } catch (error) {
      this.#bonds.delete(id);
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  async stop(): Promise<void> {
    if (!this.#over) {
      this.#stopping = true;
      this.#send({ type: 'stop' });
      const cancel = this.#clock.after(STOP_TIMEOUT_MS, () => this.#process.kill());
      await this.ended;
      cancel();
    }
    await this.#process.ended;
  }

  /** Asks a link's counterpart. */
  call(link: number, method: LinkMethod, args: readonly unknown[]): Promise<unknown> {
    const id = this.#nextId++;
    return this.#ask(id, { type: 'call', id, link, method, args });
  }

  tell(message: ToRadio): void {
    if (!this.#over) this.#send(message);
  }

  #ask(id: number, message: ToRadio): Promise<unknown> {
    if (this.#over) return Promise.reject(this.#over);
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#send(message);
    });
  }

  #received(message: FromRadio): void {
    if (this.#over) return;
    this.#watch(HANGS_AFTER_MS);
    switch (message.type) {
      case 'alive':
        return;
      case 'ready':
        this.address = message.address;
        this.controller = message.controller;
        return this.#settleReady.resolve();
      case 'heard': {
        const { manufacturerData } = message.advertisement;
        const advertisement = {
          ...message.advertisement,
          manufacturerData: manufacturerData && asBuffer(manufacturerData),
        };
        for (const listener of this.#listeners.keys()) listener(advertisement);
        return;
      }
      case 'answer':
        return this.#answered(message.id, message.value);
      case 'refusal':
        this.#asked.get(message.id)?.reject(fromWire(message.error));
        this.#asked.delete(message.id);
        return;
      case 'facts':
        return this.#links.get(message.link)?.update(message.facts);
      case 'value':
        return this.#links.get(message.link)?.deliver(message.subscription, asBuffer(message.value), message.queued);
      case 'link-ended':
        return this.#linkEnded(message.link, message.facts, message.error);
      case 'bond': {
        const bonds = this.#bonds.get(message.link);
        const bond = asBond(message.bond);
        if (message.kept) bonds?.keep(bond);
        else bonds?.forget(bond);
        return;
      }
      case 'link-limit':
        this.linkLimit = message.links;
        return;
      case 'ended':
        return this.#finish(message.error ? fromWire(message.error) : null);
    }
  }

  #answered(id: number, value: unknown): void {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    if (!asked) return;
    if (typeof value === 'object' && value !== null && 'facts' in value && 'evidence' in value) {
      const { address, facts, evidence } = value as { address: string; facts: LinkFacts; evidence: boolean };
      const link = new RemoteLink(this, id, address, facts, evidence);
      this.#links.set(id, link);
      asked.resolve(link);
    } else asked.resolve(value);
  }

  #linkEnded(id: number, facts: LinkFacts, error: WireError): void {
    const link = this.#links.get(id);
    this.#links.delete(id);
    this.#bonds.delete(id);
    link?.update(facts);
    link?.end(fromWire(error));
  }

  #watch(ms: number): void {
    this.#cancelWatchdog();
    this.#cancelWatchdog = this.#clock.after(ms, () => {
      const detail = `its process has said nothing for ${ms / 1000} s`;
      this.#finish(new StationError('RADIO_LOST', detail, { retryable: true }));
    });
  }

  #finish(reason: StationError | null): void {
    if (this.#over) return;
    const expected = this.#stopping && (reason === null || reason.code === 'RADIO_LOST');
    const why = expected || !reason ? new StationError('LINK_CLOSED', 'the radio was stopped') : reason;
    this.#over = why;
    this.#cancelWatchdog();
    this.#settleReady.reject(why);
    // Whoever waits for `ready` has it already; nobody else minds.
    this.ready.catch(() => undefined);
    for (const { reject } of this.#asked.values()) reject(why);
    this.#asked.clear();
    for (const link of this.#links.values()) link.end(why);
    this.#links.clear();
    this.#bonds.clear();
    this.#listeners.clear();
    // Whatever ended first: nothing is left that this process could be good for.
    this.#process.kill();
    this.#settleEnded(expected ? null : reason);
  }
}

/** A link of a radio in another process. */
class RemoteLink implements Link {
  readonly address: string;
  readonly ended: Promise<StationError>;
  readonly evidence: LinkEvidence | null;
  readonly #radio: RemoteRadio;
  readonly #id: number;
  readonly #handlers = new Map<number, (value: Buffer) => void>();
  #facts: LinkFacts;
  #nextSubscription = 0;
  #queued = 0;
  /** Writes without response that have not been taken yet. */
  #pending = 0;
  readonly #life = new Lifetime();
  #settleEnd: (reason: StationError) => void = () => undefined;

  constructor(radio: RemoteRadio, id: number, address: string, facts: LinkFacts, evidence: boolean) {
    this.#radio = radio;
    this.#id = id;
    this.address = address;
    this.#facts = facts;
    this.ended = new Promise((resolve) => {
      this.#settleEnd = resolve;
    });
    this.evidence = evidence
      ? {
          mark: () => radio.tell({ type: 'mark', link: id }),
          content: () => this.#content(),
          release: () => radio.tell({ type: 'release', link: id }),
        }
      : null;
  }

  facts(): LinkFacts {
    return this.#facts;
  }

  get queued(): number {
    return this.#pending + this.#queued;
  }

  characteristic(service: string, uuid: string): Promise<Characteristic> {
    return this.#call('characteristic', service, uuid) as Promise<Characteristic>;
  }

  async read(characteristic: Characteristic): Promise<Buffer> {
    return asBuffer(await this.#call('read', characteristic));
  }

  async write(characteristic: Characteristic, value: Buffer): Promise<void> {
    await this.#call('write', characteristic, value);
  }

  async writeCommands(commands: readonly WriteCommand[]): Promise<void> {
    this.#pending += commands.length;
    try {
      await this.#call(
        'writeCommands',
        commands.map(({ characteristic, value }) => ({ characteristic, value })),
      );
    } finally {
      this.#pending -= commands.length;
    }
  }

  async subscribe(characteristic: Characteristic, onValue: (value: Buffer) => void): Promise<void> {
    const subscription = this.#nextSubscription++;
    this.#handlers.set(subscription, onValue);
    try {
      await this.#call('subscribe', characteristic, subscription);
    } catch (error) {
      this.#handlers.delete(subscription);
      throw error;
    }
  }

  expectRestart(): void {
    this.#radio.tell({ type: 'expect-restart', link: this.#id });
  }

  rssi(): Promise<number | null> {
    return this.#call('rssi') as Promise<number | null>;
  }

  async disconnect(): Promise<void> {
    if (this.#life.over) return;
    await this.#life.during(this.#radio.call(this.#id, 'disconnect', [])).catch((error: unknown) => {
      if (!this.#life.over) throw error;
    });
    await this.ended;
  }

  /** The radio: what the link has reached. */
  update(facts: LinkFacts): void {
    this.#facts = facts;
  }

  /** The radio: a value came. */
  deliver(subscription: number, value: Buffer, queued: number): void {
    this.#queued = queued;
    this.#handlers.get(subscription)?.(value);
  }

  /** The radio: the link is over. */
  end(reason: StationError): void {
    if (this.#life.over) return;
    this.#life.end(reason);
    this.#handlers.clear();
    this.#settleEnd(reason);
  }

  async #call(method: LinkMethod, ...args: unknown[]): Promise<unknown> {
    if (this.#life.over) throw this.#life.over;
    return this.#life.during(this.#radio.call(this.#id, method, args));
  }

  /** Gone with its process, if that is gone. */
  async #content(): Promise<CaptureContent | null> {
    try {
      const content = (await this.#radio.call(this.#id, 'evidence', [])) as CaptureContent | null;
      return (
        content && { ...content, packets: content.packets.map((each) => ({ ...each, packet: asBuffer(each.packet) })) }
      );
    } catch {
      return null;
    }
  }
}
