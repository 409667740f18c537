import type { Clock } from '../clock.ts';
import { EVENT, HCI_ACL, HCI_COMMAND, HCI_EVENT, LE_EVENT, OPCODE } from '../radio/hci/packets.ts';
import type { HciTransport } from '../radio/hci/transport.ts';
import type { CapturedPacket } from '../radio/radio.ts';
import type { VirtualController } from './controller.ts';
import { Ether } from './ether.ts';

/** While the host scans, what was heard of the device is heard this often. */
const ADVERTISE_EVERY_MS = 100;
/** A host that waits for longer has sent less than the recorded one: the recording goes on without it. */
const PATIENCE_MS = 1000;
const LOCAL_HOST_TERMINATED = 0x16;

/** A stretch of the recording between two connection requests: advertising, then one link. */
interface Scene {
  readonly advertising: readonly Buffer[];
  readonly packets: readonly CapturedPacket[];
}

/**
 * Plays a recorded capture back to a host: a controller whose one peer does what it did. What the controller sent comes in the recorded
 * order, and never before the host has sent what it had sent by then; times are the host's own. Everything that is no link (reset, masks,
 * scanning) is answered by a virtual controller. So a failure in the field becomes a test.
 */
export class ReplayTransport implements HciTransport {
  readonly #clock: Clock;
  readonly #controller: VirtualController;
  readonly #scenes: Scene[];
  #scene: Scene | null = null;
  /** The next packet of the scene, and how many of its ACL packets the host has sent. */
  #at = 0;
  #sent = 0;
  #needed = 0;
  #handle: number | null = null;
  #deliver: (packet: Buffer) => void = () => undefined;
  #scanning = false;
  #cancelAdvertising: () => void = () => undefined;
  #cancelPatience: () => void = () => undefined;
  #closed = false;

  constructor(packets: readonly CapturedPacket[], clock: Clock) {
    this.#clock = clock;
    this.#scenes = scenesOf(packets);
    const ether = new Ether(1);
    this.#controller = ether.createController('06:00:00:00:00:01', { aclBuffers: 8 });
    this.#controller.toHost = (packet) => this.#later(packet);
  }

  send(packet: Buffer): void {
    if (packet[0] === HCI_ACL) {
      this.#sent += 1;
      return this.#play();
    }
    const opcode = packet[0] === HCI_COMMAND ? packet.readUInt16LE(1) : 0;
    if (opcode === OPCODE.LE_CREATE_CONNECTION) return this.#connect();
    if (opcode === OPCODE.DISCONNECT && this.#handle !== null) return this.#disconnect(this.#handle);
    if (opcode === OPCODE.LE_SET_SCAN_ENABLE) this.#scan(packet[4] === 1);
    this.#controller.fromHost(packet);
  }

  onPacket(handler: (packet: Buffer) => void): void {
    this.#deliver = handler;
  }

  /** A recording is never unplugged. */
  onLost(): void {
    return undefined;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelAdvertising();
    this.#cancelPatience();
    this.#controller.dispose();
  }

  #later(packet: Buffer): void {
    queueMicrotask(() => {
      if (!this.#closed) this.#deliver(packet);
    });
  }

  #scan(on: boolean): void {
    this.#scanning = on;
    this.#cancelAdvertising();
    if (on) this.#advertise();
  }

  #advertise(): void {
    this.#cancelAdvertising = this.#clock.after(ADVERTISE_EVERY_MS, () => {
      if (!this.#scanning) return;
      // While it is connected a device does not advertise.
      if (this.#handle === null) for (const report of this.#scenes[0]?.advertising ?? []) this.#later(report);
      this.#advertise();
    });
  }

  #connect(): void {
    this.#scene = this.#scenes.shift() ?? null;
    this.#at = 0;
    this.#sent = 0;
    this.#needed = 0;
    this.#play();
  }

  /** Delivers what may come now, and what comes anyway when the host has nothing more to send. */
  #play(): void {
    this.#cancelPatience();
    const { packets } = this.#scene ?? { packets: [] };
    for (; this.#at < packets.length; this.#at++) {
      const { received, packet } = packets[this.#at]!;
      if (!received) {
        // How the recorded host ended the link is for this one to do.
        if (packet[0] === HCI_COMMAND && packet.readUInt16LE(1) === OPCODE.DISCONNECT) return;
        if (packet[0] === HCI_ACL) this.#needed += 1;
        continue;
      }
      if (this.#needed > this.#sent) break;
      this.#hand(packet);
    }
    if (this.#at < packets.length) {
      this.#cancelPatience = this.#clock.after(PATIENCE_MS, () => {
        this.#sent = this.#needed;
        this.#play();
      });
    }
  }

  #hand(packet: Buffer): void {
    if (
      packet[0] === HCI_EVENT &&
      packet[1] === EVENT.LE_META &&
      packet[3] === LE_EVENT.CONNECTION_COMPLETE &&
      packet[4] === 0
    ) {
      this.#handle = packet.readUInt16LE(5);
    }
    if (packet[0] === HCI_EVENT && packet[1] === EVENT.DISCONNECTION_COMPLETE) this.#handle = null;
    this.#later(packet);
  }

  /** The host ends the link: what is left of it is not played any more. */
  #disconnect(handle: number): void {
    this.#cancelPatience();
    this.#scene = null;
    this.#handle = null;
    const status = Buffer.of(
      HCI_EVENT,
      EVENT.COMMAND_STATUS,
      4,
      0,
      1,
      OPCODE.DISCONNECT & 0xff,
      OPCODE.DISCONNECT >> 8,
    );
    this.#later(status);
    this.#later(
      Buffer.of(HCI_EVENT, EVENT.DISCONNECTION_COMPLETE, 4, 0, handle & 0xff, handle >> 8, LOCAL_HOST_TERMINATED),
    );
  }
}

function scenesOf(packets: readonly CapturedPacket[]): Scene[] {
  const scenes: { advertising: Buffer[]; packets: CapturedPacket[] }[] = [];
  let advertising: Buffer[] = [];
  for (const captured of packets) {
    const { packet } = captured;
    if (packet[0] === HCI_EVENT && packet[1] === EVENT.LE_META && packet[3] === LE_EVENT.ADVERTISING_REPORT) {
      advertising.push(packet);
      continue;
    }
    if (packet[0] === HCI_COMMAND && packet.readUInt16LE(1) === OPCODE.LE_CREATE_CONNECTION) {
      scenes.push({ advertising, packets: [] });
      advertising = [];
      continue;
    }
    scenes.at(-1)?.packets.push(captured);
  }
  return scenes;
}
