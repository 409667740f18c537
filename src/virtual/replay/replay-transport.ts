import type { Clock } from '../../clock.ts';
import { StationError } from '../../contract/errors.ts';
import type { HciTransport } from '../../radio/hci/transport.ts';
import type { CapturedPacket } from '../../radio/radio.ts';
import type { VirtualController } from '../controller.ts';
import { Ether } from '../ether.ts';
import { CODE, EVENT_CODE, REASON, SUBEVENT } from '../hci/codes.ts';
import { addressOf, commandCompleteEvent, commandStatusEvent, H4 } from '../hci/packet.ts';
import { handleAt } from './hci.ts';
import { RecordedGatt } from './recorded-gatt.ts';
import { type RecordedDevice, RecordedLink } from './recorded-link.ts';
import { RecordedSmp } from './recorded-smp.ts';
import { isOfALink, type RecordedSession, type Recording, readRecording } from './recording.ts';

/** While the host scans, what was heard of each device is heard this often. */
const ADVERTISE_EVERY_MS = 100;
/** Nothing more will ever be heard: after so long the host is told. */
const SILENCE_MS = 2000;
/** A device that was away for longer then is not waited for as long now. */
const LONGEST_ABSENCE_MS = 3000;
const OWN_ADDRESS = '06:00:00:00:00:01';

interface Device extends RecordedDevice {
  /** The session that its next connection plays. */
  session: number;
  link: RecordedLink | null;
  /** From when on it is heard. */
  awayUntilMs: number;
}

/**
 * Plays a recorded capture back to a host: a controller whose peers do what they did, each link as `RecordedLink` says. The host may scan, ask
 * and wait a little differently from the one recorded. What concerns no link is answered as it was, or, where the recording does not hold it,
 * by a virtual controller; what only a device could answer, and did not, ends the replay with a reason. So a failure in the field becomes a test.
 */
export class ReplayTransport implements HciTransport {
  readonly replayed = true;
  readonly #clock: Clock;
  readonly #controller: VirtualController;
  readonly #recording: Recording;
  readonly #devices: Device[];
  readonly #links = new Map<number, Device>();
  readonly #central: Buffer;
  #deliver: (packet: Buffer) => void = () => undefined;
  #lost: (reason: StationError) => void = () => undefined;
  #scanning = false;
  #connecting: string | null = null;
  #cancelAdvertising: () => void = () => undefined;
  #cancelSilence: () => void = () => undefined;
  #closed = false;

  constructor(packets: readonly CapturedPacket[], clock: Clock) {
    this.#clock = clock;
    this.#recording = readRecording(packets);
    this.#devices = this.#recording.peers.map((peer) => {
      const gatt = new RecordedGatt(peer);
      const smp = new RecordedSmp(peer, (uuid) => gatt.valueHandle(uuid));
      return { peer, gatt, smp, session: 0, link: null, awayUntilMs: 0 };
    });
    const ether = new Ether(1);
    this.#controller = ether.createController(OWN_ADDRESS, { aclBuffers: 8 });
    this.#controller.toHost = (packet) => this.#later(packet);
    const own = this.#recording.answers.get(CODE.readBdAddr);
    const address = own && own.length >= 13 ? addressOf(own.subarray(7, 13)) : OWN_ADDRESS;
    this.#central = Buffer.from(address.replaceAll(':', ''), 'hex');
  }

  send(packet: Buffer): void {
    if (packet[0] === H4.acl) return this.#links.get(packet.readUInt16LE(1) & 0x0fff)?.link?.acl(packet);
    if (packet[0] !== H4.command) return;
    const opcode = packet.readUInt16LE(1);
    const parameters = packet.subarray(4);
    if (opcode === CODE.leCreateConnection) return this.#connect(parameters);
    if (opcode === CODE.leCreateConnectionCancel) return this.#cancel();
    if (isOfALink(opcode)) {
      const link = this.#links.get(parameters.readUInt16LE(0) & 0x0fff)?.link;
      return link
        ? link.command(opcode, parameters)
        : this.#later(commandStatusEvent(opcode, REASON.unknownConnection));
    }
    if (opcode === CODE.leSetScanEnable) this.#scan(parameters[0] === 1);
    const recorded = opcode === CODE.reset ? undefined : this.#recording.answers.get(opcode);
    if (recorded) this.#later(recorded);
    else this.#controller.fromHost(packet);
  }

  onPacket(handler: (packet: Buffer) => void): void {
    this.#deliver = handler;
  }

  onLost(handler: (reason: StationError) => void): void {
    this.#lost = handler;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelAdvertising();
    this.#cancelSilence();
    for (const { link } of this.#devices) link?.stop();
    this.#controller.dispose();
  }

  #later(packet: Buffer): void {
    queueMicrotask(() => {
      if (!this.#closed) this.#deliver(packet);
    });
  }

  #scan(on: boolean): void {
    this.#scanning = on;
    this.#cancelAdvertising();
    this.#listenForSilence();
    if (on) this.#advertise();
  }

  #advertise(): void {
    this.#cancelAdvertising = this.#clock.after(ADVERTISE_EVERY_MS, () => {
      for (const device of this.#devices) {
        if (device.link || this.#clock.now() < device.awayUntilMs) continue;
        for (const report of this.#heardOf(device)) this.#later(report);
      }
      this.#advertise();
    });
  }

  #heardOf({ peer, session }: Device): readonly Buffer[] {
    return peer.sessions[session]?.advertising ?? peer.heardLast;
  }

  #connect(parameters: Buffer): void {
    this.#later(commandStatusEvent(CODE.leCreateConnection, 0));
    this.#connecting = addressOf(parameters.subarray(6, 12));
    const device = this.#devices.find(({ peer, link }) => peer.address === this.#connecting && !link);
    const session = device?.peer.sessions[device.session];
    // A device that is not there answers nothing: the host gives up by itself.
    if (!device) return;
    if (!session) return this.#end(`another link with ${device.peer.address}`);
    this.#connecting = null;
    this.#establish(device, session);
  }

  #establish(device: Device, session: RecordedSession): void {
    if ((session.complete[4] ?? 0) !== 0) {
      device.session += 1;
      return this.#later(session.complete);
    }
    let handle = 0;
    while (this.#links.has(handle)) handle++;
    const complete = Buffer.from(session.complete);
    complete.writeUInt16LE(handle, handleAt(complete) ?? 5);
    this.#later(complete);
    this.#links.set(handle, device);
    device.smp.begin(device.session);
    device.link = new RecordedLink(device, session, {
      handle,
      clock: this.#clock,
      central: this.#central,
      outlet: {
        deliver: (packet) => this.#later(packet),
        ended: (byHost) => this.#ended(device, handle, byHost),
        notRecorded: (what) => this.#end(what),
      },
    });
  }

  #ended(device: Device, handle: number, byHost: boolean): void {
    this.#links.delete(handle);
    device.link = null;
    const session = device.peer.sessions[device.session];
    // A host that ends a link which the recorded one kept goes on with it when it comes back.
    const goesOn = byHost && session?.endReason !== REASON.localHostTerminated;
    const last = device.session + 1 >= device.peer.sessions.length;
    if (!goesOn && !(byHost && last)) device.session += 1;
    const absentMs = device.peer.sessions[device.session]?.absentMs ?? 0;
    device.awayUntilMs = this.#clock.now() + (byHost ? 0 : Math.min(absentMs, LONGEST_ABSENCE_MS));
    this.#listenForSilence();
  }

  #cancel(): void {
    const waiting = this.#connecting !== null;
    this.#connecting = null;
    this.#later(commandCompleteEvent(CODE.leCreateConnectionCancel, Buffer.of(waiting ? 0 : REASON.commandDisallowed)));
    if (waiting)
      this.#later(
        Buffer.concat([
          Buffer.of(H4.event, EVENT_CODE.leMeta, 19, SUBEVENT.connectionComplete, REASON.unknownConnection),
          Buffer.alloc(17),
        ]),
      );
  }

  /** A host that listens for devices of which nothing more is recorded is told so. */
  #listenForSilence(): void {
    this.#cancelSilence();
    const silent = this.#devices.every((device) => !device.link && this.#heardOf(device).length === 0);
    if (!this.#scanning || !silent) return;
    this.#cancelSilence = this.#clock.after(SILENCE_MS, () => this.#end('what came after'));
  }

  #end(what: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelAdvertising();
    this.#cancelSilence();
    for (const { link } of this.#devices) link?.stop();
    // Whoever asked is still in the middle of it.
    queueMicrotask(() => this.#lost(new StationError('RECORDING_OVER', what)));
  }
}
