import type { ControllerDescription } from '../../src/contract/tray-file.ts';
import type { VirtualController } from '../../src/virtual/controller.ts';
import { Ether } from '../../src/virtual/ether.ts';
import { CODE, EVENT_CODE, SUBEVENT } from '../../src/virtual/hci/codes.ts';
import { addressOctets, BOUNDARY, commandPacket, dataPacket, H4 } from '../../src/virtual/hci/packet.ts';

/** Octets of image in a full packet: 251 less L2CAP, ATT and SMP overhead, as the figures of the recorded controller count them. */
export const IMAGE_BYTES = 244;

/** To which link the next free buffer goes, given what each link holds in the controller; null: to none for now. */
export type Choice = (host: FloodingHost) => number | null;

/**
 * A host that floods the links of a virtual controller in the ether's time: nothing sleeps. It knows no more than a host does: what it was
 * told by HCI.
 */
export class FloodingHost {
  readonly ether: Ether;
  readonly central: VirtualController;
  /** The controllers at the other ends, in the order of the links. */
  readonly peers: VirtualController[] = [];
  /** Packets in the controller, by handle. */
  readonly held: number[] = [];
  /** When each link last completed a packet, in microseconds. */
  readonly heardAt: number[] = [];
  /** Every Number Of Completed Packets: when, of which link. */
  readonly completed: { readonly atUs: number; readonly handle: number }[] = [];
  /** Why links were over or not begun. */
  readonly failures: number[] = [];
  #free: number;
  #choice: Choice | null = null;

  constructor(description: Partial<ControllerDescription> = {}, neighbours = { count: 0, intervalMs: 250 }) {
    this.ether = new Ether(11, neighbours);
    this.central = this.ether.createController('06:00:00:00:00:01', description);
    this.#free = description.aclBuffers ?? 7;
    this.central.toHost = (packet) => this.#received(packet);
    this.command(CODE.setEventMask, Buffer.from('ffffffffffffff3f', 'hex'));
    this.command(CODE.leSetEventMask, Buffer.from('ff0d000000000000', 'hex'));
  }

  command(opcode: number, parameters: Buffer): void {
    this.central.fromHost(commandPacket(opcode, parameters));
  }

  advance(ms: number): void {
    this.ether.advance(this.ether.now + ms * 1000);
  }

  /** Connects to so many peripherals, one after the other, and makes their links fast. */
  connect(links: number, intervalMs: number): void {
    for (let i = 0; i < links; i++) {
      const peer = this.ether.createController(`02:00:00:00:00:${String(i).padStart(2, '0')}`);
      this.peers.push(peer);
      const advertising = Buffer.alloc(15);
      advertising.writeUInt16LE(32, 0);
      peer.fromHost(commandPacket(CODE.leSetAdvertisingParameters, advertising));
      peer.fromHost(commandPacket(CODE.leSetAdvertisingEnable, Buffer.of(1)));
      const p = Buffer.alloc(25);
      p.writeUInt16LE(0x60, 0);
      p.writeUInt16LE(0x30, 2);
      addressOctets(peer.address).copy(p, 6);
      p.writeUInt16LE(intervalMs / 1.25, 13);
      p.writeUInt16LE(intervalMs / 1.25, 15);
      p.writeUInt16LE(200, 19);
      this.command(CODE.leCreateConnection, p);
      for (let waitedMs = 0; this.held.length <= i; waitedMs += 5) {
        if (waitedMs > 2000 || this.failures.length > 0) throw new Error(`link ${i} was not established`);
        this.advance(5);
      }
      // A link that was never heard is over within six intervals.
      this.advance(7 * intervalMs);
      if (this.failures.length > 0) throw new Error(`link ${i} was not established`);
      this.command(CODE.leSetDataLength, Buffer.of(i, 0, 251, 0, 0x48, 0x08));
      this.command(CODE.leSetPhy, Buffer.of(i, 0, 0, 2, 2, 0, 0));
    }
    this.advance(1000 + 20 * intervalMs);
  }

  /** Scans for so much of each 60 ms. */
  scan(windowMs: number): void {
    const parameters = Buffer.of(0, 0x60, 0, 0, 0, 0, 0);
    parameters.writeUInt16LE(windowMs / 0.625, 3);
    this.command(CODE.leSetScanParameters, parameters);
    this.command(CODE.leSetScanEnable, Buffer.of(1, 0));
  }

  /** Floods for so long, after a second to get going; image bytes a second, of 1000 bytes. */
  flood(choice: Choice, ms = 6000): number {
    this.#choice = choice;
    this.#fill();
    this.advance(1000);
    const before = this.completed.length;
    this.advance(ms);
    this.#choice = null;
    return ((this.completed.length - before) * IMAGE_BYTES) / ms;
  }

  #received(packet: Buffer): void {
    if (packet[0] !== H4.event) return;
    if (packet[1] === EVENT_CODE.leMeta && packet[3] === SUBEVENT.enhancedConnectionComplete) this.#linked(packet);
    if (packet[1] === EVENT_CODE.leMeta && packet[3] === SUBEVENT.connectionComplete) this.#linked(packet);
    if (packet[1] === EVENT_CODE.disconnectionComplete) this.failures.push(packet[6]!);
    if (packet[1] !== EVENT_CODE.numberOfCompletedPackets) return;
    const handle = packet.readUInt16LE(4);
    for (let left = packet.readUInt16LE(6); left > 0; left--) {
      this.held[handle]! -= 1;
      this.#free += 1;
      this.heardAt[handle] = this.ether.now;
      this.completed.push({ atUs: this.ether.now, handle });
    }
    this.#fill();
  }

  #linked(packet: Buffer): void {
    if (packet[4] !== 0) return void this.failures.push(packet[4]!);
    const handle = packet.readUInt16LE(5);
    this.held[handle] = 0;
    this.heardAt[handle] = 0;
  }

  #fill(): void {
    while (this.#choice && this.#free > 0) {
      const handle = this.#choice(this);
      if (handle === null) return;
      this.#free -= 1;
      this.held[handle]! += 1;
      this.central.fromHost(dataPacket(handle, BOUNDARY.continuing, Buffer.alloc(251)));
    }
  }
}
