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
  /** Buffers that its slot in an interval can empty, as learnt. */
  quota: number;
}

/**
 * Shares the controller's ACL buffers between links (Core 5.4, Vol 4 Part E, 4.1). A controller serves its links in the order of their
 * anchors, once an interval. Buffers therefore go first to the link that is served next, each up to what its slot can empty; both the
 * order and the slot's size are learnt from Number Of Completed Packets. A link that stalls keeps what it holds and gets no more than
 * its share, and the last free buffer is kept for a link that holds none, so that the others go on.
 */
export class AclScheduler {
  readonly #send: (packet: Buffer) => void;
  readonly #buffers: number;
  /** Links in the order in which the controller serves them. */
  readonly #ring: LinkQueue[] = [];
  #free: number;
  /** The link that was served last, and how many of its packets in a row. */
  #current: LinkQueue | null = null;
  #burst = 0;

  constructor(buffers: number, send: (packet: Buffer) => void) {
    this.#buffers = buffers;
    this.#free = buffers;
    this.#send = send;
  }

  add(handle: number): void {
    const quota = Math.max(2, Math.floor(this.#buffers / 2));
    this.#ring.push({ handle, waiting: [], head: 0, inController: 0, quota });
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
    const freed = Math.min(count, link.inController);
    link.inController -= freed;
    this.#burst += freed;
    this.#free += freed;
    this.#pump();
  }

  #find(handle: number): LinkQueue | undefined {
    return this.#ring.find((link) => link.handle === handle);
  }

  /** The controller has turned to another link: learn from the slot that ended and from the order. */
  #turnTo(link: LinkQueue): void {
    const last = this.#current;
    if (last && this.#ring.length > 1) {
      if (last.inController > 0) last.quota = Math.max(1, this.#burst);
      else if (last.head < last.waiting.length) last.quota = Math.min(last.quota + 1, this.#buffers);
      const from = this.#ring.indexOf(last);
      for (let step = 1; step < this.#ring.length; step++) {
        const passed = this.#ring[(from + step) % this.#ring.length]!;
        if (passed === link) break;
        if (passed.inController === 0) continue;
        this.#ring.splice(this.#ring.indexOf(link), 1);
        this.#ring.splice(this.#ring.indexOf(last) + 1, 0, link);
        break;
      }
    }
    this.#current = link;
    this.#burst = 0;
  }

  #pump(): void {
    const links = this.#ring.length;
    if (this.#free === 0 || links === 0) return;
    const start = this.#current ? this.#ring.indexOf(this.#current) + 1 : 0;
    const alone = links === 1;
    for (const withinQuota of [true, false]) {
      for (let step = 0; step < links; step++) {
        const link = this.#ring[(start + step) % links]!;
        const limit = alone ? this.#buffers : withinQuota ? link.quota : this.#buffers - 2;
        while (link.head < link.waiting.length && link.inController < limit && this.#free > 0) {
          if (this.#free === 1 && !alone && link.inController > 0) break;
          this.#hand(link);
        }
        if (this.#free === 0) return;
      }
    }
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
