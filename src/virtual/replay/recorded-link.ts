import type { Clock } from '../../clock.ts';
import { CODE, EVENT_CODE, REASON, SUBEVENT } from '../hci/codes.ts';
import { CHANNEL, commandCompleteEvent, commandStatusEvent, eventPacket, H4 } from '../hci/packet.ts';
import { PairingResponder } from '../pairing-responder.ts';
import { ATT, aclPackets, handleAt, handleBytes, type Pdu, PduJoiner } from './hci.ts';
import type { RecordedGatt } from './recorded-gatt.ts';
import { FrameJoiner, type RecordedSmp } from './recorded-smp.ts';
import type { RecordedPdu, RecordedPeer, RecordedSession } from './recording.ts';

/** A host that waits for longer has sent less than the recorded one: the recording goes on without it. */
const PATIENCE_MS = 1000;
/** A device that restarts is not waited for longer than this, however long it took then. */
const LONGEST_PAUSE_MS = 3000;
const DATA_OCTETS = 251;
const PAIRING_REQUEST = 0x01;
const PAIRING_RESPONSE = 0x02;
const PAIRING_FAILED = 0x05;
const SECURE_CONNECTIONS = 0x08;

/** What a device remembers across its links. */
export interface RecordedDevice {
  readonly peer: RecordedPeer;
  readonly gatt: RecordedGatt;
  readonly smp: RecordedSmp;
}

/** What a link that is played back tells its controller. */
export interface LinkOutlet {
  /** A packet for the host. */
  deliver(packet: Buffer): void;
  /** The link is over, by the device or by the host. */
  ended(byHost: boolean): void;
  /** The host asks what the recording does not hold. */
  notRecorded(what: string): void;
}

/** Events that a command of the host's brings about; they come when it has been given. */
const BROUGHT_ABOUT: Readonly<Record<number, (packet: Buffer) => boolean>> = {
  [CODE.leSetDataLength]: (packet) => packet[1] === EVENT_CODE.leMeta && packet[3] === SUBEVENT.dataLengthChange,
  [CODE.leSetPhy]: (packet) => packet[1] === EVENT_CODE.leMeta && packet[3] === SUBEVENT.phyUpdateComplete,
  [CODE.leConnectionUpdate]: (packet) =>
    packet[1] === EVENT_CODE.leMeta && packet[3] === SUBEVENT.connectionUpdateComplete,
  [CODE.leReadRemoteFeatures]: (packet) =>
    packet[1] === EVENT_CODE.leMeta && packet[3] === SUBEVENT.readRemoteFeaturesComplete,
  [CODE.readRemoteVersionInformation]: (packet) => packet[1] === EVENT_CODE.readRemoteVersionInformationComplete,
  [CODE.leEnableEncryption]: (packet) =>
    packet[1] === EVENT_CODE.encryptionChange || packet[1] === EVENT_CODE.encryptionKeyRefreshComplete,
};

/**
 * One link as it was recorded, with a host that may ask in another order. Each kind of traffic is answered in its own way: commands by what
 * they were answered with, attribute requests by what stands in the recorded table, SMP requests by what the server said to them, pairing by
 * a stand-in, since its keys are new each time. All other values come in the recorded order, never before the host has sent as many of its
 * own as it had sent by then: order is what such a recording is kept for.
 */
export class RecordedLink {
  readonly handle: number;
  readonly #device: RecordedDevice;
  readonly #session: RecordedSession;
  readonly #clock: Clock;
  readonly #outlet: LinkOutlet;
  readonly #central: Buffer;
  readonly #joiner = new PduJoiner();
  readonly #smpFrames = new FrameJoiner();
  readonly #timers = new Set<() => void>();
  readonly #pendingEvents: Buffer[];
  readonly #answers: Map<number, Buffer[]>;
  /** Values that come in their recorded order, each with how many values of the host's had gone before. */
  readonly #ordered: { readonly pdu: RecordedPdu; readonly after: number }[];
  #sent = 0;
  #cancelPatience: () => void = () => undefined;
  #responder: PairingResponder | null = null;
  #over = false;

  constructor(
    device: RecordedDevice,
    session: RecordedSession,
    { handle, clock, outlet, central }: { handle: number; clock: Clock; outlet: LinkOutlet; central: Buffer },
  ) {
    this.#device = device;
    this.#session = session;
    this.handle = handle;
    this.#clock = clock;
    this.#outlet = outlet;
    this.#central = central;
    this.#answers = new Map([...session.answers].map(([opcode, packets]) => [opcode, [...packets]]));
    this.#ordered = this.#inOrder();
    const commanded = (packet: Buffer) => [...session.answers.keys()].some((opcode) => BROUGHT_ABOUT[opcode]?.(packet));
    this.#pendingEvents = session.events.map(({ packet }) => packet).filter(commanded);
    for (const { atMs, packet } of session.events) if (!commanded(packet)) this.#after(atMs, () => this.#hand(packet));
    for (const { received, cid, atMs, packets, payload } of session.pdus) {
      const asksItself = cid === CHANNEL.security ? payload[0] === 0x0b : cid !== CHANNEL.att;
      if (!received || !asksItself) continue;
      this.#after(atMs, () => {
        for (const packet of packets) this.#hand(packet);
      });
    }
    this.#play();
    if (this.#nothingAsked()) this.#after(Math.min(session.endMs ?? 0, LONGEST_PAUSE_MS), () => this.#end());
  }

  /** Nothing more is played. */
  stop(): void {
    this.#over = true;
    this.#cancelPatience();
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
  }

  /** A command about this link. */
  command(opcode: number, parameters: Buffer): void {
    if (opcode === CODE.disconnect) {
      this.#outlet.deliver(commandStatusEvent(opcode, 0));
      return this.#ended(REASON.localHostTerminated, true);
    }
    if (opcode === CODE.leEnableEncryption && this.#responder) return this.#encrypt();
    const recorded = this.#answers.get(opcode);
    const answer = recorded && (recorded.length > 1 ? recorded.shift() : recorded[0]);
    if (!answer) {
      const isReply =
        opcode === CODE.leRemoteConnectionParameterRequestReply ||
        opcode === CODE.leRemoteConnectionParameterRequestNegativeReply;
      const completes = isReply || opcode === CODE.readRssi;
      const status = isReply ? 0 : REASON.commandDisallowed;
      const handle = parameters.subarray(0, 2);
      return this.#outlet.deliver(
        completes
          ? commandCompleteEvent(opcode, Buffer.concat([Buffer.of(status), handle, Buffer.alloc(isReply ? 0 : 1)]))
          : commandStatusEvent(opcode, status),
      );
    }
    this.#hand(answer);
    const brings = BROUGHT_ABOUT[opcode];
    const at = brings ? this.#pendingEvents.findIndex(brings) : -1;
    if (at >= 0) this.#hand(this.#pendingEvents.splice(at, 1)[0]!);
  }

  /** ACL data of this link. */
  acl(packet: Buffer): void {
    this.#outlet.deliver(
      eventPacket(
        EVENT_CODE.numberOfCompletedPackets,
        Buffer.concat([Buffer.of(1), handleBytes(this.handle), Buffer.of(1, 0)]),
      ),
    );
    const pdu = this.#joiner.push(packet);
    if (!pdu) return;
    if (pdu.cid === CHANNEL.att) this.#att(pdu.payload);
    else if (pdu.cid === CHANNEL.security) this.#security(pdu.payload);
  }

  #att(pdu: Buffer): void {
    const code = pdu[0] ?? 0;
    if (code === ATT.CONFIRMATION) return;
    const handle = pdu.length >= 3 ? pdu.readUInt16LE(1) : 0;
    const writes = code === ATT.WRITE_COMMAND || (code === ATT.WRITE && !this.#device.gatt.isConfiguration(handle));
    if (code !== ATT.WRITE_COMMAND) {
      const answer = this.#device.gatt.answer(pdu);
      if (!answer) return this.#outlet.notRecorded(`an answer to attribute request 0x${code.toString(16)}`);
      this.#send(CHANNEL.att, answer);
    }
    if (!writes) return;
    if (handle === this.#device.smp.valueHandle) this.#smp(pdu.subarray(3));
    else {
      this.#sent += 1;
      this.#play();
    }
  }

  #smp(value: Buffer): void {
    const frame = this.#smpFrames.push(value);
    if (!frame) return;
    const reply = this.#device.smp.ask(frame.bytes, frame.values);
    if (reply.kind === 'not-recorded') return this.#outlet.notRecorded(reply.what);
    if (reply.kind === 'link-lost') return this.#end();
    const mtu = this.#mtu();
    const head = Buffer.concat([Buffer.of(ATT.NOTIFICATION), handleBytes(this.#device.smp.valueHandle ?? 0)]);
    for (let at = 0; at < reply.frame.length; at += mtu - 3) {
      this.#send(CHANNEL.att, Buffer.concat([head, reply.frame.subarray(at, at + mtu - 3)]));
    }
    // How long the device took from its answer to its end is kept, whatever came before.
    if (reply.resets) this.#after(Math.min(this.#fromLastAnswerMs(), LONGEST_PAUSE_MS), () => this.#end());
  }

  #mtu(): number {
    const exchange = (code: number) =>
      this.#session.pdus.find(({ cid, payload }) => cid === CHANNEL.att && payload[0] === code);
    const server = exchange(ATT.MTU_RESPONSE)?.payload.readUInt16LE(1) ?? 23;
    const client = exchange(ATT.MTU_REQUEST)?.payload.readUInt16LE(1) ?? 23;
    return Math.min(server, client);
  }

  #fromLastAnswerMs(): number {
    const last = this.#session.pdus.findLast(({ received }) => received);
    return Math.max(0, (this.#session.endMs ?? 0) - (last?.atMs ?? 0));
  }

  /** Pairing cannot be played back: what the device refused it refuses again, and what it let happen a stand-in does. */
  #security(pdu: Buffer): void {
    if (this.#responder) return this.#responder.received(pdu);
    const recorded = this.#device.peer.sessions.flatMap(({ pdus }) =>
      pdus.filter(({ cid, received }) => cid === CHANNEL.security && received),
    );
    const answer = recorded.find(({ payload }) => payload[0] === PAIRING_RESPONSE || payload[0] === PAIRING_FAILED);
    if (pdu[0] !== PAIRING_REQUEST) return;
    if (!answer) return this.#outlet.notRecorded('pairing');
    if (answer.payload[0] === PAIRING_FAILED) return this.#send(CHANNEL.security, answer.payload);
    const octets = Buffer.from(this.#device.peer.address.replaceAll(':', ''), 'hex');
    const own = { random: this.#device.peer.random, octets };
    this.#responder = new PairingResponder({
      accepts: ((answer.payload[3] ?? 0) & SECURE_CONNECTIONS) !== 0 ? 'sc' : 'legacy',
      own,
      peer: { random: false, octets: this.#central },
      identity: { address: octets, random: own.random, irk: Buffer.alloc(16) },
      send: (bytes) => this.#send(CHANNEL.security, bytes),
      agreed: () => undefined,
      bonded: () => undefined,
      log: () => undefined,
    });
    this.#responder.received(pdu);
  }

  #encrypt(): void {
    this.#outlet.deliver(commandStatusEvent(CODE.leEnableEncryption, 0));
    this.#outlet.deliver(
      eventPacket(EVENT_CODE.encryptionChange, Buffer.concat([Buffer.of(0), handleBytes(this.handle), Buffer.of(1)])),
    );
    this.#responder?.encrypted();
  }

  /** The values that no request of the host's brings about, of other characteristics than SMP's. */
  #inOrder(): { pdu: RecordedPdu; after: number }[] {
    const { gatt, smp } = this.#device;
    let after = 0;
    const ordered: { pdu: RecordedPdu; after: number }[] = [];
    for (const pdu of this.#session.pdus) {
      if (pdu.cid !== CHANNEL.att || pdu.payload.length < 3) continue;
      const code = pdu.payload[0];
      const handle = pdu.payload.readUInt16LE(1);
      if (handle === smp.valueHandle) continue;
      if (!pdu.received && (code === ATT.WRITE_COMMAND || (code === ATT.WRITE && !gatt.isConfiguration(handle))))
        after += 1;
      if (pdu.received && (code === ATT.NOTIFICATION || code === ATT.INDICATION)) ordered.push({ pdu, after });
    }
    return ordered;
  }

  /** Delivers what may come now, and what comes anyway when the host has nothing more to send. */
  #play(): void {
    this.#cancelPatience();
    for (let next = this.#ordered[0]; next && next.after <= this.#sent; next = this.#ordered[0]) {
      this.#ordered.shift();
      for (const packet of next.pdu.packets) this.#hand(packet);
      if (
        this.#ordered.length === 0 &&
        this.#session.endReason !== null &&
        this.#session.endReason !== REASON.localHostTerminated
      ) {
        return this.#after(Math.min(this.#fromLastAnswerMs(), LONGEST_PAUSE_MS), () => this.#end());
      }
    }
    const waits = this.#ordered[0];
    if (!waits) return;
    this.#cancelPatience = this.#clock.after(PATIENCE_MS, () => {
      this.#sent = waits.after;
      this.#play();
    });
  }

  /** The device ended a link on which it was never asked anything. */
  #nothingAsked(): boolean {
    const { endReason, pdus } = this.#session;
    return endReason !== null && endReason !== REASON.localHostTerminated && !pdus.some(({ received }) => received);
  }

  #end(): void {
    this.#ended(this.#session.endReason ?? 0x08, false);
  }

  #ended(reason: number, byHost: boolean): void {
    if (this.#over) return;
    this.stop();
    this.#outlet.deliver(
      eventPacket(
        EVENT_CODE.disconnectionComplete,
        Buffer.concat([Buffer.of(0), handleBytes(this.handle), Buffer.of(reason)]),
      ),
    );
    this.#outlet.ended(byHost);
  }

  #send(cid: Pdu['cid'], payload: Buffer): void {
    for (const packet of aclPackets(this.handle, cid, payload, DATA_OCTETS)) this.#outlet.deliver(packet);
  }

  /** A recorded packet, under the handle that the link has now. */
  #hand(recorded: Buffer): void {
    const packet = Buffer.from(recorded);
    if (packet[0] === H4.acl) packet.writeUInt16LE((packet.readUInt16LE(1) & 0xf000) | this.handle, 1);
    const completes = packet[1] === EVENT_CODE.commandComplete && packet.length >= 9;
    const at = packet[0] === H4.event ? (completes ? 7 : handleAt(packet)) : null;
    if (at !== null) packet.writeUInt16LE(this.handle, at);
    this.#outlet.deliver(packet);
  }

  #after(ms: number, work: () => void): void {
    const cancel = this.#clock.after(ms, () => {
      this.#timers.delete(cancel);
      if (!this.#over) work();
    });
    this.#timers.add(cancel);
  }
}
