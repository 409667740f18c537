import type { CapturedPacket } from '../../radio/radio.ts';
import { CODE, EVENT_CODE, REASON, SUBEVENT } from '../hci/codes.ts';
import { addressOf, CHANNEL, H4 } from '../hci/packet.ts';
import { handleAt, isConnectionComplete, type Pdu, PduJoiner } from './hci.ts';

/** What was recorded of one link, or of an attempt that came to none. */
export interface RecordedSession {
  /** What was heard of the device since its last link, whole event packets. */
  readonly advertising: readonly Buffer[];
  /** From the end of the link before until the device was heard again, in milliseconds; 0 for the first. */
  readonly absentMs: number;
  /** LE Connection Complete, or the enhanced one, as it came. */
  readonly complete: Buffer;
  /** Whole L2CAP PDUs of both directions, in order. */
  readonly pdus: readonly RecordedPdu[];
  /** Events of the link: milliseconds since it began. */
  readonly events: readonly { readonly atMs: number; readonly packet: Buffer }[];
  /** What commands of this link were answered with, by opcode, in order. */
  readonly answers: ReadonlyMap<number, readonly Buffer[]>;
  /** Reason of the disconnection; null when the recording ends before. */
  readonly endReason: number | null;
  /** When, in milliseconds since it began. */
  readonly endMs: number | null;
}

/** One PDU, and the packets that it came in. */
export interface RecordedPdu extends Pdu {
  readonly received: boolean;
  readonly atMs: number;
  readonly packets: readonly Buffer[];
}

/** Everything that was recorded of one device. */
export interface RecordedPeer {
  readonly address: string;
  readonly random: boolean;
  readonly sessions: readonly RecordedSession[];
  /** What was heard of it after its last link: it is there, and nothing of what it would answer is recorded. */
  readonly heardLast: readonly Buffer[];
}

/** A capture of a whole adapter, or of one link, by device. */
export interface Recording {
  readonly peers: readonly RecordedPeer[];
  /** What commands that concern no link were answered with, by opcode. */
  readonly answers: ReadonlyMap<number, Buffer>;
}

/** Scanning and connecting are answered anew: their order is the host's own. */
const ANSWERED_ANEW = new Set<number>([
  CODE.leSetScanParameters,
  CODE.leSetScanEnable,
  CODE.leCreateConnection,
  CODE.leCreateConnectionCancel,
]);
/** Commands whose first parameter is a connection handle. */
const OF_A_LINK = new Set<number>([
  CODE.disconnect,
  CODE.readRemoteVersionInformation,
  CODE.readRssi,
  CODE.leConnectionUpdate,
  CODE.leReadRemoteFeatures,
  CODE.leEnableEncryption,
  CODE.leRemoteConnectionParameterRequestReply,
  CODE.leRemoteConnectionParameterRequestNegativeReply,
  CODE.leSetDataLength,
  CODE.leSetPhy,
]);

/** Whether a command is about one link. */
export const isOfALink = (opcode: number): boolean => OF_A_LINK.has(opcode);

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

class SessionReader {
  readonly session: Mutable<RecordedSession>;
  readonly #pdus: RecordedPdu[] = [];
  readonly #events: { atMs: number; packet: Buffer }[] = [];
  readonly #answers = new Map<number, Buffer[]>();
  readonly #joiners = [new PduJoiner(), new PduJoiner()];
  readonly #parts: Buffer[][] = [[], []];
  readonly #sinceUs: number;

  constructor(complete: Buffer, timeUs: number, advertising: readonly Buffer[], absentMs: number) {
    this.#sinceUs = timeUs;
    this.session = {
      advertising,
      absentMs,
      complete,
      pdus: this.#pdus,
      events: this.#events,
      answers: this.#answers,
      endReason: null,
      endMs: null,
    };
  }

  atMs(timeUs: number): number {
    return Math.max(0, (timeUs - this.#sinceUs) / 1000);
  }

  acl({ packet, received, timeUs }: CapturedPacket): void {
    const side = received ? 1 : 0;
    this.#parts[side]!.push(packet);
    const pdu = this.#joiners[side]!.push(packet);
    if (!pdu) return;
    this.#pdus.push({ ...pdu, received, atMs: this.atMs(timeUs), packets: this.#parts[side]! });
    this.#parts[side] = [];
  }

  event({ packet, timeUs }: CapturedPacket): void {
    this.#events.push({ atMs: this.atMs(timeUs), packet });
  }

  answer(opcode: number, packet: Buffer): void {
    this.#answers.set(opcode, [...(this.#answers.get(opcode) ?? []), packet]);
  }
}

/** Sorts a capture by device and link. Packets that fit nowhere are left out. */
export function readRecording(packets: readonly CapturedPacket[]): Recording {
  return new RecordingReader().read(packets);
}

class RecordingReader {
  readonly #answers = new Map<number, Buffer>();
  readonly #peers = new Map<
    string,
    { random: boolean; sessions: SessionReader[]; heard: Buffer[]; heardUs: number | null; endedUs: number | null }
  >();
  readonly #live = new Map<number, { reader: SessionReader; address: string }>();
  /** Of the commands of links that have not been answered yet: whose they are. */
  readonly #asked = new Map<number, number[]>();

  read(packets: readonly CapturedPacket[]): Recording {
    for (const captured of packets) this.#take(captured);
    const peers = [...this.#peers].map(([address, { random, sessions, heard }]) => ({
      address,
      random,
      sessions: sessions.map(({ session }) => session),
      heardLast: heard,
    }));
    return { peers: peers.filter(({ sessions }) => sessions.length > 0), answers: this.#answers };
  }

  #take(captured: CapturedPacket): void {
    const { packet, received } = captured;
    if (packet[0] === H4.acl && packet.length >= 5)
      return this.#live.get(packet.readUInt16LE(1) & 0x0fff)?.reader.acl(captured);
    if (packet[0] === H4.command && packet.length >= 4) return this.#command(packet);
    if (packet[0] !== H4.event || !received || packet.length < 3) return;
    if (isConnectionComplete(packet)) return this.#connected(captured);
    if (packet[1] === EVENT_CODE.leMeta && packet[3] === SUBEVENT.advertisingReport && packet.length >= 13)
      return this.#heard(captured);
    if (packet[1] === EVENT_CODE.commandComplete && packet.length >= 6)
      return this.#answered(packet.readUInt16LE(4), packet);
    if (packet[1] === EVENT_CODE.commandStatus && packet.length >= 7)
      return this.#answered(packet.readUInt16LE(5), packet);
    const at = handleAt(packet);
    if (at === null) return;
    const handle = packet.readUInt16LE(at) & 0x0fff;
    const live = this.#live.get(handle);
    if (packet[1] === EVENT_CODE.disconnectionComplete && packet.length >= 7) this.#ended(handle, captured);
    else live?.reader.event(captured);
  }

  #peer(address: string, random: boolean) {
    const known = this.#peers.get(address);
    if (known) return known;
    const peer = { random, sessions: [], heard: [], heardUs: null, endedUs: null };
    this.#peers.set(address, peer);
    return peer;
  }

  #heard({ packet, timeUs }: CapturedPacket): void {
    const peer = this.#peer(addressOf(packet.subarray(7, 13)), packet[6] === 1);
    peer.heardUs ??= timeUs;
    // The report and the scan response, and what is new: the same again teaches nothing.
    if (!peer.heard.some((each) => each.subarray(0, -1).equals(packet.subarray(0, -1)))) peer.heard.push(packet);
  }

  #connected({ packet, timeUs }: CapturedPacket): void {
    const address = addressOf(packet.subarray(9, 15));
    const status = packet[4] ?? 0;
    // The host gave up: that was its own doing.
    if (status === REASON.unknownConnection) return;
    const peer = this.#peer(address, packet[8] === 1);
    const last = peer.sessions.at(-1)?.session.advertising ?? [];
    const advertising = peer.heard.length > 0 ? peer.heard : last;
    const absentMs =
      peer.endedUs === null || peer.heardUs === null ? 0 : Math.max(0, (peer.heardUs - peer.endedUs) / 1000);
    const reader = new SessionReader(packet, timeUs, advertising, absentMs);
    peer.sessions.push(reader);
    peer.heard = [];
    peer.heardUs = null;
    if (status === 0) this.#live.set(packet.readUInt16LE(5) & 0x0fff, { reader, address });
    else peer.endedUs = timeUs;
  }

  #ended(handle: number, { packet, timeUs }: CapturedPacket): void {
    const live = this.#live.get(handle);
    if (!live) return;
    this.#live.delete(handle);
    live.reader.session.endReason = packet[6] ?? 0;
    live.reader.session.endMs = live.reader.atMs(timeUs);
    const peer = this.#peers.get(live.address);
    if (!peer) return;
    peer.endedUs = timeUs;
    peer.heard = [];
    peer.heardUs = null;
  }

  #command(packet: Buffer): void {
    const opcode = packet.readUInt16LE(1);
    if (!isOfALink(opcode) || packet.length < 6) return;
    this.#asked.set(opcode, [...(this.#asked.get(opcode) ?? []), packet.readUInt16LE(4) & 0x0fff]);
  }

  #answered(opcode: number, packet: Buffer): void {
    if (ANSWERED_ANEW.has(opcode)) return;
    if (!isOfALink(opcode)) {
      this.#answers.set(opcode, packet);
      return;
    }
    const handle = this.#asked.get(opcode)?.shift();
    if (handle !== undefined) this.#live.get(handle)?.reader.answer(opcode, packet);
  }
}

/** The values of a session that crossed the attribute protocol, in order. */
export function attPdus(session: RecordedSession): readonly RecordedPdu[] {
  return session.pdus.filter(({ cid, payload }) => cid === CHANNEL.att && payload.length > 0);
}
