import { findingText } from '../contract/findings.ts';
import type { LearntProduct } from '../contract/learnt.ts';
import type { AttemptDetail, AttemptRow, LinkSecurity } from '../contract/records.ts';
import { textTable } from '../diagnostics/text-table.ts';
import type { Frame } from '../records/frame-log.ts';
import { outcomeText } from './outcome-text.ts';

const FRAMES_SHOWN = 12;
const BYTES_SHOWN = 24;

/** Attempts as a table, the newest first. */
export function attemptList(rows: readonly AttemptRow[]): string {
  if (rows.length === 0) return 'No attempts on record.';
  const heads = ['attempt', 'unit', 'job', 'slot', 'no', 'outcome', 'code', 'started', 'seconds'];
  const cells = rows.map((row) => [
    row.id.slice(0, 8),
    row.serial,
    row.job,
    row.slot,
    row.number,
    outcomeText(row),
    row.code,
    row.startedAt,
    row.durationMs === null ? null : Number((row.durationMs / 1000).toFixed(1)),
  ]);
  const practice = rows.some((row) => row.practice) ? 'PRACTICE records.\n' : '';
  return practice + textTable(heads, cells);
}

/** One attempt in full, with the first frames and the last. */
export function attemptText(attempt: AttemptDetail, frames: Iterable<Frame>): string {
  const { link } = attempt;
  const facts = link?.facts;
  const rate = link?.bytesPerSecond ? `${(link.bytesPerSecond / 1000).toFixed(1)} kB/s` : '–';
  const sections = [
    `${attempt.practice ? 'PRACTICE. ' : ''}Attempt ${attempt.id}`,
    textTable(
      ['what', 'is'],
      [
        [
          'unit',
          `${attempt.serial} (${attempt.product}), slot ${attempt.slot ?? '–'}, address ${attempt.address ?? '–'}`,
        ],
        ['job', `${attempt.job}, attempt ${attempt.number}, operator ${attempt.operator ?? '–'}`],
        ['outcome', [outcomeText(attempt), attempt.code, attempt.detail].filter(Boolean).join(' · ')],
        ['time', `${attempt.startedAt} to ${attempt.endedAt ?? '–'}`],
        [
          'firmware',
          `${attempt.firmware.fileName} ${attempt.firmware.sha256}, signature ${attempt.firmware.signature}`,
        ],
        ['profile', attempt.profile.sha256],
        ['station', `${attempt.station}, version ${attempt.appVersion}`],
        ['radio', `${attempt.radio ?? '–'} ${attempt.radioAddress ?? ''}`.trim()],
        ['upload', `${attempt.bytes ?? 0} bytes, ${rate}, resumed at ${attempt.resumedFrom ?? '–'}`],
        [
          'link',
          facts
            ? `MTU ${facts.mtu}, ${facts.phy ?? '–'}, data length ${facts.dataLength ?? '–'}, interval ${facts.intervalMs ?? '–'} ms, RSSI ${link?.rssi ?? '–'} dBm, security ${securityText(facts.security)}, window ${link?.window ?? '–'}, resends ${link?.resends}, reconnects ${link?.reconnects}`
            : '–',
        ],
      ],
    ),
    textTable(
      ['image', 'version', 'hash', 'verified'],
      attempt.images.map(({ index, version, hash, verified }) => [index, version, hash, verified]),
    ),
    textTable(
      ['step', 'at s', 'took s', 'code', 'detail'],
      attempt.steps.map((step) => [
        step.name,
        Number((step.startedMs / 1000).toFixed(3)),
        Number((step.durationMs / 1000).toFixed(3)),
        step.code,
        step.detail,
      ]),
    ),
    textTable(
      ['seen', 'image', 'slot', 'version', 'hash', 'flags'],
      attempt.slots.map((slot) => [slot.seen, slot.image, slot.slot, slot.version, slot.hash.slice(0, 16), slot.flags]),
    ),
    ...remarksText(attempt),
    ...identityText(attempt),
    ...orderText(attempt),
    frameText(attempt, frames),
  ];
  return sections.join('\n\n');
}

/** What there is to say beside steps and outcome. */
function remarksText({ remarks }: AttemptDetail): string[] {
  if (remarks.length === 0) return [];
  const cells = remarks.map((remark) => [Number((remark.atMs / 1000).toFixed(3)), remark.code, findingText(remark)]);
  return [textTable(['at s', 'remark', ''], cells)];
}

/** What units taught of a product, as a table. */
export function learntText(product: string, learnt: readonly LearntProduct[]): string {
  if (learnt.length === 0) return `Nothing has been learnt of ${product} yet.`;
  const seconds = (ms: number | null) => (ms === null ? null : Number((ms / 1000).toFixed(1)));
  return textTable(
    ['firmware that ran', 'frames', 'window', 'erase s', 'restart s', 'units', 'last'],
    learnt.map(({ running, facts, units, learntAt }) => [
      running,
      [facts.frames, facts.longestFrame && `at most ${facts.longestFrame}`].filter(Boolean).join(', '),
      facts.window,
      seconds(facts.eraseMs),
      seconds(facts.restartMs),
      units,
      learntAt,
    ]),
  );
}

/** Who was at the other end of each link, and how that is known. */
function identityText({ identities }: AttemptDetail): string[] {
  if (identities.length === 0) return [];
  const rows = identities.map(({ link, atMs, address, name, advertised, reported, proof, code, detail }) => [
    link,
    Number((atMs / 1000).toFixed(3)),
    address,
    advertised ?? name,
    reported,
    proof ?? 'none',
    [code, detail].filter(Boolean).join(': ') || null,
  ]);
  return [textTable(['link', 'at s', 'address', 'advertises', 'reports', 'identity by', 'why not'], rows)];
}

/** What is known of the frames' order, where it was broken. */
function orderText({ anomalies, verdict, capture }: AttemptDetail): string[] {
  if (anomalies.length === 0) return [];
  const shapes = Object.entries(Object.groupBy(anomalies, ({ shape }) => shape));
  const counts = shapes.map(([shape, all]) => `${all.length} × ${shape}`).join(', ');
  const evidence = verdict?.packets.length ? ` Packets ${verdict.packets.join(', ')} of the capture.` : '';
  const kept = capture
    ? `HCI capture: ${capture.packets} packets, SHA-256 ${capture.sha256.slice(0, 16)}`
    : 'HCI capture: none kept';
  return [
    `order broken: ${counts}\nverdict: ${verdict?.verdict ?? 'undecided'}. ${verdict ? findingText(verdict.reason) : ''}${evidence}\n${kept}`,
  ];
}

function frameText(attempt: AttemptDetail, frames: Iterable<Frame>): string {
  const all = [...frames];
  const edge = all.length <= 2 * FRAMES_SHOWN ? all.length : FRAMES_SHOWN;
  const shown = edge === all.length ? all : [...all.slice(0, edge), ...all.slice(-edge)];
  const rows = shown.map((frame) => [
    Number((frame.timeUs / 1e6).toFixed(6)),
    frame.direction === 'to-device' ? '→' : '←',
    attempt.channels[frame.channel]?.slice(0, 8) ?? '',
    frame.length,
    frame.image ? `image ${frame.image.index} @ ${frame.image.offset}` : '',
    frame.bytes.subarray(0, BYTES_SHOWN).toString('hex') + (frame.bytes.length > BYTES_SHOWN ? '…' : ''),
  ]);
  const left = all.length - shown.length;
  const heading = `${all.length} frames${left > 0 ? `, ${left} in the middle not shown (--frames for all)` : ''}`;
  return `${heading}\n${textTable(['at s', '', 'channel', 'octets', 'image bytes', 'value'], rows)}`;
}

/** A frame as `records show --frames --json` prints it. */
export function frameJson(frame: Frame, channels: readonly string[]) {
  const { direction, timeUs, length, image } = frame;
  return {
    type: 'frame',
    timeUs,
    direction,
    characteristic: channels[frame.channel] ?? null,
    length,
    value: frame.bytes.toString('hex'),
    image,
  };
}

/** Level, pairing and key size in one word or two. */
function securityText(security: LinkSecurity | null): string {
  if (!security || security.level === 'none') return security?.keyLost ? 'none (the device lost its key)' : 'none';
  const { pairing, keyBits, bonded, keyLost, replayed } = security;
  return `just works (${pairing}, ${keyBits} bits${bonded ? ', bonded' : ''}${keyLost ? ', its earlier key was lost' : ''}${replayed ? ', replayed, not verified' : ''})`;
}
