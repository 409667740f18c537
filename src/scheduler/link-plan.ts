/** The most links that are asked of one radio; what its controller really carries is learnt from it. */
export const MOST_LINKS = 20;
/** Long enough for interference, short enough that a restart is noticed soon. Milliseconds. */
export const SUPERVISION_TIMEOUT_MS = 2000;

/** What one link is given of each interval: seven full packets of 1.408 ms on 2M, four of 2.5 ms on 1M, nearly nothing left over. */
const SLOT_MS = 10;

/** The connection interval in milliseconds for so many links on one radio: a slot for each, whole packets in each slot. */
export function intervalFor(links: number): number {
  return SLOT_MS * Math.max(1, links);
}
