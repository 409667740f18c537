import type { Clock } from '../../clock.ts';
import type { ControllerFacts } from '../../contract/board.ts';
import { StationError } from '../../contract/errors.ts';
import { CID_PAIRING } from '../security/pairing-codec.ts';
import { AclScheduler } from './acl-scheduler.ts';
import { type CommandAnswer, CommandQueue } from './command-queue.ts';
import { eventMask, eventMaskPage2, leEventMask } from './event-mask.ts';
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
  hciEvent,
  L2capReassembler,
  LE_EVENT,
  leEvent,
  OPCODE,
  PB_START,
  STATUS,
  uint16,
} from './packets.ts';
import { RepeatFilter } from './repeat-filter.ts';
import type { HciTransport } from './transport.ts';

/** Bits of the LE features (Vol 6 Part B, 4.6; Zephyr's BT_LE_FEAT_BIT_…, Wireshark's bthci_evt.le_features). */
const FEATURE = { ENCRYPTION: 0, DATA_LENGTH: 5, PHY_2M: 8 } as const;
/** How soon a device that restarts is to be missed: milliseconds, and connection events. */
const SHORT_SUPERVISION_MS = 500;
const SHORT_SUPERVISION_EVENTS = 6;
const CHANGES_KEPT = 32;
/** A supervision timeout below this cuts a link that is merely busy; it is asked away, so many times a link. */
const LEAST_SUPERVISION_MS = 1000;
const SUPERVISION_ASKS = 2;
/** Connection intervals, in units of 1.25 ms, and supervision timeouts, in units of 10 ms, that there are (Vol 4 Part E, 7.8.12). */
const INTERVAL_UNITS = { least: 6, most: 3200 } as const;
const TIMEOUT_UNITS = { least: 10, most: 3200 } as const;
/** The least that a controller takes in an ACL packet (Vol 4 Part E, 7.8.2). */
const LEAST_ACL_OCTETS = 27;
/** What Read RSSI returns where there is nothing to read (Vol 4 Part E, 7.5.4). */
const NO_RSSI = 127;
/**
 * How long the end of a link is waited for that this side ends: the peer has to acknowledge it within the supervision timeout, which the
 * peer may have made as long as it likes. Patience is ours.
 */
const DISCONNECT_TIMEOUT_MS = 5000;
/** Largest payload of a link-layer PDU, and how long it takes at most uncoded (Vol 6 Part B, 4.5.10). */
const MAX_DATA_OCTETS = 251;
const MAX_DATA_US = 2120;
/** Packet type, event code, length. */
const EVENT_HEADER_OCTETS = 3;
/** An event may last as long as the interval, 1.25 ms in units of 0.625; noble asks for 3.75 ms. */
const CE_UNITS = 2;

/**
 * ATT octets that the host acts on (Vol 3 Part F, 3.3 and 3.4); they and the signalling codes below as in Zephyr's `att_internal.h` and
 * `l2cap_internal.h` and in Wireshark's dissectors (btatt.opcode, btatt.error_code, btl2cap.cmd_code).
 */
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
const ATT_READ_BY_TYPE_RESPONSE = 0x09;
const ATT_READ_BY_GROUP_RESPONSE = 0x11;
const ATT_ATTRIBUTE_NOT_FOUND = 0x0a;
const CHARACTERISTIC_DECLARATION = 0x2803;
/** Signalling codes (Vol 3 Part A, table 4.2). */
const SIGNALLING = { COMMAND_REJECT: 0x01, PARAMETER_UPDATE_REQUEST: 0x12, PARAMETER_UPDATE_RESPONSE: 0x13 } as const;
/** Answers, which are not answered: Command Reject, and the responses of procedures that the station never begins. */
const SIGNALLING_ANSWERS = new Set([0x01, 0x07, 0x13, 0x15, 0x18, 0x1a]);

/** Two full PDUs of 251 octets less the L2CAP header: what fills packets best where the device takes it. */
export const WANTED_MTU = 498;

/** Unit of scan intervals and windows (Vol 4 Part E, 7.8.10). */
const SCAN_UNIT_MS = 0.625;

/** How a radio listens: for `windowMs` of every `intervalMs`, between 2.5 ms and 10.24 s (Vol 4 Part E, 7.8.10). */
export interface ScanDuty {
  readonly intervalMs: number;
  readonly windowMs: number;
}

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
  /** Supervision timeouts that came after the first: when, in milliseconds of the link, and what. */
  readonly supervisionChanges: [number, number][];
  /** Below this the timeout is asked away; how often that was done. */
  leastSupervisionMs: number;
  supervisionAsks: number;
  phy: '1M' | '2M' | 'coded';
  dataLength: number;
  mtu: number;
  /** Resolves when the MTU exchange has ended, one way or the other. */
  readonly mtuSettled: Promise<void>;
  /** The link was told to end: does not wait for that any longer. */
  stopWaiting: () => void;
  readonly settleMtu: () => void;
  readonly reassembler: L2capReassembler;
  /** Who wants the values that the device notifies or indicates, by attribute handle. */
  readonly listeners: Map<number, Set<(value: Buffer) => void>>;
}

/** What the host tells the radio above. */
export interface HciHostEvents {
  /** A device answered a request with an ATT error. */
  attError(handle: number, code: number): void;
  /** A device sent what no ATT PDU can be. */
  nonsense(handle: number, detail: string): void;
  /** A link is over. */
  disconnected(handle: number, reason: number): void;
  /** A connection attempt ended, successfully or not. */
  connectionComplete(status: number, handle: number, address: string): void;
  /** The controller was told to scan, and does (0) or refuses; null when it did not say. */
  scanAnswered(status: number | null): void;
  /** A PDU of the pairing channel. */
  pairingPdu(handle: number, pdu: Buffer): void;
  /** A link's encryption has changed, or could not be. */
  encryptionChanged(handle: number, status: number, enabled: boolean): void;
  /** The controller is gone. */
  lost(reason: StationError): void;
}

/** What the host does with an event of one code. */
interface EventHandler {
  /** How many octets of parameters it needs, the subevent's code included; a shorter event says nothing. */
  readonly octets: number;
  readonly take: (packet: Buffer) => void;
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
  readonly #commands: CommandQueue;
  #scheduler: AclScheduler;
  #aclBytes = 27;
  #toNoble: (packet: Buffer) => void = () => undefined;
  #scanParameters = Buffer.of(1, 0x60, 0x00, 0x30, 0x00, 0, 0);
  #connectDuty: ScanDuty = { intervalMs: 60, windowMs: 30 };
  readonly #repeats: RepeatFilter;
  #started = false;
  #over = false;
  /** The controller's public address. */
  address = '';
  /** What the controller can. */
  facts: ControllerFacts = {
    aclBuffers: 1,
    aclOctets: 27,
    encryption: false,
    dataLength: false,
    phy2M: false,
    roundTripMs: 0,
  };

  constructor(transport: HciTransport, clock: Clock, events: HciHostEvents) {
    this.#transport = transport;
    this.#clock = clock;
    this.#events = events;
    this.#scheduler = this.#newScheduler(1);
    this.#repeats = new RepeatFilter(() => clock.now());
    this.#commands = new CommandQueue(
      (packet) => transport.send(packet),
      clock,
      (detail) => this.#fail(gone(detail)),
    );
    transport.onPacket((packet) => this.#fromController(packet));
    transport.onLost((reason) => this.#fail(reason));
  }

  /**
   * What is done with each event, and so what passes the event masks. Lengths: Core 5.4, Vol 4 Part E, 7.7; the same in Zephyr's
   * `hci_types.h` and BlueZ's `hci.h`.
   */
  readonly #handlers: ReadonlyMap<number, EventHandler> = new Map([
    [EVENT.DISCONNECTION_COMPLETE, { octets: 4, take: (packet) => this.#disconnected(packet) }],
    [EVENT.ENCRYPTION_CHANGE, { octets: 4, take: (packet) => this.#encryption(packet, packet[6] !== 0) }],
    [EVENT.COMMAND_COMPLETE, { octets: 3, take: (packet) => this.#answered(packet, 4, 3, packet.subarray(6)) }],
    [EVENT.COMMAND_STATUS, { octets: 4, take: (packet) => this.#answered(packet, 5, 4, packet.subarray(3, 4)) }],
    [EVENT.HARDWARE_ERROR, { octets: 1, take: (packet) => this.#fail(gone(`hardware error ${hex(packet[3]!)}`)) }],
    [EVENT.NUMBER_OF_COMPLETED_PACKETS, { octets: 1, take: (packet) => this.#completed(packet) }],
    [EVENT.ENCRYPTION_KEY_REFRESH_COMPLETE, { octets: 3, take: (packet) => this.#encryption(packet, true) }],
    [EVENT.LE_META, { octets: 1, take: (packet) => this.#take(this.#leHandlers.get(packet[3]!), packet) }],
  ]);

  /** The same for LE Meta events, by subevent code. */
  readonly #leHandlers: ReadonlyMap<number, EventHandler> = new Map([
    [LE_EVENT.CONNECTION_COMPLETE, { octets: 19, take: (packet) => this.#connected(packet) }],
    [LE_EVENT.ADVERTISING_REPORT, { octets: 2, take: (packet) => this.#advertised(packet) }],
    [LE_EVENT.CONNECTION_UPDATE_COMPLETE, { octets: 10, take: (packet) => this.#updated(packet) }],
    [LE_EVENT.REMOTE_PARAMETER_REQUEST, { octets: 11, take: (packet) => this.#answerParameterRequest(packet) }],
    [LE_EVENT.DATA_LENGTH_CHANGE, { octets: 11, take: (packet) => this.#dataLength(packet) }],
    [LE_EVENT.ENHANCED_CONNECTION_COMPLETE, { octets: 31, take: (packet) => this.#connected(asPlain(packet)) }],
    [LE_EVENT.PHY_UPDATE_COMPLETE, { octets: 6, take: (packet) => this.#phy(packet) }],
  ]);

  /** The controller is a recording. */
  get replayed(): boolean {
    return this.#transport.replayed === true;
  }

  /** Resets the controller and learns what it can hold. @throws StationError RADIO_REFUSED, RADIO_LOST */
  async start(): Promise<void> {
    await this.command(OPCODE.RESET);
    for (const packet of this.#maskCommands()) {
      const opcode = uint16(packet, 1);
      const set = this.command(opcode, packet.subarray(4));
      // After a reset nothing of the second page passes; many controllers do not know the command.
      await (opcode === OPCODE.SET_EVENT_MASK_PAGE_2 ? set.catch(unlessGone) : set);
    }
    this.address = addressText((await this.#learn(OPCODE.READ_BD_ADDR, 7)).subarray(1, 7));
    const le = await this.#learn(OPCODE.LE_READ_BUFFER_SIZE, 4);
    let bytes = le.readUInt16LE(1);
    let count = le[3]!;
    if (bytes === 0 || count === 0) {
      const shared = await this.#learn(OPCODE.READ_BUFFER_SIZE, 8);
      bytes = shared.readUInt16LE(1);
      count = shared.readUInt16LE(4);
    }
    if (bytes < LEAST_ACL_OCTETS || count === 0)
      throw new StationError('RADIO_REFUSED', `has ${count} buffers of ${bytes} octets`);
    this.#aclBytes = bytes;
    this.#scheduler = this.#newScheduler(count);
    const features = (await this.#learn(OPCODE.LE_READ_LOCAL_FEATURES, 9)).readBigUInt64LE(1);
    const has = (bit: number) => ((features >> BigInt(bit)) & 1n) === 1n;
    this.facts = {
      aclBuffers: count,
      aclOctets: bytes,
      encryption: has(FEATURE.ENCRYPTION),
      dataLength: has(FEATURE.DATA_LENGTH),
      phy2M: has(FEATURE.PHY_2M),
      roundTripMs: this.#commands.shortestTripMs ?? 0,
    };
    this.#started = true;
  }

  /** What lets through exactly the events that are handled. */
  #maskCommands(): Buffer[] {
    return [
      hciCommand(OPCODE.SET_EVENT_MASK, eventMask(this.#handlers.keys())),
      hciCommand(OPCODE.SET_EVENT_MASK_PAGE_2, eventMaskPage2(this.#handlers.keys())),
      hciCommand(OPCODE.LE_SET_EVENT_MASK, leEventMask(this.#leHandlers.keys())),
    ];
  }

  /** How the next scan listens; noble's own choice, 100 % of the time, is replaced by it. */
  setScanDuty({ intervalMs, windowMs }: ScanDuty): void {
    this.#scanParameters.writeUInt16LE(Math.round(intervalMs / SCAN_UNIT_MS), 1);
    this.#scanParameters.writeUInt16LE(Math.round(windowMs / SCAN_UNIT_MS), 3);
  }

  /** How the next connection attempt listens for its device, in place of noble's 30 of 60 ms. */
  setConnectDuty(duty: ScanDuty): void {
    this.#connectDuty = duty;
  }

  /**
   * Asks for what makes a link fast: data length extension and the PHY. Controllers and devices that refuse either leave the link as it
   * is; what was reached is told by their events.
   */
  tune(handle: number, phy: '1M' | '2M'): void {
    const length = Buffer.alloc(6);
    length.writeUInt16LE(handle, 0);
    length.writeUInt16LE(MAX_DATA_OCTETS, 2);
    length.writeUInt16LE(MAX_DATA_US, 4);
    this.command(OPCODE.LE_SET_DATA_LENGTH, length).catch(unlessStation);
    const phys = phy === '2M' ? 2 : 1;
    const choice = Buffer.of(handle & 0xff, handle >> 8, 0, phys, phys, 0, 0);
    if (phy === '2M') this.command(OPCODE.LE_SET_PHY, choice).catch(unlessStation);
  }

  /** Gives a link the shortest supervision timeout that its interval allows (Vol 6 Part B, 4.5.2); a controller that refuses leaves it. */
  shortenSupervision(handle: number): void {
    const link = this.#links.get(handle);
    if (!link) return;
    const units = Math.round(link.intervalMs / 1.25);
    const timeoutMs = Math.max(SHORT_SUPERVISION_MS, SHORT_SUPERVISION_EVENTS * link.intervalMs);
    if (timeoutMs >= link.supervisionTimeoutMs) return;
    link.leastSupervisionMs = Math.min(link.leastSupervisionMs, timeoutMs);
    this.#askSupervision(link, units, timeoutMs);
  }

  /** Asks for another supervision timeout at an interval; a controller that refuses leaves both as they are. */
  #askSupervision({ handle }: HciLink, intervalUnits: number, timeoutMs: number): void {
    const parameters = Buffer.alloc(14);
    parameters.writeUInt16LE(handle, 0);
    parameters.writeUInt16LE(intervalUnits, 2);
    parameters.writeUInt16LE(intervalUnits, 4);
    parameters.writeUInt16LE(Math.round(timeoutMs / 10), 8);
    parameters.writeUInt16LE(intervalUnits * CE_UNITS, 12);
    this.command(OPCODE.LE_CONNECTION_UPDATE, parameters).catch(unlessStation);
  }

  link(handle: number): HciLink | undefined {
    return this.#links.get(handle);
  }

  /** ACL packets of a link that are not yet over the air. */
  queued(handle: number): number {
    return this.#scheduler.queued(handle);
  }

  /**
   * Sends a command of the station's own; resolves with the parameters returned, status first: of a command that Command Status answers,
   * the status alone. @throws StationError RADIO_REFUSED when the controller refuses it or does not answer, RADIO_LOST
   */
  async command(opcode: number, parameters: Buffer = Buffer.alloc(0)): Promise<Buffer> {
    const returned = await this.#ask(hciCommand(opcode, parameters));
    if (returned[0] === STATUS.SUCCESS) return returned;
    throw new StationError('RADIO_REFUSED', `command ${hex(opcode)}: status ${hex(returned[0] ?? 0xff)}`);
  }

  /** Signal strength of a link in dBm; null where the controller does not tell. @throws StationError RADIO_REFUSED, RADIO_LOST */
  async rssi(handle: number): Promise<number | null> {
    const returned = await this.#ask(hciCommand(OPCODE.READ_RSSI, Buffer.of(handle & 0xff, handle >> 8)));
    if (returned[0] !== STATUS.SUCCESS || returned.length < 4) return null;
    const dbm = returned.readInt8(3);
    return dbm === NO_RSSI ? null : dbm;
  }

  /** Asks the controller to end a link. One that it does not know is over, and so is one that it says nothing more of. */
  disconnect(handle: number): void {
    const link = this.#links.get(handle);
    if (!link) return;
    link.stopWaiting();
    link.stopWaiting = this.#clock.after(DISCONNECT_TIMEOUT_MS, () => this.#endLink(handle, STATUS.CONNECTION_TIMEOUT));
    const parameters = Buffer.of(handle & 0xff, handle >> 8, STATUS.REMOTE_USER_TERMINATED);
    this.#ask(hciCommand(OPCODE.DISCONNECT, parameters)).then((returned) => {
      if (returned[0] === STATUS.UNKNOWN_CONNECTION) this.#endLink(handle, STATUS.UNKNOWN_CONNECTION);
    }, unlessStation);
  }

  /** Takes a connection request back; how it ends is told by `connectionComplete`. */
  cancelConnection(): void {
    // Refused when there is none any more: then its end is on the way, or was lost.
    this.command(OPCODE.LE_CREATE_CONNECTION_CANCEL).catch(unlessStation);
  }

  /** As `command`, with at least so many octets returned. */
  async #learn(opcode: number, octets: number): Promise<Buffer> {
    const returned = await this.command(opcode);
    if (returned.length >= octets) return returned;
    throw new StationError('RADIO_REFUSED', `command ${hex(opcode)}: ${returned.length} octets for an answer`);
  }

  /** What a command of ours returns, whatever its status. */
  #ask(packet: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#commands.push(packet, (answer) => {
        if (answer instanceof StationError) reject(answer);
        else resolve(Buffer.from(answer.returned));
      });
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
      this.#fromNoble(packet, uint16(packet, 1));
    },
  };

  /** A command of noble's, in the station's own words where noble's would do harm. */
  #fromNoble(packet: Buffer, opcode: number): void {
    const own = this.#maskCommands().find((mask) => uint16(mask, 1) === opcode);
    if (own) return this.#commands.push(own, (answer) => this.#toNobleToo(answer));
    if (opcode === OPCODE.LE_SET_SCAN_PARAMETERS)
      return this.#commands.push(hciCommand(opcode, this.#scanParameters), (answer) => this.#toNobleToo(answer));
    if (opcode === OPCODE.LE_CREATE_CONNECTION) {
      if (packet.length >= 29) {
        packet.writeUInt16LE(Math.round(this.#connectDuty.intervalMs / SCAN_UNIT_MS), 4);
        packet.writeUInt16LE(Math.round(this.#connectDuty.windowMs / SCAN_UNIT_MS), 6);
        packet.writeUInt16LE(packet.readUInt16LE(19) * CE_UNITS, 27);
      }
      return this.#commands.push(packet, (answer) => {
        this.#toNobleToo(answer);
        // A connection request that is refused outright has no Connection Complete.
        const status = answer instanceof StationError ? STATUS.SUCCESS : answer.returned[0];
        if (status !== STATUS.SUCCESS) this.#events.connectionComplete(status ?? STATUS.UNSPECIFIED_ERROR, 0, '');
      });
    }
    // Who begins to scan wants to hear everyone.
    if (opcode === OPCODE.LE_SET_SCAN_ENABLE) this.#repeats.clear();
    this.#commands.push(packet, (answer) => {
      this.#toNobleToo(answer);
      if (opcode !== OPCODE.LE_SET_SCAN_ENABLE || packet[4] !== 1) return;
      this.#events.scanAnswered(answer instanceof StationError ? null : (answer.returned[0] ?? null));
    });
  }

  /** noble sees what came; silence it does not mind. */
  #toNobleToo(answer: CommandAnswer | StationError): void {
    if (!(answer instanceof StationError)) this.#toNoble(answer.event);
  }

  async close(): Promise<void> {
    this.#over = true;
    this.#commands.end(new StationError('RADIO_LOST', 'the radio was stopped'));
    for (const handle of [...this.#links.keys()]) this.#endLink(handle, STATUS.LOCAL_HOST_TERMINATED);
    await this.#transport.close();
  }

  /** The controller is gone, or cannot be relied upon any more. */
  #fail(reason: StationError): void {
    if (this.#over) return;
    this.#over = true;
    // First the commands that wait: whoever hears of the loss ends them otherwise, and they would not say why.
    this.#commands.end(reason);
    this.#events.lost(reason);
    // Nothing that still waits for a buffer will ever leave.
    for (const handle of [...this.#links.keys()]) this.#endLink(handle, STATUS.CONNECTION_TIMEOUT);
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
        return { intervalMs: link?.intervalMs ?? 30, packetMs: packetMs(link) };
      },
      () => this.#clock.now(),
      () => this.#commands.shortestTripMs ?? 0,
    );
  }

  #fromController(packet: Buffer): void {
    if (this.#over) return;
    if (packet[0] === HCI_ACL) this.#data(packet);
    else if (packet[0] === HCI_EVENT) this.#take(this.#handlers.get(packet[1]!), packet);
  }

  /** An event that ends before what it should say, says nothing. */
  #take(handler: EventHandler | undefined, packet: Buffer): void {
    if (handler && packet.length >= EVENT_HEADER_OCTETS + handler.octets) handler.take(packet);
  }

  #answered(packet: Buffer, opcodeAt: number, creditsAt: number, returned: Buffer): void {
    const opcode = uint16(packet, opcodeAt);
    const known = this.#commands.answered(opcode, packet[creditsAt]!, { event: packet, returned });
    if (!known && opcode === OPCODE.RESET && this.#started) this.#fail(gone('the controller has reset itself'));
  }

  #completed(packet: Buffer): void {
    const links = Math.min(packet[3]!, Math.floor((packet.length - 4) / 4));
    for (let i = 0; i < links; i++)
      this.#scheduler.completed(uint16(packet, 4 + i * 4) & 0x0fff, uint16(packet, 6 + i * 4));
  }

  #disconnected(packet: Buffer): void {
    if (packet[3] === STATUS.SUCCESS) this.#endLink(uint16(packet, 4) & 0x0fff, packet[6]!);
  }

  #encryption(packet: Buffer, enabled: boolean): void {
    this.#events.encryptionChanged(uint16(packet, 4) & 0x0fff, packet[3]!, enabled);
  }

  /** noble is told whoever found out, so that it lets go as well. */
  #endLink(handle: number, reason: number): void {
    this.#links.get(handle)?.stopWaiting();
    if (!this.#links.delete(handle)) return;
    this.#scheduler.remove(handle);
    this.#toNoble(hciEvent(EVENT.DISCONNECTION_COMPLETE, Buffer.of(0, handle & 0xff, handle >> 8, reason)));
    this.#events.disconnected(handle, reason);
  }

  #connected(packet: Buffer): void {
    const status = packet[4]!;
    const handle = uint16(packet, 5) & 0x0fff;
    const address = addressText(packet.subarray(9, 15));
    if (status === STATUS.SUCCESS) {
      // A handle is given again only when its link is over, whether or not that was heard.
      this.#endLink(handle, STATUS.CONNECTION_TIMEOUT);
      this.#scheduler.add(handle);
      const { promise: mtuSettled, resolve: settleMtu } = Promise.withResolvers<void>();
      this.#links.set(handle, {
        handle,
        mtuSettled,
        settleMtu,
        stopWaiting: () => undefined,
        address,
        random: packet[8] === 1,
        sinceMs: this.#clock.now(),
        intervalChanges: [],
        intervalMs: intervalMs(packet, 15),
        supervisionTimeoutMs: timeoutMs(packet, 19),
        supervisionChanges: [],
        leastSupervisionMs: Math.min(LEAST_SUPERVISION_MS, timeoutMs(packet, 19)),
        supervisionAsks: 0,
        phy: '1M',
        dataLength: 27,
        mtu: 23,
        reassembler: new L2capReassembler(),
        listeners: new Map(),
      });
    }
    this.#toNoble(packet);
    this.#events.connectionComplete(status, handle, address);
  }

  #advertised(packet: Buffer): void {
    if (isWholeReport(packet) && this.#repeats.isNews(packet)) this.#toNoble(packet);
  }

  /** What is applied counts, whoever asked for it. A device may have its own way without asking (facts of real controllers). */
  #updated(packet: Buffer): void {
    const link = this.#links.get(uint16(packet, 5) & 0x0fff);
    if (!link || packet[4] !== STATUS.SUCCESS) return;
    const atMs = Math.round(this.#clock.now() - link.sinceMs);
    const interval = intervalMs(packet, 7);
    if (interval !== link.intervalMs && link.intervalChanges.length < CHANGES_KEPT)
      link.intervalChanges.push([atMs, interval]);
    link.intervalMs = interval;
    const supervision = timeoutMs(packet, 11);
    const before = link.supervisionTimeoutMs;
    if (supervision !== before && link.supervisionChanges.length < CHANGES_KEPT)
      link.supervisionChanges.push([atMs, supervision]);
    link.supervisionTimeoutMs = supervision;
    if (supervision >= link.leastSupervisionMs || link.supervisionAsks >= SUPERVISION_ASKS) return;
    link.supervisionAsks += 1;
    this.#askSupervision(link, Math.round(interval / 1.25), Math.max(before, link.leastSupervisionMs));
  }

  #dataLength(packet: Buffer): void {
    const link = this.#links.get(uint16(packet, 4) & 0x0fff);
    if (link) link.dataLength = uint16(packet, 6);
  }

  #phy(packet: Buffer): void {
    const link = this.#links.get(uint16(packet, 5) & 0x0fff);
    if (link && packet[4] === STATUS.SUCCESS) link.phy = (['1M', '2M', 'coded'] as const)[packet[7]! - 1] ?? '1M';
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
    this.command(opcode, parameters).catch(unlessStation);
  }

  #data(packet: Buffer): void {
    if (packet.length < 5) return;
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
      case ATT_READ_BY_TYPE_RESPONSE:
      case ATT_READ_BY_GROUP_RESPONSE:
        if (isWholeList(pdu)) return pdu;
        this.#events.nonsense(link.handle, `ATT ${pdu.subarray(0, 20).toString('hex')}`);
        return null;
      default:
        return pdu;
    }
  }

  #value(link: HciLink, pdu: Buffer): void {
    if (pdu.length < 3) return;
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

/** `0x0c`, `0x200d`. */
function hex(value: number): string {
  return `0x${value.toString(16).padStart(value > 0xff ? 4 : 2, '0')}`;
}

/** What the station can do without, when the controller will not. */
function unlessStation(error: unknown): void {
  if (!(error instanceof StationError)) throw error;
}

/** The same, while there is a controller. */
function unlessGone(error: unknown): void {
  if (!(error instanceof StationError) || error.code === 'RADIO_LOST') throw error;
}

/** LE Enhanced Connection Complete (Vol 4 Part E, 7.7.65.10) as the plain one, without the private addresses. */
function asPlain(packet: Buffer): Buffer {
  const peerType = packet[8]! & 1;
  const front = Buffer.concat([packet.subarray(4, 8), Buffer.of(peerType), packet.subarray(9, 15)]);
  return leEvent(LE_EVENT.CONNECTION_COMPLETE, Buffer.concat([front, packet.subarray(27, 34)]));
}

/** Whether an LE Advertising Report (Vol 4 Part E, 7.7.65.2) has all that it announces: noble reads on past the end. */
function isWholeReport(packet: Buffer): boolean {
  let at = 5;
  for (let reports = packet[4]!; reports > 0; reports--) {
    const dataOctets = packet[at + 8];
    if (dataOctets === undefined) return false;
    at += 10 + dataOctets;
  }
  return at <= packet.length;
}

function intervalMs(packet: Buffer, at: number): number {
  return within(uint16(packet, at), INTERVAL_UNITS) * 1.25;
}

function timeoutMs(packet: Buffer, at: number): number {
  return within(uint16(packet, at), TIMEOUT_UNITS) * 10;
}

/** What a controller says beyond what there is, is nonsense that nothing may be reckoned with. */
function within(value: number, { least, most }: { readonly least: number; readonly most: number }): number {
  return Math.min(most, Math.max(least, value));
}

/**
 * Whether a list of attributes (Vol 3 Part F, 3.4.4.2 and 3.4.4.10) has entries of the length that it says, each with a handle and a value.
 * noble divides by that length, and reads entries without end where it is 0.
 */
function isWholeList(pdu: Buffer): boolean {
  const octets = pdu[1] ?? 0;
  return octets > 2 && pdu.length > 2 && (pdu.length - 2) % octets === 0;
}

/** How long the air takes for a full packet and its empty answer, in milliseconds (Vol 6 Part B, 2.1 and 4.1.1). */
function packetMs(link: HciLink | undefined): number {
  if (!link) return 1;
  const usPerOctet = link.phy === '2M' ? 4 : link.phy === '1M' ? 8 : 64;
  const preambleOctets = link.phy === '2M' ? 2 : 1;
  const overheadOctets = 2 * (preambleOctets + 9);
  return ((overheadOctets + link.dataLength) * usPerOctet + 2 * 150) / 1000;
}

/**
 * Whether this is a search for characteristics in a range of one handle: a characteristic takes two, its declaration and its value
 * (Vol 3 Part G, 3.3). noble ends every discovery with one, at the price of a connection interval.
 */
function holdsNoCharacteristic(pdu: Buffer): boolean {
  if (pdu[0] !== ATT_READ_BY_TYPE_REQUEST || pdu.length !== 7) return false;
  return pdu.readUInt16LE(5) === CHARACTERISTIC_DECLARATION && pdu.readUInt16LE(1) === pdu.readUInt16LE(3);
}

const gone = (detail: string) => new StationError('RADIO_LOST', detail, { retryable: true });
