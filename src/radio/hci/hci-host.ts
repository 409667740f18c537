import type { Clock } from '../../clock.ts';
import type { ControllerFacts } from '../../contract/board.ts';
import { StationError } from '../../contract/errors.ts';
import { CID_PAIRING } from '../security/pairing-codec.ts';
import { AclScheduler } from './acl-scheduler.ts';
import {
  aclFragments,
  aclPacket,
  addressText,
  CID_ATT,
  CID_SIGNALLING,
  EVENT,
  HCI_ACL,
  HCI_COMMAND,
  HCI_EVENT,
  hciCommand,
  L2capReassembler,
  LE_EVENT,
  OPCODE,
  PB_START,
  STATUS,
  uint16,
} from './packets.ts';
import type { HciTransport } from './transport.ts';

const COMMAND_TIMEOUT_MS = 2000;
const RESET_TIMEOUT_MS = 5000;
/** Bits of the LE features (Vol 6 Part B, 4.6). */
const FEATURE = { ENCRYPTION: 0, DATA_LENGTH: 5, PHY_2M: 8 } as const;
/** How soon a device that restarts is to be missed: milliseconds, and connection events. */
const SHORT_SUPERVISION_MS = 500;
const SHORT_SUPERVISION_EVENTS = 6;
const INTERVAL_CHANGES_KEPT = 32;
/** Largest payload of a link-layer PDU, and how long it takes at most uncoded (Vol 6 Part B, 4.5.10). */
const MAX_DATA_OCTETS = 251;
const MAX_DATA_US = 2120;
/** An event may last as long as the interval, 1.25 ms in units of 0.625; noble asks for 3.75 ms. */
const CE_UNITS = 2;

/** ATT octets that the host acts on (Vol 3 Part F, 3.3 and 3.4). */
const ATT_ERROR_RESPONSE = 0x01;
const ATT_MTU_REQUEST = 0x02;
const ATT_MTU_RESPONSE = 0x03;
const ATT_NOTIFICATION = 0x1b;
const ATT_INDICATION = 0x1d;
const ATT_CONFIRMATION = 0x1e;
/** Error codes that noble acts on in ways of its own: 0x04 wedges its queue, the others start its legacy pairing. */
const CODES_KEPT_FROM_NOBLE = new Set([0x04, 0x05, 0x08, 0x0f]);
const ATT_UNLIKELY_ERROR = 0x0e;
const ATT_READ_BY_TYPE_REQUEST = 0x08;
const ATT_ATTRIBUTE_NOT_FOUND = 0x0a;
const CHARACTERISTIC_DECLARATION = 0x2803;
/** Signalling codes (Vol 3 Part A, table 4.2). */
const SIGNALLING = { COMMAND_REJECT: 0x01, PARAMETER_UPDATE_REQUEST: 0x12, PARAMETER_UPDATE_RESPONSE: 0x13 } as const;
/** Answers, which are not answered: Command Reject, and the responses of procedures that the station never begins. */
const SIGNALLING_ANSWERS = new Set([0x01, 0x07, 0x13, 0x15, 0x18, 0x1a]);

/** Two full PDUs of 251 octets less the L2CAP header: what fills packets best where the device takes it. */
export const WANTED_MTU = 498;

/** What is known of one link at HCI. */
export interface HciLink {
  readonly handle: number;
  readonly address: string;
  /** The peer's address is a random one. */
  readonly random: boolean;
  /** When the link began, on the host's clock. */
  readonly sinceMs: number;
  intervalMs: number;
  /** Intervals that came after the first: when, in milliseconds of the link, and what. */
  readonly intervalChanges: [number, number][];
  supervisionTimeoutMs: number;
  phy: '1M' | '2M' | 'coded';
  dataLength: number;
  mtu: number;
  /** Resolves when the MTU exchange has ended, one way or the other. */
  readonly mtuSettled: Promise<void>;
  readonly settleMtu: () => void;
  readonly reassembler: L2capReassembler;
  /** Who wants the values that the device notifies or indicates, by attribute handle. */
  readonly listeners: Map<number, Set<(value: Buffer) => void>>;
}

/** What the host tells the radio above. */
export interface HciHostEvents {
  /** A device answered a request with an ATT error. */
  attError(handle: number, code: number): void;
  /** A link is over. */
  disconnected(handle: number, reason: number): void;
  /** A connection attempt ended, successfully or not. */
  connectionComplete(status: number, handle: number, address: string): void;
  /** A PDU of the pairing channel. */
  pairingPdu(handle: number, pdu: Buffer): void;
  /** A link's encryption has changed, or could not be. */
  encryptionChanged(handle: number, status: number, enabled: boolean): void;
  /** The controller is gone. */
  lost(reason: string): void;
}

interface Command {
  readonly packet: Buffer;
  /** Ours: the answer goes here and noble does not see it. */
  readonly answer?: (result: Buffer) => void;
}

/**
 * The host side of HCI beneath noble: one command at a time, ACL buffers shared fairly, L2CAP reassembly, MTU, confirmations and the
 * answers that noble owes its peers. noble sees a controller that behaves; what it would stumble over stays here.
 */
export class HciHost {
  readonly #transport: HciTransport;
  readonly #clock: Clock;
  readonly #events: HciHostEvents;
  readonly #links = new Map<number, HciLink>();
  readonly #commands: Command[] = [];
  #inFlight: { command: Command; cancelTimeout: () => void } | null = null;
  #scheduler: AclScheduler;
  #aclBytes = 27;
  #toNoble: (packet: Buffer) => void = () => undefined;
  #scanParameters = Buffer.of(1, 0x60, 0x00, 0x30, 0x00, 0, 0);
  #lost = false;
  /** The controller's public address. */
  address = '';
  /** What the controller can. */
  facts: ControllerFacts = { aclBuffers: 1, aclOctets: 27, encryption: false, dataLength: false, phy2M: false };

  constructor(transport: HciTransport, clock: Clock, events: HciHostEvents) {
    this.#transport = transport;
    this.#clock = clock;
    this.#events = events;
    this.#scheduler = this.#newScheduler(1);
    transport.onPacket((packet) => this.#fromController(packet));
    transport.onLost((reason) => {
      this.#lost = true;
      this.#inFlight?.cancelTimeout();
      this.#events.lost(reason);
      // Nothing that still waits for a buffer will ever leave.
      for (const handle of [...this.#links.keys()]) this.#endLink(handle, STATUS.CONNECTION_TIMEOUT);
    });
  }

  /** Resets the controller and learns what it can hold. @throws StationError RADIO_REFUSED, RADIO_LOST */
  async start(): Promise<void> {
    await this.command(OPCODE.RESET, Buffer.alloc(0), RESET_TIMEOUT_MS);
    const mask = Buffer.alloc(8);
    mask.writeUInt16LE(0x0fff, 0);
    await this.command(OPCODE.LE_SET_EVENT_MASK, mask);
    this.address = addressText((await this.command(OPCODE.READ_BD_ADDR)).subarray(1, 7));
    const le = await this.command(OPCODE.LE_READ_BUFFER_SIZE);
    let bytes = le.readUInt16LE(1);
    let count = le[3]!;
    if (bytes === 0 || count === 0) {
      const shared = await this.command(OPCODE.READ_BUFFER_SIZE);
      bytes = shared.readUInt16LE(1);
      count = shared.readUInt16LE(4);
    }
    this.#aclBytes = bytes;
    this.#scheduler = this.#newScheduler(count);
    const features = (await this.command(OPCODE.LE_READ_LOCAL_FEATURES)).readBigUInt64LE(1);
    const has = (bit: number) => ((features >> BigInt(bit)) & 1n) === 1n;
    this.facts = {
      aclBuffers: count,
      aclOctets: bytes,
      encryption: has(FEATURE.ENCRYPTION),
      dataLength: has(FEATURE.DATA_LENGTH),
      phy2M: has(FEATURE.PHY_2M),
    };
  }

  /** Scan interval and window in milliseconds; noble's own choice, 100 % of the time, is replaced by it. */
  setScanDuty(intervalMs: number, windowMs: number): void {
    this.#scanParameters.writeUInt16LE(Math.round(intervalMs / 0.625), 1);
    this.#scanParameters.writeUInt16LE(Math.round(windowMs / 0.625), 3);
  }

  /**
   * Asks for what makes a link fast: data length extension and the PHY. Controllers and devices that refuse either leave the link as it
   * is; what was reached is told by their events.
   */
  tune(handle: number, phy: '1M' | '2M'): void {
    const asIs = (error: unknown) => {
      if (!(error instanceof StationError)) throw error;
    };
    const length = Buffer.alloc(6);
    length.writeUInt16LE(handle, 0);
    length.writeUInt16LE(MAX_DATA_OCTETS, 2);
    length.writeUInt16LE(MAX_DATA_US, 4);
    this.command(OPCODE.LE_SET_DATA_LENGTH, length).catch(asIs);
    const phys = phy === '2M' ? 2 : 1;
    const choice = Buffer.of(handle & 0xff, handle >> 8, 0, phys, phys, 0, 0);
    if (phy === '2M') this.command(OPCODE.LE_SET_PHY, choice).catch(asIs);
  }

  /** Gives a link the shortest supervision timeout that its interval allows (Vol 6 Part B, 4.5.2); a controller that refuses leaves it. */
  shortenSupervision(handle: number): void {
    const link = this.#links.get(handle);
    if (!link) return;
    const units = Math.round(link.intervalMs / 1.25);
    const timeoutMs = Math.max(SHORT_SUPERVISION_MS, SHORT_SUPERVISION_EVENTS * link.intervalMs);
    if (timeoutMs >= link.supervisionTimeoutMs) return;
    const parameters = Buffer.alloc(14);
    parameters.writeUInt16LE(handle, 0);
    parameters.writeUInt16LE(units, 2);
    parameters.writeUInt16LE(units, 4);
    parameters.writeUInt16LE(Math.round(timeoutMs / 10), 8);
    parameters.writeUInt16LE(units * CE_UNITS, 12);
    this.command(OPCODE.LE_CONNECTION_UPDATE, parameters).catch((error: unknown) => {
      if (!(error instanceof StationError)) throw error;
    });
  }

  link(handle: number): HciLink | undefined {
    return this.#links.get(handle);
  }

  /** ACL packets of a link that are not yet over the air. */
  queued(handle: number): number {
    return this.#scheduler.queued(handle);
  }

  /** Sends a command of the station's own; resolves with the parameters returned, status first. */
  command(opcode: number, parameters: Buffer = Buffer.alloc(0), timeoutMs = COMMAND_TIMEOUT_MS): Promise<Buffer> {
    if (this.#lost) return Promise.reject(new StationError('RADIO_LOST'));
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.after(timeoutMs, () => {
        reject(new StationError('RADIO_REFUSED', `no answer to command 0x${opcode.toString(16)}`));
      });
      const answer = (result: Buffer) => {
        cancel();
        if (result[0] === STATUS.SUCCESS) resolve(result);
        else
          reject(
            new StationError('RADIO_REFUSED', `command 0x${opcode.toString(16)}: status 0x${result[0]?.toString(16)}`),
          );
      };
      this.#queueCommand({ packet: hciCommand(opcode, parameters), answer });
    });
  }

  /** Sends L2CAP PDUs; settles when the controller took the last packet, rejects when the link ends first. */
  send(handle: number, cid: number, payloads: readonly Buffer[]): Promise<void> {
    if (!this.#links.has(handle))
      return Promise.reject(new StationError('LINK_LOST', 'the link is over', { retryable: true }));
    return new Promise((resolve, reject) => {
      const dropped = () => reject(new StationError('LINK_LOST', 'before the data had left', { retryable: true }));
      const packets = payloads.flatMap((payload) => aclFragments(handle, cid, payload, this.#aclBytes));
      this.#scheduler.push(handle, packets, { taken: resolve, dropped });
    });
  }

  /**
   * Calls `onValue` with each value that the device notifies or indicates of an attribute, until the function that is returned is called or
   * the link is over.
   */
  listen(handle: number, attribute: number, onValue: (value: Buffer) => void): () => void {
    const link = this.#links.get(handle);
    const listeners = link?.listeners.get(attribute) ?? new Set();
    link?.listeners.set(attribute, listeners.add(onValue));
    return () => void listeners.delete(onValue);
  }

  /** What noble sends through its ACL streams. A packet for a link that is over goes nowhere. */
  fromNobleAcl(handle: number, cid: number, data: Buffer): void {
    const link = this.#links.get(handle);
    if (!link) return;
    if (cid === CID_ATT && data[0] === ATT_CONFIRMATION) return;
    if (cid === CID_ATT && holdsNoCharacteristic(data)) {
      const notFound = Buffer.of(ATT_ERROR_RESPONSE, data[0]!, data[1]!, data[2]!, ATT_ATTRIBUTE_NOT_FOUND);
      // Not at once: noble is still about to note that it has asked.
      return queueMicrotask(() => this.#deliver(handle, cid, notFound));
    }
    const exchangesMtu = cid === CID_ATT && (data[0] === ATT_MTU_REQUEST || data[0] === ATT_MTU_RESPONSE);
    const payload = exchangesMtu ? Buffer.of(data[0]!, WANTED_MTU & 0xff, WANTED_MTU >> 8) : data;
    this.#scheduler.push(handle, aclFragments(handle, cid, payload, this.#aclBytes));
  }

  /** The socket that noble sees. */
  readonly socket = {
    start: (deliver: (packet: Buffer) => void): void => {
      this.#toNoble = deliver;
    },
    stop: (): void => {
      this.#toNoble = () => undefined;
    },
    write: (packet: Buffer): void => {
      if (packet[0] !== HCI_COMMAND) return;
      const opcode = packet.readUInt16LE(1);
      if (opcode === OPCODE.LE_SET_EVENT_MASK) {
        this.#queueCommand({ packet: hciCommand(opcode, Buffer.of(0xff, 0x0f, 0, 0, 0, 0, 0, 0)) });
      } else if (opcode === OPCODE.LE_SET_SCAN_PARAMETERS) {
        this.#queueCommand({ packet: hciCommand(opcode, this.#scanParameters) });
      } else {
        if (opcode === OPCODE.LE_CREATE_CONNECTION && packet.length >= 29)
          packet.writeUInt16LE(packet.readUInt16LE(19) * CE_UNITS, 27);
        this.#queueCommand({ packet });
      }
    },
  };

  async close(): Promise<void> {
    this.#lost = true;
    this.#inFlight?.cancelTimeout();
    for (const handle of [...this.#links.keys()]) this.#endLink(handle, STATUS.LOCAL_HOST_TERMINATED);
    await this.#transport.close();
  }

  /** Gives a link up that the controller will not end. */
  abandon(handle: number): void {
    this.#endLink(handle, STATUS.CONNECTION_TIMEOUT);
  }

  #newScheduler(buffers: number): AclScheduler {
    return new AclScheduler(
      buffers,
      (packet) => this.#transport.send(packet),
      (handle) => {
        const link = this.#links.get(handle);
        return { intervalMs: link?.intervalMs ?? 30, slotPackets: (links) => slotPackets(link, links) };
      },
      () => this.#clock.now(),
    );
  }

  #queueCommand(command: Command): void {
    if (this.#lost) return;
    this.#commands.push(command);
    if (!this.#inFlight) this.#nextCommand();
  }

  #nextCommand(): void {
    const command = this.#commands.shift();
    this.#inFlight = null;
    if (!command) return;
    const cancelTimeout = this.#clock.after(RESET_TIMEOUT_MS, () => this.#nextCommand());
    this.#inFlight = { command, cancelTimeout };
    this.#transport.send(command.packet);
  }

  #fromController(packet: Buffer): void {
    try {
      if (packet[0] === HCI_ACL) this.#data(packet);
      else if (packet[0] === HCI_EVENT) this.#event(packet);
    } catch (error) {
      // A packet that ends before what it should say says nothing.
      if (!(error instanceof RangeError)) throw error;
    }
  }

  #event(packet: Buffer): void {
    switch (packet[1]) {
      case EVENT.COMMAND_COMPLETE:
        return this.#answered(packet, packet.readUInt16LE(4), packet.subarray(6));
      case EVENT.COMMAND_STATUS:
        return this.#answered(packet, packet.readUInt16LE(5), packet.subarray(3, 4));
      case EVENT.NUMBER_OF_COMPLETED_PACKETS:
        for (let i = 0; i < packet[3]!; i++) {
          this.#scheduler.completed(uint16(packet, 4 + i * 4), uint16(packet, 6 + i * 4));
        }
        return;
      case EVENT.DISCONNECTION_COMPLETE: {
        if (packet[3] !== STATUS.SUCCESS) return;
        const handle = packet.readUInt16LE(4);
        this.#toNoble(packet);
        this.#endLink(handle, packet[6]!);
        return;
      }
      case EVENT.ENCRYPTION_CHANGE:
        return this.#events.encryptionChanged(packet.readUInt16LE(4), packet[3]!, packet[6] !== 0);
      case EVENT.ENCRYPTION_KEY_REFRESH_COMPLETE:
        return this.#events.encryptionChanged(packet.readUInt16LE(4), packet[3]!, true);
      case EVENT.LE_META:
        return this.#leEvent(packet);
      default:
    }
  }

  #answered(packet: Buffer, opcode: number, result: Buffer): void {
    const { command, cancelTimeout } = this.#inFlight ?? {};
    if (!command || command.packet.readUInt16LE(1) !== opcode) return;
    cancelTimeout?.();
    if (command.answer) command.answer(Buffer.from(result));
    else this.#toNoble(packet);
    // A connection request that is refused outright has no Connection Complete.
    if (opcode === OPCODE.LE_CREATE_CONNECTION && result[0] !== STATUS.SUCCESS) {
      this.#events.connectionComplete(result[0]!, 0, '');
    }
    this.#nextCommand();
  }

  #endLink(handle: number, reason: number): void {
    if (!this.#links.delete(handle)) return;
    this.#scheduler.remove(handle);
    this.#events.disconnected(handle, reason);
  }

  #leEvent(packet: Buffer): void {
    switch (packet[3]) {
      case LE_EVENT.CONNECTION_COMPLETE: {
        const status = packet[4]!;
        const handle = packet.readUInt16LE(5);
        const address = addressText(packet.subarray(9, 15));
        if (status === STATUS.SUCCESS) {
          this.#scheduler.add(handle);
          const { promise: mtuSettled, resolve: settleMtu } = Promise.withResolvers<void>();
          this.#links.set(handle, {
            handle,
            mtuSettled,
            settleMtu,
            address,
            random: packet[8] === 1,
            sinceMs: this.#clock.now(),
            intervalChanges: [],
            intervalMs: packet.readUInt16LE(15) * 1.25,
            supervisionTimeoutMs: packet.readUInt16LE(19) * 10,
            phy: '1M',
            dataLength: 27,
            mtu: 23,
            reassembler: new L2capReassembler(),
            listeners: new Map(),
          });
        }
        this.#toNoble(packet);
        this.#events.connectionComplete(status, handle, address);
        return;
      }
      case LE_EVENT.CONNECTION_UPDATE_COMPLETE: {
        const link = this.#links.get(packet.readUInt16LE(5));
        if (link && packet[4] === STATUS.SUCCESS) {
          const before = link.intervalMs;
          link.intervalMs = packet.readUInt16LE(7) * 1.25;
          if (link.intervalMs !== before && link.intervalChanges.length < INTERVAL_CHANGES_KEPT) {
            link.intervalChanges.push([Math.round(this.#clock.now() - link.sinceMs), link.intervalMs]);
          }
          link.supervisionTimeoutMs = packet.readUInt16LE(11) * 10;
        }
        return;
      }
      case LE_EVENT.DATA_LENGTH_CHANGE: {
        const link = this.#links.get(packet.readUInt16LE(4));
        if (link) link.dataLength = packet.readUInt16LE(6);
        return;
      }
      case LE_EVENT.PHY_UPDATE_COMPLETE: {
        const link = this.#links.get(packet.readUInt16LE(5));
        if (link && packet[4] === STATUS.SUCCESS) link.phy = (['1M', '2M', 'coded'] as const)[packet[7]! - 1] ?? '1M';
        return;
      }
      case LE_EVENT.REMOTE_PARAMETER_REQUEST: {
        this.#answerParameterRequest(packet);
        return;
      }
      default:
        this.#toNoble(packet);
    }
  }

  /** LE Remote Connection Parameter Request (Vol 4 Part E, 7.7.65.6), answered as the one by L2CAP is. */
  #answerParameterRequest(packet: Buffer): void {
    const handle = packet.readUInt16LE(4);
    const link = this.#links.get(handle);
    const fits = link !== undefined && this.#within(link, packet.readUInt16LE(6), packet.readUInt16LE(8));
    const opcode = fits ? OPCODE.LE_REMOTE_PARAMETER_REQUEST_REPLY : OPCODE.LE_REMOTE_PARAMETER_REQUEST_NEGATIVE_REPLY;
    const parameters = Buffer.alloc(fits ? 14 : 3);
    parameters.writeUInt16LE(handle, 0);
    if (fits) {
      const units = Math.round(link.intervalMs / 1.25);
      parameters.writeUInt16LE(units, 2);
      parameters.writeUInt16LE(units, 4);
      parameters.writeUInt16LE(Math.round(link.supervisionTimeoutMs / 10), 8);
      parameters.writeUInt16LE(0, 10);
      parameters.writeUInt16LE(units * CE_UNITS, 12);
    } else parameters[2] = STATUS.UNACCEPTABLE_PARAMETERS;
    this.#queueCommand({ packet: hciCommand(opcode, parameters), answer: () => undefined });
  }

  #data(packet: Buffer): void {
    const handle = uint16(packet, 1) & 0x0fff;
    const link = this.#links.get(handle);
    const pdu = link?.reassembler.push(packet);
    if (!link || !pdu) return;
    if (pdu.cid === CID_SIGNALLING) return this.#signalling(link, pdu.payload);
    if (pdu.cid === CID_PAIRING) return this.#events.pairingPdu(handle, pdu.payload);
    const seen = pdu.cid === CID_ATT ? this.#att(link, pdu.payload) : pdu.payload;
    if (seen) this.#deliver(handle, pdu.cid, seen);
  }

  /** Hands noble an L2CAP PDU in one piece, while the link is there. */
  #deliver(handle: number, cid: number, payload: Buffer): void {
    if (!this.#links.has(handle)) return;
    const l2cap = Buffer.allocUnsafe(4 + payload.length);
    l2cap.writeUInt16LE(payload.length, 0);
    l2cap.writeUInt16LE(cid, 2);
    l2cap.set(payload, 4);
    this.#toNoble(aclPacket(handle, PB_START, l2cap));
  }

  /** Acts on an ATT PDU and returns what noble is to see of it: a value that comes unasked goes straight to who listens. */
  #att(link: HciLink, pdu: Buffer): Buffer | null {
    switch (pdu[0]) {
      case ATT_NOTIFICATION:
        this.#value(link, pdu);
        return null;
      case ATT_INDICATION:
        this.#scheduler.push(
          link.handle,
          aclFragments(link.handle, CID_ATT, Buffer.of(ATT_CONFIRMATION), this.#aclBytes),
        );
        this.#value(link, pdu);
        return null;
      case ATT_MTU_REQUEST:
      case ATT_MTU_RESPONSE: {
        if (pdu.length < 3) return pdu;
        link.mtu = Math.max(23, Math.min(WANTED_MTU, pdu.readUInt16LE(1)));
        link.settleMtu();
        return Buffer.of(pdu[0], link.mtu & 0xff, link.mtu >> 8);
      }
      case ATT_ERROR_RESPONSE: {
        if (pdu.length < 5) return pdu;
        const seen = Buffer.from(pdu);
        if (CODES_KEPT_FROM_NOBLE.has(pdu[4]!)) seen[4] = ATT_UNLIKELY_ERROR;
        if (pdu[1] === ATT_MTU_REQUEST) link.settleMtu();
        else this.#events.attError(link.handle, pdu[4]!);
        return seen;
      }
      default:
        return pdu;
    }
  }

  #value(link: HciLink, pdu: Buffer): void {
    for (const onValue of link.listeners.get(uint16(pdu, 1)) ?? []) onValue(pdu.subarray(3));
  }

  /**
   * Answers what noble leaves unanswered on Linux (Vol 3 Part A, 4): a request for other connection parameters is accepted where what the
   * link has lies within it, and refused otherwise, because the station chooses them for bulk transfer; what is not known is rejected.
   */
  #signalling(link: HciLink, payload: Buffer): void {
    const [code = 0, identifier = 0] = payload;
    if (payload.length < 4 || payload.length < 4 + payload.readUInt16LE(2)) return;
    if (code === SIGNALLING.PARAMETER_UPDATE_REQUEST && payload.length >= 12) {
      const fits = this.#within(link, payload.readUInt16LE(4), payload.readUInt16LE(6));
      return this.#signal(
        link.handle,
        Buffer.of(SIGNALLING.PARAMETER_UPDATE_RESPONSE, identifier, 2, 0, fits ? 0 : 1, 0),
      );
    }
    if (SIGNALLING_ANSWERS.has(code)) return;
    this.#signal(link.handle, Buffer.of(SIGNALLING.COMMAND_REJECT, identifier, 2, 0, 0, 0));
  }

  #signal(handle: number, pdu: Buffer): void {
    this.#scheduler.push(handle, aclFragments(handle, CID_SIGNALLING, pdu, this.#aclBytes));
  }

  /** Whether the link's interval lies within one that is asked for, in units of 1.25 ms. */
  #within({ intervalMs }: HciLink, least: number, most: number): boolean {
    return intervalMs >= least * 1.25 && intervalMs <= most * 1.25;
  }
}

/** Full packets that fit a link's equal share of the interval: the air time of one with its empty answer (Vol 6 Part B, 2.1). */
function slotPackets(link: HciLink | undefined, links: number): number {
  if (!link) return 1;
  const usPerOctet = link.phy === '2M' ? 4 : link.phy === '1M' ? 8 : 64;
  const preambleOctets = link.phy === '2M' ? 2 : 1;
  const overheadOctets = 2 * (preambleOctets + 9);
  const exchangeUs = (overheadOctets + link.dataLength) * usPerOctet + 2 * 150;
  return Math.max(1, Math.floor((link.intervalMs * 1000) / links / exchangeUs));
}

/**
 * Whether this is a search for characteristics in a range of one handle: a characteristic takes two, its declaration and its value
 * (Vol 3 Part G, 3.3). noble ends every discovery with one, at the price of a connection interval.
 */
function holdsNoCharacteristic(pdu: Buffer): boolean {
  if (pdu[0] !== ATT_READ_BY_TYPE_REQUEST || pdu.length !== 7) return false;
  return pdu.readUInt16LE(5) === CHARACTERISTIC_DECLARATION && pdu.readUInt16LE(1) === pdu.readUInt16LE(3);
}
