import { decode, encode } from 'cborg';
import { StationError } from '../../src/contract/errors.ts';
import type { Finding } from '../../src/contract/findings.ts';
import { NOTHING_LEARNT } from '../../src/contract/learnt.ts';
import { productFile } from '../../src/contract/product-file.ts';
import type { FirmwarePackage } from '../../src/firmware/firmware-package.ts';
import type { SlotState, UpgradeContext } from '../../src/protocols/driver.ts';
import type { Characteristic, Link, WriteCommand } from '../../src/radio/radio.ts';
import type { SteppedClock } from './stepped-clock.ts';

/** A request as it came: the SMP header's fields and the decoded map. */
export interface ScriptedRequest {
  readonly group: number;
  readonly command: number;
  readonly write: boolean;
  readonly body: Readonly<Record<string, unknown>>;
}

/** A device that a test writes itself: it answers requests, or not (null), and says when it restarts. */
export interface ScriptedDevice {
  answer(request: ScriptedRequest): Readonly<Record<string, unknown>> | null;
  /** Called when its link has ended after a reset. */
  restarted(): void;
}

/** An SMP server in memory: frames of one write, headers by hand (Zephyr's documentation, "SMP Protocol Specification"). */
class ScriptedLink implements Link {
  readonly address = 'c0:00:00:00:00:01';
  readonly evidence = null;
  readonly queued = 0;
  readonly ended: Promise<StationError>;
  #end: (reason: StationError) => void = () => undefined;
  #notify: (value: Buffer) => void = () => undefined;
  readonly #device: ScriptedDevice;
  readonly #clock: SteppedClock;

  constructor(device: ScriptedDevice, clock: SteppedClock) {
    this.#device = device;
    this.#clock = clock;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  facts() {
    return {
      mtu: 498,
      phy: '2M' as const,
      dataLength: 251,
      intervalMs: 15,
      supervisionTimeoutMs: 4000,
      security: null,
      intervalChanges: [],
    };
  }

  async characteristic(service: string, uuid: string): Promise<Characteristic> {
    return { service, uuid, properties: ['writeWithoutResponse', 'notify'] };
  }

  async subscribe(_: Characteristic, onValue: (value: Buffer) => void): Promise<void> {
    this.#notify = onValue;
  }

  async writeCommands(commands: readonly WriteCommand[]): Promise<void> {
    for (const { value } of commands) {
      const header = value.subarray(0, 8);
      if (value.length < 8 + header.readUInt16BE(2)) continue;
      const group = header.readUInt16BE(4);
      const command = header[7]!;
      const write = (header[0]! & 7) === 2;
      const body = this.#device.answer({ group, command, write, body: decode(value.subarray(8)) });
      if (!body) continue;
      const bytes = encode(body);
      const answer = Buffer.concat([header, bytes]);
      answer[0] = header[0]! + 1;
      answer.writeUInt16BE(bytes.length, 2);
      this.#clock.after(1, () => this.#notify(answer));
      if (group === 0 && command === 5) {
        this.#clock.after(250, () => {
          this.#device.restarted();
          this.#end(new StationError('LINK_LOST'));
        });
      }
    }
  }

  read(): Promise<Buffer> {
    return Promise.reject(new StationError('SERVICE_NOT_FOUND'));
  }

  write(): Promise<void> {
    return Promise.reject(new StationError('ATT_ERROR'));
  }

  expectRestart(): void {
    // It says by itself that it is gone.
  }

  async rssi(): Promise<number> {
    return -50;
  }

  async disconnect(): Promise<void> {
    this.#end(new StationError('LINK_CLOSED'));
  }
}

/** What a driver needs to upgrade such a device, and what it says meanwhile. */
export function scriptedUpgrade(
  device: ScriptedDevice,
  firmware: FirmwarePackage,
  clock: SteppedClock,
  upgrade: object = {},
) {
  const remarks: Finding[] = [];
  const slots: { readonly when: string; readonly slots: readonly SlotState[] }[] = [];
  const context: UpgradeContext = {
    firmware,
    profile: productFile.parse({ product: 'test', protocol: 'smp', upgrade }),
    clock,
    signal: new AbortController().signal,
    connect: async () => new ScriptedLink(device, clock),
    step: (_name, work) => work(),
    progress: () => undefined,
    slots: (when, seen) => slots.push({ when, slots: seen }),
    anomaly: () => undefined,
    uploaded: () => undefined,
    images: () => undefined,
    learnt: () => NOTHING_LEARNT,
    learn: () => undefined,
    remark: (finding) => remarks.push(finding),
  };
  return { context, remarks, slots };
}
