import { diffArrays } from 'diff';

/** One value on either side: what it is, and when. */
export interface Entry {
  readonly key: string;
  readonly timeMs: number | null;
}

/** How a device's clock lies to the station's: it runs `rate` times as fast, and so scaled it shows `offsetMs` more in the middle. */
export interface ClockLine {
  readonly rate: number;
  readonly offsetMs: number;
  readonly drift: number;
  readonly middleMs: number;
}

/** How many pairs, at most, are asked about the clocks. */
const MOST_VOTES = 100_000;
/** About a rate clocks drift by at most this share, and values wait for a connection event of about so long. */
const MOST_DRIFT = 1e-3;
const WINDOW_MS = 12;
/** A clock is trusted when so many of the device's events have their like on the other side within `NEAR_MS`. */
const TRUSTED_SHARE = 0.8;
const NEAR_MS = 50;
/** A clock that goes back by more than this began anew. */
const RESTART_MS = 1000;

/** How much later than the station the device's clock has it, once it is scaled and shifted. */
export function apartMs(deviceMs: number, stationMs: number, { rate, offsetMs, drift, middleMs }: ClockLine): number {
  return deviceMs / rate - stationMs - offsetMs - drift * (stationMs - middleMs);
}

/** Times of one run of the clock: a device that restarts begins to count anew, and only its longest run is held against the other clock. */
export function ofOneRun(entries: readonly Entry[]): Entry[] {
  let run = 0;
  let last = Number.NEGATIVE_INFINITY;
  const runs = entries.map(({ timeMs }) => {
    if (timeMs === null) return -1;
    if (timeMs < last - RESTART_MS) run += 1;
    last = timeMs;
    return run;
  });
  const sizes = Map.groupBy(runs, (each) => each);
  sizes.delete(-1);
  const longest = [...sizes].toSorted(([, a], [, b]) => b.length - a.length)[0]?.[0];
  return entries.map((entry, index) => (runs[index] === longest ? entry : { ...entry, timeMs: null }));
}

/**
 * The clocks for which most values have their like on the other side; null when there are none for which nearly all have. The device's may
 * run at any rate: the rates tried are the nominal one and those that order and span suggest.
 */
export function trustedClock(device: readonly Entry[], station: readonly Entry[]): ClockLine | null {
  let best: { readonly line: ClockLine; readonly share: number } | null = null;
  for (const rate of rates(device, station)) {
    const scaled = device.map((entry) => ({ ...entry, timeMs: entry.timeMs === null ? null : entry.timeMs / rate }));
    const line = clockLine(scaled, station, rate);
    if (!line) continue;
    const share = supported(device, station, line);
    if (best === null || share > best.share + 0.02) best = { line, share };
  }
  return best !== null && best.share >= TRUSTED_SHARE ? best.line : null;
}

function rates(device: readonly Entry[], station: readonly Entry[]): number[] {
  const pairs: (readonly [number, number])[] = [];
  let left = 0;
  let right = 0;
  const parts = diffArrays(
    device.map(({ key }) => key),
    station.map(({ key }) => key),
  );
  for (const { value, added, removed } of parts) {
    for (let i = 0; i < value.length; i++) {
      if (!added && !removed) {
        const [d, s] = [device[left]?.timeMs ?? null, station[right]?.timeMs ?? null];
        if (d !== null && s !== null) pairs.push([d, s]);
      }
      if (!added) left += 1;
      if (!removed) right += 1;
    }
  }
  const half = Math.floor(pairs.length / 2);
  const slopes = pairs
    .slice(0, half)
    .flatMap(([d, s], index) => {
      const [later, other] = pairs[index + half] ?? [d, s];
      return other > s && later > d ? (later - d) / (other - s) : [];
    })
    .sort((a, b) => a - b);
  const byOrder = slopes[Math.floor(slopes.length / 2)];
  const bySpan = span(device) / span(station);
  return [1, byOrder ?? 1, bySpan].filter((rate) => Number.isFinite(rate) && rate > 0);
}

function span(entries: readonly Entry[]): number {
  const times = entries.flatMap(({ timeMs }) => timeMs ?? []);
  return times.reduce((a, b) => Math.max(a, b), 0) - times.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
}

/** The share of the device's timed events that have their like at the station when it should be there. */
function supported(device: readonly Entry[], station: readonly Entry[], line: ClockLine): number {
  const times = new Map<string, number[]>();
  for (const { key, timeMs } of station) {
    if (timeMs === null) continue;
    const known = times.get(key);
    if (known) known.push(timeMs);
    else times.set(key, [timeMs]);
  }
  const timed = device.filter(({ timeMs }) => timeMs !== null);
  const found = timed.filter(({ key, timeMs }) =>
    (times.get(key) ?? []).some((other) => Math.abs(apartMs(timeMs ?? 0, other, line)) <= NEAR_MS),
  );
  return timed.length === 0 ? 0 : found.length / timed.length;
}

/** A pair of the same content: the station's time, and what the device's clock showed more. */
interface Vote {
  readonly timeMs: number;
  readonly aheadMs: number;
}

function clockLine(device: readonly Entry[], station: readonly Entry[], rate: number): ClockLine | null {
  const votes = castVotes(device, station);
  if (votes.length === 0) return null;
  const times = station.flatMap(({ timeMs }) => timeMs ?? []);
  const [from, to] = [times.reduce((a, b) => Math.min(a, b)), times.reduce((a, b) => Math.max(a, b))];
  const middleMs = (from + to) / 2;
  const steps = Math.ceil((MOST_DRIFT * (to - from)) / WINDOW_MS);
  let best = { count: 0, offsetMs: 0, drift: 0 };
  // The smallest drift first: a larger one has to be worth it.
  for (let step = 0; step <= 2 * steps; step++) {
    const drift = (Math.ceil(step / 2) * (step % 2 === 0 ? 1 : -1) * MOST_DRIFT) / Math.max(1, steps);
    const densest = densestWindow(votes.map(({ timeMs, aheadMs }) => aheadMs - drift * (timeMs - middleMs)));
    if (densest.count > best.count) best = { ...densest, drift };
  }
  return { rate, offsetMs: best.offsetMs, drift: best.drift, middleMs };
}

/** The first and the last event of the device vote, and so many between them that there are not too many pairs. */
function castVotes(device: readonly Entry[], station: readonly Entry[]): Vote[] {
  const voters = Math.max(2, Math.min(device.length, Math.ceil(MOST_VOTES / Math.max(1, station.length))));
  const votes: Vote[] = [];
  for (let voter = 0; voter < voters; voter++) {
    const event = device[Math.round((voter * (device.length - 1)) / (voters - 1))];
    if (!event || event.timeMs === null) continue;
    for (const { key, timeMs } of station)
      if (timeMs !== null && key === event.key) votes.push({ timeMs, aheadMs: event.timeMs - timeMs });
  }
  return votes;
}

/** Where most of the values lie within a window, and their mean there. */
function densestWindow(values: readonly number[]): { count: number; offsetMs: number } {
  const sorted = Float64Array.from(values).sort();
  let best = { count: 0, first: 0 };
  let first = 0;
  for (let last = 0; last < sorted.length; last++) {
    while (sorted[last]! - sorted[first]! > WINDOW_MS) first += 1;
    if (last - first + 1 > best.count) best = { count: last - first + 1, first };
  }
  const inside = sorted.subarray(best.first, best.first + best.count);
  return { count: best.count, offsetMs: inside.reduce((sum, value) => sum + value, 0) / inside.length };
}
