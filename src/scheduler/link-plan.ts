/** Links that one radio carries at a time, unless the job says otherwise. */
export const LINKS_PER_RADIO = 8;
/** Long enough for interference, short enough that a restart is noticed soon. Milliseconds. */
export const SUPERVISION_TIMEOUT_MS = 2000;

/**
 * The connection interval in milliseconds for so many links on one radio: short enough for quick answers, long enough that each
 * link's share of it holds whole packets of 1.41 ms (2M, 251 octets).
 */
export function intervalFor(links: number): number {
  if (links <= 2) return 15;
  if (links <= 4) return 30;
  return 50;
}
