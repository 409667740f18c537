/** So long the same report of the same device says nothing new but its signal strength. */
const REPEAT_MS = 1000;
/** Devices beyond which those that were heard are forgotten, lest a crowd that changes its addresses grows for ever. */
const MOST_HEARD = 2000;
/** Of an LE Advertising Report (Core 5.4, Vol 4 Part E, 7.7.65.2): how many reports it holds, and where the first one's fields begin. */
const COUNT = 4;
const EVENT_TYPE = 5;
const ADDRESS = 7;
const DATA_LENGTH = 13;

/**
 * Tells news from repetition among advertising reports. Controllers are asked for duplicates, because their own filter hides scan responses;
 * a neighbour's hundred devices would then cost the host more than the upload. What a device repeats is let through once a second.
 */
export class RepeatFilter {
  readonly #nowMs: () => number;
  /** By address, type of report: what was said, and when it was let through. */
  readonly #heard = new Map<number, { said: Buffer; atMs: number }>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Whether an LE Advertising Report, H4 type octet first, says what was not said within the last second. */
  isNews(packet: Buffer): boolean {
    if (packet[COUNT] !== 1 || packet.length <= DATA_LENGTH) return true;
    const key = packet.readUIntLE(ADDRESS, 6) * 8 + (packet[EVENT_TYPE]! & 7);
    const said = packet.subarray(DATA_LENGTH, -1);
    const now = this.#nowMs();
    const known = this.#heard.get(key);
    if (known && now - known.atMs < REPEAT_MS && known.said.equals(said)) return false;
    if (!known && this.#heard.size >= MOST_HEARD) this.#heard.clear();
    this.#heard.set(key, { said: Buffer.from(said), atMs: now });
    return true;
  }

  /** Who scans anew hears everyone at once. */
  clear(): void {
    this.#heard.clear();
  }
}
