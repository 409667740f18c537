import type { Finding } from '../contract/findings.ts';
import type { FusSettings } from '../contract/product-file.ts';
import type { OrderAnomaly, OrderVerdict } from '../contract/records.ts';
import { FrameIntake } from '../protocols/fus/frame-intake.ts';
import { OrderAnalyser, type OrderToken } from '../protocols/fus/order.ts';
import type { CaptureContent } from '../radio/radio.ts';
import { type AttValue, attValues } from './att-values.ts';

/** The largest frame that evidence is read with. */
const MAX_FRAME = 65_535;
const MAX_PACKETS = 12;
/** Values of the frames that may be under way when a link ends. */
const UNFINISHED_TOKENS = 12;

/** One value as the application saw it. */
export interface SeenValue {
  readonly uuid: string;
  readonly value: Buffer;
}

/** One link: what the application saw of it, and what the controller delivered. */
export interface LinkStory {
  readonly seen: readonly SeenValue[];
  readonly capture: CaptureContent | null;
}

/**
 * Who broke the order, by the evidence of the HCI capture. Returns null when there was no anomaly.
 *
 * - `peripheral` needs: of every disturbed link a capture without gap that holds, octet by octet, what the application saw in the same
 *   order; and in it a departure of which every part is there (an end before its data, not an end whose data never came).
 * - `host` needs: of every disturbed link a capture without gap, in perfect order, that holds all that the application saw; and the
 *   application saw it in another order, or lacks what was delivered before what it has.
 * - All else is `undecided`, with the reason: a part that is missing may have been lost anywhere.
 */
export function judgeOrder(
  settings: FusSettings,
  anomalies: readonly OrderAnomaly[],
  links: readonly LinkStory[],
): OrderVerdict | null {
  if (anomalies.length === 0) return null;
  const undecided = (reason: Finding): OrderVerdict => ({ verdict: 'undecided', reason, packets: [] });
  let before = 0;
  const found = links.map((link) => {
    const finding = judgeLink(settings, link, before);
    before += link.capture?.packets.length ?? 0;
    return finding;
  });
  const disturbed = found.filter(({ application, unfinished, lost }) => application > 0 && (lost || !unfinished));
  if (disturbed.length === 0) return undecided({ code: 'MISSING_IN_CAPTURE' });
  const missing = disturbed.find(({ why }) => why !== null);
  if (missing?.why) return undecided(missing.why);
  const delivered = disturbed.flatMap(({ packets }) => packets);
  if (disturbed.every(({ same, lost, packets }) => same && !lost && packets.length > 0)) {
    if (!disturbed.every(({ proven }) => proven)) return undecided({ code: 'MISSING_IN_CAPTURE' });
    return {
      verdict: 'peripheral',
      reason: { code: 'DELIVERED_SO' },
      packets: delivered.slice(0, MAX_PACKETS),
    };
  }
  if (disturbed.every(({ same, packets, permuted }) => !same && permuted && packets.length === 0)) {
    return {
      verdict: 'host',
      reason: { code: disturbed.every(({ dropped }) => dropped) ? 'NOT_HANDED_OVER' : 'DELIVERED_IN_ORDER' },
      packets: disturbed.flatMap(({ differs }) => differs).slice(0, MAX_PACKETS),
    };
  }
  if (disturbed.some(({ lost }) => lost)) {
    return undecided({ code: 'MISSING_IN_CAPTURE' });
  }
  return undecided({ code: 'BOTH_DISTURBED' });
}

interface LinkFinding {
  /** Anomalies at the application. */
  readonly application: number;
  /** Why nothing can be said; null when something can. */
  readonly why: Finding | null;
  /** Whether the application saw exactly what was delivered. */
  readonly same: boolean;
  /** Whether it saw the same values in another order. */
  readonly permuted: boolean;
  /** Whether markers or data are missing in what was delivered. */
  readonly lost: boolean;
  /** Whether all that is wrong with it may be that the link ended before the rest came. */
  readonly unfinished: boolean;
  /** Whether it lacks some of what was delivered before what it has, and is in order but for that. */
  readonly dropped: boolean;
  /** Whether every part of some departure from the order is in what was delivered, at the wrong place. */
  readonly proven: boolean;
  /** Packets with which the order was broken when it was delivered. */
  readonly packets: readonly number[];
  /** Packets from which on the two differ. */
  readonly differs: readonly number[];
}

/** `before`: packets of earlier links in the same file; packets are numbered from 1, as in the file that `trace` writes. */
function judgeLink(settings: FusSettings, { seen, capture }: LinkStory, before: number): LinkFinding {
  const application = anomaliesOf(
    settings,
    seen.map(({ uuid, value }) => ({ uuid, value, packet: 0 })),
  ).length;
  const nothing = {
    application,
    same: false,
    permuted: false,
    lost: false,
    unfinished: false,
    dropped: false,
    proven: false,
    packets: [],
    differs: [],
  };
  if (!capture)
    return {
      ...nothing,
      why: { code: 'CAPTURE_ABSENT' },
    };
  if (capture.leftOut > 0) return { ...nothing, why: { code: 'CAPTURE_GAP', values: { packets: capture.leftOut } } };
  const own = new Set([settings.response.uuid, settings.dataOut.uuid]);
  const delivered = attValues(capture.packets)
    .filter(({ uuid }) => uuid !== null && own.has(uuid))
    .map((value) => ({ ...value, packet: value.packet + before + 1 }));
  if (delivered.length < seen.length) return { ...nothing, why: { code: 'CAPTURE_SHORT' } };
  const found = anomaliesOf(settings, delivered);
  const key = ({ uuid, value }: { uuid: string | null; value: Buffer }) => `${uuid} ${value.toString('hex')}`;
  // What was delivered and had not been handed over when the link ended says nothing about order.
  const deliveredKeys = delivered.slice(0, seen.length).map(key);
  const seenKeys = seen.map(key);
  const first = seenKeys.findIndex((each, index) => each !== deliveredKeys[index]);
  return {
    application,
    why: null,
    same: first < 0,
    permuted: isPermutation(seenKeys, delivered.map(key)),
    lost: markersWereLost(settings, delivered),
    dropped: first >= 0 && isWithin(seenKeys, delivered.map(key)),
    proven: hasWholeDeparture(settings, delivered),
    unfinished: found.length > 0 && found.every(({ shape }) => shape === 'missing-start' || shape === 'missing-end'),
    packets: found.map(({ packet }) => packet),
    differs: first < 0 ? [] : delivered.slice(first, first + 3).map(({ packet }) => packet),
  };
}

function anomaliesOf(
  settings: FusSettings,
  values: readonly Pick<AttValue, 'uuid' | 'value' | 'packet'>[],
): { readonly shape: OrderAnomaly['shape']; readonly packet: number }[] {
  const tokens = orderTokens(settings, values);
  const analyser = new OrderAnalyser(settings.header === 'standard');
  const anomalies = tokens.flatMap((token) => analyser.push(token));
  return [...anomalies, ...analyser.flush()].map(({ shape, token }) => ({ shape, packet: values[token]?.packet ?? 0 }));
}

/** Whether there are fewer starts or ends than frames: markers were lost. What is missing when the link ends may only not have come yet. */
function markersWereLost(
  settings: FusSettings,
  values: readonly { readonly uuid: string | null; readonly value: Buffer }[],
): boolean {
  const tokens = orderTokens(settings, values);
  const tally = { open: 0, close: 0, data: 0 };
  let lastBalance = 0;
  tokens.forEach(({ kind, endsFrame }, index) => {
    if (kind !== 'data' || endsFrame || settings.header === 'none') tally[kind] += 1;
    const frames = settings.header === 'none' ? tally.open : tally.data;
    if (tally.open >= frames && tally.close >= frames) lastBalance = index + 1;
  });
  return tokens.length - lastBalance > UNFINISHED_TOKENS;
}

/**
 * Whether the values hold a departure of which no part can be missing: as many starts, ends and frames, no end before its start (markers
 * keep their order), and yet not in order; or the same marker twice, one behind the other. It must lie between two frames that count on without a gap (`seq`,
 * docs/protocols/fus.md), so that no frame was lost there: what comes first and last on a link may lack its neighbour. Devices without
 * header do not count: there, data must stand outside any start and end.
 */
function hasWholeDeparture(
  settings: FusSettings,
  values: readonly Pick<AttValue, 'uuid' | 'value' | 'packet'>[],
): boolean {
  const tokens = orderTokens(settings, values);
  const delimited = settings.header === 'standard';
  if (delimited && !countsOn(tokens, values)) return false;
  const ends = tokens.map(({ kind, endsFrame }, at) =>
    delimited ? kind === 'data' && endsFrame : kind === 'data' && tokens[at + 1]?.kind !== 'data',
  );
  const [first, last] = [ends.indexOf(true), ends.lastIndexOf(true)];
  const within = (from: number, to: number) => !delimited || (from > first && to < last);
  let from = 0;
  let balance = { open: 0, close: 0, data: 0, turned: false };
  for (let at = 0; at < tokens.length; at++) {
    const { kind } = tokens[at]!;
    if (kind !== 'data' || ends[at]) balance[kind] += 1;
    balance.turned ||= balance.close > balance.open;
    if (balance.turned || balance.open !== balance.close || balance.open !== balance.data || balance.open === 0)
      continue;
    const found = anomaliesOf(settings, values.slice(from, at + 1));
    const whole = found.some(({ shape }) => shape !== 'missing-start' && shape !== 'missing-end');
    if (whole && within(from, at)) return true;
    from = at + 1;
    balance = { open: 0, close: 0, data: 0, turned: false };
  }
  return (
    delimited && tokens.some(({ kind }, at) => kind !== 'data' && tokens[at + 1]?.kind === kind && within(at, at + 1))
  );
}

/** Whether the frames count on without a gap: then none was lost as a whole between the first and the last. */
function countsOn(tokens: readonly OrderToken[], values: readonly Pick<AttValue, 'value'>[]): boolean {
  const sequences: number[] = [];
  let fresh = true;
  tokens.forEach(({ kind, endsFrame }, index) => {
    if (kind !== 'data') return;
    if (fresh) sequences.push(values[index]?.value[1] ?? -1);
    fresh = endsFrame;
  });
  return sequences.every((each, index) => index === 0 || each === ((sequences[index - 1] ?? 0) + 1) % 256);
}

/** Whether `part` is `whole` with some of it left out. */
function isWithin(part: readonly string[], whole: readonly string[]): boolean {
  let at = 0;
  for (const each of whole) if (at < part.length && part[at] === each) at += 1;
  return at === part.length;
}

/** Values as tokens of order. */
export function orderTokens(
  settings: FusSettings,
  values: readonly { readonly uuid: string | null; readonly value: Buffer }[],
): OrderToken[] {
  const intake = new FrameIntake(settings, MAX_FRAME);
  return values.map(({ uuid, value }, index) =>
    uuid === settings.response.uuid
      ? intake.marker(value[0] === settings.markers.open, index).token
      : intake.data(value, index).token,
  );
}

/** Whether every value of `part` is in `whole`, as often. */
function isPermutation(part: readonly string[], whole: readonly string[]): boolean {
  const counts = new Map<string, number>();
  for (const each of whole) counts.set(each, (counts.get(each) ?? 0) + 1);
  return part.every((each) => {
    const left = (counts.get(each) ?? 0) - 1;
    counts.set(each, left);
    return left >= 0;
  });
}
