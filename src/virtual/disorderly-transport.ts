import type { Clock } from '../clock.ts';
import type { StationError } from '../contract/errors.ts';
import type { FaultDescription } from '../contract/tray-file.ts';
import type { HciTransport } from '../radio/hci/transport.ts';
import { ATT } from './att-server.ts';
import { BOUNDARY, CHANNEL, H4 } from './hci/packet.ts';

const HANDLE_AT = 9 + 1;
/** How far one queue may be behind another, in milliseconds. */
const QUEUE_DELAY_MS = 40;

/**
 * A host that reorders what its controller delivered in order, as handlers that await, thread pools and queues per characteristic do. It
 * stands between the capture and noble. Only ATT values that a device sends by itself are touched.
 *
 * - `host-late-data`: a value on the higher handle (Data Out) is handed over after the next one on the lower (Response).
 * - `host-queues`: each characteristic has a queue of its own, late by a time of its own.
 */
export class DisorderlyTransport implements HciTransport {
  readonly #inner: HciTransport;
  readonly #fault: FaultDescription;
  readonly #clock: Clock;
  readonly #random: () => number;
  #seen = 0;

  constructor(inner: HciTransport, fault: FaultDescription, clock: Clock, random: () => number) {
    this.#inner = inner;
    this.#fault = fault;
    this.#clock = clock;
    this.#random = random;
  }

  send(packet: Buffer): void {
    this.#inner.send(packet);
  }

  onPacket(handler: (packet: Buffer) => void): void {
    /** Values that are held back, by link: they follow the next value of another characteristic. */
    const held = new Map<number, Buffer[]>();
    const queues = new Map<number, { atMs: number }>();
    this.#inner.onPacket((packet) => {
      const value = valueHandle(packet);
      if (value === null) return handler(packet);
      if (this.#fault.do === 'host-queues') return this.#queue(queues, value.attribute, () => handler(packet));
      const link = packet.readUInt16LE(1) & 0x0fff;
      const waiting = held.get(link) ?? [];
      if (value.length > 1) {
        this.#seen += 1;
        if (this.#seen % this.#fault.every !== 0) return handler(packet);
        held.set(link, [...waiting, packet]);
        return;
      }
      handler(packet);
      held.delete(link);
      for (const late of waiting) handler(late);
    });
  }

  /** Each characteristic keeps its own order, and none that of the others. */
  #queue(queues: Map<number, { atMs: number }>, attribute: number, work: () => void): void {
    const queue = queues.get(attribute) ?? { atMs: 0 };
    queues.set(attribute, queue);
    const now = this.#clock.now();
    queue.atMs = Math.max(queue.atMs, now + this.#random() * QUEUE_DELAY_MS);
    this.#clock.after(queue.atMs - now, work);
  }

  onLost(handler: (reason: StationError) => void): void {
    this.#inner.onLost(handler);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

/** The attribute handle and length of a value that the device sent by itself; null for every other packet. */
function valueHandle(packet: Buffer): { attribute: number; length: number } | null {
  if (packet[0] !== H4.acl || packet.length < HANDLE_AT + 2) return null;
  const boundary = (packet.readUInt16LE(1) >> 12) & 0x3;
  if (boundary === BOUNDARY.continuing || packet.readUInt16LE(7) !== CHANNEL.att) return null;
  if (packet[9] !== ATT.NOTIFICATION && packet[9] !== ATT.INDICATION) return null;
  return { attribute: packet.readUInt16LE(HANDLE_AT), length: packet.length - HANDLE_AT - 2 };
}
