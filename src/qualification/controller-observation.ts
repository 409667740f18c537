import { EVENT, HCI_ACL, HCI_COMMAND, HCI_EVENT, LE_EVENT, OPCODE, STATUS, uint16 } from '../radio/hci/packets.ts';
import { DIAGNOSTIC_OPCODE, LE_EXTENDED_ADVERTISING_REPORT } from './diagnostic-commands.ts';

/** What listening brought at one share of the time. */
export interface ListeningCost {
  /** Percent of the time that the radio was told to listen. */
  readonly percent: number;
  /** Whether there were links at the time. */
  readonly linked: boolean;
  ms: number;
  reports: number;
  /** Octets of the reports as they cross the wire, with their H4 and event headers. */
  octets: number;
}

/** What a controller said and did; null where nothing showed it. */
export interface ControllerFindings {
  readonly address: string | null;
  readonly version: { readonly hci: number; readonly revision: number; readonly manufacturer: number } | null;
  readonly buffers: { readonly count: number; readonly octets: number } | null;
  /** The LE features as the controller returns them. */
  readonly features: bigint | null;
  /** Octets of payload that it says it can send in one link-layer packet. */
  readonly longestPacket: number | null;
  /** The LE events that it was told to let through; null when it refused, or nobody told it. */
  readonly leEventMask: bigint | null;
  /** Which event told connections. */
  readonly connectionEvents: readonly ('plain' | 'enhanced')[];
  readonly mostLinks: number;
  /** Links that it had when it refused one more. */
  readonly linksRefusedAt: number | null;
  readonly failedConnections: number;
  readonly dataLengths: readonly number[];
  readonly phys: readonly ('1M' | '2M' | 'coded')[];
  /** From each command to its answer, in milliseconds, by opcode, in order. */
  readonly trips: ReadonlyMap<number, readonly number[]>;
  /** Commands that it answered by Unknown HCI Command. */
  readonly unknownCommands: ReadonlySet<number>;
  readonly listening: readonly ListeningCost[];
  /** ACL packets to devices, and the most that were on their way at once. */
  readonly sentPackets: number;
  readonly mostOnTheirWay: number;
  /** Packets that one Number Of Completed Packets event told of at most. */
  readonly mostCompletedAtOnce: number;
  /** From a packet to the report that it is done, median, in milliseconds. */
  readonly packetMs: number | null;
  /** ACL payload octets to devices in the best second. */
  readonly bestSecondBytes: number;
  /** Whether hardware errors were told. */
  readonly hardwareErrors: number;
}

/** Unknown HCI Command (Vol 1 Part F, 1.3). */
const UNKNOWN_COMMAND = 0x01;
const BIN_MS = 100;
const BINS_OF_A_SECOND = 10;

/**
 * Takes every HCI packet between a host and its controller, live or of a recording, and tells what they show of the controller. Formats:
 * Core 5.4, Vol 4 Part E, 7.4, 7.7 and 7.8; as Wireshark's dissectors bthci_cmd and bthci_evt read the recordings of the tests.
 */
export class ControllerObservation {
  #address: ControllerFindings['address'] = null;
  #version: ControllerFindings['version'] = null;
  #buffers: ControllerFindings['buffers'] = null;
  #features: bigint | null = null;
  #longestPacket: number | null = null;
  #leEventMask: bigint | null = null;
  readonly #connectionEvents = new Set<'plain' | 'enhanced'>();
  readonly #links = new Map<number, number[]>();
  #mostLinks = 0;
  #linksRefusedAt: number | null = null;
  #failedConnections = 0;
  readonly #dataLengths = new Set<number>();
  readonly #phys = new Set<'1M' | '2M' | 'coded'>();
  readonly #commands: { opcode: number; parameters: Buffer; atMs: number }[] = [];
  readonly #trips = new Map<number, number[]>();
  readonly #unknown = new Set<number>();
  readonly #listening = new Map<string, ListeningCost>();
  #percent = 100;
  #listeningSinceMs: number | null = null;
  #sentPackets = 0;
  #mostOnTheirWay = 0;
  #mostCompletedAtOnce = 0;
  readonly #packetMs: number[] = [];
  readonly #bins = new Map<number, number>();
  #hardwareErrors = 0;
  #lastMs = 0;

  /** One packet with its H4 type octet, `received` from the controller; `atMs` on any one clock. What is cut short says nothing. */
  take(packet: Buffer, received: boolean, atMs: number): void {
    this.#lastMs = atMs;
    if (!received && packet[0] === HCI_COMMAND && packet.length >= 4) {
      this.#commands.push({ opcode: uint16(packet, 1), parameters: packet.subarray(4), atMs });
    } else if (!received && packet[0] === HCI_ACL && packet.length >= 5) this.#sent(packet, atMs);
    else if (received && packet[0] === HCI_EVENT && packet.length >= 3) this.#event(packet, atMs);
  }

  findings(): ControllerFindings {
    this.#account(this.#lastMs);
    return {
      address: this.#address,
      version: this.#version,
      buffers: this.#buffers,
      features: this.#features,
      longestPacket: this.#longestPacket,
      leEventMask: this.#leEventMask,
      connectionEvents: [...this.#connectionEvents],
      mostLinks: this.#mostLinks,
      linksRefusedAt: this.#linksRefusedAt,
      failedConnections: this.#failedConnections,
      dataLengths: [...this.#dataLengths],
      phys: [...this.#phys],
      trips: this.#trips,
      unknownCommands: this.#unknown,
      listening: [...this.#listening.values()].filter(({ ms }) => ms > 0),
      sentPackets: this.#sentPackets,
      mostOnTheirWay: this.#mostOnTheirWay,
      mostCompletedAtOnce: this.#mostCompletedAtOnce,
      packetMs: median(this.#packetMs),
      bestSecondBytes: this.#bestSecond(),
      hardwareErrors: this.#hardwareErrors,
    };
  }

  #sent(packet: Buffer, atMs: number): void {
    const onTheirWay = this.#links.get(uint16(packet, 1) & 0x0fff);
    onTheirWay?.push(atMs);
    this.#sentPackets += 1;
    const total = [...this.#links.values()].reduce((sum, { length }) => sum + length, 0);
    this.#mostOnTheirWay = Math.max(this.#mostOnTheirWay, total);
    const bin = Math.floor(atMs / BIN_MS);
    this.#bins.set(bin, (this.#bins.get(bin) ?? 0) + uint16(packet, 3));
  }

  #bestSecond(): number {
    let best = 0;
    for (const bin of this.#bins.keys()) {
      let sum = 0;
      for (let i = 0; i < BINS_OF_A_SECOND; i++) sum += this.#bins.get(bin + i) ?? 0;
      best = Math.max(best, sum);
    }
    return best;
  }

  #event(packet: Buffer, atMs: number): void {
    switch (packet[1]) {
      case EVENT.COMMAND_COMPLETE:
        if (packet.length >= 6) this.#answered(uint16(packet, 4), packet.subarray(6), atMs);
        return;
      case EVENT.COMMAND_STATUS:
        if (packet.length >= 7) this.#answered(uint16(packet, 5), packet.subarray(3, 4), atMs);
        return;
      case EVENT.HARDWARE_ERROR:
        this.#hardwareErrors += 1;
        return;
      case EVENT.DISCONNECTION_COMPLETE:
        if (packet.length >= 7 && packet[3] === STATUS.SUCCESS) {
          this.#account(atMs);
          this.#links.delete(uint16(packet, 4) & 0x0fff);
        }
        return;
      case EVENT.NUMBER_OF_COMPLETED_PACKETS:
        return this.#completed(packet, atMs);
      case EVENT.LE_META:
        return this.#leEvent(packet, atMs);
    }
  }

  #answered(opcode: number, returned: Buffer, atMs: number): void {
    const at = this.#commands.findIndex((each) => each.opcode === opcode);
    const command = at < 0 ? null : this.#commands.splice(at, 1)[0]!;
    if (command) {
      const trips = this.#trips.get(opcode) ?? [];
      trips.push(atMs - command.atMs);
      this.#trips.set(opcode, trips);
    }
    if (returned[0] === UNKNOWN_COMMAND) this.#unknown.add(opcode);
    if (returned[0] !== STATUS.SUCCESS) return;
    this.#learn(opcode, returned, command?.parameters ?? Buffer.alloc(0), atMs);
  }

  #learn(opcode: number, returned: Buffer, parameters: Buffer, atMs: number): void {
    const has = (octets: number) => returned.length >= octets;
    if (opcode === OPCODE.READ_BD_ADDR && has(7))
      this.#address = [...returned.subarray(1, 7).toReversed()].map((octet) => hex(octet, 2)).join(':');
    else if (opcode === DIAGNOSTIC_OPCODE.READ_LOCAL_VERSION && has(9))
      this.#version = { hci: returned[1]!, revision: uint16(returned, 2), manufacturer: uint16(returned, 5) };
    else if (opcode === OPCODE.LE_READ_BUFFER_SIZE && has(4) && returned[3]! > 0)
      this.#buffers = { octets: uint16(returned, 1), count: returned[3]! };
    else if (opcode === OPCODE.READ_BUFFER_SIZE && has(8)) this.#buffers ??= shared(returned);
    else if (opcode === OPCODE.LE_READ_LOCAL_FEATURES && has(9)) this.#features = returned.readBigUInt64LE(1);
    else if (opcode === DIAGNOSTIC_OPCODE.LE_READ_MAXIMUM_DATA_LENGTH && has(5))
      this.#longestPacket = uint16(returned, 1);
    else if (opcode === OPCODE.LE_SET_EVENT_MASK && parameters.length >= 8)
      this.#leEventMask = parameters.readBigUInt64LE(0);
    else if (opcode === OPCODE.LE_SET_SCAN_PARAMETERS && parameters.length >= 5) {
      this.#percent = Math.round((100 * uint16(parameters, 3)) / Math.max(1, uint16(parameters, 1)));
    } else if (opcode === OPCODE.LE_SET_SCAN_ENABLE && parameters.length >= 1) {
      this.#account(atMs);
      this.#listeningSinceMs = parameters[0] === 1 ? atMs : null;
    } else if (opcode === OPCODE.RESET) {
      this.#account(atMs);
      this.#listeningSinceMs = null;
      this.#links.clear();
    }
  }

  /** The cost that listening has now. */
  #cost(): ListeningCost {
    const linked = this.#links.size > 0;
    const key = `${this.#percent} ${linked}`;
    const cost = this.#listening.get(key) ?? { percent: this.#percent, linked, ms: 0, reports: 0, octets: 0 };
    this.#listening.set(key, cost);
    return cost;
  }

  /** Listening has gone on until now as it was. */
  #account(atMs: number): void {
    if (this.#listeningSinceMs === null) return;
    this.#cost().ms += atMs - this.#listeningSinceMs;
    this.#listeningSinceMs = atMs;
  }

  #completed(packet: Buffer, atMs: number): void {
    const links = Math.min(packet[3] ?? 0, Math.floor((packet.length - 4) / 4));
    let sum = 0;
    for (let i = 0; i < links; i++) {
      const count = uint16(packet, 6 + i * 4);
      const done = this.#links.get(uint16(packet, 4 + i * 4) & 0x0fff)?.splice(0, count) ?? [];
      for (const sentMs of done) this.#packetMs.push(atMs - sentMs);
      sum += count;
    }
    this.#mostCompletedAtOnce = Math.max(this.#mostCompletedAtOnce, sum);
  }

  #leEvent(packet: Buffer, atMs: number): void {
    const subevent = packet[3];
    if (subevent === LE_EVENT.ADVERTISING_REPORT || subevent === LE_EXTENDED_ADVERTISING_REPORT) {
      if (this.#listeningSinceMs === null) return;
      const cost = this.#cost();
      cost.reports += Math.max(1, packet[4] ?? 1);
      cost.octets += packet.length;
    } else if (subevent === LE_EVENT.CONNECTION_COMPLETE || subevent === LE_EVENT.ENHANCED_CONNECTION_COMPLETE) {
      this.#connected(packet, subevent === LE_EVENT.ENHANCED_CONNECTION_COMPLETE ? 'enhanced' : 'plain', atMs);
    } else if (subevent === LE_EVENT.DATA_LENGTH_CHANGE && packet.length >= 8) {
      this.#dataLengths.add(uint16(packet, 6));
    } else if (subevent === LE_EVENT.PHY_UPDATE_COMPLETE && packet.length >= 9 && packet[4] === STATUS.SUCCESS) {
      const phy = (['1M', '2M', 'coded'] as const)[packet[7]! - 1];
      if (phy) this.#phys.add(phy);
    }
  }

  #connected(packet: Buffer, event: 'plain' | 'enhanced', atMs: number): void {
    if (packet.length < 7) return;
    this.#connectionEvents.add(event);
    if (packet[4] === STATUS.SUCCESS) {
      this.#account(atMs);
      this.#links.set(uint16(packet, 5) & 0x0fff, []);
      this.#mostLinks = Math.max(this.#mostLinks, this.#links.size);
    } else if (packet[4] === STATUS.CONNECTION_LIMIT_EXCEEDED || packet[4] === STATUS.LIMITED_RESOURCES) {
      this.#linksRefusedAt = this.#links.size;
    } else if (packet[4] !== STATUS.UNKNOWN_CONNECTION) this.#failedConnections += 1;
  }
}

function shared(returned: Buffer): { count: number; octets: number } {
  return { octets: uint16(returned, 1), count: uint16(returned, 4) };
}

/** The middle one; null of none. */
export function median(values: readonly number[]): number | null {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? null;
}

/** Hexadecimal, so many digits. */
export function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
