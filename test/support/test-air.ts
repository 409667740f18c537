import { StationError } from '../../src/contract/errors.ts';
import type { ControllerDescription } from '../../src/contract/tray-file.ts';
import type { HciTransport } from '../../src/radio/hci/transport.ts';
import type { Radio } from '../../src/radio/radio.ts';
import type { VirtualController } from '../../src/virtual/controller.ts';
import { Ether, RealTime } from '../../src/virtual/ether.ts';
import { PeripheralHost, type PeripheralSetup } from '../../src/virtual/peripheral-host.ts';
import { until } from './until.ts';

/** A transport to a virtual controller in this process, with what has crossed it. */
export interface TestCentral extends HciTransport {
  readonly controller: VirtualController;
  /** Every packet that the host sent. */
  readonly sent: Buffer[];
  /** The transport breaks, as when a dongle is pulled. */
  pull(): void;
}

/** A virtual peripheral of a test's own making. */
export interface TestPeripheral {
  readonly host: PeripheralHost;
  readonly controller: VirtualController;
  readonly address: string;
  /** ATT PDUs that it received. */
  readonly received: Buffer[];
  /** Turns it on; what is not given has a default. */
  start(setup?: Partial<PeripheralSetup>): void;
  /** Off the air. */
  vanish(): void;
}

export const TEST_SERVICE = '6e400001-b5a3-f393-e0a9-e50e24dcca9e';
export const TEST_CHARACTERISTIC = '6e400002-b5a3-f393-e0a9-e50e24dcca9e';

/** An ether in real time for tests that need controllers and peripherals under their own hands. */
export class TestAir {
  readonly ether = new Ether(7);
  readonly time = new RealTime(this.ether, 1);
  readonly #flushes: (() => void)[] = [];

  constructor() {
    this.time.onAdvanced = () => {
      for (const flush of this.#flushes) flush();
    };
  }

  central(description: Partial<ControllerDescription> = {}): TestCentral {
    const number = this.#flushes.length.toString(16).padStart(2, '0');
    const controller = this.ether.createController(`06:00:00:00:00:${number}`, description);
    const outgoing: Buffer[] = [];
    const sent: Buffer[] = [];
    let deliver: (packet: Buffer) => void = () => undefined;
    let lost: (reason: StationError) => void = () => undefined;
    controller.toHost = (packet) => outgoing.push(packet);
    this.#flushes.push(() => {
      for (const packet of outgoing.splice(0)) deliver(packet);
    });
    return {
      controller,
      sent,
      send: (packet) => {
        sent.push(packet);
        this.time.sync(() => controller.fromHost(packet));
      },
      onPacket: (handler) => {
        deliver = handler;
      },
      onLost: (handler) => {
        lost = handler;
      },
      pull: () => {
        deliver = () => undefined;
        controller.dispose();
        lost(new StationError('RADIO_LOST', 'pulled', { retryable: true }));
      },
      close: async () => controller.dispose(),
    };
  }

  peripheral(number = 1): TestPeripheral {
    const address = `c0:00:00:00:00:${number.toString(16).padStart(2, '0')}`;
    const controller = this.ether.createController(`02:00:00:00:00:${number.toString(16).padStart(2, '0')}`);
    const host = new PeripheralHost({
      send: (packet) => controller.fromHost(packet),
      onPacket: (handler) => {
        controller.toHost = handler;
      },
    });
    const received: Buffer[] = [];
    return {
      host,
      controller,
      address,
      received,
      start: (setup = {}) =>
        this.time.sync(() =>
          host.start({
            name: `TEST-${number}`,
            address,
            advertisedService: TEST_SERVICE,
            advertisingMs: 20,
            services: [
              {
                uuid: TEST_SERVICE,
                characteristics: [
                  {
                    uuid: TEST_CHARACTERISTIC,
                    properties: ['read', 'write', 'writeWithoutResponse', 'notify'],
                    read: () => Buffer.from('value'),
                    write: () => undefined,
                  },
                ],
              },
            ],
            mtu: 498,
            dataLength: 251,
            phy: '2M',
            asksForSpeed: false,
            onAtt: (pdu) => received.push(Buffer.from(pdu)),
            ...setup,
          }),
        ),
      vanish: () =>
        this.time.sync(() => {
          host.stop();
          controller.vanish();
        }),
    };
  }

  stop(): void {
    this.time.stop();
  }
}

/** Scans until every one of the devices has been heard. */
export async function hear(radio: Radio, ...devices: TestPeripheral[]): Promise<void> {
  const heard = new Set<string>();
  const stop = radio.scan(({ address }) => heard.add(address));
  await until(() => devices.every(({ address }) => heard.has(address)));
  stop();
}
