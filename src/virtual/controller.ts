import { type ControllerDescription, usualController } from '../contract/tray-file.ts';
import type { Phy } from './air-time.ts';
import type { Ether } from './ether.ts';
import {
  CODE,
  DEFAULT_EVENT_MASK,
  DEFAULT_LE_EVENT_MASK,
  EVENT_CODE,
  EVENT_MASK_BIT,
  REASON,
  SUBEVENT,
} from './hci/codes.ts';
import {
  addressOctets,
  addressOf,
  BOUNDARY,
  commandCompleteEvent,
  commandStatusEvent,
  completedPacketsEvent,
  dataPacket,
  eventPacket,
  H4,
  metaEvent,
} from './hci/packet.ts';
import { HostWire } from './host-wire.ts';
import { RadioTime } from './radio-time.ts';
import { type LinkEnd, type LinkTiming, VirtualLink } from './virtual-link.ts';

/** Octets of ACL data that one host buffer holds. */
const ACL_BUFFER_BYTES = 251;
/** Between CONNECT_IND and the first anchor at the earliest (Core 5.4, Vol 6 Part B, 4.5.3: transmit window delay and offset). */
const FIRST_ANCHOR_US = 2500;
/** Instants are at least six events away (Vol 6 Part B, 5.1.1 and 5.5). */
const INSTANT = 6;
/** Events in which a new link must be heard, or it was never established (Vol 6 Part B, 4.5). */
const ESTABLISHED_WITHIN = 6;

/** Encryption, Connection Parameters Request, Data Packet Length Extension, 2M PHY (Vol 6 Part B, 4.6). */
const LE_FEATURES = [0x23, 0x01, 0, 0, 0, 0, 0, 0] as const;
/** 50 ppm, as Zephyr's controller says of itself on either side of a link (7.7.65.1: octet 18). */
const CLOCK_ACCURACY = 5;

interface Advertising {
  intervalUs: number;
  connectable: boolean;
  random: boolean;
  data: Buffer;
  scanResponse: Buffer;
}

interface Connecting {
  readonly address: string;
  readonly timing: { intervalUs: number; supervisionTimeoutUs: number; latency: number };
}

interface LinkEntry {
  readonly end: LinkEnd;
  readonly link: VirtualLink;
  readonly peerAddress: string;
}

/** A rule of how commands are answered, and how often it still holds. */
interface AnswerRule {
  readonly answer: ControllerDescription['answers'][number];
  left: number;
}

/** Commands that are answered by Command Status, and later by an event (Core 5.4, Vol 4 Part E, 7.1 and 7.8). */
const ANSWERED_BY_STATUS: ReadonlySet<number> = new Set([
  CODE.disconnect,
  CODE.readRemoteVersionInformation,
  CODE.leCreateConnection,
  CODE.leConnectionUpdate,
  CODE.leReadRemoteFeatures,
  CODE.leEnableEncryption,
  CODE.leSetPhy,
]);

/** Commands whose Command Complete gives the connection's handle back behind the status. */
const RETURNS_HANDLE: ReadonlySet<number> = new Set([
  CODE.readRssi,
  CODE.leLongTermKeyRequestReply,
  CODE.leLongTermKeyRequestNegativeReply,
  CODE.leRemoteConnectionParameterRequestReply,
  CODE.leRemoteConnectionParameterRequestNegativeReply,
  CODE.leSetDataLength,
]);

/**
 * A virtual LE controller: HCI on one side (Core 5.4, Vol 4 Part E), the ether on the other. Central and peripheral at once. It keeps its
 * stated number of ACL buffers: a host that sends more gets Data Buffer Overflow and loses the packet. What it is and how it misbehaves is
 * a `ControllerDescription`.
 */
export class VirtualController {
  readonly address: string;
  /** Where packets for the host go. */
  toHost: (packet: Buffer) => void = () => undefined;
  /** What scanners near it receive, in dBm. */
  rssi = -50;
  /** Answers no connection request (a fault). */
  refusesConnections = false;
  /** Given to each new link of this controller as a peripheral. */
  lossRate = 0;
  /** What the controller can: octets of a PDU's payload, and its PHYs. */
  maxOctets = ACL_BUFFER_BYTES;
  maxPhy: Phy = 2;
  /** Packets that the host sent beyond the stated buffers. */
  overflows = 0;
  /** Its one radio as a central and scanner. */
  readonly radio: RadioTime;
  readonly #ether: Ether;
  readonly #description: ControllerDescription;
  readonly #toHost: HostWire;
  readonly #fromHost: HostWire;
  readonly #answers: AnswerRule[];
  readonly #ends = new Map<number, LinkEntry>();
  #failsConnects: number;
  /** Host buffers in use, by link. */
  readonly #usedBuffers = new Map<number, number>();
  #eventMask = DEFAULT_EVENT_MASK;
  #leEventMask = DEFAULT_LE_EVENT_MASK;
  #randomAddress = 'c0:00:00:00:00:00';
  #advertisingSetup: Advertising = {
    intervalUs: 100_000,
    connectable: true,
    random: false,
    data: Buffer.alloc(0),
    scanResponse: Buffer.alloc(0),
  };
  #stopAdvertising: (() => void) | null = null;
  #scan: { active: boolean; filterDuplicates: boolean; seen: Set<string> } | null = null;
  #scanSetup = { active: true, intervalUs: 10_000, windowUs: 10_000 };
  #stopNeighbours: () => void = () => undefined;
  #connecting: Connecting | null = null;
  /** What peripherals ask for, by handle, until the host has answered. */
  readonly #askedTimings = new Map<number, LinkTiming>();
  /** Packets of the event that lasts, by handle, where they are reported together. */
  readonly #unreported = new Map<number, number>();
  #wasSpokenTo = false;
  #isStuck = false;

  constructor(ether: Ether, address: string, description: Partial<ControllerDescription>) {
    this.#ether = ether;
    this.address = address;
    this.#description = { ...usualController, ...description };
    const { slotUs, latencyMs, wireBytesPerSecond, answers, failsConnects } = this.#description;
    this.radio = new RadioTime(ether, slotUs);
    const cost = { latencyMs, bytesPerSecond: wireBytesPerSecond };
    this.#toHost = new HostWire(ether, cost, (packet) => this.toHost(packet));
    this.#fromHost = new HostWire(ether, cost, (packet) => this.#receive(packet));
    this.#answers = answers.map((answer) => ({ answer, left: answer.times ?? Number.POSITIVE_INFINITY }));
    this.#failsConnects = failsConnects?.times ?? 0;
  }

  /** A packet from the host, H4 type octet first. */
  fromHost(packet: Buffer): void {
    if (!this.#wasSpokenTo) this.#scheduleFaults();
    this.#wasSpokenTo = true;
    this.#fromHost.send(packet);
  }

  #receive(packet: Buffer): void {
    if (packet[0] === H4.acl) return this.#aclFromHost(packet);
    if (packet[0] !== H4.command) return;
    const opcode = packet.readUInt16LE(1);
    try {
      this.#command(opcode, packet.subarray(4));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      // A command that is shorter than it has to be (Core 5.4, Vol 1 Part F, 2.18).
      this.#send(commandStatusEvent(opcode, REASON.invalidParameters));
    }
  }

  #scheduleFaults(): void {
    const { faults } = this.#description;
    for (const fault of [...faults]) {
      const { atMs, do: what } = fault;
      this.#ether.at(this.#ether.now + atMs * 1000, () => {
        const at = faults.indexOf(fault);
        if (at < 0 || !this.#ether.controllers.has(this)) return;
        // What has happened does not happen again when the adapter is opened anew.
        faults.splice(at, 1);
        if (what === 'stuck') this.#isStuck = true;
        else if (what === 'garbage') this.#toHost.send(Buffer.of(0x7f, 0xff, 0xff, 0xff));
        else if (what === 'hardware-error') this.#event(EVENT_CODE.hardwareError, Buffer.of(0x01));
        else {
          this.vanish();
          this.#forgetSettings();
          // A controller that has started may say so by a Command Complete for no command (7.7.14).
          this.#send(commandCompleteEvent(0, Buffer.alloc(0)));
        }
      });
    }
  }

  /** Takes the controller off the air as a power cut does: peers find out by supervision timeout. */
  vanish(): void {
    for (const { link } of this.#ends.values()) {
      link.silent = true;
      this.radio.remove(link);
    }
    this.#ends.clear();
    this.#usedBuffers.clear();
    this.#unreported.clear();
    this.#stopAdvertising?.();
    this.#stopAdvertising = null;
    this.#stopScan();
    this.#stopConnecting();
  }

  /** Makes the radio of every present link go silent, as a shield between the two would. */
  silenceLinks(): void {
    for (const { link } of this.#ends.values()) link.silent = true;
  }

  /** Gives every present link another connection interval, as a central's controller may at any time. */
  changeIntervals(intervalUs: number): void {
    for (const { link } of this.#ends.values()) this.#changeTiming(link, { ...link.timing, intervalUs });
  }

  /** Removes the controller from the ether. */
  dispose(): void {
    this.vanish();
    this.#ether.controllers.delete(this);
  }

  /** The link layer: data arrived. */
  received(end: LinkEnd, startsPdu: boolean, part: Buffer): void {
    if (!this.#ends.has(end.handle)) return;
    const boundary = startsPdu ? BOUNDARY.firstFlushable : BOUNDARY.continuing;
    this.#send(dataPacket(end.handle, boundary, part));
  }

  /** The link layer: a host buffer is free again. */
  bufferCompleted(end: LinkEnd): void {
    if (!this.#ends.has(end.handle)) return;
    this.#usedBuffers.set(end.handle, (this.#usedBuffers.get(end.handle) ?? 0) - 1);
    if (this.#description.completed === 'each') return this.#send(completedPacketsEvent(end.handle, 1));
    this.#unreported.set(end.handle, (this.#unreported.get(end.handle) ?? 0) + 1);
  }

  /** The link layer: a connection event is over. */
  eventOver(end: LinkEnd): void {
    const count = this.#unreported.get(end.handle);
    if (count === undefined) return;
    this.#unreported.delete(end.handle);
    this.#send(completedPacketsEvent(end.handle, count));
  }

  /** The link layer: a link is over. */
  linkEnded(end: LinkEnd, reason: number): void {
    if (!this.#ends.delete(end.handle)) return;
    // Also those of packets that the peer has and had not acknowledged (Core 5.4, Vol 4 Part E, 4.3).
    this.#usedBuffers.delete(end.handle);
    this.#unreported.delete(end.handle);
    this.#askedTimings.delete(end.handle);
    this.#event(EVENT_CODE.disconnectionComplete, Buffer.of(0, ...handleOctets(end), reason));
  }

  /** An advertiser is on the air; returns true when this controller connects to it. */
  hears(advertiser: VirtualController, setup: Advertising, address: string): boolean {
    const connecting = this.#connecting;
    if (connecting && setup.connectable && connecting.address === address && this.radio.hears('initiator')) {
      if (advertiser.refusesConnections) return false;
      this.#stopConnecting();
      return this.#establish(advertiser, setup, address, connecting);
    }
    if (!this.#scan || !this.radio.hears('scanner')) return false;
    const kind = setup.connectable ? 0x00 : 0x03;
    if (!this.#takesReport(address)) return false;
    this.#report(kind, setup.random, address, setup.data, advertiser.rssi);
    if (this.#scan.active && setup.connectable && setup.scanResponse.length > 0) {
      this.#report(0x04, setup.random, address, setup.scanResponse, advertiser.rssi);
    }
    return false;
  }

  #takesReport(address: string): boolean {
    const scan = this.#scan;
    if (!scan || (scan.filterDuplicates && scan.seen.has(address))) return false;
    if (scan.filterDuplicates) scan.seen.add(address);
    return true;
  }

  #hearsNeighbour(neighbour: number): void {
    if (!this.radio.hears('scanner') || this.#ether.neighbours.collides()) return;
    const address = `40:00:00:00:${octetText(neighbour >> 8)}:${octetText(neighbour & 0xff)}`;
    // Flags and manufacturer data of no manufacturer, at its full length (Core 5.4, Vol 3 Part C, 11).
    const data = Buffer.concat([Buffer.of(2, 0x01, 0x06, 27, 0xff, 0xff, 0xff), Buffer.alloc(24, neighbour & 0xff)]);
    if (this.#takesReport(address)) this.#report(0x03, true, address, data, -50 - (neighbour % 50));
  }

  #report(kind: number, random: boolean, address: string, data: Buffer, rssi: number): void {
    const noisy = rssi + Math.round((this.#ether.random() - 0.5) * 4);
    const head = Buffer.concat([Buffer.of(1, kind, random ? 1 : 0), addressOctets(address), Buffer.of(data.length)]);
    this.#meta(SUBEVENT.advertisingReport, Buffer.concat([head, data, Buffer.of(noisy & 0xff)]));
  }

  #establish(advertiser: VirtualController, setup: Advertising, address: string, connecting: Connecting): boolean {
    const { failsConnects, crowded } = this.#description;
    const timing = { ...connecting.timing };
    if (this.#failsConnects > 0) {
      this.#failsConnects -= 1;
      this.#fail(failsConnects?.how === 'disconnection', setup.random, address, timing);
      return false;
    }
    const place = this.radio.place(timing.intervalUs, this.#ether.now + FIRST_ANCHOR_US);
    if (place.shares && crowded === 'fail') {
      this.#fail(true, setup.random, address, timing);
      return false;
    }
    const central: LinkEnd = { controller: this, handle: this.#freeHandle(), role: 'central', queue: [] };
    const peripheral: LinkEnd = {
      controller: advertiser,
      handle: advertiser.#freeHandle(),
      role: 'peripheral',
      queue: [],
    };
    const link = new VirtualLink(this.#ether, central, peripheral, timing, place.anchorUs);
    link.lossRate = advertiser.lossRate;
    this.#ends.set(central.handle, { end: central, link, peerAddress: address });
    advertiser.#ends.set(peripheral.handle, { end: peripheral, link, peerAddress: this.address });
    advertiser.#stopAdvertising?.();
    advertiser.#stopAdvertising = null;
    this.#connectionComplete(REASON.success, central, setup.random, address, timing);
    advertiser.#connectionComplete(REASON.success, peripheral, false, this.address, timing);
    return true;
  }

  /** A connection request that was not answered: no link, or one that is over before anything was heard on it. */
  #fail(wasThere: boolean, random: boolean, address: string, timing: Connecting['timing']): void {
    const reason = REASON.failedToBeEstablished;
    if (!wasThere) return this.#connectionComplete(reason, null, random, address, timing);
    const end: LinkEnd = { controller: this, handle: this.#freeHandle(), role: 'central', queue: [] };
    this.#connectionComplete(REASON.success, end, random, address, timing);
    this.#ether.at(this.#ether.now + ESTABLISHED_WITHIN * timing.intervalUs, () =>
      this.#event(EVENT_CODE.disconnectionComplete, Buffer.of(0, ...handleOctets(end), reason)),
    );
  }

  #freeHandle(): number {
    let handle = 0;
    while (this.#ends.has(handle)) handle++;
    return handle;
  }

  #connectionComplete(
    status: number,
    end: LinkEnd | null,
    random: boolean,
    address: string,
    timing: Connecting['timing'],
  ): void {
    const head = Buffer.of(status, ...(end ? handleOctets(end) : [0, 0]), end?.role === 'peripheral' ? 1 : 0);
    const peer = Buffer.concat([Buffer.of(random ? 1 : 0), addressOctets(address)]);
    const tail = Buffer.alloc(7);
    tail.writeUInt16LE(Math.round(timing.intervalUs / 1250), 0);
    tail.writeUInt16LE(timing.latency, 2);
    tail.writeUInt16LE(Math.round(timing.supervisionTimeoutUs / 10_000), 4);
    tail[6] = CLOCK_ACCURACY;
    const { enhancedConnectionComplete } = this.#description;
    if (enhancedConnectionComplete && this.#passesMask(SUBEVENT.enhancedConnectionComplete)) {
      const privateAddresses = Buffer.alloc(12);
      return this.#meta(SUBEVENT.enhancedConnectionComplete, Buffer.concat([head, peer, privateAddresses, tail]));
    }
    this.#meta(SUBEVENT.connectionComplete, Buffer.concat([head, peer, tail]));
  }

  #send(packet: Buffer): void {
    if (!this.#isStuck) this.#toHost.send(packet);
  }

  #event(code: number, parameters: Uint8Array): void {
    const bit = EVENT_MASK_BIT[code];
    if (bit === undefined || (this.#eventMask >> bit) & 1n) this.#send(eventPacket(code, parameters));
  }

  #passesMask(subevent: number): boolean {
    const lePasses = (this.#eventMask >> EVENT_MASK_BIT[EVENT_CODE.leMeta]!) & 1n;
    return lePasses === 1n && ((this.#leEventMask >> BigInt(subevent - 1)) & 1n) === 1n;
  }

  #meta(subevent: number, parameters: Buffer): void {
    if (this.#passesMask(subevent)) this.#send(metaEvent(subevent, parameters));
  }

  #aclFromHost(packet: Buffer): void {
    const word = packet.readUInt16LE(1);
    const entry = this.#ends.get(word & 0x0fff);
    if (!entry) return;
    const data = packet.subarray(5);
    const used = [...this.#usedBuffers.values()].reduce((sum, count) => sum + count, 0);
    if (used >= this.#description.aclBuffers || data.length > ACL_BUFFER_BYTES) {
      this.overflows += 1;
      this.#event(EVENT_CODE.dataBufferOverflow, Buffer.of(0x01));
      return;
    }
    this.#usedBuffers.set(entry.end.handle, (this.#usedBuffers.get(entry.end.handle) ?? 0) + 1);
    const startsPdu = ((word >> 12) & 0b11) !== BOUNDARY.continuing;
    entry.end.queue.push({ data: Buffer.from(data), startsPdu, sent: 0 });
  }

  #setAdvertising(enabled: boolean): void {
    this.#stopAdvertising?.();
    this.#stopAdvertising = null;
    if (!enabled) return;
    const setup = this.#advertisingSetup;
    const address = setup.random ? this.#randomAddress : this.address;
    const event = () => {
      cancel = this.#ether.at(this.#ether.now + setup.intervalUs + this.#ether.random() * 10_000, event);
      if (this.#ether.listeners.size === 0 || this.#ether.neighbours.collides()) return;
      for (const controller of this.#ether.listeners) {
        if (controller !== this && controller.hears(this, setup, address)) return;
      }
    };
    let cancel = this.#ether.at(this.#ether.now + this.#ether.random() * setup.intervalUs, event);
    this.#stopAdvertising = () => cancel();
  }

  #listen(who: 'scanner' | 'initiator', intervalUs: number, windowUs: number): void {
    this.radio.listen(who, intervalUs, windowUs);
    this.#ether.listeners.add(this);
  }

  #startScan(filterDuplicates: boolean): void {
    this.#stopScan();
    const { active, intervalUs, windowUs } = this.#scanSetup;
    this.#scan = { active, filterDuplicates, seen: new Set() };
    this.#listen('scanner', intervalUs, windowUs);
    this.#stopNeighbours = this.#ether.neighbours.advertise((neighbour) => this.#hearsNeighbour(neighbour));
  }

  #stopScan(): void {
    this.#scan = null;
    this.radio.stopListening('scanner');
    this.#stopNeighbours();
    if (!this.#connecting) this.#ether.listeners.delete(this);
  }

  #stopConnecting(): Connecting | null {
    const connecting = this.#connecting;
    this.#connecting = null;
    this.radio.stopListening('initiator');
    if (!this.#scan) this.#ether.listeners.delete(this);
    return connecting;
  }

  #forgetSettings(): void {
    this.#eventMask = DEFAULT_EVENT_MASK;
    this.#leEventMask = DEFAULT_LE_EVENT_MASK;
    this.#scanSetup = { active: true, intervalUs: 10_000, windowUs: 10_000 };
  }

  #command(opcode: number, p: Buffer): void {
    const rule = this.#answers.find(
      ({ answer, left }) => left > 0 && (answer.opcode === undefined || answer.opcode === opcode),
    );
    if (rule) rule.left -= 1;
    const { status, silent = false, afterMs = 0 } = rule?.answer ?? {};
    const answer = (event: Buffer) => {
      if (silent) return;
      if (afterMs === 0) this.#send(event);
      else this.#ether.at(this.#ether.now + afterMs * 1000, () => this.#send(event));
    };
    const complete = (...returned: number[]) => answer(commandCompleteEvent(opcode, Buffer.from(returned)));
    const accept = (code: number) => answer(commandStatusEvent(opcode, code));
    if (status !== undefined) {
      if (status === REASON.unknownCommand || ANSWERED_BY_STATUS.has(opcode)) return accept(status);
      return complete(status, ...(RETURNS_HANDLE.has(opcode) ? p.subarray(0, 2) : []));
    }
    /** Does something on the link with that handle and answers with a Command Status. */
    const onLink = (act: (entry: LinkEntry) => void) => {
      const entry = this.#ends.get(p.readUInt16LE(0) & 0x0fff);
      accept(entry ? REASON.success : REASON.unknownConnection);
      if (entry) act(entry);
    };
    /** As `onLink`, answered with a Command Complete that gives the handle back. */
    const completeOnLink = (act: (entry: LinkEntry) => void) => {
      const entry = this.#ends.get(p.readUInt16LE(0) & 0x0fff);
      complete(entry ? REASON.success : REASON.unknownConnection, p[0]!, p[1]!);
      if (entry) act(entry);
    };
    switch (opcode) {
      case CODE.reset:
        for (const { end, link } of [...this.#ends.values()]) {
          this.#ends.delete(end.handle);
          link.silent = true;
        }
        this.vanish();
        this.#forgetSettings();
        return complete(0);
      case CODE.setEventMask:
        this.#eventMask = p.readBigUInt64LE(0);
        return complete(0);
      case CODE.setEventMaskPage2:
      case CODE.writeLeHostSupport:
      case CODE.leSetDefaultPhy:
      case CODE.leWriteSuggestedDefaultDataLength:
        return complete(0);
      case CODE.readLeHostSupport:
        return complete(0, 1, 0);
      case CODE.readLocalVersionInformation:
        return complete(0, 0x0d, 0, 0, 0x0d, 0xff, 0xff, 0, 0);
      case CODE.readLocalSupportedCommands:
        return complete(0, ...new Array<number>(64).fill(0));
      case CODE.readLocalSupportedFeatures:
        return complete(0, 0, 0, 0, 0, 0x60, 0, 0, 0);
      case CODE.readBufferSize:
        return complete(0, ACL_BUFFER_BYTES, 0, 0, this.#description.aclBuffers, 0, 0, 0);
      case CODE.leReadBufferSize:
        return complete(0, ACL_BUFFER_BYTES, 0, this.#description.aclBuffers);
      case CODE.readBdAddr:
        return complete(0, ...addressOctets(this.address));
      case CODE.leReadLocalSupportedFeatures:
        return complete(0, ...LE_FEATURES);
      case CODE.leReadAdvertisingPhysicalChannelTxPower:
        return complete(0, 0);
      case CODE.leReadFilterAcceptListSize:
        return complete(0, 8);
      case CODE.leRand:
        return complete(0, ...Array.from({ length: 8 }, () => Math.floor(this.#ether.random() * 256)));
      case CODE.leReadSuggestedDefaultDataLength:
        return complete(0, 27, 0, 0x48, 0x01);
      case CODE.leReadMaximumDataLength:
        return complete(0, this.maxOctets, 0, 0x90, 0x42, this.maxOctets, 0, 0x90, 0x42);
      case CODE.leReadPhy: {
        const entry = this.#ends.get(p.readUInt16LE(0) & 0x0fff);
        const phy = entry?.link.phy ?? 0;
        return complete(entry ? 0 : REASON.unknownConnection, p[0]!, p[1]!, phy, phy);
      }
      case CODE.leReadSupportedStates:
        return complete(0, ...new Array<number>(8).fill(0xff));
      case CODE.leSetEventMask:
        this.#leEventMask = p.readBigUInt64LE(0);
        return complete(0);
      case CODE.readRssi: {
        const entry = this.#ends.get(p.readUInt16LE(0) & 0x0fff);
        const rssi = entry ? entry.link.other(entry.end).controller.rssi : 127;
        return complete(entry ? 0 : REASON.unknownConnection, p[0]!, p[1]!, rssi & 0xff);
      }
      case CODE.leSetRandomAddress:
        this.#randomAddress = addressOf(p.subarray(0, 6));
        return complete(0);
      case CODE.leSetAdvertisingParameters:
        this.#advertisingSetup = {
          ...this.#advertisingSetup,
          intervalUs: p.readUInt16LE(0) * 625,
          connectable: p[4] === 0,
          random: p[5] === 1,
        };
        return complete(0);
      case CODE.leSetAdvertisingData:
        this.#advertisingSetup = { ...this.#advertisingSetup, data: Buffer.from(p.subarray(1, 1 + p[0]!)) };
        return complete(0);
      case CODE.leSetScanResponseData:
        this.#advertisingSetup = { ...this.#advertisingSetup, scanResponse: Buffer.from(p.subarray(1, 1 + p[0]!)) };
        return complete(0);
      case CODE.leSetAdvertisingEnable:
        complete(0);
        return this.#setAdvertising(p[0] === 1);
      case CODE.leSetScanParameters: {
        if (this.#scan || this.#scanBlocked()) return complete(REASON.commandDisallowed);
        const [intervalUs, windowUs] = [p.readUInt16LE(1) * 625, p.readUInt16LE(3) * 625];
        if (windowUs === 0 || windowUs > intervalUs) return complete(REASON.invalidParameters);
        this.#scanSetup = { active: p[0] === 1, intervalUs, windowUs };
        return complete(0);
      }
      case CODE.leSetScanEnable:
        return this.#enableScan(p[0] === 1, p[1] === 1, complete);
      case CODE.leCreateConnection:
        return this.#createConnection(p, accept);
      case CODE.leCreateConnectionCancel: {
        const connecting = this.#stopConnecting();
        complete(connecting ? 0 : REASON.commandDisallowed);
        if (connecting) {
          this.#connectionComplete(REASON.unknownConnection, null, false, connecting.address, connecting.timing);
        }
        return;
      }
      case CODE.disconnect:
        return onLink(({ end, link }) => link.terminate(end));
      case CODE.leConnectionUpdate:
        return onLink((entry) => this.#updateConnection(entry, readTiming(p), p.readUInt16LE(2)));
      case CODE.leRemoteConnectionParameterRequestReply:
        return completeOnLink(({ end, link }) => this.#answerTiming(end, link, readTiming(p)));
      case CODE.leRemoteConnectionParameterRequestNegativeReply:
        return completeOnLink(({ end, link }) => this.#answerTiming(end, link, null));
      case CODE.leReadRemoteFeatures:
        return onLink(({ end, link }) =>
          link.procedure(2, 0, () =>
            this.#meta(SUBEVENT.readRemoteFeaturesComplete, Buffer.of(0, ...handleOctets(end), ...LE_FEATURES)),
          ),
        );
      case CODE.readRemoteVersionInformation:
        return onLink(({ end, link }) =>
          link.procedure(2, 0, () =>
            this.#event(
              EVENT_CODE.readRemoteVersionInformationComplete,
              Buffer.of(0, ...handleOctets(end), 0x0d, 0xff, 0xff, 0, 0),
            ),
          ),
        );
      case CODE.leSetDataLength:
        return completeOnLink(({ link }) => link.procedure(2, 0, () => this.#setDataLength(link, p.readUInt16LE(2))));
      case CODE.leEnableEncryption:
        return onLink(({ end, link }) => {
          link.proposedKey = Buffer.from(p.subarray(12, 28));
          const peer = link.other(end);
          const request = Buffer.concat([Buffer.from(handleOctets(peer)), p.subarray(2, 12)]);
          link.procedure(2, 0, () => peer.controller.#meta(SUBEVENT.longTermKeyRequest, request));
        });
      case CODE.leLongTermKeyRequestReply:
        return completeOnLink(({ link }) => this.#answerEncryption(link, p.subarray(2, 18)));
      case CODE.leLongTermKeyRequestNegativeReply:
        return completeOnLink(({ link }) => this.#answerEncryption(link, null));
      case CODE.leSetPhy:
        return onLink(({ link }) => this.#setPhy(link, p[3]!));
      default:
        return accept(REASON.unknownCommand);
    }
  }

  /** Zephyr's scanner and initiator are one: neither begins while the other is at work (`ull_scan.c`, `ull_central.c`). */
  #scanBlocked(): boolean {
    return this.#connecting !== null && !this.#description.connectsWhileScanning;
  }

  #enableScan(enabled: boolean, filterDuplicates: boolean, complete: (status: number) => void): void {
    if (enabled && this.#scanBlocked()) return complete(REASON.commandDisallowed);
    complete(REASON.success);
    if (enabled) this.#startScan(filterDuplicates);
    else this.#stopScan();
  }

  #createConnection(p: Buffer, accept: (status: number) => void): void {
    const address = addressOf(p.subarray(6, 12));
    const [intervalUs, windowUs] = [p.readUInt16LE(0) * 625, p.readUInt16LE(2) * 625];
    const status = windowUs === 0 || windowUs > intervalUs ? REASON.invalidParameters : this.#refusal(address);
    accept(status);
    if (status !== REASON.success) return;
    this.#connecting = {
      address,
      timing: {
        intervalUs: p.readUInt16LE(15) * 1250,
        latency: p.readUInt16LE(17),
        supervisionTimeoutUs: p.readUInt16LE(19) * 10_000,
      },
    };
    this.#listen('initiator', intervalUs, windowUs);
  }

  /** Why no connection to that address is begun, or success. */
  #refusal(address: string): number {
    if ([...this.#ends.values()].some(({ peerAddress }) => peerAddress === address))
      return REASON.connectionAlreadyExists;
    if (this.#connecting || (this.#scan && !this.#description.connectsWhileScanning)) return REASON.commandDisallowed;
    return this.#ends.size >= this.#description.links ? REASON.connectionLimitExceeded : REASON.success;
  }

  /** The peripheral's host has given its key, or has none (Vol 6 Part B, 5.1.3.1). */
  #answerEncryption(link: VirtualLink, key: Buffer | null): void {
    const { proposedKey } = link;
    link.proposedKey = null;
    const tell = (end: LinkEnd, status: number, enabled: number) =>
      end.controller.#event(EVENT_CODE.encryptionChange, Buffer.of(status, ...handleOctets(end), enabled));
    link.procedure(2, 0, () => {
      if (!key || !proposedKey) return tell(link.central, REASON.keyMissing, 0);
      if (!key.equals(proposedKey)) return link.end(() => REASON.micFailure);
      link.encrypted = true;
      tell(link.peripheral, REASON.success, 1);
      tell(link.central, REASON.success, 1);
    });
  }

  /** A central decides; a peripheral asks, and the central's host is asked in its turn (Vol 6 Part B, 5.1.7). */
  #updateConnection({ end, link }: LinkEntry, timing: LinkTiming, leastInterval: number): void {
    if (end.role === 'central') return this.#changeTiming(link, timing);
    link.procedure(1, 0, () => link.central.controller.#timingAsked(link, timing, leastInterval));
  }

  #timingAsked(link: VirtualLink, timing: LinkTiming, leastInterval: number): void {
    const end = link.central;
    this.#askedTimings.set(end.handle, timing);
    const parameters = Buffer.alloc(10);
    parameters.set(handleOctets(end), 0);
    parameters.writeUInt16LE(leastInterval, 2);
    parameters.writeUInt16LE(timing.intervalUs / 1250, 4);
    parameters.writeUInt16LE(timing.latency, 6);
    parameters.writeUInt16LE(timing.supervisionTimeoutUs / 10_000, 8);
    this.#meta(SUBEVENT.remoteConnectionParameterRequest, parameters);
  }

  #answerTiming(end: LinkEnd, link: VirtualLink, timing: LinkTiming | null): void {
    const asked = this.#askedTimings.get(end.handle);
    if (!asked) return;
    this.#askedTimings.delete(end.handle);
    const applied = this.#description.ownParameters ? asked : timing;
    // Who is asked says when: the instant counts from the event that is over.
    if (applied) this.#changeTiming(link, applied, 0);
  }

  #changeTiming(link: VirtualLink, timing: LinkTiming, exchanges = 2): void {
    link.procedure(exchanges, INSTANT, () => {
      link.retime(timing);
      for (const end of [link.central, link.peripheral]) {
        const parameters = Buffer.alloc(9);
        parameters.set(handleOctets(end), 1);
        parameters.writeUInt16LE(timing.intervalUs / 1250, 3);
        parameters.writeUInt16LE(timing.latency, 5);
        parameters.writeUInt16LE(timing.supervisionTimeoutUs / 10_000, 7);
        end.controller.#meta(SUBEVENT.connectionUpdateComplete, parameters);
      }
    });
  }

  #setDataLength(link: VirtualLink, octets: number): void {
    const both = Math.min(link.central.controller.maxOctets, link.peripheral.controller.maxOctets);
    const reached = Math.min(Math.max(octets, 27), both);
    if (reached === link.octets) return;
    link.octets = reached;
    for (const end of [link.central, link.peripheral]) {
      const parameters = Buffer.alloc(10);
      parameters.set(handleOctets(end), 0);
      for (const at of [2, 6]) {
        parameters.writeUInt16LE(reached, at);
        parameters.writeUInt16LE(17040, at + 2);
      }
      end.controller.#meta(SUBEVENT.dataLengthChange, parameters);
    }
  }

  #setPhy(link: VirtualLink, preference: number): void {
    const both = Math.min(link.central.controller.maxPhy, link.peripheral.controller.maxPhy);
    const phy: Phy = preference & 0b10 && both === 2 ? 2 : 1;
    link.procedure(2, INSTANT, () => {
      link.phy = phy;
      for (const end of [link.central, link.peripheral]) {
        end.controller.#meta(SUBEVENT.phyUpdateComplete, Buffer.of(0, ...handleOctets(end), phy, phy));
      }
    });
  }
}

/** Interval, latency and supervision timeout where LE Connection Update and the answer to a request have them (7.8.18, 7.8.31). */
function readTiming(p: Buffer): LinkTiming {
  return {
    intervalUs: p.readUInt16LE(4) * 1250,
    latency: p.readUInt16LE(6),
    supervisionTimeoutUs: p.readUInt16LE(8) * 10_000,
  };
}

function handleOctets({ handle }: LinkEnd): [number, number] {
  return [handle & 0xff, handle >> 8];
}

function octetText(value: number): string {
  return value.toString(16).padStart(2, '0');
}
