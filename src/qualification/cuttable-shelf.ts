import type { ControllerFacts } from '../contract/board.ts';
import { StationError } from '../contract/errors.ts';
import { Lifetime } from '../radio/lifetime.ts';
import type {
  Advertisement,
  Characteristic,
  ConnectOptions,
  Link,
  LinkEvidence,
  LinkFacts,
  Radio,
  WriteCommand,
} from '../radio/radio.ts';
import type { RadioShelf, ShelfPlace } from '../radio/radio-shelf.ts';

/** Radios whose links can be cut from outside: to whoever uses one it is as if the air had broken it. */
export class CuttableShelf implements RadioShelf {
  readonly #shelf: RadioShelf;
  readonly #radios = new WeakMap<Radio, CuttableRadio>();
  readonly #links = new Set<CuttableLink>();

  constructor(shelf: RadioShelf) {
    this.#shelf = shelf;
  }

  places(): readonly ShelfPlace[] {
    return this.#shelf.places().map((place) => ({ ...place, radio: place.radio && this.#cuttable(place.radio) }));
  }

  onChange(handler: () => void): () => void {
    return this.#shelf.onChange(handler);
  }

  /** Cuts every link that there is. */
  cut(): void {
    for (const link of [...this.#links]) link.cut();
  }

  #cuttable(radio: Radio): CuttableRadio {
    const known = this.#radios.get(radio);
    if (known) return known;
    const cuttable = new CuttableRadio(radio, (link) => {
      this.#links.add(link);
      void link.ended.then(() => this.#links.delete(link));
    });
    this.#radios.set(radio, cuttable);
    return cuttable;
  }
}

class CuttableRadio implements Radio {
  readonly #radio: Radio;
  readonly #made: (link: CuttableLink) => void;

  constructor(radio: Radio, made: (link: CuttableLink) => void) {
    this.#radio = radio;
    this.#made = made;
  }

  get name(): string {
    return this.#radio.name;
  }

  get address(): string | null {
    return this.#radio.address;
  }

  get linkLimit(): number | null {
    return this.#radio.linkLimit;
  }

  get controller(): ControllerFacts | null {
    return this.#radio.controller;
  }

  get ended(): Promise<StationError | null> {
    return this.#radio.ended;
  }

  scan(onAdvertisement: (advertisement: Advertisement) => void, share?: number): () => void {
    return this.#radio.scan(onAdvertisement, share);
  }

  async connect(address: string, options: ConnectOptions): Promise<Link> {
    const link = new CuttableLink(await this.#radio.connect(address, options));
    this.#made(link);
    return link;
  }

  stop(): Promise<void> {
    return this.#radio.stop();
  }
}

class CuttableLink implements Link {
  readonly ended: Promise<StationError>;
  readonly #link: Link;
  readonly #life = new Lifetime();
  #end: (reason: StationError) => void = () => undefined;

  constructor(link: Link) {
    this.#link = link;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    void link.ended.then((reason) => this.#end(reason));
  }

  /** This host ends the link; whoever uses it is told of a loss. */
  cut(): void {
    const reason = new StationError('LINK_LOST', 'cut on purpose', { retryable: true });
    this.#life.end(reason);
    this.#end(reason);
    void this.#link.disconnect();
  }

  get address(): string {
    return this.#link.address;
  }

  get evidence(): LinkEvidence | null {
    return this.#link.evidence;
  }

  get queued(): number {
    return this.#link.queued;
  }

  facts(): LinkFacts {
    return this.#link.facts();
  }

  characteristic(service: string, uuid: string): Promise<Characteristic> {
    return this.#alive(() => this.#link.characteristic(service, uuid));
  }

  read(characteristic: Characteristic): Promise<Buffer> {
    return this.#alive(() => this.#link.read(characteristic));
  }

  write(characteristic: Characteristic, value: Buffer): Promise<void> {
    return this.#alive(() => this.#link.write(characteristic, value));
  }

  writeCommands(commands: readonly WriteCommand[]): Promise<void> {
    return this.#alive(() => this.#link.writeCommands(commands));
  }

  subscribe(characteristic: Characteristic, onValue: (value: Buffer) => void): Promise<void> {
    return this.#alive(() =>
      this.#link.subscribe(characteristic, (value) => {
        if (!this.#life.over) onValue(value);
      }),
    );
  }

  expectRestart(): void {
    this.#link.expectRestart();
  }

  rssi(): Promise<number | null> {
    return this.#alive(() => this.#link.rssi());
  }

  disconnect(): Promise<void> {
    return this.#link.disconnect();
  }

  async #alive<T>(work: () => Promise<T>): Promise<T> {
    if (this.#life.over) throw this.#life.over;
    return this.#life.during(work());
  }
}
