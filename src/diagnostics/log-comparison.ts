import { diffArrays } from 'diff';
import type { ComparedRow, LogComparison } from '../contract/comparison.ts';
import type { Finding } from '../contract/findings.ts';
import type { FusSettings } from '../contract/product-file.ts';
import type { CapturedPacket } from '../radio/radio.ts';
import { attValues } from './att-values.ts';
import { AIR_CAPTURE, DEVICE_CAPTURE, type DeviceEvent, type DeviceLog } from './device-log.ts';

/** One value as the station's application saw it. */
export interface StationValue {
  readonly uuid: string;
  readonly timeMs: number;
  readonly value: Buffer;
  /** Octets of the value; more than `value` has where image bytes are not kept. */
  readonly length: number;
}

/** How many lines of the device's log may be missing between two that are there, before they are no reordering but a loss. */
const NEAR_ROWS = 12;
/** Longer sequences are aligned by content alone. */
const MAX_CELLS = 16_000_000;
/** What lies further apart in time is not the same value. */
const FAR_MS = 100;
/** Markers keep their order among themselves: rather than one of them, data are taken to have moved. */
const MARKER_GAP = 1.05;
/** How many pairs, at most, are asked about the clocks. */
const MOST_VOTES = 100_000;
/** Clocks drift against each other by at most this share, and values wait for a connection event of about so long. */
const MOST_DRIFT = 1e-3;
const WINDOW_MS = 12;

/** Aligns the two sequences and says where they part. Missing lines, another clock and its drift do not matter: order and content do. */
export function compareLogs(
  settings: FusSettings,
  log: DeviceLog,
  station: readonly StationValue[],
  packets: readonly CapturedPacket[] | null,
): LogComparison {
  const own = new Set([settings.response.uuid, settings.dataOut.uuid]);
  const seen = station.filter(({ uuid }) => own.has(uuid));
  const delivered = packets && attValues(packets).filter(({ uuid }) => uuid !== null && own.has(uuid));
  const saysBytes = log.events.some(({ bytes }) => bytes !== null);
  const deviceKeys = log.events.map((event) => deviceWhat(event, saysBytes));
  const stationKeys = seen.map(({ uuid, value, length }) => what(settings, uuid, value[0], length, saysBytes));
  const hci =
    delivered?.map(({ uuid, value }) => what(settings, uuid ?? '', value[0], value.length, saysBytes)) ?? null;

  const rows = align(
    log.events.map(({ timeMs }, index) => ({ key: deviceKeys[index] ?? '', timeMs })),
    seen.map(({ timeMs }, index) => ({ key: stationKeys[index] ?? '', timeMs })),
  ).map(([left, right]): ComparedRow => {
    const event = left === null ? undefined : log.events[left];
    const value = right === null ? undefined : seen[right];
    return {
      device: event ? { line: event.line, timeMs: event.timeMs, what: deviceKeys[left ?? 0] ?? '' } : null,
      station: value ? { number: right ?? 0, timeMs: value.timeMs, what: stationKeys[right ?? 0] ?? '' } : null,
      hci: right === null ? null : (hci?.[right] ?? null),
    };
  });
  const { reordered, onlyDevice, onlyStation } = tally(rows);
  const first = rows.findIndex((row) => row.device === null || row.station === null);
  return {
    format: log.format,
    lines: log.lines,
    deviceEvents: log.events.length,
    stationValues: seen.length,
    hciValues: hci?.length ?? null,
    clock: fitClock(rows),
    reordered,
    onlyDevice,
    onlyStation,
    divergence: first < 0 ? null : first,
    findings: separation(log.format, deviceKeys, hci ?? stationKeys) ?? parting(rows, first, hci, stationKeys),
    rows,
  };
}

interface Entry {
  readonly key: string;
  readonly timeMs: number | null;
}
/** Numbers of what stands side by side; null where one side has nothing. */
type Pair = readonly [device: number | null, station: number | null];

/**
 * Aligns two sequences: the fewest departures first, and of those with as few the one whose times lie closest. Without times, or when
 * they are too long, by content alone.
 */
function align(device: readonly Entry[], station: readonly Entry[]): Pair[] {
  const clock = device.length * station.length <= MAX_CELLS ? clockLine(device, station) : null;
  return clock === null ? alignByContent(device, station) : alignByTime(device, station, clock);
}

/** What the device's clock shows more than the station's: `offsetMs` in the middle of the attempt, and how much more with each millisecond. */
interface ClockLine {
  readonly offsetMs: number;
  readonly drift: number;
  readonly middleMs: number;
}

/** A pair of the same content: the station's time, and what the device's clock showed more. */
interface Vote {
  readonly timeMs: number;
  readonly aheadMs: number;
}

/** The clocks for which most values have their like on the other side: each pair of the same content has a vote. */
function clockLine(device: readonly Entry[], station: readonly Entry[]): ClockLine | null {
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
  return { offsetMs: best.offsetMs, drift: best.drift, middleMs };
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

/**
 * Needleman and Wunsch: a gap costs 1, and all times that differ less than that together; different content never stands side by side,
 * nor what is far apart in time.
 */
function alignByTime(device: readonly Entry[], station: readonly Entry[], clock: ClockLine): Pair[] {
  const width = station.length + 1;
  const weight = 1 / Math.min(device.length, station.length);
  const costs = new Float64Array((device.length + 1) * width);
  for (let i = 0; i <= device.length; i++) {
    for (let j = 0; j <= station.length; j++) {
      const up = i > 0 ? costs[(i - 1) * width + j]! + gap(device[i - 1]!) : Number.POSITIVE_INFINITY;
      const left = j > 0 ? costs[i * width + j - 1]! + gap(station[j - 1]!) : Number.POSITIVE_INFINITY;
      const match =
        i > 0 && j > 0
          ? costs[(i - 1) * width + j - 1]! + weight * apart(device[i - 1]!, station[j - 1]!, clock)
          : Number.POSITIVE_INFINITY;
      costs[i * width + j] = i === 0 && j === 0 ? 0 : Math.min(up, left, match);
    }
  }
  const pairs: Pair[] = [];
  for (let i = device.length, j = station.length; i > 0 || j > 0; ) {
    const cost = costs[i * width + j]!;
    const near = (other: number) => Math.abs(cost - other) < 1e-9;
    if (
      i > 0 &&
      j > 0 &&
      near(costs[(i - 1) * width + j - 1]! + weight * apart(device[i - 1]!, station[j - 1]!, clock))
    ) {
      pairs.push([--i, --j]);
    } else if (j > 0 && near(costs[i * width + j - 1]! + gap(station[j - 1]!))) pairs.push([null, --j]);
    else pairs.push([--i, null]);
  }
  return pairs.reverse();
}

const gap = ({ key }: Entry) => (key.startsWith('data') ? 1 : MARKER_GAP);

function apart(device: Entry, station: Entry, { offsetMs, drift, middleMs }: ClockLine): number {
  if (device.key !== station.key) return Number.POSITIVE_INFINITY;
  if (device.timeMs === null || station.timeMs === null) return 0;
  const ahead = offsetMs + drift * (station.timeMs - middleMs);
  const share = Math.abs(device.timeMs - station.timeMs - ahead) / FAR_MS;
  return share > 1 ? Number.POSITIVE_INFINITY : share;
}

function deviceWhat({ kind, marker, bytes }: DeviceEvent, saysBytes: boolean): string {
  if (kind === 'marker') return String(marker);
  return saysBytes ? `data ${bytes ?? '?'}` : 'data';
}

function what(
  settings: FusSettings,
  uuid: string,
  first: number | undefined,
  length: number,
  saysBytes: boolean,
): string {
  if (uuid === settings.response.uuid) return String(first ?? '?');
  return saysBytes ? `data ${length}` : 'data';
}

/** A value that only one side has is reordered when the other has it nearby, and missing otherwise. */
function tally(rows: readonly ComparedRow[]): { reordered: number; onlyDevice: number; onlyStation: number } {
  const open = rows.flatMap((row, at) => (row.device === null || row.station === null ? [{ row, at }] : []));
  const used = new Set<number>();
  let reordered = 0;
  for (const { row, at } of open) {
    if (row.station !== null || used.has(at)) continue;
    const partner = open.find(
      (other) =>
        other.row.device === null &&
        !used.has(other.at) &&
        other.row.station?.what === row.device?.what &&
        Math.abs(other.at - at) <= NEAR_ROWS,
    );
    if (!partner) continue;
    used.add(at).add(partner.at);
    reordered += 1;
  }
  const left = open.filter(({ at }) => !used.has(at));
  const onlyDevice = left.filter(({ row }) => row.station === null).length;
  return { reordered, onlyDevice, onlyStation: left.length - onlyDevice };
}

/** Offset and drift by least squares over the values that both sides have. */
function fitClock(rows: readonly ComparedRow[]): LogComparison['clock'] {
  const pairs = rows.flatMap(({ device, station }) =>
    device && station && device.timeMs !== null ? [[station.timeMs, device.timeMs] as const] : [],
  );
  if (pairs.length < 2) return null;
  const mean = (pick: 0 | 1) => pairs.reduce((sum, pair) => sum + pair[pick], 0) / pairs.length;
  const [x, y] = [mean(0), mean(1)];
  const covariance = pairs.reduce((sum, [a, b]) => sum + (a - x) * (b - y), 0);
  const variance = pairs.reduce((sum, [a]) => sum + (a - x) ** 2, 0);
  const slope = variance === 0 ? 1 : covariance / variance;
  return { offsetMs: y - slope * x, driftPpm: (slope - 1) * 1e6 };
}

/** What a capture on the device's side or in the air adds: whether the values had the order there in which they came here. */
function separation(format: string, there: readonly string[], delivered: readonly string[]): Finding[] | null {
  const same = there.length >= delivered.length && delivered.every((each, index) => each === there[index]);
  if (format === AIR_CAPTURE) return [{ code: same ? 'AIR_SAME' : 'AIR_OTHER' }];
  if (format === DEVICE_CAPTURE) return [{ code: same ? 'DEVICE_HOST_SAME' : 'DEVICE_HOST_OTHER' }];
  return null;
}

function parting(
  rows: readonly ComparedRow[],
  first: number,
  hci: readonly string[] | null,
  seen: readonly string[],
): Finding[] {
  const row = rows[first];
  if (!row) return [{ code: 'LOGS_AGREE' }];
  const next = rows.slice(first).find(({ station }) => station !== null)?.station;
  const { device } = row;
  const here: Finding = device
    ? next
      ? { code: 'LINE_INSTEAD', values: { line: device.line, said: device.what, seen: next.what } }
      : { code: 'LINE_AND_NOTHING', values: { line: device.line, said: device.what } }
    : { code: 'STATION_ONLY', values: { seen: row.station?.what ?? '' } };
  if (!hci) return [here, { code: 'HCI_UNKNOWN' }];
  if (!next) return [here, { code: 'HCI_COUNTS', values: { delivered: hci.length, seen: seen.length } }];
  const delivered = hci[next.number];
  return [
    here,
    delivered === next.what
      ? { code: 'HCI_AS_SEEN' }
      : { code: 'HCI_AS_SAID', values: { delivered: delivered ?? '–' } },
  ];
}
