import { type TrayFile, trayDevices } from '../../src/contract/tray-file.ts';
import { Faults } from '../../src/virtual/faults.ts';
import { VirtualDevice } from '../../src/virtual/virtual-device.ts';
import { SteppedClock } from './stepped-clock.ts';

const HANDLE = 0x0001;
const ACL_BYTES = 251;
const CENTRAL = '010203040506';

/**
 * A central of bytes in front of one virtual device, with a controller of its own that loses nothing and takes no time: what a device
 * answers can be held against octets that no code of the product has made.
 */
export class RawCentral {
  readonly clock = new SteppedClock();
  readonly device: VirtualDevice;
  /** What the device printed. */
  readonly log: string[] = [];
  /** L2CAP PDUs that the device sent, by channel. */
  #received: { readonly cid: number; readonly payload: Buffer }[] = [];
  #gathering: Buffer = Buffer.alloc(0);
  #toDevice: (packet: Buffer) => void = () => undefined;
  #advertising = false;
  #connected = false;
  /** The random address that the device has set, and its scan response. */
  address = '';
  name = '';
  #waiting: Buffer[] = [];
  #delivering = false;

  constructor(tray: TrayFile, unit = 1) {
    const description = trayDevices(tray)[unit - 1]!;
    this.device = new VirtualDevice(description, {
      port: {
        send: (packet) => this.#fromDevice(packet),
        onPacket: (handler) => {
          this.#toDevice = handler;
        },
      },
      radio: {
        vanish: () => this.#gone(),
        silence: () => this.#gone(),
        refuseConnections: () => undefined,
        changeInterval: () => undefined,
      },
      clock: this.clock,
      faults: new Faults(tray.faults.filter((fault) => fault.unit === unit)),
      log: (line) => this.log.push(line),
    });
    this.device.start();
  }

  get advertising(): boolean {
    return this.#advertising;
  }

  /** LE Connection Complete (Vol 4 Part E, 7.7.65.1): role peripheral, 30 ms, 4 s. */
  connect(): this {
    if (!this.#advertising) throw new Error('the device does not advertise');
    this.#advertising = false;
    this.#connected = true;
    this.#event(`3e130100${u16(HANDLE)}0100${CENTRAL}1800000090010000`);
    return this;
  }

  /** Disconnection Complete, remote user terminated. */
  disconnect(): void {
    this.#connected = false;
    this.#event(`050400${u16(HANDLE)}13`);
  }

  /** Encryption Change: on. */
  encrypt(): void {
    this.#event(`080400${u16(HANDLE)}01`);
  }

  /** Sends an L2CAP PDU. */
  send(cid: number, payload: Buffer): void {
    const pdu = Buffer.concat([Buffer.from(u16(payload.length) + u16(cid), 'hex'), payload]);
    for (let at = 0; at < pdu.length; at += ACL_BYTES) {
      const part = pdu.subarray(at, at + ACL_BYTES);
      const head = `02${u16(HANDLE | (at === 0 ? 0x2000 : 0x1000))}${u16(part.length)}`;
      this.#deliver(Buffer.concat([Buffer.from(head, 'hex'), part]));
    }
  }

  /** A PDU in hex on a channel (4: ATT, 6: pairing), and what the device has sent there since. */
  exchange(cid: number, hex: string): string[] {
    this.send(cid, Buffer.from(hex.replaceAll(' ', ''), 'hex'));
    return this.taken(cid);
  }

  att(hex: string): string[] {
    return this.exchange(4, hex);
  }

  /** What the device sent on a channel since it was last asked, as hex. */
  taken(cid: number): string[] {
    const taken = this.#received.filter((pdu) => pdu.cid === cid).map(({ payload }) => payload.toString('hex'));
    this.#received = this.#received.filter((pdu) => pdu.cid !== cid);
    return taken;
  }

  /** Lets time pass: so many timers, or all until none is left. */
  pass(timers = Number.POSITIVE_INFINITY): this {
    for (let i = 0; i < timers && this.clock.step(); i++);
    return this;
  }

  #gone(): void {
    this.#advertising = false;
    if (this.#connected) this.disconnect();
  }

  #event(hex: string): void {
    this.#deliver(Buffer.from(`04${hex}`, 'hex'));
  }

  /** One after the other, as over a wire: a device may send while it takes. */
  #deliver(packet: Buffer): void {
    this.#waiting.push(packet);
    if (this.#delivering) return;
    this.#delivering = true;
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) this.#toDevice(next);
    this.#delivering = false;
  }

  #fromDevice(packet: Buffer): void {
    if (packet[0] === 1) return this.#command(packet);
    this.#event(`130501${u16(HANDLE)}0100`);
    const continues = ((packet.readUInt16LE(1) >> 12) & 3) === 1;
    this.#gathering = continues ? Buffer.concat([this.#gathering, packet.subarray(5)]) : packet.subarray(5);
    const bytes = this.#gathering;
    if (bytes.length < 4 + bytes.readUInt16LE(0)) return;
    this.#received.push({ cid: bytes.readUInt16LE(2), payload: Buffer.from(bytes.subarray(4)) });
  }

  #command(packet: Buffer): void {
    const opcode = packet.readUInt16LE(1);
    const parameters = packet.subarray(4);
    if (opcode === 0x2005) this.address = Buffer.from(parameters).reverse().toString('hex');
    if (opcode === 0x2009) this.name = parameters.subarray(3, 2 + parameters[1]!).toString();
    if (opcode === 0x200a) this.#advertising = parameters[0] === 1;
    const returned = opcode === 0x2002 ? `00${u16(ACL_BYTES)}08` : '00';
    const length = 3 + returned.length / 2;
    this.#event(`0e${length.toString(16).padStart(2, '0')}01${u16(opcode)}${returned}`);
  }
}

function u16(value: number): string {
  const octets = Buffer.alloc(2);
  octets.writeUInt16LE(value);
  return octets.toString('hex');
}
