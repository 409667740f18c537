/** A moment in the ether's time, in microseconds, at which something happens. */
interface Entry {
  readonly at: number;
  readonly order: number;
  run: (() => void) | null;
}

/** Events in the order of their time; equal times in the order in which they were added. A binary heap. */
export class EventQueue {
  readonly #heap: Entry[] = [];
  #order = 0;

  /** Adds an event; the returned function cancels it. */
  add(at: number, run: () => void): () => void {
    const entry: Entry = { at, order: this.#order++, run };
    this.#heap.push(entry);
    this.#rise(this.#heap.length - 1);
    return () => {
      entry.run = null;
    };
  }

  /** The time of the next event, or Infinity. */
  nextAt(): number {
    while (this.#heap.length > 0 && this.#heap[0]!.run === null) this.#removeFirst();
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  /** Takes the next event out. */
  shift(): { at: number; run: () => void } | null {
    if (this.nextAt() === Number.POSITIVE_INFINITY) return null;
    const first = this.#removeFirst();
    return { at: first.at, run: first.run! };
  }

  #removeFirst(): Entry {
    const first = this.#heap[0]!;
    const last = this.#heap.pop()!;
    if (this.#heap.length > 0) {
      this.#heap[0] = last;
      this.#sink(0);
    }
    return first;
  }

  #before(a: number, b: number): boolean {
    const x = this.#heap[a]!;
    const y = this.#heap[b]!;
    return x.at < y.at || (x.at === y.at && x.order < y.order);
  }

  #swap(a: number, b: number): void {
    const held = this.#heap[a]!;
    this.#heap[a] = this.#heap[b]!;
    this.#heap[b] = held;
  }

  #rise(index: number): void {
    for (let i = index; i > 0; ) {
      const parent = (i - 1) >> 1;
      if (!this.#before(i, parent)) return;
      this.#swap(i, parent);
      i = parent;
    }
  }

  #sink(index: number): void {
    for (let i = index; ; ) {
      const left = 2 * i + 1;
      const right = left + 1;
      let least = i;
      if (left < this.#heap.length && this.#before(left, least)) least = left;
      if (right < this.#heap.length && this.#before(right, least)) least = right;
      if (least === i) return;
      this.#swap(i, least);
      i = least;
    }
  }
}
