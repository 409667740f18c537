import type { Clock } from '../../src/clock.ts';
import { StationError } from '../../src/contract/errors.ts';
import { NOTHING_LEARNT } from '../../src/contract/learnt.ts';
import { type FusSettings, productFile } from '../../src/contract/product-file.ts';
import { type OrderAnomaly, orderShapes } from '../../src/contract/records.ts';
import { trayDevices, trayFile } from '../../src/contract/tray-file.ts';
import { judgeOrder, type SeenValue } from '../../src/diagnostics/order-verdict.ts';
import type { FirmwarePackage } from '../../src/firmware/firmware-package.ts';
import { fusDriver } from '../../src/protocols/fus/fus-driver.ts';
import type { CapturedPacket, Characteristic, Link, WriteCommand } from '../../src/radio/radio.ts';
import { Faults } from '../../src/virtual/faults.ts';
import { FusServer, type FusValue } from '../../src/virtual/fus-server.ts';
import { deviceImages, ImageSlots } from '../../src/virtual/image-slots.ts';
import { seededRandom } from '../../src/virtual/random.ts';
import { testFirmware, testImage } from '../support/virtual-station.ts';
import type { Figure } from './figure.ts';

const UPGRADES = 10_000;
const IMAGE_BYTES = 12_000;
const profile = productFile.parse({ product: 'order', protocol: 'fus' });
const settings = profile.fus as FusSettings;
/** Faults of order without loss, on either side, and none. */
const causes = [
  'none',
  'late-data',
  'late-start',
  'double-marker',
  'two-queues',
  'host-late-data',
  'host-queues',
] as const;
type Cause = (typeof causes)[number];

/** Ten thousand upgrades in virtual time under random faults of order: all pass, nothing is missed or invented, no verdict is wrong. */
export async function order(): Promise<Figure[]> {
  const firmware = await testFirmware(IMAGE_BYTES, '1.0.0');
  const random = seededRandom(20261122);
  const tally = { passed: 0, missed: 0, invented: 0, right: 0, wrong: 0, disturbed: 0 };
  for (let i = 0; i < UPGRADES; i++) {
    const cause = causes[Math.floor(random() * causes.length)] ?? 'none';
    const every = 1 + Math.floor(random() * 4);
    const { anomalies, verdict, disturbed } = await upgrade(firmware, cause, every, random);
    tally.passed += 1;
    if (!disturbed) {
      if (anomalies > 0) tally.invented += 1;
      continue;
    }
    tally.disturbed += 1;
    if (anomalies === 0) tally.missed += 1;
    const truth = cause.startsWith('host') ? 'host' : 'peripheral';
    if (verdict === truth) tally.right += 1;
    else if (verdict !== 'undecided') tally.wrong += 1;
  }
  const exact = (name: string, value: number, wanted: number): Figure => ({
    name,
    value,
    limit: wanted,
    unit: 'upgrades',
    ratio: wanted === 0 ? value : value / wanted,
    goal: `= ${wanted}`,
    ok: value === wanted,
  });
  const share = tally.right / tally.disturbed;
  return [
    exact('10 000 upgrades in disorder, passed', tally.passed, UPGRADES),
    exact('disorder that was not recorded', tally.missed, 0),
    exact('disorder invented on clean ones', tally.invented, 0),
    exact('wrong verdicts', tally.wrong, 0),
    {
      name: 'right verdicts',
      value: tally.right,
      limit: tally.disturbed,
      unit: 'upgrades',
      ratio: share,
      goal: '>= 0.999',
      ok: share >= 0.999,
    },
  ];
}

/** Virtual time: it stands while anything is to be done, and then goes to the next timer. */
class VirtualClock implements Clock {
  #nowMs = 0;
  #timers: { atMs: number; fn: () => void }[] = [];
  now = () => this.#nowMs;
  wall = () => new Date(this.#nowMs);

  after(ms: number, fn: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, fn };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  async until<T>(work: Promise<T>): Promise<T> {
    let over = false;
    const done = () => {
      over = true;
    };
    work.then(done, done);
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (over) return work;
      const next = this.#timers.reduce<{ atMs: number; fn: () => void } | null>(
        (a, b) => (a && a.atMs <= b.atMs ? a : b),
        null,
      );
      if (!next) throw new Error('nothing is left to happen');
      this.#timers = this.#timers.filter((each) => each !== next);
      this.#nowMs = next.atMs;
      next.fn();
    }
  }
}

async function upgrade(firmware: FirmwarePackage, cause: Cause, every: number, random: () => number) {
  const clock = new VirtualClock();
  const peripheral = cause !== 'none' && !cause.startsWith('host');
  const tray = trayFile.parse({
    units: 1,
    device: { protocol: 'fus', slotKiB: 64 },
    faults: peripheral ? [{ unit: 1, do: cause, every }] : [],
  });
  const description = trayDevices(tray)[0]!;
  const images = [new ImageSlots(64 * 1024, deviceImages(description)[0]!, 'any', testImage(2000, '0.0.0'))];
  const faults = new Faults(tray.faults);
  const links: MemoryLink[] = [];
  const anomalies: OrderAnomaly[] = [];
  let server: FusServer | null = null;
  const start = () => {
    server = new FusServer({
      description,
      images,
      faults,
      clock,
      mtu: () => 498,
      random,
      send: (value) => links.at(-1)?.deliver(value),
      log: () => undefined,
      restart: (afterMs) =>
        void clock.after(afterMs, () => {
          server?.stop();
          images[0]?.boot({});
          links.at(-1)?.end();
          start();
        }),
      dropLink: () => undefined,
      changeInterval: () => undefined,
    });
  };
  start();
  const work = fusDriver.upgrade({
    firmware,
    profile,
    clock,
    signal: new AbortController().signal,
    connect: async () => {
      const link = new MemoryLink(() => server, clock, cause, every, random);
      links.push(link);
      return link;
    },
    step: (_name, doing) => doing(),
    progress: () => undefined,
    slots: () => undefined,
    anomaly: (anomaly) => anomalies.push(anomaly),
    uploaded: () => undefined,
    images: () => undefined,
    learnt: () => NOTHING_LEARNT,
    learn: () => undefined,
    remark: () => undefined,
  });
  const { outcome } = await clock.until(work);
  if (outcome !== 'pass') throw new Error(`${cause}: ${outcome}`);
  const stories = links.map(({ seen, packets }) => ({ seen, capture: { packets, leftOut: 0 } }));
  const verdict = judgeOrder(settings, anomalies, stories)?.verdict ?? null;
  for (const { shape } of anomalies) if (!orderShapes.includes(shape)) throw new Error(shape);
  return { anomalies: anomalies.length, verdict, disturbed: links.some((link) => link.disturbed) };
}

/** A link in memory, with the capture that a controller would have left, and a host that may reorder behind it. */
class MemoryLink implements Link {
  readonly address = 'c0:00:00:00:00:01';
  readonly evidence = null;
  readonly queued = 0;
  readonly ended: Promise<StationError>;
  readonly seen: SeenValue[] = [];
  readonly packets: CapturedPacket[] = [];
  readonly #server: () => FusServer | null;
  readonly #clock: Clock;
  readonly #cause: Cause;
  readonly #every: number;
  readonly #random: () => number;
  readonly #handlers = new Map<string, (value: Buffer) => void>();
  #end: (reason: StationError) => void = () => undefined;
  #held: FusValue[] = [];
  #data = 0;
  readonly #queues = new Map<string, number>();
  readonly #delivered: string[] = [];

  constructor(server: () => FusServer | null, clock: Clock, cause: Cause, every: number, random: () => number) {
    this.#server = server;
    this.#clock = clock;
    this.#cause = cause;
    this.#every = every;
    this.#random = random;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#discovery();
  }

  /** Whether markers and data came in another order than 1, Data, 0, to the application or to the controller already. */
  get disturbed(): boolean {
    const inOrder = (what: readonly string[]) => /^(1d0)*(1d?)?$/.test(what.join(''));
    const seen = this.seen.map(({ uuid, value }) => (uuid === settings.dataOut.uuid ? 'd' : String(value[0])));
    return !inOrder(seen) || !inOrder(this.#delivered);
  }

  facts = () => ({
    mtu: 498,
    phy: '2M' as const,
    dataLength: 251,
    intervalMs: 15,
    supervisionTimeoutMs: 2000,
    security: null,
    intervalChanges: [],
  });
  characteristic = async (service: string, uuid: string): Promise<Characteristic> => ({
    service,
    uuid,
    properties: [],
  });
  read = async () => Buffer.alloc(0);
  write = async ({ uuid }: Characteristic, value: Buffer) => this.#take(uuid, value);
  writeCommands = async (commands: readonly WriteCommand[]) => {
    for (const { characteristic, value } of commands) this.#take(characteristic.uuid, value);
  };
  expectRestart = () => undefined;
  rssi = async () => null;
  disconnect = async () => this.end();

  async subscribe({ uuid }: Characteristic, onValue: (value: Buffer) => void): Promise<void> {
    this.#handlers.set(uuid, onValue);
  }

  end(): void {
    this.#end(new StationError('LINK_CLOSED'));
  }

  /** The controller delivers a value. */
  deliver(value: FusValue): void {
    const handle = value.kind === 'marker' ? 0x10 : 0x13;
    this.#delivered.push(value.kind === 'data' ? 'd' : String(value.value[0]));
    this.#packet(true, Buffer.concat([Buffer.of(0x1b, handle, 0), value.value]));
    if (this.#cause === 'host-queues') return this.#queue(value);
    if (this.#cause === 'host-late-data' && value.kind === 'data' && ++this.#data % this.#every === 0) {
      this.#held.push(value);
      return;
    }
    this.#hand(value);
    if (value.kind === 'marker') for (const late of this.#held.splice(0)) this.#hand(late);
  }

  #queue(value: FusValue): void {
    const now = this.#clock.now();
    const atMs = Math.max(this.#queues.get(value.kind) ?? 0, now + this.#random() * 40);
    this.#queues.set(value.kind, atMs);
    this.#clock.after(atMs - now, () => this.#hand(value));
  }

  #hand({ kind, value }: FusValue): void {
    const { uuid } = kind === 'marker' ? settings.response : settings.dataOut;
    this.seen.push({ uuid, value });
    this.#handlers.get(uuid)?.(value);
  }

  #take(uuid: string, value: Buffer): void {
    if (uuid === settings.control.uuid) this.#server()?.control(value);
    else this.#server()?.data(value);
  }

  /** Characteristic declarations, as discovery leaves them in a capture. */
  #discovery(): void {
    this.#packet(false, Buffer.from('080100ffff0328', 'hex'));
    const declare = (handle: number, uuid: string) =>
      Buffer.concat([
        Buffer.of(handle - 1, 0, 0x10, handle, 0),
        Buffer.from(uuid.replaceAll('-', ''), 'hex').reverse(),
      ]);
    const both = [declare(0x10, settings.response.uuid), declare(0x13, settings.dataOut.uuid)];
    this.#packet(true, Buffer.concat([Buffer.of(0x09, 21), ...both]));
  }

  #packet(received: boolean, pdu: Buffer): void {
    const head = Buffer.alloc(9);
    head[0] = 0x02;
    head.writeUInt16LE(0x2040, 1);
    head.writeUInt16LE(pdu.length + 4, 3);
    head.writeUInt16LE(pdu.length, 5);
    head.writeUInt16LE(4, 7);
    const timeUs = Math.round(this.#clock.now() * 1000);
    this.packets.push({ number: this.packets.length, timeUs, received, packet: Buffer.concat([head, pdu]) });
  }
}
