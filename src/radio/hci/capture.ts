import type { Clock } from '../../clock.ts';
import type { StationError } from '../../contract/errors.ts';
import type { CaptureContent, CapturedPacket, LinkEvidence } from '../radio.ts';
import { EVENT, HCI_ACL, HCI_COMMAND, HCI_EVENT, LE_EVENT, OPCODE, STATUS, uint16 } from './packets.ts';
import type { HciTransport } from './transport.ts';

/** Connection set-up and discovery: always kept. */
const HEAD_BYTES = 256 * 1024;
/** The latest packets, out of which the seconds around an anomaly are kept. */
const RING_BYTES = 1024 * 1024;
/** Packets around anomalies; beyond this an attempt has shown enough. */
const PINNED_BYTES = 2 * 1024 * 1024;
/** How long before and after an anomaly, in microseconds. */
const AROUND_US = 2_000_000;
/** Devices whose latest advertisement is remembered, to stand before their link. */
const MAX_ADVERTISERS = 512;

/** The HCI packets of one link, bounded: its beginning, its latest, and what lies around each anomaly. Nothing once it is released. */
export class LinkCapture implements LinkEvidence {
  #head: CapturedPacket[] = [];
  #headBytes = 0;
  #ring: CapturedPacket[] = [];
  #ringFrom = 0;
  #ringBytes = 0;
  #pinned: CapturedPacket[] = [];
  #pinnedBytes = 0;
  #pinUntilUs = Number.NEGATIVE_INFINITY;
  #count = 0;
  #latestUs = 0;
  #released = false;

  add(timeUs: number, received: boolean, packet: Buffer): void {
    if (this.#released) return;
    const captured: CapturedPacket = { number: this.#count++, timeUs, received, packet };
    this.#latestUs = timeUs;
    if (this.#headBytes < HEAD_BYTES) {
      this.#head.push(captured);
      this.#headBytes += packet.length;
      return;
    }
    this.#ring.push(captured);
    this.#ringBytes += packet.length;
    while (this.#ringBytes > RING_BYTES) this.#dropOldest();
  }

  /** An anomaly was seen: the seconds around now stay. */
  mark(): void {
    const last = this.#pinned.at(-1)?.number ?? -1;
    for (let at = this.#ringFrom; at < this.#ring.length; at++) {
      const captured = this.#ring[at];
      if (captured && captured.timeUs >= this.#latestUs - AROUND_US && captured.number > last) this.#pin(captured);
    }
    this.#pinUntilUs = this.#latestUs + AROUND_US;
  }

  release(): void {
    this.#released = true;
    this.#head = [];
    this.#ring = [];
    this.#pinned = [];
    this.#ringFrom = 0;
  }

  async content(): Promise<CaptureContent> {
    const ring = this.#ring.slice(this.#ringFrom);
    const first = ring[0]?.number ?? Number.POSITIVE_INFINITY;
    const packets = [...this.#head, ...this.#pinned.filter(({ number }) => number < first), ...ring];
    return { packets, leftOut: this.#count - packets.length };
  }

  /** What leaves the ring is lost, unless an anomaly lies near. */
  #dropOldest(): void {
    const oldest = this.#ring[this.#ringFrom++];
    if (!oldest) return;
    this.#ringBytes -= oldest.packet.length;
    if (oldest.timeUs <= this.#pinUntilUs && oldest.number > (this.#pinned.at(-1)?.number ?? -1)) this.#pin(oldest);
    if (this.#ringFrom > 4096) {
      this.#ring = this.#ring.slice(this.#ringFrom);
      this.#ringFrom = 0;
    }
  }

  #pin(captured: CapturedPacket): void {
    if (this.#pinnedBytes + captured.packet.length > PINNED_BYTES) return;
    this.#pinned.push(captured);
    this.#pinnedBytes += captured.packet.length;
  }
}

/**
 * A transport that remembers what crosses it, link by link. It stands directly on the controller: whatever reorders packets above it is
 * seen from outside.
 */
export class CapturingTransport implements HciTransport {
  readonly #inner: HciTransport;
  readonly #clock: Clock;
  readonly #startedUs: number;
  readonly #startedMs: number;
  readonly #links = new Map<number, LinkCapture>();
  /** What was last heard of each device that advertises: an advertisement and a scan response. */
  readonly #advertised = new Map<string, { timeUs: number; received: boolean; packet: Buffer }[]>();
  /** The latest request for a connection and its status: they belong to the link that comes of it. */
  #setUp: { timeUs: number; received: boolean; packet: Buffer }[] = [];

  constructor(inner: HciTransport, clock: Clock) {
    this.#inner = inner;
    this.#clock = clock;
    this.#startedUs = clock.wall().getTime() * 1000;
    this.#startedMs = clock.now();
  }

  /** The capture of the link that has this handle now. */
  link(handle: number): LinkCapture | null {
    return this.#links.get(handle) ?? null;
  }

  send(packet: Buffer): void {
    this.#note(false, packet);
    this.#inner.send(packet);
  }

  onPacket(handler: (packet: Buffer) => void): void {
    this.#inner.onPacket((packet) => {
      this.#note(true, packet);
      handler(packet);
    });
  }

  onLost(handler: (reason: StationError) => void): void {
    this.#inner.onLost(handler);
  }

  get replayed(): boolean {
    return this.#inner.replayed === true;
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  #note(received: boolean, packet: Buffer): void {
    const timeUs = this.#startedUs + Math.round((this.#clock.now() - this.#startedMs) * 1000);
    // Nearly all there is: data, and that it is over the air.
    if (packet[0] === HCI_ACL && packet.length > 2)
      return this.#links.get(uint16(packet, 1) & 0x0fff)?.add(timeUs, received, packet);
    if (isCompletionOfOne(packet)) return this.#links.get(uint16(packet, 4) & 0x0fff)?.add(timeUs, received, packet);
    const entry = { timeUs, received, packet };
    if (isAdvertisement(packet)) this.#heard(entry);
    if (isConnectionRequest(packet)) this.#setUp = [entry];
    else if (isStatusOfRequest(packet)) this.#setUp.push(entry);
    const handle = handleOf(packet);
    if (handle === null) return;
    if (isConnectionComplete(packet)) this.#begin(handle, packet.subarray(9, 15).toString('hex'));
    this.#links.get(handle)?.add(timeUs, received, packet);
    // Whoever argues about the link holds its capture; a station that runs all day must not.
    if (isDisconnection(packet)) this.#links.delete(handle);
  }

  #heard(entry: { timeUs: number; received: boolean; packet: Buffer }): void {
    const address = entry.packet.subarray(7, 13).toString('hex');
    const others = (this.#advertised.get(address) ?? []).filter(({ packet }) => packet[5] !== entry.packet[5]);
    this.#advertised.delete(address);
    this.#advertised.set(address, [...others, entry]);
    const oldest = this.#advertised.keys().next().value;
    if (this.#advertised.size > MAX_ADVERTISERS && oldest !== undefined) this.#advertised.delete(oldest);
  }

  #begin(handle: number, peer: string): void {
    const capture = new LinkCapture();
    for (const { timeUs, received, packet } of this.#advertised.get(peer) ?? []) capture.add(timeUs, received, packet);
    for (const { timeUs, received, packet } of this.#setUp.splice(0)) capture.add(timeUs, received, packet);
    this.#links.set(handle, capture);
  }
}

/** Number Of Completed Packets of one link; handle at 4. */
function isCompletionOfOne(packet: Buffer): boolean {
  return (
    packet[0] === HCI_EVENT && packet[1] === EVENT.NUMBER_OF_COMPLETED_PACKETS && packet[3] === 1 && packet.length >= 6
  );
}

/** A report of one advertisement; event type at 5, address at 7. */
function isAdvertisement(packet: Buffer): boolean {
  return (
    packet[0] === HCI_EVENT &&
    packet[1] === EVENT.LE_META &&
    packet[3] === LE_EVENT.ADVERTISING_REPORT &&
    packet[4] === 1 &&
    packet.length >= 14
  );
}

/** Groups of commands whose parameters begin with a connection handle, and those of the LE group, as far as they are sent. */
const OGF_LINK_CONTROL = 0x01;
const OGF_STATUS = 0x05;
const LE_WITH_HANDLE: ReadonlySet<number> = new Set([
  OPCODE.LE_CONNECTION_UPDATE,
  OPCODE.LE_ENABLE_ENCRYPTION,
  OPCODE.LE_REMOTE_PARAMETER_REQUEST_REPLY,
  OPCODE.LE_REMOTE_PARAMETER_REQUEST_NEGATIVE_REPLY,
  OPCODE.LE_SET_DATA_LENGTH,
  OPCODE.LE_SET_PHY,
]);

function isEvent(packet: Buffer, code: number): boolean {
  return packet[0] === HCI_EVENT && packet[1] === code;
}

function isConnectionRequest(packet: Buffer): boolean {
  return packet[0] === HCI_COMMAND && packet.length >= 4 && uint16(packet, 1) === OPCODE.LE_CREATE_CONNECTION;
}

function isStatusOfRequest(packet: Buffer): boolean {
  return (
    isEvent(packet, EVENT.COMMAND_STATUS) && packet.length >= 7 && uint16(packet, 5) === OPCODE.LE_CREATE_CONNECTION
  );
}

/** Of a link that has come about; handle at 5, the peer's address at 9. */
function isConnectionComplete(packet: Buffer): boolean {
  if (!isEvent(packet, EVENT.LE_META) || packet[4] !== STATUS.SUCCESS || packet.length < 15) return false;
  return packet[3] === LE_EVENT.CONNECTION_COMPLETE || packet[3] === LE_EVENT.ENHANCED_CONNECTION_COMPLETE;
}

/** Of a link that is over, as the host takes it: complete, and a success. */
function isDisconnection(packet: Buffer): boolean {
  return isEvent(packet, EVENT.DISCONNECTION_COMPLETE) && packet.length >= 7 && packet[3] === STATUS.SUCCESS;
}

/** The link that a packet belongs to; null when it belongs to none, or to several, or ends before it says. */
function handleOf(packet: Buffer): number | null {
  const at = handleOffset(packet);
  return at === null || packet.length < at + 2 ? null : uint16(packet, at) & 0x0fff;
}

function handleOffset(packet: Buffer): number | null {
  if (packet[0] === HCI_COMMAND && packet.length >= 4) {
    const opcode = uint16(packet, 1);
    const ofLink = opcode >> 10 === OGF_LINK_CONTROL || opcode >> 10 === OGF_STATUS;
    return ofLink || LE_WITH_HANDLE.has(opcode) ? 4 : null;
  }
  if (packet[0] !== HCI_EVENT) return null;
  switch (packet[1]) {
    case EVENT.DISCONNECTION_COMPLETE:
    case EVENT.ENCRYPTION_CHANGE:
    case EVENT.ENCRYPTION_KEY_REFRESH_COMPLETE:
      return 4;
    case EVENT.LE_META:
      return leHandleOffset(packet[3]);
    default:
      return null;
  }
}

/** A connection has its status before its handle, and so have updates; reports of advertising have none. */
function leHandleOffset(subevent: number | undefined): number | null {
  switch (subevent) {
    case LE_EVENT.CONNECTION_COMPLETE:
    case LE_EVENT.ENHANCED_CONNECTION_COMPLETE:
    case LE_EVENT.CONNECTION_UPDATE_COMPLETE:
    case LE_EVENT.PHY_UPDATE_COMPLETE:
      return 5;
    case LE_EVENT.REMOTE_PARAMETER_REQUEST:
    case LE_EVENT.DATA_LENGTH_CHANGE:
      return 4;
    default:
      return null;
  }
}
