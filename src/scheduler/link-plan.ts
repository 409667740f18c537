import type { ControllerFacts } from '../contract/board.ts';

/** The most links that are asked of one radio; what its controller really carries is learnt from it. */
export const MOST_LINKS = 20;
/** Long enough for interference, short enough that a restart is noticed soon. Milliseconds. */
export const SUPERVISION_TIMEOUT_MS = 2000;

/** A link alone: on a real controller its event goes on to the interval's end, and a real server is fed best at 30 ms (158 kB/s; 130 at 10 ms). */
const ALONE_MS = 30;
/**
 * What a controller that packs the events of its links reserves for each, 4.81 ms: a PDU of 251 octets each way on 1M, and some. With an
 * interval of just as many, all links have the same three packets. A longer one carries more in all, but leaves what is more to one link: it
 * is done early, and the others hold up the tray (Zephyr's controller, four and eight units: 1.4 and 1.8 times as long).
 */
const PACKED_MS = 5;
/** A full packet on 2M with its answer. */
const PACKET_MS = 1.408;
/** Of the packets in flight one is on the air, and one has to be queued behind it; among others, one more waits for its link's turn. */
const PACKETS_BOUND = { alone: 2, shared: 3 } as const;
/** What a way takes now and then beyond its shortest. */
const SPARE_MS = 0.4;
/** Unit of connection intervals (Core 5.4, Vol 6 Part B, 4.5.1). */
const UNIT_MS = 1.25;

/** The interval of links that only ask a few questions, after a restart. */
export const QUESTIONS_INTERVAL_MS = 15;

/**
 * The connection interval in milliseconds for so many links on one radio. Few buffers behind a slow way (a serial bridge) cannot keep an
 * event going: there the next event begins when the buffers have come back.
 */
export function intervalFor(links: number, controller: ControllerFacts | null = null): number {
  if (controller) {
    const { aclBuffers, roundTripMs } = controller;
    const backMs = roundTripMs + PACKETS_BOUND[links === 1 ? 'alone' : 'shared'] * PACKET_MS + SPARE_MS;
    if (backMs > aclBuffers * PACKET_MS) return wholeUnits(Math.max(backMs, links * PACKED_MS));
  }
  return links <= 1 ? ALONE_MS : wholeUnits(links * PACKED_MS);
}

const wholeUnits = (ms: number) => Math.ceil(ms / UNIT_MS) * UNIT_MS;
