import type { Clock } from '../../src/clock.ts';
import { StationError } from '../../src/contract/errors.ts';
import { SMP_SERVICE_UUID } from '../../src/contract/product-file.ts';
import type { Advertisement, Characteristic, ConnectOptions, Link, Radio } from '../../src/radio/radio.ts';

/** What a device is from one start to the next; null when it does not come back. */
export interface Life {
  readonly name: string | null;
  readonly address: string;
  /** The serial number of its Device Information Service; null when it has none. */
  readonly reports: string | null;
}

/** A device of which a test says what it is in each of its lives. */
export interface ScriptedDevice {
  readonly lives: readonly (Life | null)[];
  /** When it is switched on. */
  readonly fromMs: number;
  readonly bootMs: number;
}

/** A write, and on which device it arrived. */
export interface Arrival {
  readonly device: number;
  readonly link: Link;
  readonly life: number;
}

const ADVERTISING_MS = 100;
const FACTS = {
  mtu: 247,
  phy: '2M',
  dataLength: 251,
  intervalMs: 15,
  supervisionTimeoutMs: 2000,
  security: { level: 'none', pairing: null, keyBits: null, bonded: false, keyLost: false },
  intervalChanges: [],
} as const;

/** One radio and the devices around it, on a clock of the test's. What is written arrives in `arrivals`; `RESTART` restarts a device. */
export class ScriptedAir implements Radio {
  readonly name = 'scripted';
  readonly address = '06:00:00:00:00:00';
  readonly linkLimit = null;
  readonly controller = null;
  readonly ended = new Promise<null>(() => undefined);
  readonly arrivals: Arrival[] = [];
  readonly #clock: Clock;
  readonly #devices: { script: ScriptedDevice; life: number; on: boolean; link: (() => void) | null }[];
  readonly #listeners = new Set<(advertisement: Advertisement) => void>();

  constructor(clock: Clock, devices: readonly ScriptedDevice[]) {
    this.#clock = clock;
    this.#devices = devices.map((script) => ({ script, life: 0, on: false, link: null }));
    for (const [number, { script }] of this.#devices.entries()) {
      clock.after(script.fromMs, () => this.#switchOn(number));
    }
  }

  scan(onAdvertisement: (advertisement: Advertisement) => void): () => void {
    this.#listeners.add(onAdvertisement);
    return () => this.#listeners.delete(onAdvertisement);
  }

  async connect(address: string, _options: ConnectOptions): Promise<Link> {
    const number = this.#devices.findIndex((_, each) => this.#life(each)?.address === address);
    const device = this.#devices[number];
    if (!device || device.link) throw new StationError('CONNECT_TIMEOUT', address, { retryable: true });
    return this.#link(number);
  }

  async stop(): Promise<void> {
    this.#listeners.clear();
  }

  #life(number: number): Life | null {
    const { script, life, on } = this.#devices[number]!;
    return on ? (script.lives[life] ?? null) : null;
  }

  #switchOn(number: number): void {
    this.#devices[number]!.on = true;
    const { life } = this.#devices[number]!;
    const advertise = () => {
      if (this.#devices[number]!.life !== life) return;
      const present = this.#life(number);
      if (!present) return;
      if (!this.#devices[number]!.link) this.#advertise(present);
      this.#clock.after(ADVERTISING_MS, advertise);
    };
    advertise();
  }

  #advertise({ name, address }: Life): void {
    const advertisement = {
      address,
      addressType: 'random',
      name,
      services: [SMP_SERVICE_UUID],
      manufacturerData: null,
      rssi: -50,
    } as const;
    for (const listener of this.#listeners) listener(advertisement);
  }

  #restart(number: number): void {
    const device = this.#devices[number]!;
    device.on = false;
    device.life += 1;
    device.link?.();
    this.#clock.after(device.script.bootMs, () => this.#switchOn(number));
  }

  #link(number: number): Link {
    const device = this.#devices[number]!;
    const life = this.#life(number)!;
    let settle: (reason: StationError) => void = () => undefined;
    let over: StationError | null = null;
    const ended = new Promise<StationError>((resolve) => {
      settle = resolve;
    });
    const end = (reason: StationError) => {
      if (over) return;
      over = reason;
      device.link = null;
      settle(reason);
    };
    device.link = () => end(new StationError('LINK_LOST', 'restarted', { retryable: true }));
    const write = async (value: Buffer) => {
      if (over) throw over;
      this.arrivals.push({ device: number, link, life: device.life });
      if (value.equals(RESTART)) this.#restart(number);
    };
    const link: Link = {
      address: life.address,
      facts: () => FACTS,
      evidence: null,
      queued: 0,
      ended,
      characteristic: async (service, uuid): Promise<Characteristic> => {
        if (over) throw over;
        if (service === '180a' && life.reports === null) throw new StationError('SERVICE_NOT_FOUND', service);
        return { service, uuid, properties: ['read', 'write', 'writeWithoutResponse'] };
      },
      read: async () => {
        if (over) throw over;
        return Buffer.from(life.reports ?? '');
      },
      write: (_characteristic, value) => write(value),
      writeCommands: async (commands) => {
        for (const { value } of commands) await write(value);
      },
      subscribe: async () => undefined,
      expectRestart: () => undefined,
      rssi: async () => null,
      disconnect: async () => end(new StationError('LINK_CLOSED')),
    };
    return link;
  }
}

/** What a scripted driver writes to have a device restart. */
export const RESTART = Buffer.from('restart');
