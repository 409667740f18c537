import { createHash } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { SMP_SERVICE_UUID } from '../contract/product-file.ts';
import type { DeviceDescription } from '../contract/tray-file.ts';
import { buildImage } from '../firmware/build-image.ts';
import { formatVersion, type ImageVersion, parseVersion } from '../firmware/mcuboot-image.ts';
import { SMP_CHARACTERISTIC_UUID } from '../protocols/smp/smp-client.ts';
import { CID_SIGNALLING } from '../radio/hci/packets.ts';
import type { ServiceDeclaration } from './att-server.ts';
import { DeviceSecurity } from './device-security.ts';
import type { Faults } from './faults.ts';
import { FusServer, type FusValue } from './fus-server.ts';
import { ImageSlots, listed, readable } from './image-slots.ts';
import { type HciPort, PeripheralHost } from './peripheral-host.ts';
import { seededRandom } from './random.ts';
import { SmpServer } from './smp-server.ts';

const INITIAL_PAYLOAD_BYTES = 8192;
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

/** A virtual device: a peripheral host stack, an SMP server, flash and an MCUboot-like bootloader. */
export class VirtualDevice {
  readonly description: DeviceDescription;
  readonly #host: PeripheralHost;
  readonly #radio: DeviceRadio;
  readonly #clock: Clock;
  readonly #faults: Faults;
  readonly #log: (line: string) => void;
  readonly #images: ImageSlots[];
  readonly #security: DeviceSecurity;
  #server: SmpServer | FusServer | null = null;
  readonly #random: () => number;
  #boots = 0;
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
    const version = parseVersion(description.image)!;
    this.#images = Array.from({ length: description.cores }, (_, image) => {
      const initial = initialImage(version, image);
      return new ImageSlots(description.slotKiB * 1024, initial, description.cores === 2);
    });
  }

  /** What it really runs, image by image: the truth that a station can only be told over the air. */
  running(): { readonly hash: string; readonly intact: boolean; readonly confirmed: boolean }[] {
    return this.#images.map(({ primary, confirmed }) => {
      const hash = listed(primary)?.hash.toString('hex') ?? '';
      return { hash, intact: readable(primary)?.hash === hash, confirmed };
    });
  }

  /** Bonds that it keeps. */
  get bonds(): number {
    return this.#security.bonds;
  }

  /** Power on. */
  start(): void {
    this.#log(`*** Booting MCUboot ***`);
    const running = listed(this.#images[0]!.primary);
    this.#log(`app: image ${running?.version} ${running?.hash.toString('hex').slice(0, 16)}`);
    this.#server = this.description.protocol === 'fus' ? this.#fusServer() : this.#smpServer();
    this.#advertise();
  }

  #smpServer(): SmpServer {
    return new SmpServer({
      description: this.description,
      images: this.#images,
      faults: this.#faults,
      clock: this.#clock,
      notify: (frame) => this.#notify(frame),
      log: this.#log,
      restart: (afterMs) => this.#restart(afterMs),
      dropLink: () => this.#radio.silence(),
      changeInterval: () => this.#radio.changeInterval(SUDDEN_INTERVAL_MS),
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
      name: `${this.description.namePrefix}${this.description.serial}`,
      address,
      advertisedService: this.description.protocol === 'fus' ? this.description.fus.service : SMP_SERVICE_UUID,
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
    const rejects = pending && this.#faults.happens('reject-image', 'boot');
    const results = this.#images.map((slots) => slots.boot(rejects));
    this.#log(`mcuboot: ${results.join(', ')}`);
    if (results[0] === 'swapped' && this.#faults.happens('revert', 'boot')) {
      this.#log('app: fault, restarting');
      this.#images.map((slots) => {
        slots.confirmed = false;
        return slots.boot(false);
      });
      return this.description.swapMs * 2 + this.description.bootMs;
    }
    return results.includes('swapped') || results.includes('reverted') ? this.description.swapMs : 0;
  }

  /** L2CAP Connection Parameter Update Request (Vol 3 Part A, 4.20), after which an unknown one follows, as some stacks send. */
  #askForInterval(): void {
    const { wantsIntervalMs } = this.description;
    if (wantsIntervalMs === undefined) return;
    const request = Buffer.alloc(12);
    request.set([0x12, 1, 8, 0]);
    const units = Math.round(wantsIntervalMs / 1.25);
    request.writeUInt16LE(units, 4);
    request.writeUInt16LE(units, 6);
    request.writeUInt16LE(400, 10);
    this.#host.sendL2cap(CID_SIGNALLING, request);
    this.#host.sendL2cap(CID_SIGNALLING, Buffer.of(0x40, 2, 0, 0));
  }

  #notify(frame: Buffer): void {
    const bytes = (this.#host.att?.mtu ?? 23) - 3;
    for (let at = 0; at < frame.length; at += bytes) {
      this.#host.notify(SMP_CHARACTERISTIC_UUID, frame.subarray(at, at + bytes));
    }
  }

  #address(): string {
    const { address, serial, newAddressAfterReboot, privacy } = this.description;
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
      {
        uuid: '1800',
        characteristics: [
          {
            uuid: '2a00',
            properties: ['read'],
            read: () => Buffer.from(`${description.namePrefix}${description.serial}`),
          },
        ],
      },
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
      const serial = Buffer.from(description.serial ?? '');
      services.push({ uuid: '180a', characteristics: [{ uuid: '2a25', properties: ['read'], read: () => serial }] });
    }
    if (description.battery !== undefined) {
      const level = Buffer.of(description.battery);
      services.push({ uuid: '180f', characteristics: [{ uuid: '2a19', properties: ['read'], read: () => level }] });
    }
    return services;
  }

  #smpService(): ServiceDeclaration {
    const write = (value: Buffer) => {
      if (this.#server instanceof SmpServer) this.#server.write(value);
    };
    return {
      uuid: SMP_SERVICE_UUID,
      characteristics: [{ uuid: SMP_CHARACTERISTIC_UUID, properties: ['writeWithoutResponse', 'notify'], write }],
      permitted: this.#security.permitted,
    };
  }

  #fusService(): ServiceDeclaration {
    const { service, control, dataIn, response, dataOut } = this.description.fus;
    const fus = (take: (server: FusServer) => void) => {
      if (this.#server instanceof FusServer) take(this.#server);
    };
    return {
      uuid: service,
      permitted: this.#security.permitted,
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

/** The image that a device has from its making: its content is its version. */
function initialImage(version: ImageVersion, index: number): Buffer {
  const text = `virtual device, image ${index}, version ${formatVersion(version)} `;
  return buildImage({ payload: Buffer.alloc(INITIAL_PAYLOAD_BYTES, text), version });
}
