/** One ACL packet that waits for a controller buffer. `taken` is called when the controller has it, `dropped` when its link ended. */
export interface PendingPacket {
  readonly packet: Buffer;
  readonly taken?: () => void;
  readonly dropped?: () => void;
}

/** What the scheduler asks about a link: its interval, and how many packets its slot can empty when `links` share the interval. */
export interface LinkShape {
  readonly intervalMs: number;
  slotPackets(links: number): number;
}

interface LinkQueue {
  readonly handle: number;
  waiting: PendingPacket[];
  /** First packet of `waiting` that has not left. */
  head: number;
  /** The packets that the controller holds, in order, by what each takes of a slot. */
  held: number[];
  /** When the controller was last heard to begin on this link; null before the first time. */
  slotSeenMs: number | null;
  /** When this link last came forward, or was given packets while it held none. */
  progressMs: number;
}

/** A first completion is heard about this long after its slot began: one packet's air time and the transport's delay. */
const REPORT_DELAY_MS = 2.5;
/** Intervals without progress after which a link that holds packets counts as stalled. */
const STALL_INTERVALS = 4;

/**
 * Shares the controller's ACL buffers between links (Core 5.4, Vol 4 Part E, 4.1). A controller serves each link once an interval and
 * ends its event when it has nothing more of it. Buffers therefore go first to the link whose slot comes next, each up to what its slot
 * can empty; when slots come is learnt from Number Of Completed Packets. A link that stalls keeps what it holds and gets nothing more,
 * and no link may hold everything, so that the others go on.
 */
export class AclScheduler {
  readonly #send: (packet: Buffer) => void;
  readonly #buffers: number;
  readonly #shapeOf: (handle: number) => LinkShape;
  readonly #nowMs: () => number;
  readonly #links = new Map<number, LinkQueue>();
  #free: number;
  /** The link that was served last, and how many of its packets in a row. */
  #current: LinkQueue | null = null;
  #served = 0;

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
    this.#links.set(handle, { handle, waiting: [], head: 0, held: [], slotSeenMs: null, progressMs: 0 });
  }

  /** The link is over: the controller has dropped what it held of it. */
  remove(handle: number): void {
    const link = this.#links.get(handle);
    if (!link) return;
    this.#links.delete(handle);
    if (this.#current === link) this.#current = null;
    this.#free += link.held.length;
    for (const pending of link.waiting.slice(link.head)) pending.dropped?.();
    this.#pump();
  }

  /** Packets of a link that are not yet over the air: here or in the controller. */
  queued(handle: number): number {
    const link = this.#links.get(handle);
    return link ? link.waiting.length - link.head + link.held.length : 0;
  }

  push(handle: number, packets: readonly PendingPacket[]): void {
    const link = this.#links.get(handle);
    if (!link) {
      for (const pending of packets) pending.dropped?.();
      return;
    }
    for (const pending of packets) link.waiting.push(pending);
    this.#pump();
  }

  /** Number Of Completed Packets for one link. */
  completed(handle: number, count: number): void {
    const link = this.#links.get(handle);
    if (!link) return;
    const now = this.#nowMs();
    link.progressMs = now;
    if (link !== this.#current) {
      this.#current = link;
      this.#served = 0;
      link.slotSeenMs = now;
    }
    const freed = link.held.splice(0, count);
    this.#served += sum(freed);
    this.#free += freed.length;
    this.#pump();
  }

  #pump(): void {
    if (this.#free === 0) return;
    const now = this.#nowMs();
    const ready = [...this.#links.values()].filter(
      (link) => link.head < link.waiting.length && !this.#stalled(link, now),
    );
    if (ready.length === 0) return;
    if (this.#links.size === 1) return this.#give(ready[0]!, this.#buffers, this.#buffers);
    const held = [...this.#links.values()].reduce(
      (count, link) => count + (this.#stalled(link, now) ? link.held.length : 0),
      0,
    );
    const most = Math.max(1, this.#buffers - held - 1);
    this.#finishSlot(now, most);
    const order = ready.map((link) => ({ link, waitMs: this.#waitMs(link, now) })).sort((a, b) => a.waitMs - b.waitMs);
    for (const { link } of order) this.#give(link, this.#slotPackets(link), most);
    for (const { link } of order) this.#give(link, most, most);
  }

  /** How long until the link's next slot can still be met; a link that was never served comes first. */
  #waitMs(link: LinkQueue, now: number): number {
    if (link.slotSeenMs === null) return 0;
    const { intervalMs } = this.#shapeOf(link.handle);
    const since = now - link.slotSeenMs + 2 * REPORT_DELAY_MS;
    return intervalMs - (since % intervalMs);
  }

  #stalled(link: LinkQueue, now: number): boolean {
    if (link.held.length === 0) return false;
    return now - link.progressMs > STALL_INTERVALS * this.#shapeOf(link.handle).intervalMs + 50;
  }

  #slotPackets(link: LinkQueue): number {
    return this.#shapeOf(link.handle).slotPackets(this.#links.size);
  }

  /** A slot larger than what the controller holds of it is fed while it lasts: once the controller has nothing more of it, it is over. */
  #finishSlot(now: number, most: number): void {
    const link = this.#current;
    if (!link || link.held.length === 0 || this.#stalled(link, now)) return;
    this.#give(link, this.#slotPackets(link) - this.#served, most);
  }

  /** Hands over what a slot empties, `slot` in full packets, and at most `most` packets in all. */
  #give(link: LinkQueue, slot: number, most: number): void {
    while (this.#free > 0 && link.held.length < most) {
      const next = link.waiting[link.head];
      if (!next || sum(link.held) + share(next.packet) > slot) return;
      this.#hand(link);
    }
  }

  #hand(link: LinkQueue): void {
    const pending = link.waiting[link.head++]!;
    if (link.head === link.waiting.length || link.head > 256) {
      link.waiting = link.waiting.slice(link.head);
      link.head = 0;
    }
    if (link.held.length === 0) link.progressMs = this.#nowMs();
    link.held.push(share(pending.packet));
    this.#free -= 1;
    this.#send(pending.packet);
    pending.taken?.();
  }
}

/** Octets below which a packet fits into what full ones leave of a slot. */
const SMALL_OCTETS = 64;

/** What a packet takes of a slot, counted in full packets. */
function share(packet: Buffer): number {
  return packet.length < SMALL_OCTETS ? 0 : 1;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
