import type { ComparedRow, LogComparison } from '../contract/comparison.ts';
import type { Finding } from '../contract/findings.ts';
import type { FusSettings } from '../contract/product-file.ts';
import type { CaptureContent } from '../radio/radio.ts';
import { type Alignment, align } from './alignment.ts';
import { type AttValue, attValues } from './att-values.ts';
import { apartMs } from './device-clock.ts';
import { AIR_CAPTURE, DEVICE_CAPTURE, type DeviceEvent, type DeviceLog } from './device-log.ts';

/** One value as the station's application saw it. */
export interface StationValue {
  readonly uuid: string;
  readonly timeMs: number;
  readonly value: Buffer;
  /** Octets of the value; more than `value` has where image bytes are not kept. */
  readonly length: number;
}

/** How far apart the two places of a value may be, in rows and in time: what is further apart is missing here and another one there. */
const NEAR_ROWS = 12;
const NEAR_MS = 2000;
/** Logs of which less than this share has its like on the other side are of different things. */
const LEAST_ALIKE = 0.5;
/** A clock whose rate is off by more than this is named. */
const OTHER_RATE = 0.01;
/** At most so many gaps of a log are named one by one. */
const MOST_GAPS = 3;

/**
 * Aligns the two sequences and says where they part. Missing lines, another clock and its drift do not matter: order and content do.
 *
 * What it says of who did it rests on evidence that is there. That the order differs is proven when neither sequence stands in the other (a
 * log that lacks lines is no disorder), every value that moved is on both sides, and the log has no gap between its two places. Where it
 * happened is proven when the capture is whole and holds the very values that the application saw.
 */
export function compareLogs(
  settings: FusSettings,
  log: DeviceLog,
  station: readonly StationValue[],
  capture: CaptureContent | null,
): LogComparison {
  const own = new Set([settings.response.uuid, settings.dataOut.uuid]);
  const seen = station.filter(({ uuid }) => own.has(uuid));
  const delivered = capture && attValues(capture.packets).filter(({ uuid }) => uuid !== null && own.has(uuid));
  const isCapture = log.format === DEVICE_CAPTURE || log.format === AIR_CAPTURE;
  const saysBytes = log.events.some(({ bytes }) => bytes !== null);
  const hciKeys = delivered?.map(({ uuid, value }) => what(settings, uuid ?? '', value[0], value.length, saysBytes));
  const deviceKeys = log.events.map((event) => deviceWhat(event, saysBytes));
  const stationKeys = seen.map(({ uuid, value, length }) => what(settings, uuid, value[0], length, saysBytes));
  const hci = judgeCapture(capture, delivered, seen);

  // Octets tell values from one another that are of one length; a text seldom has them.
  const device = log.events.map(({ timeMs, text }, index) => ({
    key: isCapture ? `${deviceKeys[index]} ${text}` : (deviceKeys[index] ?? ''),
    timeMs,
  }));
  const here = seen.map(({ timeMs, value }, index) => ({
    key: isCapture ? `${stationKeys[index]} ${value.toString('hex')}` : (stationKeys[index] ?? ''),
    timeMs,
  }));
  const alignment = align(device, here);
  const rows = alignment.pairs.map(([left, right]): ComparedRow => {
    const event = left === null ? undefined : log.events[left];
    const value = right === null ? undefined : seen[right];
    return {
      device: event ? { line: event.line, timeMs: event.timeMs, what: deviceKeys[left ?? 0] ?? '' } : null,
      station: value ? { number: right ?? 0, timeMs: value.timeMs, what: stationKeys[right ?? 0] ?? '' } : null,
      // With a gap in the capture, the value of that number is another one.
      hci: right === null || hci.kind === 'gap' ? null : (hciKeys?.[right] ?? null),
    };
  });
  const moved = tally(rows, alignment);
  const core = coreOf(rows);
  const gaps = gapsOf(rows, core, moved, log);
  const proof = proofOf(rows, alignment, core, moved, log);
  const parts = rows.findIndex(
    (row, at) => at > core.first && at < core.last && row.station === null && !moved.has(at),
  );
  const alike = core.matched >= LEAST_ALIKE * Math.min(device.length, here.length) && core.matched > 0;
  const lacking = seen.length - rows.filter(({ device: left, station: right }) => left && right).length;
  const divergence = proof.row ?? (parts >= 0 ? parts : null);
  const differs = !alike || divergence !== null || moved.size > 0;
  const result = differs ? 'differ' : lacking > 0 || log.dropped.length > 0 ? 'incomplete' : 'agree';
  const firstMoved = [...moved.keys()].toSorted((a, b) => a - b)[0];
  const at = alike ? (proof.row ?? firstMoved ?? (parts >= 0 ? parts : null)) : null;
  const counts = countsOf(rows, moved);
  const findings = [
    ...(isCapture && log.cut ? [{ code: 'CAPTURE_CUT', values: { packets: log.lines } } as const] : []),
    ...(isCapture && log.missing > 0 ? [{ code: 'CAPTURE_LOSES', values: { packets: log.missing } } as const] : []),
    ...clockFinding(log, alignment, rows),
    ...(!alike
      ? [{ code: 'LOGS_UNLIKE', values: { alike: core.matched, device: device.length, station: here.length } } as const]
      : isCapture
        ? separation(log, result, proof, gaps, counts.onlyDevice, hci)
        : result === 'agree'
          ? agreement(rows, core)
          : result === 'incomplete'
            ? [...gaps, { code: 'PART_AGREES', values: { values: core.matched } } as const]
            : [...gaps, ...parting(rows, at ?? 0, proof, hci, isWithin(deviceKeys, hciKeys ?? []))]),
  ];
  return {
    format: log.format,
    lines: log.lines,
    deviceEvents: log.events.length,
    stationValues: seen.length,
    hciValues: delivered?.length ?? null,
    clock: fitClock(rows),
    counted: log.counted,
    result,
    ...counts,
    divergence: at,
    findings,
    rows,
  };
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

/**
 * How the station's own capture stands to what its application saw, by the octets. `same` and `other` are proofs: it is whole, and holds
 * exactly the values that were seen, in that order or in another.
 */
type CaptureState =
  | { readonly kind: 'same' | 'other' }
  | { readonly kind: 'none' | 'gap' | 'short'; readonly why: Finding };

function judgeCapture(
  capture: CaptureContent | null,
  delivered: readonly AttValue[] | null,
  seen: readonly StationValue[],
): CaptureState {
  if (!capture || !delivered) return { kind: 'none', why: { code: 'HCI_UNKNOWN' } };
  if (capture.leftOut > 0) return { kind: 'gap', why: { code: 'CAPTURE_GAP', values: { packets: capture.leftOut } } };
  const key = ({ uuid, value }: { uuid: string | null; value: Buffer }) => `${uuid} ${value.toString('hex')}`;
  const [there, here] = [delivered.map(key), seen.map(key)];
  if (here.every((each, index) => each === there[index])) return { kind: 'same' };
  // What was delivered and had not been handed over when the link ended says nothing; but all that was seen must have been delivered.
  if (there.length < here.length || !isWithinCounts(here, there))
    return { kind: 'short', why: { code: 'CAPTURE_SHORT' } };
  return isWithinCounts(here, there.slice(0, here.length))
    ? { kind: 'other' }
    : { kind: 'short', why: { code: 'HCI_COUNTS', values: { delivered: there.length, seen: here.length } } };
}

/** Whether every value of `part` is in `whole`, as often. */
function isWithinCounts(part: readonly string[], whole: readonly string[]): boolean {
  const counts = new Map<string, number>();
  for (const each of whole) counts.set(each, (counts.get(each) ?? 0) + 1);
  return part.every((each) => {
    const left = (counts.get(each) ?? 0) - 1;
    counts.set(each, left);
    return left >= 0;
  });
}

/** Values that both sides have at different places: each of their rows, with its partner's. */
type Moved = ReadonlyMap<number, number>;

/** A value that only one side has has moved when the other has it nearby, and is missing otherwise. */
function tally(rows: readonly ComparedRow[], { clock, containment, pairs, device }: Alignment): Moved {
  const moved = new Map<number, number>();
  if (containment !== 'neither') return moved;
  const open = rows.flatMap((row, at) => (row.device === null || row.station === null ? [{ row, at }] : []));
  let from = 0;
  for (const { row, at } of open) {
    if (row.device === null || moved.has(at)) continue;
    while (open[from] && (open[from]?.at ?? 0) < at - NEAR_ROWS) from += 1;
    for (let index = from; (open[index]?.at ?? Number.POSITIVE_INFINITY) <= at + NEAR_ROWS; index++) {
      const other = open[index]!;
      if (other.row.station === null || moved.has(other.at) || other.row.station.what !== row.device.what) continue;
      const timeMs = device[pairs[at]?.[0] ?? -1]?.timeMs ?? null;
      if (clock && timeMs !== null && Math.abs(apartMs(timeMs, other.row.station.timeMs, clock)) > NEAR_MS) continue;
      moved.set(at, other.at).set(other.at, at);
      break;
    }
  }
  return moved;
}

/** The rows from the first to the last that both sides have: outside them a log only begins or ends elsewhere. */
interface Core {
  readonly first: number;
  readonly last: number;
  readonly matched: number;
}

function coreOf(rows: readonly ComparedRow[]): Core {
  const both = rows.flatMap(({ device, station }, at) => (device && station ? [at] : []));
  return { first: both[0] ?? 0, last: both.at(-1) ?? -1, matched: both.length };
}

function countsOf(
  rows: readonly ComparedRow[],
  moved: Moved,
): { reordered: number; onlyDevice: number; onlyStation: number } {
  const alone = rows.filter(({ device, station }, at) => (device === null || station === null) && !moved.has(at));
  const onlyDevice = alone.filter(({ station }) => station === null).length;
  return { reordered: moved.size / 2, onlyDevice, onlyStation: alone.length - onlyDevice };
}

/** Where the log is incomplete: where it says so itself, and where the station saw what it does not have. */
function gapsOf(rows: readonly ComparedRow[], core: Core, moved: Moved, log: DeviceLog): Finding[] {
  const gaps: Finding[] = log.dropped.map(({ line, messages }) => ({
    code: 'LOG_DROPPED',
    values: { line, messages: messages ?? '?' },
  }));
  const missing = (at: number) => rows[at]?.device === null && !moved.has(at);
  for (let at = 0; at < rows.length; at++) {
    if (!missing(at)) continue;
    const from = at;
    while (missing(at + 1)) at += 1;
    const before = rows.slice(0, from).findLast(({ device }) => device !== null)?.device?.line;
    const after = rows.slice(at + 1).find(({ device }) => device !== null)?.device?.line;
    const values = { line: before ?? after ?? 1, missing: at - from + 1 };
    gaps.push({
      code: from < core.first ? 'LOG_BEGINS_LATE' : from > core.last ? 'LOG_ENDS_EARLY' : 'LOG_LACKS',
      values,
    });
  }
  if (gaps.length <= MOST_GAPS) return gaps;
  const left = gaps.length - MOST_GAPS;
  return [...gaps.slice(0, MOST_GAPS), { code: 'LOG_MORE_GAPS', values: { gaps: left } }];
}

/** Whether it is proven that the order differs, and the first row at which it does; otherwise why not. */
interface Proof {
  readonly row: number | null;
  readonly why: Finding | null;
}

function proofOf(rows: readonly ComparedRow[], { clock }: Alignment, core: Core, moved: Moved, log: DeviceLog): Proof {
  if (moved.size === 0) return { row: null, why: null };
  const keys = (side: 'device' | 'station') => rows.flatMap((row) => row[side]?.what ?? []);
  const [device, station] = [keys('device'), keys('station')];
  // By its times a value is known; without them only by all of one side being on the other, so that nothing but order is left.
  const known = clock !== null || isWithinCounts(device, station) || isWithinCounts(station, device);
  if (!known) return { row: null, why: { code: 'ORDER_UNPROVEN' } };
  for (const [from, to] of [...moved].toSorted(([a], [b]) => a - b)) {
    if (from > to) continue;
    const lines = rows.slice(Math.max(0, from - 1), to + 2).flatMap(({ device: event }) => event?.line ?? []);
    const [first, last] = [lines[0] ?? 0, lines.at(-1) ?? 0];
    const gap = log.dropped.some(({ line }) => line >= first && line <= last);
    const inside = clock !== null || (to >= core.first && from <= core.last);
    if (!gap && inside) return { row: from, why: null };
  }
  return { row: null, why: { code: 'ORDER_UNPROVEN' } };
}

function clockFinding(log: DeviceLog, { clock, containment }: Alignment, rows: readonly ComparedRow[]): Finding[] {
  if (log.format === 'cycles' || (clock === null && containment === 'neither')) return [];
  const rate = clock ? clock.rate * (1 + clock.drift) : 1 + (fitClock(rows)?.driftPpm ?? 0) / 1e6;
  return Math.abs(rate - 1) > OTHER_RATE ? [{ code: 'CLOCK_OTHER', values: { rate: rate.toPrecision(3) } }] : [];
}

function agreement(rows: readonly ComparedRow[], core: Core): Finding[] {
  const outside = rows.filter((row, at) => row.station === null && (at < core.first || at > core.last)).length;
  return outside > 0
    ? [{ code: 'LOGS_AGREE' }, { code: 'LOG_LONGER', values: { values: outside } }]
    : [{ code: 'LOGS_AGREE' }];
}

/** What a capture on the device's side or in the air adds: whether the values had the order there in which they came here. */
function separation(
  log: DeviceLog,
  result: LogComparison['result'],
  proof: Proof,
  gaps: readonly Finding[],
  onlyDevice: number,
  hci: CaptureState,
): Finding[] {
  const [same, other] =
    log.format === AIR_CAPTURE
      ? (['AIR_SAME', 'AIR_OTHER'] as const)
      : (['DEVICE_HOST_SAME', 'DEVICE_HOST_OTHER'] as const);
  if (result === 'agree') return [{ code: same }];
  if (result === 'incomplete')
    return [...gaps, { code: 'PART_AGREES', values: { values: log.events.length - onlyDevice } }];
  if (proof.row === null) return [...gaps, proof.why ?? { code: 'NOT_DELIVERED_UNDECIDED' }];
  // In order there and delivered in that order: then it was this host, and that its own capture says.
  return hci.kind === 'other' ? [{ code: other }, { code: 'DELIVERED_IN_ORDER' }] : [{ code: other }];
}

function parting(
  rows: readonly ComparedRow[],
  at: number,
  proof: Proof,
  hci: CaptureState,
  deliveredAsSaid: boolean,
): Finding[] {
  const row = rows[at];
  const next = rows.slice(at).find(({ station }) => station !== null)?.station;
  const device = row?.device;
  const here: Finding = device
    ? next
      ? { code: 'LINE_INSTEAD', values: { line: device.line, said: device.what, seen: next.what } }
      : { code: 'LINE_AND_NOTHING', values: { line: device.line, said: device.what } }
    : { code: 'STATION_ONLY', values: { seen: row?.station?.what ?? '' } };
  if ('why' in hci) return [here, ...(proof.why ? [proof.why] : []), hci.why];
  if (proof.row === null) {
    if (proof.why) return [here, proof.why];
    return [here, { code: hci.kind === 'same' ? 'NOT_DELIVERED' : 'NOT_DELIVERED_UNDECIDED' }];
  }
  if (hci.kind === 'same') return [here, { code: 'HCI_AS_SEEN' }];
  const delivered = rows.slice(at).find(({ station }) => station !== null)?.hci;
  return deliveredAsSaid && delivered
    ? [here, { code: 'HCI_AS_SAID', values: { delivered } }]
    : [here, { code: 'HCI_NEITHER' }];
}

/** Whether `part` is `whole` with some of it left out. */
function isWithin(part: readonly string[], whole: readonly string[]): boolean {
  let at = 0;
  for (const each of whole) if (at < part.length && part[at] === each) at += 1;
  return at === part.length;
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
