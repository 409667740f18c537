import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Clock } from '../clock.ts';
import type { DeviceDescription, SlotContent } from '../contract/tray-file.ts';
import type { CharacteristicDeclaration, ServiceDeclaration } from './att-server.ts';
import { DeviceSecurity } from './device-security.ts';
import type { Faults } from './faults.ts';
import { FusServer, type FusValue } from './fus-server.ts';
import { CHANNEL } from './hci/packet.ts';
import { deviceImages, ImageSlots } from './image-slots.ts';
import { type HashKind, ownImage } from './mcuboot.ts';
import { type HciPort, PeripheralHost } from './peripheral-host.ts';
import { seededRandom } from './random.ts';
import { SmpScript } from './smp-script.ts';
import { SmpServer } from './smp-server.ts';

/** Service and characteristic of SMP over Bluetooth (Zephyr `smp_bt.c`; "SMP over Bluetooth" in its documentation; recorded databases). */
const SMP_SERVICE = '8d53dc1d-1db7-4cd3-868b-8a527460aa84';
const SMP_CHARACTERISTIC = 'da2e7828-fbce-4e01-ae9e-261174997c48';
/** The interval of the fault `change-interval`. */
const SUDDEN_INTERVAL_MS = 100;

/** What the surroundings can do to a device's radio. */
export interface DeviceRadio {
  /** Off the air at once, as at a restart. */
  vanish(): void;
  /** The present link goes dead; both sides notice by supervision timeout. */
  silence(): void;
  /** Connection requests go unanswered. */
  refuseConnections(refuse: boolean): void;
  /** The present link gets another connection interval. */
  changeInterval(intervalMs: number): void;
}

/** What one image of a device is in truth. */
export interface RunningImage {
  readonly hash: string;
  /** Its content is what its hash says. */
  readonly intact: boolean;
  readonly confirmed: boolean;
  /** The hash of what the next restart starts. */
  readonly next: string;
}

/** A virtual device: a peripheral host stack, an SMP server, flash and an MCUboot-like bootloader. */
export class VirtualDevice {
  readonly description: DeviceDescription;
  readonly #host: PeripheralHost;
  readonly #radio: DeviceRadio;
  readonly #clock: Clock;
  readonly #faults: Faults;
  readonly #log: (line: string) => void;
  readonly #images: readonly ImageSlots[];
  readonly #script: SmpScript;
  readonly #security: DeviceSecurity;
  #server: SmpServer | FusServer | null = null;
  readonly #random: () => number;
  #boots = 0;
  /** Links that it has had, so that what is late belongs to one. */
  #links = 0;
  #cancelBoot: () => void = () => undefined;

  constructor(
    description: DeviceDescription,
    around: { port: HciPort; radio: DeviceRadio; clock: Clock; faults: Faults; log: (line: string) => void },
  ) {
    this.description = description;
    this.#host = new PeripheralHost(around.port);
    this.#radio = around.radio;
    this.#clock = around.clock;
    this.#faults = around.faults;
    this.#log = around.log;
    this.#random = seededRandom(
      createHash('sha256')
        .update(description.serial ?? '')
        .digest()
        .readUInt32LE(0),
    );
    this.#security = new DeviceSecurity(description, this.#host, around.faults, around.log);
    this.#script = new SmpScript(description.smp.answers);
    this.#images = deviceImages(description).map((kind, index) => {
      const initial = ownImage(description.image, index, this.#hashKind);
      return new ImageSlots(description.slotKiB * 1024, kind, description.hash, initial);
    });
    for (const content of description.slots) this.#fill(content);
  }

  get #hashKind(): HashKind {
    return this.description.hash === 'any' ? 'sha256' : this.description.hash;
  }

  #fill({ image, slot, version, file, state }: SlotContent): void {
    const slots = this.#images[image];
    if (!slots) throw new RangeError(`the device has no image ${image}`);
    const bytes = file === undefined ? version && ownImage(version, image, this.#hashKind) : readFileSync(file);
    if (slot === 0) {
      if (bytes) slots.primary = bytes;
      slots.confirmed = state !== 'on-trial';
    } else {
      slots.secondary = bytes || null;
      slots.pending = state === 'permanent' ? 'permanent' : state === 'pending' ? 'test' : 'none';
    }
  }

  /** What it really runs, image by image: the truth that a station can only be told over the air. */
  running(): RunningImage[] {
    return this.#images.map(({ running, intact, confirmed, next }) => ({
      hash: running?.hash.toString('hex') ?? '',
      intact,
      confirmed,
      next: next?.hash.toString('hex') ?? '',
    }));
  }

  /** Bonds that it keeps. */
  get bonds(): number {
    return this.#security.bonds;
  }

  /** Power on. */
  start(): void {
    this.#log(`*** Booting MCUboot ***`);
    const running = this.#images[0]!.running;
    this.#log(`app: image ${running?.version} ${running?.hash.toString('hex').slice(0, 16)}`);
    this.#server = this.description.protocol === 'fus' ? this.#fusServer() : this.#smpServer();
    this.#advertise();
  }

  #smpServer(): SmpServer {
    return new SmpServer({
      description: this.description,
      images: this.#images,
      faults: this.#faults,
      script: this.#script,
      clock: this.#clock,
      tell: (text) => this.#tell(text),
      imageFile: (path) => readFileSync(path),
      notify: (frame) => this.#notify(frame),
      log: this.#log,
      restart: (afterMs) => this.#restart(afterMs),
      dropLink: () => this.#radio.silence(),
      changeInterval: () => this.#radio.changeInterval(SUDDEN_INTERVAL_MS),
    });
  }

  /** A text with what the device runs in place of `{version.N}` and `{hash.N}`. */
  #tell(text: string): string {
    return text.replace(/\{(version|hash)\.(\d+)\}/g, (_, what: string, number: string) => {
      const running = this.#images[Number(number)]?.running;
      return (what === 'version' ? running?.version : running?.hash.toString('hex')) ?? '';
    });
  }

  #fusServer(): FusServer {
    return new FusServer({
      description: this.description,
      images: this.#images,
      faults: this.#faults,
      clock: this.#clock,
      mtu: () => this.#host.att?.mtu ?? 23,
      random: this.#random,
      send: (value) => this.#sendFus(value),
      log: this.#log,
      restart: (afterMs) => this.#restart(afterMs),
      dropLink: () => this.#radio.silence(),
      changeInterval: () => this.#radio.changeInterval(SUDDEN_INTERVAL_MS),
    });
  }

  #sendFus({ kind, value }: FusValue): void {
    const { response, dataOut } = this.description.fus;
    const { uuid, mode } = kind === 'marker' ? response : dataOut;
    if (mode === 'indicate') this.#host.indicate(uuid, value);
    else this.#host.notify(uuid, value);
  }

  #advertise(): void {
    this.#radio.refuseConnections(this.#faults.happens('refuse-connect', 'connect'));
    const address = this.#address();
    this.#security.boot(address);
    this.#host.start({
      name: this.#name(),
      address,
      advertisedService: this.description.protocol === 'fus' ? this.description.fus.service : SMP_SERVICE,
      advertisingMs: this.description.advertisingMs,
      services: this.#services(),
      mtu: this.description.mtu,
      dataLength: this.description.dataLength,
      phy: this.description.phy,
      asksForSpeed: this.description.asksForSpeed,
      ...this.#security.setup(),
      onConnected: (central) => {
        this.#log('bt: connected');
        this.#security.connected(central);
        this.#askForInterval();
        if (this.#faults.happens('drop-link', 'connect')) this.#radio.silence();
      },
      onDisconnected: () => {
        this.#log('bt: disconnected');
        this.#server?.linkEnded();
      },
    });
  }

  /** Power off. */
  stop(): void {
    this.#cancelBoot();
    this.#server?.stop();
    this.#server = null;
    this.#host.stop();
  }

  #restart(afterMs: number): void {
    if (this.#faults.happens('no-reboot', 'boot')) return;
    this.#cancelBoot = this.#clock.after(afterMs, () => {
      this.stop();
      this.#radio.vanish();
      this.#log('sys: restart');
      const bootMs = this.description.bootMs + this.#boot();
      this.#boots += 1;
      if (this.#faults.happens('never-back', 'boot')) return;
      this.#cancelBoot = this.#clock.after(bootMs, () => this.start());
    });
  }

  /** Runs the bootloader over all images; returns the time that swapping takes. */
  #boot(): number {
    const pending = this.#images.some((slots) => slots.pending !== 'none');
    const all = pending && this.#faults.happens('reject-image', 'boot');
    const changed = pending && this.#faults.happens('other-hash', 'boot');
    const results = this.#images.map((slots, index) => {
      const own = (act: 'reject-image' | 'other-hash') =>
        slots.pending !== 'none' && this.#faults.happens(act, 'boot', index);
      return slots.boot({ rejects: all || own('reject-image'), otherHash: changed || own('other-hash') });
    });
    this.#log(`mcuboot: ${results.join(', ')}`);
    if (results[0] === 'swapped' && this.#faults.happens('revert', 'boot')) {
      this.#log('app: fault, restarting');
      this.#images.map((slots) => {
        slots.confirmed = false;
        return slots.boot({});
      });
      return this.description.swapMs * 2 + this.description.bootMs;
    }
    return results.includes('swapped') || results.includes('reverted') ? this.description.swapMs : 0;
  }

  /**
   * By L2CAP Connection Parameter Update Request (Vol 3 Part A, 4.20), after which an unknown one follows, as some stacks send, or by the
   * controller's own procedure.
   */
  #askForInterval(): void {
    const { wantsIntervalMs, wantsLatency, wantsSupervisionMs, wantsAfterMs, wantsBy } = this.description;
    if (wantsIntervalMs === undefined) return;
    const [least, most] = typeof wantsIntervalMs === 'number' ? [wantsIntervalMs, wantsIntervalMs] : wantsIntervalMs;
    const request = Buffer.alloc(12);
    request.set([0x12, 1, 8, 0]);
    request.writeUInt16LE(Math.round(least / 1.25), 4);
    request.writeUInt16LE(Math.round(most / 1.25), 6);
    request.writeUInt16LE(wantsLatency, 8);
    request.writeUInt16LE(Math.round(wantsSupervisionMs / 10), 10);
    const link = ++this.#links;
    const ask = () => {
      if (link !== this.#links || !this.#host.connected) return;
      if (wantsBy === 'link-layer') return this.#host.askForParameters(request.subarray(4));
      this.#host.sendL2cap(CHANNEL.signalling, request);
      this.#host.sendL2cap(CHANNEL.signalling, Buffer.of(0x40, 2, 0, 0));
    };
    if (wantsAfterMs > 0) this.#clock.after(wantsAfterMs, ask);
    else ask();
  }

  /** The name that it advertises, another after its first restart where the tray says so. */
  #name(): string {
    const { name, namePrefix, serial, afterReboot } = this.description;
    return (this.#boots > 0 ? afterReboot.name : undefined) ?? name ?? `${namePrefix}${serial}`;
  }

  #notify(frame: Buffer): void {
    const bytes = (this.#host.att?.mtu ?? 23) - 3;
    for (let at = 0; at < frame.length; at += bytes) {
      this.#host.notify(SMP_CHARACTERISTIC, frame.subarray(at, at + bytes));
    }
  }

  #address(): string {
    const { address, serial, newAddressAfterReboot, privacy, afterReboot } = this.description;
    if (afterReboot.address && this.#boots > 0) return afterReboot.address;
    if (privacy) return this.#security.privateAddress(this.#boots);
    if (address && !(newAddressAfterReboot && this.#boots > 0)) return address;
    const digest = createHash('sha256')
      .update(`${serial}/${newAddressAfterReboot ? this.#boots : 0}`)
      .digest();
    digest[0]! |= 0xc0;
    return [...digest.subarray(0, 6)].map((octet) => octet.toString(16).padStart(2, '0')).join(':');
  }

  #services(): ServiceDeclaration[] {
    const { description } = this;
    const services: ServiceDeclaration[] = [
      this.#attributeService(),
      this.#accessService(),
      description.protocol === 'fus' ? this.#fusService() : this.#smpService(),
    ];
    services.push(...this.#security.services());
    if (description.alert) {
      const show = (level: Buffer) => this.#log(`alert: level ${level[0]}`);
      services.push({
        uuid: '1802',
        characteristics: [{ uuid: '2a06', properties: ['writeWithoutResponse'], write: show }],
      });
    }
    if (description.dis) {
      const { afterReboot, disSerial, serial } = description;
      const read = () =>
        Buffer.from((this.#boots > 0 ? afterReboot.disSerial : undefined) ?? disSerial ?? serial ?? '');
      services.push({ uuid: '180a', characteristics: [{ uuid: '2a25', properties: ['read'], read }] });
    }
    if (description.battery !== undefined) {
      const level = Buffer.of(description.battery);
      services.push({ uuid: '180f', characteristics: [{ uuid: '2a19', properties: ['read'], read: () => level }] });
    }
    return description.characteristics.reduce((all, { service, uuid, value }) => {
      const read = () => Buffer.from(this.#tell(value));
      return withCharacteristic(all, service, { uuid, properties: ['read'], read });
    }, services);
  }

  /** Generic Attribute, first in the database as on Zephyr with CONFIG_BT_GATT_CACHING. */
  #attributeService(): ServiceDeclaration {
    return {
      uuid: '1801',
      characteristics: [
        { uuid: '2a05', properties: ['indicate'] },
        { uuid: '2b29', properties: ['read', 'write'], read: () => Buffer.of(0), write: () => undefined },
        { uuid: '2b2a', properties: ['read'], read: () => this.#host.att?.databaseHash() ?? Buffer.alloc(0) },
      ],
    };
  }

  /** Generic Access: name, appearance, preferred connection parameters (30 to 50 ms, no latency, 420 ms: Zephyr's defaults). */
  #accessService(): ServiceDeclaration {
    const value = (uuid: string, octets: () => Buffer) => ({ uuid, properties: ['read'] as const, read: octets });
    return {
      uuid: '1800',
      characteristics: [
        value('2a00', () => Buffer.from(this.#name())),
        value('2a01', () => Buffer.of(0, 0)),
        value('2a04', () => Buffer.from('1800280000002a00', 'hex')),
      ],
    };
  }

  #smpService(): ServiceDeclaration {
    const write = (value: Buffer) => {
      if (this.#server instanceof SmpServer) this.#server.write(value);
    };
    return {
      uuid: SMP_SERVICE,
      characteristics: [{ uuid: SMP_CHARACTERISTIC, properties: ['writeWithoutResponse', 'notify'], write }],
      refuses: this.#security.refuses,
    };
  }

  #fusService(): ServiceDeclaration {
    const { service, control, dataIn, response, dataOut } = this.description.fus;
    const fus = (take: (server: FusServer) => void) => {
      if (this.#server instanceof FusServer) take(this.#server);
    };
    return {
      uuid: service,
      refuses: this.#security.refuses,
      characteristics: [
        {
          uuid: control.uuid,
          properties: ['write', 'writeWithoutResponse'],
          write: (value) => fus((server) => server.control(value)),
        },
        {
          uuid: dataIn.uuid,
          properties: ['writeWithoutResponse'],
          write: (value) => fus((server) => server.data(value)),
        },
        { uuid: response.uuid, properties: [response.mode] },
        { uuid: dataOut.uuid, properties: [dataOut.mode] },
      ],
    };
  }
}

/** The services with one characteristic more, in its service where that is there already. */
function withCharacteristic(
  services: readonly ServiceDeclaration[],
  uuid: string,
  characteristic: CharacteristicDeclaration,
): ServiceDeclaration[] {
  const there = services.find((service) => service.uuid === uuid);
  if (!there) return [...services, { uuid, characteristics: [characteristic] }];
  const characteristics = [...there.characteristics, characteristic];
  return services.map((service) => (service === there ? { ...there, characteristics } : service));
}
