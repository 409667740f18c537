/** The most links that are asked of one radio; what its controller really carries is learnt from it. */
export const MOST_LINKS = 20;
/** Long enough for interference, short enough that a restart is noticed soon. Milliseconds. */
export const SUPERVISION_TIMEOUT_MS = 2000;

/** A link that has the radio for itself: seven full packets of 1.408 ms on 2M, four of 2.5 ms on 1M. */
const ALONE_MS = 10;
/** What a link is given of each interval among others: five packets, and room for the markers and answers of a frame. */
const SLOT_MS = 7.5;
/** Unit of connection intervals (Core 5.4, Vol 6 Part B, 4.5.1). */
const UNIT_MS = 1.25;

/** The interval of links that only ask a few questions, after a restart. */
export const QUESTIONS_INTERVAL_MS = 15;

/** The connection interval in milliseconds for so many links on one radio: a slot for each, whole packets in each slot. */
export function intervalFor(links: number): number {
  return links <= 1 ? ALONE_MS : Math.ceil((SLOT_MS * links) / UNIT_MS) * UNIT_MS;
}
