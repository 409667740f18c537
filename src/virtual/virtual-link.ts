import { exchangeUs, type Phy } from './air-time.ts';
import type { VirtualController } from './controller.ts';
import type { Ether } from './ether.ts';
import { REASON } from './hci/codes.ts';

/** One host buffer on its way: sent in link-layer PDUs of what the data length allows, given back when all are acknowledged. */
interface Outgoing {
  readonly data: Buffer;
  readonly startsPdu: boolean;
  sent: number;
}

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

/** A link-layer procedure: PDUs that need events with air first, then an instant some events later, whatever becomes of those. */
interface Procedure {
  exchanges: number;
  instant: number;
  readonly act: () => void;
}

/** So many intervals before the supervision timeout a link goes before everybody else (Zephyr's `ull_conn.c`: `lll->forced`). */
const LAST_CHANCES = 6;

/**
 * One connection between two virtual controllers, as Zephyr's link layer runs it (`lll_conn.c`: `lll_conn_isr_rx`, `lll_conn_pdu_tx_prep`;
 * Core 5.4, Vol 6 Part B, 4.5.6): whole PDU exchanges from the anchor on. The event goes on while a side says "more data", which it does
 * when another packet is queued behind the one that goes on the air; it ends when neither does, when somebody else's time begins
 * (`RadioTime`), or at its own next anchor.
 *
 * A central's packet is acknowledged by the answer within the exchange, and reported at once: in the recordings of Zephyr's controller each
 * of 5,683 packets has an event of its own, 1.39 ms after the one before in the same connection event, and of 1,309 events that began
 * with up to three packets in the controller 99 in 100 ended with none left. A peripheral's packet is acknowledged by the central's
 * next PDU: the last one of an event is reported at the next.
 *
 * That an event stops at its own next anchor is told by what floods one link: 7, 10, 21 and 35 packets of 1,392 µs fit 10, 15, 30 and 50 ms,
 * which are the 171, 163, 171 and 171 kB/s that were measured.
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
  /** When its last event began that had air. */
  servedAt: number;
  #lastHeard: number;
  /** Whether anything was heard in the event that lasts. */
  #heardInEvent = false;
  /** Packets of the peripheral that the central has, but has not acknowledged. */
  #unacknowledged = 0;
  readonly #procedures: Procedure[] = [];
  #ended = false;
  #cancelAnchor: () => void = () => undefined;
  #cancelExchange: () => void = () => undefined;

  constructor(ether: Ether, central: LinkEnd, peripheral: LinkEnd, timing: LinkTiming, firstAnchor: number) {
    this.#ether = ether;
    this.central = central;
    this.peripheral = peripheral;
    this.timing = timing;
    this.nextAnchor = firstAnchor;
    this.servedAt = firstAnchor - timing.intervalUs;
    this.#lastHeard = ether.now;
    ether.links.add(this);
    central.controller.radio.add(this);
    this.#awaitAnchor();
  }

  /** The side that is not `end`. */
  other(end: LinkEnd): LinkEnd {
    return end === this.central ? this.peripheral : this.central;
  }

  /** Whether the supervision timeout is so near that the link may not miss another event. */
  starves(nowUs: number): boolean {
    const { intervalUs, supervisionTimeoutUs } = this.timing;
    return nowUs - this.#lastHeard > supervisionTimeoutUs - LAST_CHANCES * intervalUs;
  }

  /** A procedure of the link layer: one after the other, `exchanges` events with air each, then an instant so many events on. */
  procedure(exchanges: number, instant: number, act: () => void): void {
    this.#procedures.push({ exchanges, instant, act });
  }

  /** Other parameters from the anchor on that is due now; later ones go where an interval of that length has room for them. */
  retime(timing: LinkTiming): void {
    const { radio } = this.central.controller;
    const moves = timing.intervalUs !== this.timing.intervalUs && radio.links.size > 1;
    this.timing = timing;
    if (!moves) return;
    radio.remove(this);
    this.nextAnchor = radio.place(timing.intervalUs, this.nextAnchor).anchorUs;
    radio.add(this);
  }

  /** Ends the link: at its next event when the peer can be told over the air, by supervision when it cannot. */
  terminate(by: LinkEnd): void {
    if (this.silent || this.#ended) return;
    this.#procedures.unshift({
      exchanges: 1,
      instant: 0,
      act: () => this.end((end) => (end === by ? REASON.localHostTerminated : REASON.remoteUserTerminated)),
    });
  }

  /** Ends the link on both sides with the reason that each is given. */
  end(reason: (end: LinkEnd) => number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#cancelAnchor();
    this.#cancelExchange();
    this.#ether.links.delete(this);
    this.central.controller.radio.remove(this);
    for (const end of [this.central, this.peripheral]) end.controller.linkEnded(end, reason(end));
  }

  /** Somebody else's time begins: the PDU on the air is lost and will be sent again. */
  cutOff(): void {
    this.#cancelExchange();
    this.#eventOver();
  }

  #awaitAnchor(): void {
    this.#cancelAnchor = this.#ether.at(this.nextAnchor, () => this.#anchor());
  }

  #anchor(): void {
    const now = this.nextAnchor;
    const { radio } = this.central.controller;
    if (now - this.#lastHeard >= this.timing.supervisionTimeoutUs) return this.end(() => REASON.connectionTimeout);
    const procedure = this.#procedures[0];
    if (procedure && procedure.exchanges <= 0 && --procedure.instant <= 0) this.#finish(procedure);
    if (this.#ended) return;
    if (this.nextAnchor > now) return this.#awaitAnchor();
    this.nextAnchor = now + this.timing.intervalUs;
    this.#awaitAnchor();
    if (!radio.grant(this)) return;
    this.servedAt = now;
    this.#heardInEvent = false;
    if (this.silent) radio.eventOver(this);
    else this.#exchange();
  }

  #finish(procedure: Procedure): void {
    this.#procedures.splice(this.#procedures.indexOf(procedure), 1);
    procedure.act();
  }

  #eventOver(): void {
    this.central.controller.radio.eventOver(this);
    for (const end of [this.central, this.peripheral]) end.controller.eventOver(end);
  }

  #exchange(): void {
    const centralOctets = this.#pduOctets(this.central);
    const peripheralOctets = this.#pduOctets(this.peripheral);
    const centralMore = this.#moreBehind(this.central, centralOctets);
    const peripheralMore = this.#moreBehind(this.peripheral, peripheralOctets);
    const now = this.#ether.now;
    const endsAt = now + exchangeUs(centralOctets, peripheralOctets, this.phy, this.encrypted);
    if (endsAt > this.nextAnchor) return this.#eventOver();
    this.#cancelExchange = this.#ether.at(endsAt, () => {
      if (this.silent) return this.#eventOver();
      if (this.lossRate > 0 && this.#ether.random() < this.lossRate) {
        // Who has not heard the central does not answer, and no answer ends the event; a damaged answer does not.
        if (this.#ether.random() < 0.5) this.#eventOver();
        else this.#exchange();
        return;
      }
      this.#lastHeard = endsAt;
      this.#heard(centralOctets, peripheralOctets);
      if (this.#ended) return;
      const listens = centralMore || peripheralOctets > 0;
      const goesOn = peripheralMore || this.central.queue.length > 0;
      if (listens && goesOn) this.#exchange();
      else this.#eventOver();
    });
    // What ends at the next anchor is over before the next event begins.
    if (endsAt === this.nextAnchor) {
      this.#cancelAnchor();
      this.#awaitAnchor();
    }
  }

  #heard(centralOctets: number, peripheralOctets: number): void {
    // Each side answers a procedure's PDU in the event after the one in which it heard it.
    const procedure = this.#heardInEvent ? undefined : this.#procedures[0];
    this.#heardInEvent = true;
    if (procedure && procedure.exchanges > 0 && --procedure.exchanges === 0 && procedure.instant === 0) {
      this.#finish(procedure);
      if (this.#ended) return;
    }
    for (; this.#unacknowledged > 0; this.#unacknowledged--)
      this.peripheral.controller.bufferCompleted(this.peripheral);
    const fromCentral = this.#take(this.central, centralOctets);
    if (fromCentral?.isLast) this.central.controller.bufferCompleted(this.central);
    const fromPeripheral = this.#take(this.peripheral, peripheralOctets);
    if (fromPeripheral?.isLast) this.#unacknowledged += 1;
    if (fromCentral) this.peripheral.controller.received(this.peripheral, fromCentral.startsPdu, fromCentral.part);
    if (fromPeripheral) this.central.controller.received(this.central, fromPeripheral.startsPdu, fromPeripheral.part);
  }

  #pduOctets(end: LinkEnd): number {
    const first = end.queue[0];
    return first ? Math.min(first.data.length - first.sent, this.octets) : 0;
  }

  #moreBehind(end: LinkEnd, octets: number): boolean {
    const first = end.queue[0];
    return first !== undefined && (end.queue.length > 1 || first.sent + octets < first.data.length);
  }

  #take(end: LinkEnd, octets: number): { part: Buffer; startsPdu: boolean; isLast: boolean } | null {
    const first = end.queue[0];
    if (!first || octets === 0) return null;
    const part = first.data.subarray(first.sent, first.sent + octets);
    const startsPdu = first.startsPdu && first.sent === 0;
    first.sent += octets;
    const isLast = first.sent >= first.data.length;
    if (isLast) end.queue.shift();
    return { part, startsPdu, isLast };
  }
}
