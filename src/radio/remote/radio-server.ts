import type { Clock } from '../../clock.ts';
import { asStationError, StationError } from '../../contract/errors.ts';
import type { LinkFacts } from '../../contract/records.ts';
import type { BondStore, Characteristic, Link, Radio, WriteCommand } from '../radio.ts';
import {
  asBond,
  asBuffer,
  batched,
  type FromRadio,
  type LinkMethod,
  type RadioChannel,
  type ToRadio,
  toWire,
  type WireConnectOptions,
} from './messages.ts';

const ALIVE_EVERY_MS = 1000;
const FACTS_EVERY_MS = 100;

/** The process's side of a radio that runs in a process of its own: does on the real one what the station asks for. */
export class RadioServer {
  readonly #radio: Radio;
  readonly #clock: Clock;
  readonly #send: (message: FromRadio) => void;
  readonly #links = new Map<number, Link>();
  readonly #connects = new Map<number, AbortController>();
  /** Links of which nobody will ask anything more. */
  readonly #released = new Set<number>();
  readonly #facts = new Map<number, LinkFacts>();
  #stopScan: (() => void) | null = null;
  #linkLimit: number | null = null;
  #cancel: () => void = () => undefined;

  constructor(radio: Radio, channel: RadioChannel, clock: Clock) {
    this.#radio = radio;
    this.#clock = clock;
    this.#send = batched(channel);
    channel.onMessage((batch) => {
      if (!Array.isArray(batch)) return;
      for (const message of batch as ToRadio[]) this.#received(message);
    });
    this.#send({ type: 'ready', address: radio.address, controller: radio.controller });
    void radio.ended.then((error) => {
      this.#cancel();
      this.#send({ type: 'ended', error: error && toWire(error) });
    });
    this.#tick(0);
  }

  #received(message: ToRadio): void {
    switch (message.type) {
      case 'scan': {
        const { share } = message;
        const stopBefore = this.#stopScan;
        this.#stopScan =
          share === null
            ? null
            : this.#radio.scan((advertisement) => this.#send({ type: 'heard', advertisement }), share);
        stopBefore?.();
        return;
      }
      case 'connect':
        return this.#answer(message.id, this.#connect(message.id, message.address, message.options), () =>
          this.#tellEnd(message.id),
        );
      case 'abort':
        return this.#connects.get(message.id)?.abort();
      case 'call':
        return this.#answer(message.id, this.#call(message.link, message.method, message.args));
      case 'mark':
        return this.#links.get(message.link)?.evidence?.mark();
      case 'expect-restart':
        return this.#links.get(message.link)?.expectRestart();
      case 'release':
        return this.#release(message.link);
      case 'stop':
        void this.#radio.stop();
    }
  }

  /** Every question has an answer; `afterwards` comes behind one that is good. */
  #answer(id: number, work: Promise<unknown>, afterwards: () => void = () => undefined): void {
    work.then(
      (value) => {
        this.#send({ type: 'answer', id, value });
        afterwards();
      },
      (error: unknown) => this.#send({ type: 'refusal', id, error: toWire(asStationError(error)) }),
    );
  }

  /** Tells the end of a link: it is kept until it is both over and released, for its evidence may still be asked for. */
  #tellEnd(id: number): void {
    const link = this.#links.get(id);
    void link?.ended.then((reason) => {
      this.#facts.delete(id);
      this.#send({ type: 'link-ended', link: id, facts: link.facts(), error: toWire(reason) });
      if (this.#released.delete(id) || link.evidence === null) this.#links.delete(id);
    });
  }

  #release(id: number): void {
    const link = this.#links.get(id);
    link?.evidence?.release();
    // The facts are followed for as long as the link lives.
    if (link && this.#facts.has(id)) this.#released.add(id);
    else this.#links.delete(id);
  }

  async #connect(id: number, address: string, { security, ...options }: WireConnectOptions): Promise<unknown> {
    const abort = new AbortController();
    this.#connects.set(id, abort);
    try {
      const bonds = security.bonds && this.#bonds(id, security.bonds.map(asBond));
      const link = await this.#radio.connect(address, {
        ...options,
        security: { required: security.required, pairAgain: security.pairAgain, bonds },
        signal: abort.signal,
      });
      this.#links.set(id, link);
      const facts = link.facts();
      this.#facts.set(id, facts);
      return { address: link.address, facts, evidence: link.evidence !== null };
    } finally {
      this.#connects.delete(id);
      this.#tellLimit();
    }
  }

  /** The station's bonds as they were when it asked; changes go back to it. */
  #bonds(link: number, list: BondStore['list'] extends () => infer L ? L : never): BondStore {
    let bonds = [...list];
    const others = (bond: (typeof bonds)[number]) =>
      bonds.filter((each) => each.ownAddress !== bond.ownAddress || each.identityAddress !== bond.identityAddress);
    return {
      list: () => bonds,
      keep: (bond) => {
        bonds = [...others(bond), bond];
        this.#send({ type: 'bond', link, kept: true, bond });
      },
      forget: (bond) => {
        bonds = others(bond);
        this.#send({ type: 'bond', link, kept: false, bond });
      },
    };
  }

  /** How many links are held: those that live, and those that are not released. */
  get linksHeld(): number {
    return this.#links.size;
  }

  async #call(id: number, method: LinkMethod, args: readonly unknown[]): Promise<unknown> {
    const link = this.#links.get(id);
    if (!link) throw new StationError('LINK_LOST', 'the radio does not know the link any more', { retryable: true });
    const characteristic = args[0] as Characteristic;
    switch (method) {
      case 'characteristic':
        return link.characteristic(args[0] as string, args[1] as string);
      case 'read':
        return link.read(characteristic);
      case 'write':
        return link.write(characteristic, asBuffer(args[1]));
      case 'writeCommands': {
        const commands = args[0] as readonly WriteCommand[];
        return link.writeCommands(commands.map((command) => ({ ...command, value: asBuffer(command.value) })));
      }
      case 'subscribe':
        return link.subscribe(characteristic, (value) =>
          this.#send({ type: 'value', link: id, subscription: args[1] as number, value, queued: link.queued }),
        );
      case 'rssi':
        return link.rssi();
      case 'disconnect':
        return link.disconnect();
      case 'evidence':
        return link.evidence?.content() ?? Promise.resolve(null);
      default:
        throw new StationError('INTERNAL', `a link has no ${String(method)}`);
    }
  }

  #tellLimit(): void {
    const { linkLimit } = this.#radio;
    if (linkLimit === null || linkLimit === this.#linkLimit) return;
    this.#linkLimit = linkLimit;
    this.#send({ type: 'link-limit', links: linkLimit });
  }

  /** Says regularly that it lives, and what has become of its links. */
  #tick(count: number): void {
    if (count % (ALIVE_EVERY_MS / FACTS_EVERY_MS) === 0) this.#send({ type: 'alive' });
    for (const [id, before] of this.#facts) {
      const facts = this.#links.get(id)?.facts();
      if (!facts || JSON.stringify(facts) === JSON.stringify(before)) continue;
      this.#facts.set(id, facts);
      this.#send({ type: 'facts', link: id, facts });
    }
    this.#cancel = this.#clock.after(FACTS_EVERY_MS, () => this.#tick(count + 1));
  }
}
