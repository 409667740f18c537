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

/** What the scheduler asks about a link: its interval, and how many packets its slot can empty when `links` share the interval. */
export interface LinkShape {
  readonly intervalMs: number;
  slotPackets(links: number): number;
}

interface LinkQueue {
  readonly handle: number;
  waiting: WaitingPacket[];
  /** First packet of `waiting` that has not left. */
  head: number;
  /** The packets that the controller holds, in order, by what each takes of a slot. */
  held: number[];
  /** What they take together. */
  holds: number;
  /** When each of them was handed over. */
  heldSinceMs: number[];
  /** When the first packet of the link's last slot was heard to be over, had it not been delayed on its way; null before the first time. */
  slotMs: number | null;
  /** How often in a row a slot came at quite another time than expected. */
  strangeSlots: number;
  /** What its slots have turned out to empty; null while that is not known to be less than its share. */
  capacity: number | null;
  /** How often in a row a slot ended with packets left after the same number. */
  cuts: { after: number; times: number };
  /** When this link last came forward, or was given packets while it held none. */
  progressMs: number;
}

/** How a link shares the interval: its slot's length, what it empties, and how long a packet takes. */
interface Slot {
  readonly intervalMs: number;
  readonly slotMs: number;
  readonly packets: number;
  readonly packetMs: number;
}

/**
 * From when a packet is handed over until it is surely in the controller, and from when one is over until that is heard, together: learnt
 * between `least` and `most`, up by `late` for each slot that a packet missed, down by `inTime` for each that none did.
 */
const ROUND_TRIP_MS = { least: 2, most: 8, late: 0.5, inTime: 0.01 } as const;
/** A slot keeps its place to some millionths: of a delay within the jitter this share is taken for a new place. */
const JITTER_MS = 2;
const LATE_BELIEVED = 0.05;
/** So many slots in a row beyond the jitter, and that is where they are: the interval has changed, or the first was heard half way. */
const STRANGE_SLOTS = 3;
/** So many slots in a row that end with packets left after the same number: they are shorter than the link's share. */
const CUTS = 3;
/** A link that is alone is refilled when this part of the buffers is free: the rest bridges a host's usual delays nearly as long as all do. */
const REFILL_SHARE = 0.25;
/** Intervals without progress after which a link that holds packets counts as stalled, and milliseconds on top. */
const STALL_INTERVALS = 4;
const STALL_MS = 50;

/**
 * Shares the controller's ACL buffers between links (Core 5.4, Vol 4 Part E, 4.1). A controller serves each link once an interval and
 * ends its event when it has nothing more of it: a packet that comes too late keeps a buffer for a whole interval. Buffers therefore go
 * first to the link that needs its next packet soonest and can still get it in time, each up to what its slot can empty. When slots come is
 * learnt from Number Of Completed Packets. A link that stalls keeps what it holds and gets nothing more, and no link may hold everything,
 * so that the others go on.
 */
export class AclScheduler {
  readonly #send: (packet: Buffer) => void;
  readonly #buffers: number;
  readonly #shapeOf: (handle: number) => LinkShape;
  readonly #nowMs: () => number;
  readonly #links = new Map<number, LinkQueue>();
  /** The link that is there when there is one only. */
  #alone: LinkQueue | null = null;
  #free: number;
  /** The link that was served last, and what of its slot is over. */
  #current: LinkQueue | null = null;
  #served = 0;
  #roundTripMs: number = ROUND_TRIP_MS.least;

  constructor(
    buffers: number,
    send: (packet: Buffer) => void,
    shapeOf: (handle: number) => LinkShape,
    nowMs: () => number,
  ) {
    this.#buffers = buffers;
    this.#free = buffers;
    this.#send = send;
    this.#shapeOf = shapeOf;
    this.#nowMs = nowMs;
  }

  add(handle: number): void {
    this.#forgetCapacities();
    this.#links.set(handle, {
      handle,
      waiting: [],
      head: 0,
      held: [],
      holds: 0,
      heldSinceMs: [],
      slotMs: null,
      strangeSlots: 0,
      capacity: null,
      cuts: { after: 0, times: 0 },
      progressMs: 0,
    });
    this.#countLinks();
  }

  /** The link is over: the controller has dropped what it held of it. */
  remove(handle: number): void {
    const link = this.#links.get(handle);
    if (!link) return;
    this.#links.delete(handle);
    this.#forgetCapacities();
    if (this.#current === link) this.#current = null;
    this.#countLinks();
    // A link that is left alone is not followed: its slots are learnt anew when it has to share again.
    if (this.#alone) this.#alone.slotMs = null;
    this.#free += link.held.length;
    for (const { sender } of link.waiting.slice(link.head)) sender?.dropped();
    this.#pump();
  }

  #countLinks(): void {
    const [first] = this.#links.values();
    this.#alone = this.#links.size === 1 && first ? first : null;
  }

  /** With other links the slots are others. */
  #forgetCapacities(): void {
    for (const link of this.#links.values()) {
      link.capacity = null;
      link.cuts = { after: 0, times: 0 };
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
    if (!this.#alone) this.#followSlots(link, now);
    link.progressMs = now;
    for (let left = Math.min(count, link.held.length); left > 0; left--) {
      const freed = link.held.shift()!;
      link.heldSinceMs.shift();
      link.holds -= freed;
      this.#served += freed;
      this.#free += 1;
    }
    this.#pump(now);
  }

  /** Whether what is heard of a link belongs to the slot that lasts, or a new one has begun. */
  #followSlots(link: LinkQueue, now: number): void {
    const slot = this.#slot(link);
    const pauseMs = now - link.progressMs;
    if (link === this.#current && pauseMs <= Math.max(slot.intervalMs / 4, 3 * slot.packetMs)) return;
    if (this.#current) this.#slotOver(this.#current, this.#current.progressMs, now);
    this.#current = link;
    this.#served = 0;
    link.slotMs = this.#begun(link, slot, now);
  }

  /** A slot is over: what the controller still holds of it came too late, or, again and again, was more than the slot empties. */
  #slotOver(over: LinkQueue, lastMs: number, now: number): void {
    const left = over.held.length > 0;
    const { least, most, late, inTime } = ROUND_TRIP_MS;
    const { packets, packetMs } = this.#slot(over);
    // What was handed over upon the slot's last packet is for the next one; and where the air did not pause there was no room.
    const wasLate = left && this.#served < packets && over.heldSinceMs[0]! < lastMs && now - lastMs > 2 * packetMs;
    this.#roundTripMs = wasLate
      ? Math.min(most, this.#roundTripMs + late)
      : Math.max(least, this.#roundTripMs - inTime);
    const again = left && over.cuts.after === this.#served;
    over.cuts = { after: this.#served, times: left ? (again ? over.cuts.times + 1 : 1) : 0 };
    if (over.cuts.times >= CUTS && this.#served > 0) over.capacity = this.#served;
  }

  /** When the link's slot was, given that it is heard of now. What is heard late was delayed on its way. */
  #begun(link: LinkQueue, { intervalMs }: Slot, now: number): number {
    if (link.slotMs === null) return now;
    const intervals = Math.round((now - link.slotMs) / intervalMs);
    const expected = link.slotMs + intervals * intervalMs;
    const off = now - expected;
    if (Math.abs(off) > JITTER_MS) {
      link.strangeSlots += 1;
      return link.strangeSlots > STRANGE_SLOTS ? now : expected;
    }
    link.strangeSlots = 0;
    return off <= 0 ? now : expected + off * LATE_BELIEVED;
  }

  #pump(now = this.#nowMs()): void {
    if (this.#free === 0) return;
    if (this.#alone) return this.#refill(this.#alone, now);
    const links = [...this.#links.values()];
    const ready = links.filter((link) => link.head < link.waiting.length && !this.#stalled(link, now));
    if (ready.length === 0) return;
    const stuck = sum(links.map((link) => (this.#stalled(link, now) ? link.held.length : 0)));
    const most = Math.max(1, this.#buffers - stuck - 1);
    const needs = ready.map((link) => this.#need(link, now)).sort((a, b) => a.inMs - b.inMs);
    for (const { link, packets } of needs) this.#give(link, packets, most, now);
    // What nobody needs may go to slots that last longer than their share: those of links that are done are free.
    for (const { link } of needs) this.#give(link, most, most, now);
  }

  /** A link that is alone has all buffers, some at a time: a transfer to the controller has its price, whatever it carries. */
  #refill(link: LinkQueue, now: number): void {
    const waiting = link.waiting.length - link.head;
    if (waiting > this.#free && this.#free < this.#buffers * REFILL_SHARE) return;
    if (waiting > 0 && !this.#stalled(link, now)) this.#give(link, this.#buffers, this.#buffers, now);
  }

  /**
   * By when the link needs its next packet, and how much it may hold: the slot that lasts is fed while it is not emptied, then the next one
   * counts. A link that was never served comes first.
   */
  #need(link: LinkQueue, now: number): { link: LinkQueue; inMs: number; packets: number } {
    const { intervalMs, packets, packetMs } = this.#slot(link);
    if (link.slotMs === null) return { link, inMs: 0, packets };
    const { holds } = link;
    const emptyMs = (served: number) => link.slotMs! + (served + holds - 1) * packetMs - this.#roundTripMs;
    const served = link === this.#current ? this.#served : packets;
    const lasts = served < packets && holds > 0 && now <= emptyMs(served);
    if (lasts && served + holds < packets) return { link, inMs: emptyMs(served) - now, packets: packets - served };
    const sinceMs = now - emptyMs(0);
    return { link, inMs: Math.max(1, Math.ceil(sinceMs / intervalMs)) * intervalMs - sinceMs, packets };
  }

  #stalled(link: LinkQueue, now: number): boolean {
    const silentMs = now - link.progressMs;
    if (link.held.length === 0 || silentMs <= STALL_MS) return false;
    return silentMs > STALL_INTERVALS * this.#shapeOf(link.handle).intervalMs + STALL_MS;
  }

  #slot(link: LinkQueue): Slot {
    const shape = this.#shapeOf(link.handle);
    const share = shape.slotPackets(this.#links.size);
    const packets = Math.min(share, link.capacity ?? share);
    const slotMs = shape.intervalMs / this.#links.size;
    return { intervalMs: shape.intervalMs, slotMs, packets, packetMs: slotMs / share };
  }

  /** Hands over what a slot empties, `slot` in full packets, and at most `most` packets in all. */
  #give(link: LinkQueue, slot: number, most: number, now: number): void {
    while (this.#free > 0 && link.held.length < most) {
      const next = link.waiting[link.head];
      if (!next || link.holds + share(next.packet) > slot) return;
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
