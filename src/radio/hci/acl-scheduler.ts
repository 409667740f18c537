/** One ACL packet that waits for a controller buffer. `taken` is called when the controller has it, `dropped` when its link ended. */
export interface PendingPacket {
  readonly packet: Buffer;
  readonly taken?: () => void;
  readonly dropped?: () => void;
}

interface LinkQueue {
  readonly handle: number;
  waiting: PendingPacket[];
  /** First packet of `waiting` that has not left. */
  head: number;
  inController: number;
  /** Turns of other links since the controller last sent something of this one. */
  turnsWaited: number;
}

/** A link that was passed over this many rounds although the controller holds packets of it does not come forward. */
const ROUNDS_UNTIL_STALLED = 3;

/**
 * Shares the controller's ACL buffers between links (Core 5.4, Vol 4 Part E, 4.1). A controller serves its links in the order of their
 * anchors, once an interval, and ends a link's event when it has nothing of it. Buffers therefore go first to the link that is served
 * next, each up to what its slot can empty; the order is learnt from Number Of Completed Packets. A link that does not come forward
 * keeps what it holds and gets nothing more, and no link may hold everything, so that the others go on.
 */
export class AclScheduler {
  readonly #send: (packet: Buffer) => void;
  readonly #buffers: number;
  readonly #slotPackets: (handle: number, links: number) => number;
  /** Links in the order in which the controller serves them. */
  readonly #ring: LinkQueue[] = [];
  #free: number;
  /** The link that was served last, and how many of its packets in a row. */
  #current: LinkQueue | null = null;
  #served = 0;

  /** `slotPackets` says how many packets a link's slot can empty when `links` share the interval. */
  constructor(buffers: number, send: (packet: Buffer) => void, slotPackets: (handle: number, links: number) => number) {
    this.#buffers = buffers;
    this.#free = buffers;
    this.#send = send;
    this.#slotPackets = slotPackets;
  }

  add(handle: number): void {
    this.#ring.push({ handle, waiting: [], head: 0, inController: 0, turnsWaited: 0 });
  }

  /** The link is over: the controller has dropped what it held of it. */
  remove(handle: number): void {
    const index = this.#ring.findIndex((link) => link.handle === handle);
    const link = this.#ring[index];
    if (!link) return;
    this.#ring.splice(index, 1);
    if (this.#current === link) this.#current = null;
    this.#free += link.inController;
    for (const pending of link.waiting.slice(link.head)) pending.dropped?.();
    this.#pump();
  }

  /** Packets of a link that are not yet over the air: here or in the controller. */
  queued(handle: number): number {
    const link = this.#find(handle);
    return link ? link.waiting.length - link.head + link.inController : 0;
  }

  push(handle: number, packets: readonly PendingPacket[]): void {
    const link = this.#find(handle);
    if (!link) {
      for (const pending of packets) pending.dropped?.();
      return;
    }
    for (const pending of packets) link.waiting.push(pending);
    this.#pump();
  }

  /** Number Of Completed Packets for one link. */
  completed(handle: number, count: number): void {
    const link = this.#find(handle);
    if (!link) return;
    if (link !== this.#current) this.#turnTo(link);
    link.turnsWaited = 0;
    const freed = Math.min(count, link.inController);
    this.#served += freed;
    link.inController -= freed;
    this.#free += freed;
    this.#pump();
  }

  #find(handle: number): LinkQueue | undefined {
    return this.#ring.find((link) => link.handle === handle);
  }

  /** The controller has turned to another link; one that it passed over although it holds packets comes later than thought. */
  #turnTo(link: LinkQueue): void {
    const last = this.#current;
    this.#current = link;
    this.#served = 0;
    for (const other of this.#ring) other.turnsWaited += other.inController > 0 ? 1 : 0;
    if (!last) return;
    const from = this.#ring.indexOf(last);
    for (let step = 1; step < this.#ring.length; step++) {
      const passed = this.#ring[(from + step) % this.#ring.length]!;
      if (passed === link) return;
      if (passed.inController === 0 || this.#stalled(passed)) continue;
      this.#ring.splice(this.#ring.indexOf(link), 1);
      this.#ring.splice(this.#ring.indexOf(last) + 1, 0, link);
      return;
    }
  }

  #stalled(link: LinkQueue): boolean {
    return link.turnsWaited > ROUNDS_UNTIL_STALLED * this.#ring.length;
  }

  #pump(): void {
    const links = this.#ring.length;
    if (this.#free === 0 || links === 0) return;
    const start = this.#current ? this.#ring.indexOf(this.#current) + 1 : 0;
    const usable = this.#ring.reduce(
      (left, link) => left - (this.#stalled(link) ? link.inController : 0),
      this.#buffers,
    );
    const most = links === 1 ? this.#buffers : Math.max(1, usable - 1);
    this.#finishSlot(links);
    for (const withinSlot of [true, false]) {
      for (let step = 0; step < links; step++) {
        const link = this.#ring[(start + step) % links]!;
        if (link.head === link.waiting.length || this.#stalled(link)) continue;
        const limit = withinSlot ? Math.min(most, this.#slotPackets(link.handle, links)) : most;
        while (link.head < link.waiting.length && link.inController < limit && this.#free > 0) this.#hand(link);
        if (this.#free === 0) return;
      }
    }
  }

  /** A slot larger than what the controller holds of it is fed while it lasts. */
  #finishSlot(links: number): void {
    const link = this.#current;
    if (!link || this.#stalled(link)) return;
    const left = this.#slotPackets(link.handle, links) - this.#served;
    while (link.head < link.waiting.length && link.inController < left && this.#free > 0) this.#hand(link);
  }

  #hand(link: LinkQueue): void {
    const pending = link.waiting[link.head++]!;
    if (link.head === link.waiting.length || link.head > 256) {
      link.waiting = link.waiting.slice(link.head);
      link.head = 0;
    }
    link.inController += 1;
    this.#free -= 1;
    this.#send(pending.packet);
    pending.taken?.();
  }
}
