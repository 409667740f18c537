import type { Clock } from '../../src/clock.ts';
import { StationError } from '../../src/contract/errors.ts';
import type { HciTransport } from '../../src/radio/hci/transport.ts';

/** What a controller may do to a command instead of answering it properly. */
export type Misdeed =
  | 'status-error'
  | 'complete-error'
  | 'unknown-command'
  | 'silence'
  | 'late'
  | 'credit-later'
  | 'credit-never'
  | 'bare-status'
  | 'empty-answer'
  | 'disconnects'
  | 'hardware-error'
  | 'resets-itself'
  | 'out-of-step';

export const misdeeds: readonly Misdeed[] = [
  'status-error',
  'complete-error',
  'unknown-command',
  'silence',
  'late',
  'credit-later',
  'credit-never',
  'bare-status',
  'empty-answer',
  'disconnects',
  'hardware-error',
  'resets-itself',
  'out-of-step',
];

/** A misdeed: at the first command of that opcode, or at each. */
export interface Mischief {
  readonly opcode: number;
  readonly misdeed: Misdeed;
  readonly always: boolean;
}

/** The peer that accepts connections, `D1`, and the one that advertises but does not, `D2`. */
export const PEER = 'c0:00:00:00:00:01';
export const DEAF_PEER = 'c0:00:00:00:00:02';
/** A characteristic of the peer: Serial Number String in Device Information. */
export const SERVICE = '180a';
export const CHARACTERISTIC = '2a25';

const HANDLE = 0x0001;
const ADVERTISE_EVERY_MS = 100;
const handleOctets = [HANDLE & 0xff, HANDLE >> 8];
const addressOctets = (address: string) => [...Buffer.from(address.replaceAll(':', ''), 'hex')].reverse();

/**
 * A controller with two peers, in octets as the Core Specification has them (Vol 4 Part E, 7) and with nothing of the station's own: what it
 * says is what the host has to understand. It does what it is told to a command of one opcode.
 */
export class ScriptedController implements HciTransport {
  readonly #clock: Clock;
  readonly #mischief: Mischief | null;
  #done = false;
  #deliver: (packet: Buffer) => void = () => undefined;
  #lost: (reason: StationError) => void = () => undefined;
  #closed = false;
  #connecting = false;
  #linked = false;
  #scanning = false;
  /** Every packet of the host. */
  readonly sent: Buffer[] = [];
  /** Connections are told by LE Enhanced Connection Complete, as a controller with privacy does it. */
  enhanced = false;
  closes = 0;
  /** So many connections more end at once by 0x3e, in place of a Connection Complete or right behind it. */
  failsToConnect: { times: number; readonly after: boolean } = { times: 0, after: false };
  /** What the peer answers to an ATT request in place of what it would; null: what it would. */
  att: (request: Buffer) => number[] | null = () => null;
  /** What the wire makes of a packet on its way to the host. */
  disturb: (packet: Buffer) => readonly Buffer[] = (packet) => [packet];

  constructor(clock: Clock, mischief: Mischief | null = null) {
    this.#clock = clock;
    this.#mischief = mischief;
  }

  /** Opcodes that the host has sent, each once. */
  get opcodes(): number[] {
    return [...new Set(this.commands().map(([opcode]) => opcode))];
  }

  /** Commands that the host has sent: opcode, and parameters in hex. */
  commands(): [number, string][] {
    return this.sent
      .filter((packet) => packet[0] === 0x01)
      .map((packet) => [packet.readUInt16LE(1), packet.subarray(4).toString('hex')]);
  }

  send(packet: Buffer): void {
    this.sent.push(Buffer.from(packet));
    queueMicrotask(() => {
      if (this.#closed) return;
      if (packet[0] === 0x01) this.#command(packet.readUInt16LE(1), packet.subarray(4));
      else if (packet[0] === 0x02) this.#acl(packet);
    });
  }

  onPacket(handler: (packet: Buffer) => void): void {
    this.#deliver = handler;
  }

  onLost(handler: (reason: StationError) => void): void {
    this.#lost = handler;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.closes += 1;
  }

  /** Sends an event: code, then parameters. */
  event(code: number, ...parameters: number[]): void {
    this.packet(Buffer.of(0x04, code, parameters.length, ...parameters));
  }

  packet(packet: Buffer): void {
    queueMicrotask(() => {
      for (const each of this.disturb(packet)) if (!this.#closed) this.#deliver(each);
    });
  }

  /** LE Remote Connection Parameter Request of the peer, in units of 1.25 and 10 ms. */
  asksForParameters(least: number, most: number, timeout: number): void {
    const octets = (value: number) => [value & 0xff, value >> 8];
    this.event(0x3e, 0x06, ...handleOctets, ...octets(least), ...octets(most), 0, 0, ...octets(timeout));
  }

  /** LE Connection Update Complete, in units of 1.25 and 10 ms. */
  updates(interval: number, timeout: number): void {
    this.event(0x3e, 0x03, 0, ...handleOctets, interval & 0xff, interval >> 8, 0, 0, timeout & 0xff, timeout >> 8);
  }

  #command(opcode: number, parameters: Buffer): void {
    const mischief = this.#mischief;
    if (mischief?.opcode !== opcode || (this.#done && !mischief.always)) return this.#obey(opcode, parameters);
    this.#done = true;
    const low = opcode & 0xff;
    const high = opcode >> 8;
    switch (mischief.misdeed) {
      case 'status-error':
        return this.event(0x0f, 0x0c, 1, low, high);
      case 'complete-error':
        return this.event(0x0e, 1, low, high, 0x12);
      case 'unknown-command':
        return this.event(0x0f, 0x01, 1, low, high);
      case 'silence':
        return undefined;
      case 'late':
        this.#clock.after(2500, () => this.#obey(opcode, parameters));
        return;
      case 'credit-later':
        this.#obey(opcode, parameters, 0);
        this.#clock.after(500, () => this.event(0x0e, 1, 0, 0));
        return;
      case 'credit-never':
        return this.#obey(opcode, parameters, 0);
      case 'bare-status':
        return this.event(0x0e, 1, low, high, 0);
      case 'empty-answer':
        return this.event(0x0e, 1, low, high);
      case 'disconnects':
        this.#obey(opcode, parameters);
        return this.#disconnect(0x13);
      case 'hardware-error':
        return this.event(0x10, 0x42);
      case 'resets-itself':
        this.#obey(opcode, parameters);
        return this.event(0x0e, 1, 0x03, 0x0c, 0);
      case 'out-of-step':
        return queueMicrotask(() =>
          this.#lost(new StationError('RADIO_LOST', 'H4 stream out of step', { retryable: true })),
        );
    }
  }

  #obey(opcode: number, parameters: Buffer, credits = 1): void {
    const complete = (...returned: number[]) => this.event(0x0e, credits, opcode & 0xff, opcode >> 8, 0, ...returned);
    const status = () => this.event(0x0f, 0, credits, opcode & 0xff, opcode >> 8);
    switch (opcode) {
      case 0x1001: // Read Local Version Information
        return complete(0x0d, 0, 0, 0x0d, 0xf1, 0x05, 0, 0);
      case 0x1005: // Read Buffer Size
        return complete(0xfb, 0, 0, 8, 0, 0, 0);
      case 0x1009: // Read BD_ADDR
        return complete(1, 2, 3, 4, 5, 6);
      case 0x2002: // LE Read Buffer Size
        return complete(0, 0, 0);
      case 0x2003: // LE Read Local Supported Features
        return complete(0x21, 0x01, 0, 0, 0, 0, 0, 0);
      case 0x1405: // Read RSSI
        return complete(parameters[0]!, parameters[1]!, 0xc8);
      case 0x200c: // LE Set Scan Enable
        this.#scanning = parameters[0] === 1;
        complete();
        if (this.#scanning) this.#advertise();
        return;
      case 0x200d: // LE Create Connection
        status();
        this.#connecting = true;
        if (Buffer.from(addressOctets(PEER)).equals(parameters.subarray(6, 12))) this.#accept();
        return;
      case 0x200e: // LE Create Connection Cancel
        if (!this.#connecting) return this.event(0x0e, credits, 0x0e, 0x20, 0x0c);
        complete();
        return this.#connect(0x02, DEAF_PEER);
      case 0x0406: // Disconnect
        if (!this.#linked) return this.event(0x0f, 0x02, credits, 0x06, 0x04);
        status();
        return this.#disconnect(0x16);
      case 0x2013: // LE Connection Update
        status();
        return this.event(0x3e, 0x03, 0, ...parameters.subarray(0, 2), ...parameters.subarray(4, 10));
      case 0x2019: // LE Enable Encryption
        status();
        return this.event(0x08, 0, ...handleOctets, 1);
      case 0x2022: // LE Set Data Length
        complete(...parameters.subarray(0, 2));
        return this.event(0x3e, 0x07, ...handleOctets, 0xfb, 0, 0x48, 0x08, 0xfb, 0, 0x48, 0x08);
      case 0x2032: // LE Set PHY
        status();
        return this.event(0x3e, 0x0c, 0, ...handleOctets, 2, 2);
      default:
        return complete(...parameters.subarray(0, 2));
    }
  }

  #advertise(): void {
    this.#clock.after(ADVERTISE_EVERY_MS, () => {
      if (!this.#scanning || this.#closed) return;
      for (const address of [PEER, DEAF_PEER]) {
        // Its name, and that it has Device Information.
        const name = [3, 0x09, 0x44, address === PEER ? 0x31 : 0x32, 3, 0x03, 0x0a, 0x18];
        this.event(0x3e, 0x02, 1, 0, 1, ...addressOctets(address), name.length, ...name, 0xc4);
        this.event(0x3e, 0x02, 1, 4, 1, ...addressOctets(address), 0, 0xc4);
      }
      this.#advertise();
    });
  }

  #accept(): void {
    const fails = this.failsToConnect.times-- > 0;
    this.#connect(fails && !this.failsToConnect.after ? 0x3e : 0, PEER);
    if (fails) this.#disconnect(0x3e);
  }

  #connect(status: number, address: string): void {
    this.#connecting = false;
    this.#linked ||= status === 0;
    const handle = status === 0 ? handleOctets : [0, 0];
    const tail = [0x18, 0, 0, 0, 0xc8, 0, 0];
    if (this.enhanced)
      this.event(
        0x3e,
        0x0a,
        status,
        ...handle,
        0,
        1,
        ...addressOctets(address),
        ...new Array<number>(12).fill(0),
        ...tail,
      );
    else this.event(0x3e, 0x01, status, ...handle, 0, 1, ...addressOctets(address), ...tail);
  }

  #disconnect(reason: number): void {
    if (!this.#linked) return;
    this.#linked = false;
    this.event(0x05, 0, ...handleOctets, reason);
  }

  #acl(packet: Buffer): void {
    if (!this.#linked) return;
    this.event(0x13, 1, ...handleOctets, 1, 0);
    if (packet.length < 10 || packet.readUInt16LE(7) !== 4) return;
    const request = packet.subarray(9);
    const answer = this.att(request) ?? attAnswer(request);
    if (!answer) return;
    const octets = (value: number) => [value & 0xff, value >> 8];
    const l2cap = [...octets(answer.length), 4, 0, ...answer];
    this.packet(Buffer.of(0x02, HANDLE & 0xff, (HANDLE >> 8) | 0x20, ...octets(l2cap.length), ...l2cap));
  }
}

/** A GATT server of one service (handles 1 to 3) with one characteristic (value at 3). */
function attAnswer(pdu: Buffer): number[] | null {
  const notFound = [0x01, pdu[0]!, pdu[1]!, pdu[2]!, 0x0a];
  const from = pdu.length >= 3 ? pdu.readUInt16LE(1) : 0;
  switch (pdu[0]) {
    case 0x02:
      return [0x03, 0xf7, 0x00];
    case 0x10:
      return from > 1 ? notFound : [0x11, 6, 1, 0, 3, 0, 0x0a, 0x18];
    case 0x08:
      return from > 2 ? notFound : [0x09, 7, 2, 0, 0x1e, 3, 0, 0x25, 0x2a];
    case 0x0a:
      return [0x0b, 0x53, 0x4e, 0x31];
    case 0x12:
      return [0x13];
    default:
      return null;
  }
}
