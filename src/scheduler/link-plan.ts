/** The most links that are asked of one radio; what its controller really carries is learnt from it. */
export const MOST_LINKS = 20;
/** Long enough for interference, short enough that a restart is noticed soon. Milliseconds. */
export const SUPERVISION_TIMEOUT_MS = 2000;

/** What one link is given of each interval: seven full packets of 1.408 ms on 2M with an answer, four of 2.5 ms on 1M. */
const SLOT_MS = 10;
/** With many links five packets and an answer, so that the interval, and with it every question and answer, does not become long. */
const SHORT_SLOT_MS = 7.1875;
const MANY_LINKS = 8;
/** Unit of connection intervals (Core 5.4, Vol 6 Part B, 4.5.1). */
const UNIT_MS = 1.25;

/** The interval of links that only ask a few questions, after a restart. */
export const CHECK_INTERVAL_MS = 30;

/** The connection interval in milliseconds for so many links on one radio: a slot for each, whole packets in each slot. */
export function intervalFor(links: number): number {
  const slotMs = links > MANY_LINKS ? SHORT_SLOT_MS : SLOT_MS;
  return Math.ceil((slotMs * Math.max(1, links)) / UNIT_MS) * UNIT_MS;
}
