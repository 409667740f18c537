/** Whom it concerns what becomes of some packets: the controller has `taken` the last one, or the link ended before: `dropped`. */
export interface Sender {
  taken(): void;
  dropped(): void;
}

/** An ACL packet that waits for a controller buffer; the last of some has their sender. */
interface WaitingPacket {
  readonly packet: Buffer;
  readonly sender: Sender | null;
}

/** What the scheduler asks about a link: its interval, and how long the air takes for a full packet and its answer. */
export interface LinkShape {
  readonly intervalMs: number;
  readonly packetMs: number;
}

interface LinkQueue {
  readonly handle: number;
  waiting: WaitingPacket[];
  /** First packet of `waiting` that has not left. */
  head: number;
  /** The packets that the controller holds, in order, by what each takes of an event. */
  held: number[];
  /** What they take together. */
  holds: number;
  /** When each of them was handed over. */
  heldSinceMs: number[];
  /** The most that one event of the link has carried lately, in full packets. */
  capacity: number;
  /** So many events have told of it since the links last changed. */
  settled: number;
  /** It is given what seems to fit, if that is more; how often it did not. */
  tries: boolean;
  misses: number;
  /** Events that carried all of the capacity since the last try. */
  full: number;
  /** The most that an event has carried of the last so many `events`. */
  best: number;
  events: number;
  /** When the first packet of its last event was heard to be over; null before the first time. */
  beganMs: number | null;
  /** When those of its events are, within its interval and apart from `#shiftMs`; how many in a row came at quite another time. */
  phaseMs: number;
  strange: number;
  /** When this link last came forward, or was given packets while it held none. */
  progressMs: number;
}

/** What every controller's event can be taken to carry until it has shown what it does. */
const FIRST_CAPACITY = 3;
/** Events keep their place to some millionths. Of a delay within the jitter so much is taken for a drift of all of them, and of this one. */
const JITTER_MS = 3;
const LATE_BELIEVED = 0.1;
const PHASE_BELIEVED = 0.1;
/** So many events in a row beyond the jitter, of all links or of one, and that is where they are now. */
const STRANGE_EVENTS = 3;
/** A packet that was handed over before the last so many of an event, and the way there and back, was there in time. */
const SURE_PACKETS = 3;
/** So many times more did not fit, and it is not tried any more until so many events were full. */
const MISSES = 2;
const FULL_EVENTS = 32;
/** After so many events the places of a new set of links are known well enough to tell that a packet was late. */
const SETTLED_EVENTS = 4;
/** A capacity that none of so many events has reached is none any more. */
const EVENTS_COMPARED = 16;
/**
 * What the way to the controller takes beyond its shortest, learnt up to `most`: up by `late` for each event that packets missed, down by
 * the share `inTime` for each that none did.
 */
const DELAY_MS = { most: 4, late: 0.5, inTime: 0.005 } as const;
/** A link that is alone is refilled when this part of the buffers is free, where the rest bridges the way to the controller and back. */
const REFILL_SHARE = 0.25;
/** A pause of so much of the interval, and of so many packets, separates two events of the same link. */
const EVENT_PAUSE = { interval: 0.25, packets: 3 } as const;
/** Intervals without progress after which a link that holds packets counts as stalled, and milliseconds on top. */
const STALL_INTERVALS = 4;
const STALL_MS = 50;

/**
 * Shares the controller's ACL buffers between links (Core 5.4, Vol 4 Part E, 4.1). A controller serves each link once an interval, one link
 * behind the other, and ends a link's event when no packet is queued behind the one on the air, or when the next link's event begins. So the
 * buffers are to hold what the air will carry next: the rest of the event that lasts, then the link that was not served for longest, and
 * so on, each up to what its event carries. Which is next and how much that is is learnt from the order of Number Of Completed
 * Packets and hardly from their time: controllers place events as they like, and reports come late. A packet that would miss
 * its event for the time that it takes to the controller goes to a later one. A link that stalls keeps what it holds and gets nothing
 * more, and no link may hold everything, so that the others go on.
 */
export class AclScheduler {
  readonly #send: (packet: Buffer) => void;
  readonly #buffers: number;
  readonly #shapeOf: (handle: number) => LinkShape;
  readonly #nowMs: () => number;
  readonly #shortestTripMs: () => number;
  readonly #links = new Map<number, LinkQueue>();
  /** The link that is there when there is one only. */
  #alone: LinkQueue | null = null;
  #free: number;
  /** The link that was heard of last, when that was, and how many of its event's packets are over. */
  #current: LinkQueue | null = null;
  #heardMs = 0;
  #served = 0;
  #delayMs = 0;
  /** By how much all events come later than their phases say: reports are delayed together, and clocks drift. */
  #shiftMs = 0;
  /** How many reports in a row came at quite another time than expected, and by how much. */
  #strange = 0;
  #strangeMs = 0;

  /** `shortestTripMs` is how long a packet takes to the controller, and its report back, together and at least. */
  constructor(
    buffers: number,
    send: (packet: Buffer) => void,
    shapeOf: (handle: number) => LinkShape,
    nowMs: () => number,
    shortestTripMs: () => number = () => 0,
  ) {
    this.#buffers = buffers;
    this.#free = buffers;
    this.#send = send;
    this.#shapeOf = shapeOf;
    this.#nowMs = nowMs;
    this.#shortestTripMs = shortestTripMs;
  }

  get #roundTripMs(): number {
    return this.#shortestTripMs() + this.#delayMs;
  }

  add(handle: number): void {
    this.#links.set(handle, {
      handle,
      waiting: [],
      head: 0,
      held: [],
      holds: 0,
      heldSinceMs: [],
      capacity: FIRST_CAPACITY,
      settled: 0,
      tries: true,
      misses: 0,
      full: 0,
      best: 0,
      events: 0,
      beganMs: null,
      phaseMs: 0,
      strange: 0,
      progressMs: 0,
    });
    this.#linksChanged();
  }

  /** The link is over: the controller has dropped what it held of it. */
  remove(handle: number): void {
    const link = this.#links.get(handle);
    if (!link) return;
    this.#links.delete(handle);
    if (this.#current === link) this.#current = null;
    this.#linksChanged();
    this.#free += link.held.length;
    for (const { sender } of link.waiting.slice(link.head)) sender?.dropped();
    this.#pump();
  }

  /** With other links the events are others. */
  #linksChanged(): void {
    const [first] = this.#links.values();
    this.#alone = this.#links.size === 1 && first ? first : null;
    for (const link of this.#links.values()) {
      link.tries = true;
      link.misses = 0;
      link.settled = 0;
    }
  }

  /** Packets of a link that are not yet over the air: here or in the controller. */
  queued(handle: number): number {
    const link = this.#links.get(handle);
    return link ? link.waiting.length - link.head + link.held.length : 0;
  }

  /** Queues packets of a link. */
  push(handle: number, packets: readonly Buffer[], sender: Sender | null = null): void {
    const link = this.#links.get(handle);
    if (!link) return sender?.dropped();
    const last = packets.length - 1;
    if (last < 0) return sender?.taken();
    for (let i = 0; i <= last; i++) link.waiting.push({ packet: packets[i]!, sender: i === last ? sender : null });
    this.#pump();
  }

  /** Number Of Completed Packets for one link. */
  completed(handle: number, count: number): void {
    const link = this.#links.get(handle);
    if (!link) return;
    const now = this.#nowMs();
    if (!this.#alone) this.#follow(link, now);
    link.progressMs = now;
    this.#heardMs = now;
    for (let left = Math.min(count, link.held.length); left > 0; left--) {
      const freed = link.held.shift()!;
      link.heldSinceMs.shift();
      link.holds -= freed;
      this.#served += freed;
      this.#free += 1;
    }
    this.#pump(now);
  }

  /** Whether what is heard of a link belongs to the event that lasts, or a new one has begun. */
  #follow(link: LinkQueue, now: number): void {
    const { intervalMs, packetMs } = this.#shapeOf(link.handle);
    const pauseMs = Math.max(EVENT_PAUSE.interval * intervalMs, EVENT_PAUSE.packets * packetMs);
    if (link === this.#current && now - this.#heardMs <= pauseMs) {
      this.#learnPhase(link, now, this.#served);
      return;
    }
    if (this.#current) this.#over(this.#current);
    this.#current = link;
    this.#served = 0;
    if (link.beganMs === null) link.phaseMs = now - this.#shiftMs;
    else this.#learnPhase(link, now, 0);
    link.beganMs = now;
  }

  /**
   * A packet was heard to be over, behind so many others of its event. What is heard late was delayed on its way, unless that happens again
   * and again and by as much: then the controller's time has fallen behind. What was held up and comes all at once is later by less each time.
   */
  #learnPhase(link: LinkQueue, now: number, behind: number): void {
    const { intervalMs, packetMs } = this.#shapeOf(link.handle);
    const sinceMs = now - this.#shiftMs - link.phaseMs - behind * packetMs;
    const offMs = sinceMs - Math.round(sinceMs / intervalMs) * intervalMs;
    if (Math.abs(offMs) <= JITTER_MS) {
      this.#strange = 0;
      this.#shiftMs += offMs < 0 ? offMs : offMs * LATE_BELIEVED;
      if (behind > 0) return;
      link.strange = 0;
      link.phaseMs += offMs * PHASE_BELIEVED;
      return;
    }
    const isAsBefore = Math.abs(offMs - this.#strangeMs) < packetMs / 2;
    this.#strange = isAsBefore ? this.#strange + 1 : 1;
    this.#strangeMs = offMs;
    if (behind === 0) link.strange += 1;
    if (this.#strange >= STRANGE_EVENTS) {
      this.#shiftMs += offMs;
      this.#strange = 0;
    } else if (link.strange >= STRANGE_EVENTS) {
      link.phaseMs += offMs;
      link.strange = 0;
    }
  }

  /** What the link's next event is given: what they have carried, or what fits before the next link's event as far as that is known. */
  #fits(link: LinkQueue): number {
    if (!link.tries || link.beganMs === null) return link.capacity;
    const { intervalMs, packetMs } = this.#shapeOf(link.handle);
    let roomMs = intervalMs;
    for (const other of this.#links.values()) {
      if (other === link || other.beganMs === null) continue;
      roomMs = Math.min(roomMs, modulo(other.phaseMs - link.phaseMs, this.#shapeOf(other.handle).intervalMs));
    }
    return Math.max(link.capacity, Math.floor(roomMs / packetMs));
  }

  /** How long until the first packet of the link's next event can be heard to be over; 0 when that is overdue. */
  #untilEventMs(link: LinkQueue, now: number): number {
    if (link.beganMs === null) return 0;
    const { intervalMs } = this.#shapeOf(link.handle);
    const sinceMs = modulo(now - this.#shiftMs - link.phaseMs, intervalMs);
    const isOverdue = link.holds > 0 && sinceMs < intervalMs / 4 && link.beganMs < now - intervalMs / 2;
    return isOverdue ? 0 : intervalMs - sinceMs;
  }

  /** An event is over: what the controller still holds of it came too late, or was more than it carries, or else it had no more. */
  #over(link: LinkQueue): void {
    const served = this.#served;
    if (served <= 0) return;
    const { most, late, inTime } = DELAY_MS;
    const { intervalMs, packetMs } = this.#shapeOf(link.handle);
    const handedMs = link.holds > 0 ? link.heldSinceMs[0]! : this.#heardMs;
    const leftSome = handedMs < this.#heardMs;
    const isLate =
      leftSome &&
      served < link.capacity &&
      link.settled >= SETTLED_EVENTS &&
      this.#strange === 0 &&
      handedMs >= this.#heardMs - this.#roundTripMs - SURE_PACKETS * packetMs;
    this.#delayMs = isLate ? Math.min(most, this.#delayMs + late) : this.#delayMs * (1 - inTime);
    if (!leftSome && served < link.capacity) return;
    if (served > link.capacity) {
      link.capacity = Math.min(served, Math.floor(intervalMs / packetMs));
      link.misses = 0;
    } else if (leftSome && served === link.capacity) {
      // More did not fit.
      link.misses += 1;
      if (link.misses >= MISSES) link.tries = false;
    } else if (served === link.capacity) {
      link.full += 1;
      if (link.full >= FULL_EVENTS) link.tries = true;
      if (link.tries) link.misses = link.full = 0;
    }
    link.best = Math.max(link.best, served);
    link.events += 1;
    link.settled += 1;
    if (link.events < EVENTS_COMPARED) return;
    link.capacity = Math.min(link.capacity, link.best);
    link.events = link.best = 0;
  }

  #pump(now = this.#nowMs()): void {
    if (this.#free === 0) return;
    if (this.#alone) return this.#refill(this.#alone, now);
    const links = [...this.#links.values()];
    if (links.every((link) => link.head === link.waiting.length)) return;
    const stuck = sum(links.map((link) => (this.#stalled(link, now) ? link.held.length : 0)));
    const most = Math.max(1, this.#buffers - stuck - 1);
    const line = this.#line(now).filter(({ link }) => !this.#stalled(link, now));
    for (const { link, packets } of line) this.#give(link, packets, most, now);
    // What nobody needs may go to events that carry more than they have shown.
    for (const { link } of line) this.#give(link, most, most, now);
  }

  /** A link that is alone has all buffers, some at a time: a transfer to the controller has its price, whatever it carries. */
  #refill(link: LinkQueue, now: number): void {
    const waiting = link.waiting.length - link.head;
    const { packetMs } = this.#shapeOf(link.handle);
    const some = this.#buffers * REFILL_SHARE;
    const bridges = (this.#buffers - some - 2) * packetMs > 2 * this.#roundTripMs;
    if (bridges && waiting > this.#free && this.#free < some) return;
    if (waiting > 0 && !this.#stalled(link, now)) this.#give(link, this.#buffers, this.#buffers, now);
  }

  /** The links in the order in which the air will serve them, and how much each may hold for that. */
  #line(now: number): { link: LinkQueue; packets: number }[] {
    const roundTripMs = this.#roundTripMs;
    const line = [...this.#links.values()].map((link) => {
      const { intervalMs, packetMs } = this.#shapeOf(link.handle);
      let atMs = this.#untilEventMs(link, now);
      // What comes too late for an event is for the one after it.
      if (link.beganMs !== null && atMs - packetMs + Math.max(0, link.holds - 1) * packetMs < roundTripMs)
        atMs += intervalMs;
      return { link, packets: this.#fits(link), atMs };
    });
    const current = this.#current;
    if (!current) return line.sort((a, b) => a.atMs - b.atMs);
    const { packetMs } = this.#shapeOf(current.handle);
    const left = this.#fits(current) - this.#served;
    const lasts = left > 0 && (current.holds - 1) * packetMs >= roundTripMs + now - this.#heardMs;
    if (!lasts) return line.sort((a, b) => a.atMs - b.atMs);
    for (const each of line) if (each.link === current) each.packets += left;
    return [{ link: current, packets: left, atMs: 0 }, ...line.sort((a, b) => a.atMs - b.atMs)];
  }

  #stalled(link: LinkQueue, now: number): boolean {
    const silentMs = now - link.progressMs;
    if (link.held.length === 0 || silentMs <= STALL_MS) return false;
    return silentMs > STALL_INTERVALS * this.#shapeOf(link.handle).intervalMs + STALL_MS;
  }

  /** Hands over what an event carries, `packets` in full ones, and at most `most` packets in all. */
  #give(link: LinkQueue, packets: number, most: number, now: number): void {
    while (this.#free > 0 && link.held.length < most) {
      const next = link.waiting[link.head];
      if (!next || link.holds + share(next.packet) > packets) return;
      this.#hand(link, now);
    }
  }

  #hand(link: LinkQueue, now: number): void {
    const { packet, sender } = link.waiting[link.head++]!;
    if (link.head === link.waiting.length || link.head > 256) {
      link.waiting = link.waiting.slice(link.head);
      link.head = 0;
    }
    if (link.held.length === 0) link.progressMs = now;
    const taken = share(packet);
    link.held.push(taken);
    link.heldSinceMs.push(now);
    link.holds += taken;
    this.#free -= 1;
    this.#send(packet);
    sender?.taken();
  }
}

/** Octets below which a packet fits into what full ones leave of a slot. */
const SMALL_OCTETS = 64;

/** What a packet takes of a slot, counted in full packets. */
function share(packet: Buffer): number {
  return packet.length < SMALL_OCTETS ? 0 : 1;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

const modulo = (value: number, by: number) => ((value % by) + by) % by;
