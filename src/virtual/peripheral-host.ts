import { ATT, AttServer, type ServiceDeclaration, uuidBytes } from './att-server.ts';
import { CODE, EVENT_CODE, REASON, SUBEVENT } from './hci/codes.ts';
import { addressOctets, CHANNEL, commandPacket, H4, L2capIntake, l2capPackets } from './hci/packet.ts';

/** Every event (Core 5.4, Vol 4 Part E, 7.3.1): LE Meta is off after a reset. */
const ALL_EVENTS = Buffer.from('ffffffffffffff3f', 'hex');
/** The LE events that are handled here or are of no harm, by the bits of their sub-events (7.8.1). */
const LE_EVENTS = [
  SUBEVENT.connectionComplete,
  SUBEVENT.connectionUpdateComplete,
  SUBEVENT.longTermKeyRequest,
  SUBEVENT.dataLengthChange,
  SUBEVENT.phyUpdateComplete,
];

/** The H4 side of a controller, as a host sees it: the ether's own or any other. */
export interface HciPort {
  send(packet: Buffer): void;
  onPacket(handler: (packet: Buffer) => void): void;
}

/** What a peripheral shows and asks for. */
export interface PeripheralSetup {
  readonly name: string;
  /** A static random address. */
  readonly address: string;
  readonly advertisedService: string;
  readonly advertisingMs: number;
  readonly services: readonly ServiceDeclaration[];
  readonly mtu: number;
  readonly dataLength: number;
  readonly phy: '1M' | '2M';
  readonly asksForSpeed: boolean;
  /** L2CAP PDUs of other channels than ATT. */
  readonly onL2cap?: (cid: number, payload: Buffer) => void;
  /** ATT PDUs as they arrive, before they are served. */
  readonly onAtt?: (pdu: Buffer) => void;
  /** The link has changed: encrypted or not. */
  readonly onEncrypted?: () => void;
  /** The central wants to encrypt with the key that these find; null when it is unknown. */
  readonly keyFor?: (ediv: number, rand: Buffer) => Buffer | null;
  readonly onConnected?: (central: { readonly random: boolean; readonly octets: Buffer }) => void;
  readonly onDisconnected?: () => void;
}

/** The fewest octets of the events that are read here, by code; what is shorter is none. */
const LEAST_OCTETS: Readonly<Record<number, number>> = {
  [EVENT_CODE.commandComplete]: 6,
  [EVENT_CODE.disconnectionComplete]: 7,
  [EVENT_CODE.encryptionChange]: 7,
};
/** The same of LE events, by sub-event. */
const LEAST_LE_OCTETS: Readonly<Record<number, number>> = {
  [SUBEVENT.connectionComplete]: 22,
  [SUBEVENT.longTermKeyRequest]: 16,
};

/**
 * A small peripheral host stack: advertises, accepts one connection, serves GATT. It speaks only HCI, so that it runs on the virtual
 * ether and on any other H4 controller alike.
 */
export class PeripheralHost {
  readonly #port: HciPort;
  #setup: PeripheralSetup | null = null;
  #att: AttServer | null = null;
  #handle: number | null = null;
  #encrypted = false;
  #intake = new L2capIntake();
  #aclBytes = 27;
  #credits = 0;
  #onWire = 0;
  /** Indications that wait for their confirmation, the first of them on its way. */
  #indications: Buffer[] = [];
  #queue: Buffer[] = [];
  #commands: Buffer[] = [];
  #commandOut = false;

  constructor(port: HciPort) {
    this.#port = port;
    port.onPacket((packet) => this.#received(packet));
  }

  get encrypted(): boolean {
    return this.#encrypted;
  }

  get connected(): boolean {
    return this.#handle !== null;
  }

  /** The GATT server of the present link. */
  get att(): AttServer | null {
    return this.#att;
  }

  /** Resets the controller and begins to advertise. */
  start(setup: PeripheralSetup): void {
    this.stop();
    this.#setup = setup;
    this.#command(CODE.reset);
    this.#command(CODE.setEventMask, ALL_EVENTS);
    const mask = Buffer.alloc(8);
    mask.writeUInt16LE(
      LE_EVENTS.reduce((bits, subevent) => bits | (1 << (subevent - 1)), 0),
      0,
    );
    this.#command(CODE.leSetEventMask, mask);
    this.#command(CODE.leReadBufferSize);
    this.#command(CODE.leSetRandomAddress, addressOctets(setup.address));
    const units = Math.round(setup.advertisingMs / 0.625);
    const parameters = Buffer.alloc(15);
    parameters.writeUInt16LE(units, 0);
    parameters.writeUInt16LE(units, 2);
    parameters[5] = 1;
    parameters[13] = 0x07;
    this.#command(CODE.leSetAdvertisingParameters, parameters);
    const service = uuidBytes(setup.advertisedService);
    const complete = service.length === 2 ? 0x03 : 0x07;
    this.#command(
      CODE.leSetAdvertisingData,
      advertisement([
        [0x01, Buffer.of(0x06)],
        [complete, service],
      ]),
    );
    this.#command(CODE.leSetScanResponseData, advertisement(setup.name ? [[0x09, Buffer.from(setup.name)]] : []));
    this.#advertise();
  }

  /** Forgets link and set-up; the controller is left to whoever stopped it. */
  stop(): void {
    this.#setup = null;
    this.#commands = [];
    this.#commandOut = false;
    this.#forgetLink();
  }

  /** Sends a notification if the central has subscribed. */
  notify(uuid: string, value: Uint8Array): boolean {
    if (!this.#att || (this.#att.configuration(uuid) & 1) === 0) return false;
    this.sendL2cap(CHANNEL.att, this.#att.notification(uuid, value));
    return true;
  }

  /** Sends an indication if the central has subscribed. */
  indicate(uuid: string, value: Uint8Array): boolean {
    if (!this.#att || (this.#att.configuration(uuid) & 2) === 0) return false;
    this.#indications.push(this.#att.notification(uuid, value, ATT.INDICATION));
    if (this.#indications.length === 1) this.sendL2cap(CHANNEL.att, this.#indications[0]!);
    return true;
  }

  /** One indication at a time (Core 5.4, Vol 3 Part F, 3.3.2): the next goes out when the last is confirmed. */
  #indicationConfirmed(): void {
    this.#indications.shift();
    const next = this.#indications[0];
    if (next) this.sendL2cap(CHANNEL.att, next);
  }

  #advertise(): void {
    this.#command(CODE.leSetAdvertisingEnable, Buffer.of(1));
  }

  /** One command at a time, as a host with one command credit must. */
  #command(opcode: number, parameters?: Uint8Array): void {
    this.#commands.push(commandPacket(opcode, parameters));
    if (!this.#commandOut) this.#nextCommand();
  }

  #nextCommand(): void {
    const command = this.#commands.shift();
    this.#commandOut = command !== undefined;
    if (command) this.#port.send(command);
  }

  #received(packet: Buffer): void {
    if (!this.#setup) return;
    if (packet[0] === H4.acl) return this.#data(packet);
    if (packet[0] !== H4.event || !isWhole(packet)) return;
    switch (packet[1]) {
      case EVENT_CODE.commandComplete:
        if (packet.length >= 10 && packet.readUInt16LE(4) === CODE.leReadBufferSize && packet[6] === 0) {
          this.#aclBytes = packet.readUInt16LE(7) || 27;
          this.#credits = packet[9] || 1;
        }
        return this.#nextCommand();
      case EVENT_CODE.commandStatus:
        return this.#nextCommand();
      case EVENT_CODE.numberOfCompletedPackets:
        for (let at = 4; at + 4 <= packet.length; at += 4)
          this.#completed(packet.readUInt16LE(at), packet.readUInt16LE(at + 2));
        return this.#flush();
      case EVENT_CODE.disconnectionComplete:
        if (packet.readUInt16LE(4) !== this.#handle) return;
        this.#forgetLink();
        this.#setup.onDisconnected?.();
        if (this.#setup) this.#advertise();
        return;
      case EVENT_CODE.encryptionChange:
        if (packet.readUInt16LE(4) !== this.#handle) return;
        this.#encrypted = packet[3] === 0 && packet[6] === 1;
        if (this.#encrypted) this.#setup.onEncrypted?.();
        return;
      case EVENT_CODE.leMeta:
        if (packet[3] === SUBEVENT.connectionComplete && packet[4] === 0) this.#connected(packet);
        if (packet[3] === SUBEVENT.longTermKeyRequest) this.#giveKey(packet);
    }
  }

  #completed(handle: number, packets: number): void {
    if (handle === this.#handle) this.#onWire = Math.max(0, this.#onWire - packets);
  }

  #giveKey(packet: Buffer): void {
    const handle = packet.subarray(4, 6);
    const key = this.#setup?.keyFor?.(packet.readUInt16LE(14), packet.subarray(6, 14)) ?? null;
    if (key) this.#command(CODE.leLongTermKeyRequestReply, Buffer.concat([handle, Buffer.from(key).reverse()]));
    else this.#command(CODE.leLongTermKeyRequestNegativeReply, handle);
  }

  /** Asks for least and most interval, latency and supervision timeout (four u16) by LE Connection Update (Vol 4 Part E, 7.8.18). */
  askForParameters(parameters: Uint8Array): void {
    if (this.#handle === null) return;
    const handle = Buffer.of(this.#handle & 0xff, this.#handle >> 8);
    this.#command(CODE.leConnectionUpdate, Buffer.concat([handle, parameters, Buffer.alloc(4)]));
  }

  /** Ends the link. */
  disconnect(): void {
    if (this.#handle === null) return;
    this.#command(CODE.disconnect, Buffer.of(this.#handle & 0xff, this.#handle >> 8, REASON.remoteUserTerminated));
  }

  #connected(packet: Buffer): void {
    const handle = packet.readUInt16LE(5);
    const setup = this.#setup!;
    this.#handle = handle;
    this.#att = new AttServer(setup.services, setup.mtu);
    if (setup.asksForSpeed && setup.dataLength > 27) {
      const parameters = Buffer.alloc(6);
      parameters.writeUInt16LE(handle, 0);
      parameters.writeUInt16LE(setup.dataLength, 2);
      parameters.writeUInt16LE(17040, 4);
      this.#command(CODE.leSetDataLength, parameters);
    }
    if (setup.asksForSpeed && setup.phy === '2M')
      this.#command(CODE.leSetPhy, Buffer.of(handle & 0xff, handle >> 8, 0, 2, 2, 0, 0));
    setup.onConnected?.({ random: packet[8] === 1, octets: Buffer.from(packet.subarray(9, 15)).reverse() });
  }

  #forgetLink(): void {
    this.#handle = null;
    this.#encrypted = false;
    this.#att = null;
    this.#queue = [];
    this.#onWire = 0;
    this.#indications = [];
    this.#intake = new L2capIntake();
  }

  #data(packet: Buffer): void {
    if ((packet.readUInt16LE(1) & 0x0fff) !== this.#handle || !this.#att) return;
    const pdu = this.#intake.push(packet);
    if (!pdu) return;
    if (pdu.channel !== CHANNEL.att) return this.#setup?.onL2cap?.(pdu.channel, pdu.payload);
    this.#setup?.onAtt?.(pdu.payload);
    if (pdu.payload[0] === ATT.CONFIRMATION) return this.#indicationConfirmed();
    const answer = this.#att.handle(pdu.payload);
    if (answer) this.sendL2cap(CHANNEL.att, answer);
  }

  /** Sends an L2CAP PDU to the central. */
  sendL2cap(cid: number, payload: Buffer): void {
    if (this.#handle === null) return;
    this.#queue.push(...l2capPackets(this.#handle, cid, payload, this.#aclBytes));
    this.#flush();
  }

  #flush(): void {
    while (this.#queue.length > 0 && this.#onWire < this.#credits) {
      this.#onWire += 1;
      this.#port.send(this.#queue.shift()!);
    }
  }
}

/** Whether an event is as long as what is read of it; a controller's word is not taken for it. */
function isWhole(event: Buffer): boolean {
  const least = event[1] === EVENT_CODE.leMeta ? LEAST_LE_OCTETS[event[3] ?? 0] : LEAST_OCTETS[event[1]!];
  return event.length >= (least ?? 4);
}

/** Advertising data as HCI wants it: length, then 31 octets (Vol 3 Part C, section 11). */
function advertisement(fields: [number, Buffer][]): Buffer {
  const data = Buffer.concat(fields.flatMap(([type, value]) => [Buffer.of(value.length + 1, type), value]));
  const out = Buffer.alloc(32);
  out[0] = Math.min(data.length, 31);
  data.copy(out, 1, 0, 31);
  return out;
}
