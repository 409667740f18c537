import { diffArrays } from 'diff';
import { apartMs, type ClockLine, type Entry, ofOneRun, trustedClock } from './device-clock.ts';

/** Numbers of what stands side by side; null where one side has nothing. */
export type Pair = readonly [device: number | null, station: number | null];

/** Which side's sequence stands in the other's, in order: then one side lacks something, and nothing is said about order. */
export type Containment = 'equal' | 'device-in-station' | 'station-in-device' | 'neither';

/** Two sequences side by side. */
export interface Alignment {
  readonly pairs: readonly Pair[];
  /** The device's entries, with those times only that count. */
  readonly device: readonly Entry[];
  readonly containment: Containment;
  /** The clocks, where nearly all values have their like at the right time; null where times say nothing. */
  readonly clock: ClockLine | null;
}

/** Longer sequences are aligned by content alone. */
const MAX_CELLS = 16_000_000;
/** By a trusted clock, what lies further apart in time is not the same value. */
const FAR_MS = 100;
/** Markers keep their order among themselves: rather than one of them, data are taken to have moved. */
const MARKER_GAP = 1.05;
/** Where something is missing, it is rather one piece than many, and rather at the beginning or the end. */
const OPEN_GAP = 0.01;

/**
 * Aligns two sequences. Order outranks time: where one sequence stands in the other, in order, that is how they lie, whatever the clocks
 * say. Otherwise the fewest departures first, and of those with as few the one whose times lie closest; times count only when a clock is
 * found by which nearly all values agree.
 */
export function align(device: readonly Entry[], station: readonly Entry[]): Alignment {
  const containment = containmentOf(device, station);
  const timed = ofOneRun(device);
  const small = device.length * station.length <= MAX_CELLS;
  const clock = small ? trustedClock(timed, station) : null;
  if (containment === 'equal')
    return { pairs: device.map((_, index) => [index, index]), containment, clock, device: timed };
  if (small) return { pairs: alignByCost(timed, station, containment, clock), containment, clock, device: timed };
  return { pairs: alignByContent(device, station), containment, clock, device: timed };
}

function containmentOf(device: readonly Entry[], station: readonly Entry[]): Containment {
  const inside = isWithin(device, station);
  if (inside && device.length === station.length) return 'equal';
  return inside ? 'device-in-station' : isWithin(station, device) ? 'station-in-device' : 'neither';
}

function isWithin(part: readonly Entry[], whole: readonly Entry[]): boolean {
  let at = 0;
  for (const { key } of whole) if (at < part.length && part[at]?.key === key) at += 1;
  return at === part.length;
}

function alignByContent(device: readonly Entry[], station: readonly Entry[]): Pair[] {
  const pairs: Pair[] = [];
  let left = 0;
  let right = 0;
  const parts = diffArrays(
    device.map(({ key }) => key),
    station.map(({ key }) => key),
  );
  for (const { value, added, removed } of parts) {
    for (let i = 0; i < value.length; i++) pairs.push([added ? null : left++, removed ? null : right++]);
  }
  return pairs;
}

/** How a cell was reached: by a pair, by what only the device has, by what only the station has. */
const PAIRED = 0;
const UP = 1;
const LEFT = 2;

/**
 * Needleman and Wunsch with affine gaps (Gotoh): a gap costs 1 and a little to begin, and all times that differ less than that together.
 * Different content never stands side by side. Two states for each cell, the last step a pair or a gap; their ways back share an octet.
 */
function alignByCost(
  device: readonly Entry[],
  station: readonly Entry[],
  containment: Containment,
  clock: ClockLine | null,
): Pair[] {
  const never = Number.POSITIVE_INFINITY;
  const width = station.length + 1;
  const weight = 1 / Math.max(1, Math.min(device.length, station.length));
  const back = new Uint8Array((device.length + 1) * width);
  const gap = ({ key }: Entry) => (key.startsWith('data') ? 1 : MARKER_GAP);
  const far = containment === 'neither' ? never : 1;
  const cost = (left: Entry, right: Entry) => {
    if (left.key !== right.key) return never;
    if (clock === null || left.timeMs === null || right.timeMs === null) return 0;
    const share = Math.abs(apartMs(left.timeMs, right.timeMs, clock)) / FAR_MS;
    return weight * (share > 1 ? far : share);
  };
  let above = { paired: new Float64Array(width), open: new Float64Array(width) };
  let row = { paired: new Float64Array(width), open: new Float64Array(width) };
  for (let i = 0; i <= device.length; i++) {
    for (let j = 0; j <= station.length; j++) {
      if (i === 0 && j === 0) {
        row.paired[0] = 0;
        row.open[0] = never;
        continue;
      }
      const left = device[i - 1];
      const right = station[j - 1];
      let paired = never;
      let pairedFromGap = false;
      if (left && right) {
        const [fromPair, fromGap] = [above.paired[j - 1]!, above.open[j - 1]!];
        pairedFromGap = fromGap < fromPair;
        paired = Math.min(fromPair, fromGap) + cost(left, right);
      }
      const up = left && containment !== 'device-in-station' ? gap(left) : never;
      const side = right && containment !== 'station-in-device' ? gap(right) : never;
      const upNew = i > 0 ? above.paired[j]! + (j === 0 || j === station.length ? 0 : OPEN_GAP) + up : never;
      const upMore = i > 0 ? above.open[j]! + up : never;
      const sideNew = j > 0 ? row.paired[j - 1]! + (i === 0 || i === device.length ? 0 : OPEN_GAP) + side : never;
      const sideMore = j > 0 ? row.open[j - 1]! + side : never;
      const open = Math.min(upNew, upMore, sideNew, sideMore);
      const isUp = open === upNew || open === upMore;
      const continues = isUp ? open === upMore : open === sideMore;
      row.paired[j] = paired;
      row.open[j] = open;
      back[i * width + j] = (pairedFromGap ? 1 : 0) | ((isUp ? UP : LEFT) << 1) | (continues ? 8 : 0);
    }
    [above, row] = [row, above];
  }
  const pairs: Pair[] = [];
  let inGap = above.open[station.length]! < above.paired[station.length]!;
  for (let i = device.length, j = station.length; i > 0 || j > 0; ) {
    const octet = back[i * width + j]!;
    const step = inGap ? (octet >> 1) & 3 : PAIRED;
    inGap = inGap ? (octet & 8) !== 0 : (octet & 1) !== 0;
    if (step === PAIRED) pairs.push([--i, --j]);
    else if (step === UP) pairs.push([--i, null]);
    else pairs.push([null, --j]);
  }
  return pairs.reverse();
}
