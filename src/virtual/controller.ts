import {
  aclPacket,
  addressBytes,
  addressText,
  commandComplete,
  commandStatus,
  EVENT,
  HCI_ACL,
  HCI_COMMAND,
  hciEvent,
  LE_EVENT,
  leEvent,
  OPCODE,
  PB_CONTINUING,
  PB_START,
  STATUS,
} from '../radio/hci/packets.ts';
import type { Phy } from './air-time.ts';
import type { Ether } from './ether.ts';
import { type LinkEnd, VirtualLink } from './virtual-link.ts';

/** Octets of ACL data that one host buffer holds. */
export const ACL_BUFFER_BYTES = 251;
const MAX_LINKS = 20;
/** Between the events of a central's links, where the interval has room: the default of Nordic's SoftDevice Controller. */
const EVENT_SPACING_US = 7500;

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

/**
 * A virtual LE controller: HCI on one side (Core 5.4, Vol 4 Part E), the ether on the other. Central and peripheral at once. It keeps
 * its stated number of ACL buffers: a host that sends more gets Data Buffer Overflow and loses the packet.
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
  /** Links that it takes as a central. */
  maxLinks = MAX_LINKS;
  /** Until when a link of this central has the air for itself. */
  busyUntil = 0;
  /** Packets that the host sent beyond the stated buffers. */
  overflows = 0;
  readonly #ether: Ether;
  readonly #aclBuffers: number;
  readonly #ends = new Map<number, { end: LinkEnd; link: VirtualLink; peerAddress: string }>();
  #usedBuffers = 0;
  #leEventMask = 0x1fn;
  #randomAddress = 'c0:00:00:00:00:00';
  #advertisingSetup: Advertising = {
    intervalUs: 100_000,
    connectable: true,
    random: false,
    data: Buffer.alloc(0),
    scanResponse: Buffer.alloc(0),
  };
  #stopAdvertising: (() => void) | null = null;
  #scan: { active: boolean; filterDuplicates: boolean; seen: Set<string>; share: number } | null = null;
  #scanSetup = { active: true, share: 1 };
  #connecting: Connecting | null = null;

  constructor(ether: Ether, address: string, options: { aclBuffers: number; links?: number }) {
    this.#ether = ether;
    this.address = address;
    this.#aclBuffers = options.aclBuffers;
    this.maxLinks = options.links ?? MAX_LINKS;
  }

  /** A packet from the host, H4 type octet first. */
  fromHost(packet: Buffer): void {
    if (packet[0] === HCI_COMMAND) this.#command(packet.readUInt16LE(1), packet.subarray(4));
    else if (packet[0] === HCI_ACL) this.#aclFromHost(packet);
  }

  /** Takes the controller off the air as a power cut does: peers find out by supervision timeout. */
  vanish(): void {
    for (const { link } of this.#ends.values()) link.silent = true;
    this.#ends.clear();
    this.#usedBuffers = 0;
    this.#stopAdvertising?.();
    this.#stopAdvertising = null;
    this.#scan = null;
    this.#connecting = null;
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
    this.toHost(aclPacket(end.handle, startsPdu ? PB_START : PB_CONTINUING, part));
  }

  /** The link layer: a host buffer is free again. */
  bufferCompleted(end: LinkEnd): void {
    if (!this.#ends.has(end.handle)) return;
    this.#usedBuffers -= 1;
    const parameters = Buffer.of(1, 0, 0, 1, 0);
    parameters.writeUInt16LE(end.handle, 1);
    this.toHost(hciEvent(EVENT.NUMBER_OF_COMPLETED_PACKETS, parameters));
  }

  /** The link layer: a link is over. */
  linkEnded(end: LinkEnd, reason: number): void {
    if (!this.#ends.delete(end.handle)) return;
    this.#usedBuffers -= end.queue.length;
    this.toHost(hciEvent(EVENT.DISCONNECTION_COMPLETE, Buffer.of(0, end.handle & 0xff, end.handle >> 8, reason)));
  }

  /** An advertiser is on the air; returns true when this controller connects to it. */
  hears(advertiser: VirtualController, setup: Advertising, address: string): boolean {
    const connecting = this.#connecting;
    if (connecting && setup.connectable && connecting.address === address) {
      if (advertiser.refusesConnections) return false;
      this.#connecting = null;
      this.#establish(advertiser, setup, address, connecting);
      return true;
    }
    const scan = this.#scan;
    if (!scan || this.#ether.random() > scan.share) return false;
    const key = `${address}`;
    if (scan.filterDuplicates && scan.seen.has(key)) return false;
    scan.seen.add(key);
    const kind = setup.connectable ? 0x00 : 0x03;
    this.#report(kind, setup.random, address, setup.data, advertiser.rssi);
    if (scan.active && setup.connectable && setup.scanResponse.length > 0) {
      this.#report(0x04, setup.random, address, setup.scanResponse, advertiser.rssi);
    }
    return false;
  }

  #report(kind: number, random: boolean, address: string, data: Buffer, rssi: number): void {
    const noisy = rssi + Math.round((this.#ether.random() - 0.5) * 4);
    const head = Buffer.concat([Buffer.of(1, kind, random ? 1 : 0), addressBytes(address), Buffer.of(data.length)]);
    this.#le(LE_EVENT.ADVERTISING_REPORT, Buffer.concat([head, data, Buffer.of(noisy & 0xff)]));
  }

  #establish(advertiser: VirtualController, setup: Advertising, address: string, connecting: Connecting): void {
    const timing = { ...connecting.timing };
    const central: LinkEnd = { controller: this, handle: this.#freeHandle(), role: 'central', queue: [] };
    const peripheral: LinkEnd = {
      controller: advertiser,
      handle: advertiser.#freeHandle(),
      role: 'peripheral',
      queue: [],
    };
    const link = new VirtualLink(this.#ether, central, peripheral, timing, this.#placeAnchor(timing.intervalUs));
    link.lossRate = advertiser.lossRate;
    this.#ends.set(central.handle, { end: central, link, peerAddress: address });
    advertiser.#ends.set(peripheral.handle, { end: peripheral, link, peerAddress: this.address });
    advertiser.#stopAdvertising?.();
    advertiser.#stopAdvertising = null;
    this.#connectionComplete(STATUS.SUCCESS, central, setup.random, address, timing);
    advertiser.#connectionComplete(STATUS.SUCCESS, peripheral, false, this.address, timing);
  }

  /**
   * Where a new link's events go among those of this central's other links, as seen within one interval: the event spacing after another
   * where that leaves as much to the next, else in the middle of the widest gap.
   */
  #placeAnchor(intervalUs: number): number {
    const earliest = this.#ether.now + 2500;
    const phases = [...this.#ends.values()]
      .filter(({ end, link }) => end.role === 'central' && !link.silent)
      .flatMap(({ link }) => {
        // A link of a shorter interval comes by more than once.
        const times = Math.ceil(intervalUs / link.timing.intervalUs);
        const anchors = Array.from({ length: times }, (_, i) => link.nextAnchor + i * link.timing.intervalUs);
        return anchors.map((anchor) => (((anchor - earliest) % intervalUs) + intervalUs) % intervalUs);
      })
      .sort((a, b) => a - b);
    const first = phases[0];
    if (first === undefined) return earliest;
    const gaps = phases.map((start, i) => ({ start, gap: (phases[i + 1] ?? first + intervalUs) - start }));
    const roomy = gaps.find(({ gap }) => gap >= 2 * EVENT_SPACING_US - 1);
    const { start, gap } = roomy ?? gaps.reduce((widest, each) => (each.gap > widest.gap + 1 ? each : widest));
    return earliest + ((start + (roomy ? EVENT_SPACING_US : gap / 2)) % intervalUs);
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
    const parameters = Buffer.alloc(18);
    parameters[0] = status;
    parameters.writeUInt16LE(end?.handle ?? 0, 1);
    parameters[3] = end?.role === 'peripheral' ? 1 : 0;
    parameters[4] = random ? 1 : 0;
    addressBytes(address).copy(parameters, 5);
    parameters.writeUInt16LE(Math.round(timing.intervalUs / 1250), 11);
    parameters.writeUInt16LE(timing.latency, 13);
    parameters.writeUInt16LE(Math.round(timing.supervisionTimeoutUs / 10_000), 15);
    this.#le(LE_EVENT.CONNECTION_COMPLETE, parameters);
  }

  #le(subevent: number, parameters: Buffer): void {
    if ((this.#leEventMask >> BigInt(subevent - 1)) & 1n) this.toHost(leEvent(subevent, parameters));
  }

  #aclFromHost(packet: Buffer): void {
    const word = packet.readUInt16LE(1);
    const entry = this.#ends.get(word & 0x0fff);
    if (!entry) return;
    const data = packet.subarray(5);
    if (this.#usedBuffers >= this.#aclBuffers || data.length > ACL_BUFFER_BYTES) {
      this.overflows += 1;
      this.toHost(hciEvent(EVENT.DATA_BUFFER_OVERFLOW, Buffer.of(0x01)));
      return;
    }
    this.#usedBuffers += 1;
    entry.end.queue.push({ data: Buffer.from(data), startsPdu: ((word >> 12) & 0b11) !== PB_CONTINUING, sent: 0 });
  }

  #setAdvertising(enabled: boolean): void {
    this.#stopAdvertising?.();
    this.#stopAdvertising = null;
    if (!enabled) return;
    const setup = this.#advertisingSetup;
    const address = setup.random ? this.#randomAddress : this.address;
    const event = () => {
      cancel = this.#ether.at(this.#ether.now + setup.intervalUs + this.#ether.random() * 10_000, event);
      for (const controller of this.#ether.controllers) {
        if (controller !== this && controller.hears(this, setup, address)) return;
      }
    };
    let cancel = this.#ether.at(this.#ether.now + this.#ether.random() * setup.intervalUs, event);
    this.#stopAdvertising = () => cancel();
  }

  /** Does something on the link with that handle and answers with a Command Status. */
  #onLink(opcode: number, handle: number, act: (entry: { end: LinkEnd; link: VirtualLink }) => void): void {
    const entry = this.#ends.get(handle & 0x0fff);
    this.toHost(commandStatus(opcode, entry ? STATUS.SUCCESS : STATUS.UNKNOWN_CONNECTION));
    if (entry) act(entry);
  }

  #command(opcode: number, p: Buffer): void {
    const complete = (...returned: number[]) => this.toHost(commandComplete(opcode, Buffer.from(returned)));
    switch (opcode) {
      case OPCODE.RESET:
        for (const { end, link } of [...this.#ends.values()]) {
          link.end((side) => (side === end ? STATUS.LOCAL_HOST_TERMINATED : STATUS.CONNECTION_TIMEOUT));
        }
        this.vanish();
        this.#leEventMask = 0x1fn;
        return complete(0);
      case OPCODE.SET_EVENT_MASK:
      case OPCODE.WRITE_LE_HOST_SUPPORTED:
      case OPCODE.LE_SET_DEFAULT_PHY:
      case OPCODE.LE_WRITE_DEFAULT_DATA_LENGTH:
        return complete(0);
      case OPCODE.READ_LE_HOST_SUPPORTED:
        return complete(0, 1, 0);
      case OPCODE.READ_LOCAL_VERSION:
        return complete(0, 0x0d, 0, 0, 0x0d, 0xff, 0xff, 0, 0);
      case OPCODE.READ_SUPPORTED_COMMANDS:
        return complete(0, ...new Array<number>(64).fill(0));
      case OPCODE.READ_SUPPORTED_FEATURES:
        return complete(0, 0, 0, 0, 0, 0x60, 0, 0, 0);
      case OPCODE.READ_BUFFER_SIZE:
        return complete(0, ACL_BUFFER_BYTES, 0, 0, this.#aclBuffers, 0, 0, 0);
      case OPCODE.LE_READ_BUFFER_SIZE:
        return complete(0, ACL_BUFFER_BYTES, 0, this.#aclBuffers);
      case OPCODE.READ_BD_ADDR:
        return complete(0, ...addressBytes(this.address));
      case OPCODE.LE_READ_LOCAL_FEATURES:
        return complete(0, 0x21, 0x01, 0, 0, 0, 0, 0, 0);
      case OPCODE.LE_READ_SUPPORTED_STATES:
        return complete(0, ...new Array<number>(8).fill(0xff));
      case OPCODE.LE_SET_EVENT_MASK:
        this.#leEventMask = p.readBigUInt64LE(0);
        return complete(0);
      case OPCODE.READ_RSSI: {
        const entry = this.#ends.get(p.readUInt16LE(0) & 0x0fff);
        const rssi = entry ? entry.link.other(entry.end).controller.rssi : 127;
        return complete(entry ? 0 : STATUS.UNKNOWN_CONNECTION, p[0]!, p[1]!, rssi & 0xff);
      }
      case OPCODE.LE_SET_RANDOM_ADDRESS:
        this.#randomAddress = addressText(p.subarray(0, 6));
        return complete(0);
      case OPCODE.LE_SET_ADVERTISING_PARAMETERS:
        this.#advertisingSetup = {
          ...this.#advertisingSetup,
          intervalUs: p.readUInt16LE(0) * 625,
          connectable: p[4] === 0,
          random: p[5] === 1,
        };
        return complete(0);
      case OPCODE.LE_SET_ADVERTISING_DATA:
        this.#advertisingSetup = { ...this.#advertisingSetup, data: Buffer.from(p.subarray(1, 1 + p[0]!)) };
        return complete(0);
      case OPCODE.LE_SET_SCAN_RESPONSE_DATA:
        this.#advertisingSetup = { ...this.#advertisingSetup, scanResponse: Buffer.from(p.subarray(1, 1 + p[0]!)) };
        return complete(0);
      case OPCODE.LE_SET_ADVERTISING_ENABLE:
        complete(0);
        return this.#setAdvertising(p[0] === 1);
      case OPCODE.LE_SET_SCAN_PARAMETERS:
        if (this.#scan) return complete(STATUS.COMMAND_DISALLOWED);
        this.#scanSetup = { active: p[0] === 1, share: p.readUInt16LE(3) / p.readUInt16LE(1) };
        return complete(0);
      case OPCODE.LE_SET_SCAN_ENABLE:
        this.#scan = p[0] === 1 ? { ...this.#scanSetup, filterDuplicates: p[1] === 1, seen: new Set() } : null;
        return complete(0);
      case OPCODE.LE_CREATE_CONNECTION:
        return this.#createConnection(p);
      case OPCODE.LE_CREATE_CONNECTION_CANCEL: {
        const connecting = this.#connecting;
        this.#connecting = null;
        complete(connecting ? 0 : STATUS.COMMAND_DISALLOWED);
        if (connecting) {
          this.#connectionComplete(STATUS.UNKNOWN_CONNECTION, null, false, connecting.address, connecting.timing);
        }
        return;
      }
      case OPCODE.DISCONNECT:
        return this.#onLink(opcode, p.readUInt16LE(0), ({ end, link }) => link.terminate(end));
      case OPCODE.LE_CONNECTION_UPDATE:
        return this.#onLink(opcode, p.readUInt16LE(0), ({ link }) => this.#updateConnection(link, p));
      case OPCODE.LE_READ_REMOTE_FEATURES:
        return this.#onLink(opcode, p.readUInt16LE(0), ({ end }) =>
          this.#le(LE_EVENT.READ_REMOTE_FEATURES_COMPLETE, handleEvent(0, end, [0x21, 0x01, 0, 0, 0, 0, 0, 0])),
        );
      case OPCODE.READ_REMOTE_VERSION:
        return this.#onLink(opcode, p.readUInt16LE(0), ({ end }) =>
          this.toHost(hciEvent(0x0c, handleEvent(0, end, [0x0d, 0xff, 0xff, 0, 0]))),
        );
      case OPCODE.LE_SET_DATA_LENGTH: {
        const entry = this.#ends.get(p.readUInt16LE(0) & 0x0fff);
        complete(entry ? 0 : STATUS.UNKNOWN_CONNECTION, p[0]!, p[1]!);
        if (entry) this.#setDataLength(entry.link, p.readUInt16LE(2));
        return;
      }
      case OPCODE.LE_ENABLE_ENCRYPTION:
        return this.#onLink(opcode, p.readUInt16LE(0), ({ end, link }) => {
          link.proposedKey = Buffer.from(p.subarray(12, 28));
          const peer = link.other(end);
          const request = Buffer.concat([Buffer.of(peer.handle & 0xff, peer.handle >> 8), p.subarray(2, 12)]);
          afterInstant(this.#ether, link, () => peer.controller.#le(LE_EVENT.LONG_TERM_KEY_REQUEST, request), 2);
        });
      case OPCODE.LE_LONG_TERM_KEY_REPLY:
      case OPCODE.LE_LONG_TERM_KEY_NEGATIVE_REPLY: {
        const entry = this.#ends.get(p.readUInt16LE(0) & 0x0fff);
        complete(entry ? 0 : STATUS.UNKNOWN_CONNECTION, p[0]!, p[1]!);
        const key = opcode === OPCODE.LE_LONG_TERM_KEY_REPLY ? p.subarray(2, 18) : null;
        if (entry) this.#answerEncryption(entry.link, key);
        return;
      }
      case OPCODE.LE_SET_PHY:
        return this.#onLink(opcode, p.readUInt16LE(0), ({ link }) => this.#setPhy(link, p[3]!));
      default:
        return complete(STATUS.UNKNOWN_COMMAND);
    }
  }

  #createConnection(p: Buffer): void {
    const address = addressText(p.subarray(6, 12));
    const exists = [...this.#ends.values()].some(({ peerAddress }) => peerAddress === address);
    const full = this.#ends.size >= this.maxLinks;
    const busy = this.#connecting !== null;
    const status = exists
      ? STATUS.CONNECTION_EXISTS
      : busy
        ? STATUS.COMMAND_DISALLOWED
        : full
          ? STATUS.CONNECTION_LIMIT_EXCEEDED
          : STATUS.SUCCESS;
    this.toHost(commandStatus(OPCODE.LE_CREATE_CONNECTION, status));
    if (status !== STATUS.SUCCESS) return;
    this.#connecting = {
      address,
      timing: {
        intervalUs: p.readUInt16LE(15) * 1250,
        latency: p.readUInt16LE(17),
        supervisionTimeoutUs: p.readUInt16LE(19) * 10_000,
      },
    };
  }

  /** The peripheral's host has given its key, or has none (Vol 6 Part B, 5.1.3.1). */
  #answerEncryption(link: VirtualLink, key: Buffer | null): void {
    const { proposedKey } = link;
    link.proposedKey = null;
    const tell = (end: LinkEnd, status: number, enabled: number) =>
      end.controller.toHost(hciEvent(EVENT.ENCRYPTION_CHANGE, handleEvent(status, end, [enabled])));
    afterInstant(
      this.#ether,
      link,
      () => {
        if (!key || !proposedKey) return tell(link.central, STATUS.KEY_MISSING, 0);
        if (!key.equals(proposedKey)) return link.end(() => STATUS.MIC_FAILURE);
        link.encrypted = true;
        tell(link.peripheral, STATUS.SUCCESS, 1);
        tell(link.central, STATUS.SUCCESS, 1);
      },
      2,
    );
  }

  #updateConnection(link: VirtualLink, p: Buffer): void {
    const timing = {
      intervalUs: p.readUInt16LE(4) * 1250,
      latency: p.readUInt16LE(6),
      supervisionTimeoutUs: p.readUInt16LE(8) * 10_000,
    };
    this.#changeTiming(link, timing);
  }

  #changeTiming(link: VirtualLink, timing: VirtualLink['timing']): void {
    afterInstant(this.#ether, link, () => {
      link.timing = timing;
      for (const end of [link.central, link.peripheral]) {
        const parameters = handleEvent(0, end, [0, 0, 0, 0, 0, 0]);
        parameters.writeUInt16LE(timing.intervalUs / 1250, 3);
        parameters.writeUInt16LE(timing.latency, 5);
        parameters.writeUInt16LE(timing.supervisionTimeoutUs / 10_000, 7);
        end.controller.#le(LE_EVENT.CONNECTION_UPDATE_COMPLETE, parameters);
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
      parameters.writeUInt16LE(end.handle, 0);
      for (const at of [2, 6]) {
        parameters.writeUInt16LE(reached, at);
        parameters.writeUInt16LE(17040, at + 2);
      }
      end.controller.#le(LE_EVENT.DATA_LENGTH_CHANGE, parameters);
    }
  }

  #setPhy(link: VirtualLink, preference: number): void {
    const both = Math.min(link.central.controller.maxPhy, link.peripheral.controller.maxPhy);
    const phy: Phy = preference & 0b10 && both === 2 ? 2 : 1;
    afterInstant(this.#ether, link, () => {
      link.phy = phy;
      for (const end of [link.central, link.peripheral]) {
        end.controller.#le(LE_EVENT.PHY_UPDATE_COMPLETE, handleEvent(0, end, [phy, phy]));
      }
    });
  }
}

/** Link-layer procedures with an instant take effect six events after they are asked for (Vol 6 Part B, 5.1.1), others sooner. */
function afterInstant(ether: Ether, link: VirtualLink, act: () => void, events = 6): void {
  ether.at(ether.now + events * link.timing.intervalUs, () => {
    if (ether.links.has(link)) act();
  });
}

function handleEvent(status: number, end: LinkEnd, rest: number[]): Buffer {
  return Buffer.from([status, end.handle & 0xff, end.handle >> 8, ...rest]);
}
