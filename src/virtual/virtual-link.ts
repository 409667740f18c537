import { STATUS } from '../radio/hci/packets.ts';
import { exchangeUs, type Phy } from './air-time.ts';
import type { VirtualController } from './controller.ts';
import type { Ether } from './ether.ts';

/** One host buffer on its way: sent in link-layer PDUs of what the data length allows, given back when all are acknowledged. */
interface Outgoing {
  readonly data: Buffer;
  readonly startsPdu: boolean;
  sent: number;
}

/** Events that a link may miss before it takes precedence. */
const MISSED_EVENTS = 2;

/** One side of a link. */
export interface LinkEnd {
  readonly controller: VirtualController;
  readonly handle: number;
  readonly role: 'central' | 'peripheral';
  readonly queue: Outgoing[];
}

/** Parameters of a connection, in microseconds. */
export interface LinkTiming {
  intervalUs: number;
  supervisionTimeoutUs: number;
  latency: number;
}

/**
 * One connection between two virtual controllers. Rules of the air: whole PDU exchanges only; an event ends when both sides have
 * nothing more to send, when the slot of the central's next link begins, or with the interval; unused air is never banked.
 */
export class VirtualLink {
  readonly central: LinkEnd;
  readonly peripheral: LinkEnd;
  readonly #ether: Ether;
  timing: LinkTiming;
  phy: Phy = 1;
  /** Octets of payload in a PDU: 27 until one side asks for more. */
  octets = 27;
  /** Whether both sides encrypt. */
  encrypted = false;
  /** The key with which the central asked to encrypt, while the peripheral has not answered. */
  proposedKey: Buffer | null = null;
  /** The radio between the two is dead; supervision will notice. */
  silent = false;
  /** Share of exchanges that are lost. */
  lossRate = 0;
  nextAnchor: number;
  #lastHeard: number;
  /** Events in a row without air. */
  #missed = 0;
  #ended = false;
  #cancel: () => void = () => undefined;

  constructor(ether: Ether, central: LinkEnd, peripheral: LinkEnd, timing: LinkTiming, firstAnchor: number) {
    this.#ether = ether;
    this.central = central;
    this.peripheral = peripheral;
    this.timing = timing;
    this.nextAnchor = firstAnchor;
    this.#lastHeard = ether.now;
    ether.links.add(this);
    this.#scheduleAnchor();
  }

  /** The side that is not `end`. */
  other(end: LinkEnd): LinkEnd {
    return end === this.central ? this.peripheral : this.central;
  }

  /** Ends the link: at once when the peer is told over the air in time, by supervision when it is not. */
  terminate(by: LinkEnd): void {
    if (this.silent || this.#ended) return;
    const at = Math.max(this.nextAnchor, this.#ether.now) + exchangeUs(2, 0, this.phy);
    this.#ether.at(at, () => {
      if (this.silent) return;
      this.end((end) => (end === by ? STATUS.LOCAL_HOST_TERMINATED : STATUS.REMOTE_USER_TERMINATED));
    });
  }

  /** Ends the link on both sides with the reason that each is given. */
  end(reason: (end: LinkEnd) => number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#cancel();
    this.#ether.links.delete(this);
    for (const end of [this.central, this.peripheral]) end.controller.linkEnded(end, reason(end));
  }

  #scheduleAnchor(): void {
    this.#cancel = this.#ether.at(this.nextAnchor, () => this.#connectionEvent());
  }

  #connectionEvent(): void {
    const anchor = this.nextAnchor;
    this.nextAnchor = anchor + this.timing.intervalUs;
    if (this.silent) {
      if (anchor - this.#lastHeard >= this.timing.supervisionTimeoutUs) this.end(() => STATUS.CONNECTION_TIMEOUT);
      else this.#scheduleAnchor();
      return;
    }
    if (this.central.controller.busyUntil > anchor) return this.#scheduleAnchor();
    let slotEnd = this.nextAnchor;
    for (const link of this.#ether.links) {
      if (link !== this && link.central.controller === this.central.controller && !link.silent) {
        slotEnd = Math.min(slotEnd, link.nextAnchor);
      }
    }
    this.#exchange(slotEnd, true);
  }

  #exchange(slotEnd: number, isFirst: boolean): void {
    const centralOctets = this.#pduOctets(this.central);
    const peripheralOctets = this.#pduOctets(this.peripheral);
    const endsAt = this.#ether.now + exchangeUs(centralOctets, peripheralOctets, this.phy, this.encrypted);
    if (endsAt > slotEnd) {
      if (!isFirst || ++this.#missed <= MISSED_EVENTS) return this.#scheduleAnchor();
      // Events of links with different intervals collide; one that has missed too many goes before the others.
      this.central.controller.busyUntil = endsAt;
    }
    this.#missed = 0;
    this.#cancel = this.#ether.at(endsAt, () => {
      if (this.silent) {
        this.#scheduleAnchor();
        return;
      }
      if (this.lossRate === 0 || this.#ether.random() >= this.lossRate) {
        this.#lastHeard = endsAt;
        this.#acknowledge(this.central, centralOctets);
        this.#acknowledge(this.peripheral, peripheralOctets);
      }
      if (this.#ended) return;
      if (this.central.queue.length > 0 || this.peripheral.queue.length > 0) this.#exchange(slotEnd, false);
      else this.#scheduleAnchor();
    });
  }

  #pduOctets(end: LinkEnd): number {
    const first = end.queue[0];
    return first ? Math.min(first.data.length - first.sent, this.octets) : 0;
  }

  #acknowledge(end: LinkEnd, octets: number): void {
    const first = end.queue[0];
    if (!first || octets === 0) return;
    const part = first.data.subarray(first.sent, first.sent + octets);
    const startsPdu = first.startsPdu && first.sent === 0;
    first.sent += octets;
    if (first.sent >= first.data.length) {
      end.queue.shift();
      end.controller.bufferCompleted(end);
    }
    const receiver = this.other(end);
    receiver.controller.received(receiver, startsPdu, part);
  }
}
