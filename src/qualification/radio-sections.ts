import type { JobSummary } from '../contract/job-events.ts';
import type { QualificationCheck, QualificationSection } from '../contract/qualification.ts';
import { OPCODE } from '../radio/hci/packets.ts';
import { perfectSenderBytesPerSecond, smpUploadShape } from '../radio/perfect-sender.ts';
import { check, notTried } from './check.ts';
import { type ControllerFindings, hex, median } from './controller-observation.ts';
import { DIAGNOSTIC_OPCODE, HCI_VERSIONS, LE_FEATURE, MANUFACTURERS } from './diagnostic-commands.ts';
import { LONG_ANSWER_OCTETS, type ProbedTimes, SHORT_ANSWER_OCTETS } from './probe-controller.ts';

/** What a radio's sections are made of. */
export interface RadioEvidence {
  readonly findings: ControllerFindings;
  /** A recording was read; nothing was asked. */
  readonly recorded: boolean;
  readonly probed: ProbedTimes | null;
  /** Why nothing was asked of a radio that is there. */
  readonly notProbed: string | null;
  /** Of a UART, in bits a second. */
  readonly baudRate: number | null;
  /** Links after which the station found it full; null when it never was. */
  readonly linkLimit: number | null;
  /** An upgrade over it; null when none was asked for. */
  readonly summary: JobSummary | null;
  /** Why the station could not use it. */
  readonly unusable: string | null;
}

/** The first packet of HCI 4.2, with which the data length extension came. */
const HCI_4_2 = 8;
/** The most octets of a link-layer packet, and what an ATT MTU of two of them carries (Vol 6 Part B, 4.5.10). */
const FULL_PACKET = 251;
const FULL_MTU = 498;
/** Three packets on the running link and three on the next: what keeps a connection event going (measured on Zephyr's controller). */
const LEAST_BUFFERS = 6;
/** Beyond this round trip even 16 buffers cannot fill the air: 16 × 248 octets ÷ 20 ms. */
const MOST_ROUND_TRIP_MS = 20;
/** Bits for one octet on a UART: start, eight, stop. */
const UART_BITS = 10;
/** A full MTU crosses the wire as two packets with five octets of H4 and HCI header each; 495 of it are the value. */
const VALUE_SHARE = 495 / 512;
/** A shorter difference is the timer's own. */
const LEAST_DIFFERENCE_MS = 0.08;
const SHAPE = smpUploadShape(2475, FULL_MTU);
const kB = (bytesPerSecond: number) => `${(bytesPerSecond / 1000).toFixed(bytesPerSecond < 10_000 ? 1 : 0)} kB/s`;
const ms = (value: number) => `${value.toFixed(2)} ms`;

/** What a radio is and does, as sections of a report. */
export function radioSections(evidence: RadioEvidence): QualificationSection[] {
  const sections = [
    { title: 'Controller', checks: controller(evidence) },
    { title: 'Answers', checks: answers(evidence) },
    { title: 'Links', checks: links(evidence) },
    { title: 'Listening', checks: listening(evidence) },
    { title: 'Throughput', checks: throughput(evidence) },
  ];
  return sections.filter(({ checks }) => checks.length > 0);
}

function unknownFor({ recorded, notProbed }: RadioEvidence, why = 'it did not say') {
  if (recorded) return { verdict: 'not-in-recording', why: 'not in this recording' } as const;
  return { verdict: 'not-tried', why: notProbed ?? why } as const;
}

function controller(evidence: RadioEvidence): QualificationCheck[] {
  const { findings, unusable, recorded } = evidence;
  const { address, version, buffers, features, longestPacket, dataLengths } = findings;
  const unknown = unknownFor(evidence);
  const feature = (name: string, expectation: string, bit: number, detail: string) =>
    check(name, expectation, {
      value: features,
      holds: (bits) => ((bits >> BigInt(bit)) & 1n) === 1n,
      say: (bits) => (((bits >> BigInt(bit)) & 1n) === 1n ? 'yes' : 'no'),
      detail: features !== null && ((features >> BigInt(bit)) & 1n) === 0n ? detail : null,
      unknown,
    });
  const longest = longestPacket ?? (dataLengths.length > 0 ? Math.max(...dataLengths) : null);
  const maker = version && MANUFACTURERS[version.manufacturer];
  return [
    ...(recorded
      ? []
      : [
          check('usable', 'the station can use it', {
            value: unusable ?? '',
            holds: (why) => why === '',
            say: (why) => why || 'yes',
            unknown,
          }),
        ]),
    check('address', 'it has an address of its own', {
      value: address,
      holds: (own) => own !== '00:00:00:00:00:00',
      say: (own) => own,
      detail: address === '00:00:00:00:00:00' ? 'none: a bond cannot tell it from another such radio' : null,
      unknown,
    }),
    check('version', 'Bluetooth 4.2 or later', {
      value: version,
      holds: ({ hci }) => hci >= HCI_4_2,
      say: ({ hci, revision }) => `${HCI_VERSIONS[hci] ?? `HCI version ${hci}`}, revision 0x${hex(revision, 4)}`,
      unknown,
    }),
    check('manufacturer', 'it says who made it', {
      value: version,
      holds: () => true,
      say: ({ manufacturer }) => `${maker ?? 'company'} (0x${hex(manufacturer, 4)})`,
      unknown,
    }),
    check('buffers', `at least ${LEAST_BUFFERS} ACL buffers of ${FULL_PACKET} octets`, {
      value: buffers,
      holds: ({ count, octets }) => count >= LEAST_BUFFERS && octets >= FULL_PACKET,
      say: ({ count, octets }) => `${count} of ${octets} octets`,
      detail: 'with fewer the air waits for the host; 16 need no timing at four links',
      unknown,
    }),
    feature('encryption', 'it encrypts links', LE_FEATURE.ENCRYPTION, 'products with security cannot be upgraded'),
    feature('data length', 'packets longer than 27 octets', LE_FEATURE.DATA_LENGTH, 'uploads are several times slower'),
    check('packet', `packets of ${FULL_PACKET} octets`, {
      value: longest,
      holds: (octets) => octets >= FULL_PACKET,
      say: (octets) => `${octets} octets`,
      unknown: unknownFor(evidence, 'it does not say; shown by the first link'),
    }),
    feature('2M', 'the 2M PHY', LE_FEATURE.PHY_2M, 'uploads take about twice as long'),
    check('hardware errors', 'it tells no hardware error', {
      value: findings.hardwareErrors,
      holds: (count) => count === 0,
      say: (count) => (count === 0 ? 'none' : String(count)),
      unknown,
    }),
  ];
}

function answers(evidence: RadioEvidence): QualificationCheck[] {
  const { findings, probed } = evidence;
  const trips = probed?.shortMs ?? [...findings.trips.values()].flat();
  const middle = median(trips);
  const whileListening = probed && median(probed.listeningMs);
  const { NOBODY_KNOWS } = DIAGNOSTIC_OPCODE;
  return [
    check('latency', `commands are answered within ${MOST_ROUND_TRIP_MS} ms`, {
      value: middle,
      holds: (value) => value <= MOST_ROUND_TRIP_MS,
      say: (value) => `${ms(value)} (median of ${trips.length}), longest ${ms(Math.max(...trips))}`,
      unknown: unknownFor(evidence),
    }),
    check('latency while it listens', `no longer than ${MOST_ROUND_TRIP_MS} ms either`, {
      value: whileListening,
      holds: (value) => value <= MOST_ROUND_TRIP_MS,
      say: (value) => `${ms(value)} (median of ${probed?.listeningMs.length ?? 0})`,
      unknown: unknownFor(evidence),
    }),
    check('unknown commands', 'a command that it does not know is refused, not ignored', {
      value: findings.trips.has(NOBODY_KNOWS) ? findings.unknownCommands.has(NOBODY_KNOWS) : null,
      holds: (refused) => refused,
      say: (refused) => (refused ? 'refused: unknown command' : 'answered otherwise'),
      unknown: unknownFor(evidence),
    }),
    check('enhanced events', 'it lets LE Enhanced Connection Complete be asked for', {
      value: findings.trips.has(OPCODE.LE_SET_EVENT_MASK) ? findings.leEventMask : null,
      holds: () => true,
      say: (mask) => `mask 0x${hex(Number(mask), 4)} taken`,
      unknown: unknownFor(evidence, 'it refused the event mask'),
    }),
    check('extended advertising', 'told, whether or not it has it', {
      value: findings.features,
      holds: () => true,
      say: (bits) => (((bits >> BigInt(LE_FEATURE.EXTENDED_ADVERTISING)) & 1n) === 1n ? 'yes' : 'no'),
      detail: 'the station does not need it',
      unknown: unknownFor(evidence),
    }),
  ];
}

function links(evidence: RadioEvidence): QualificationCheck[] {
  const { findings, linkLimit } = evidence;
  const limit = findings.linksRefusedAt ?? linkLimit;
  const connected = findings.mostLinks > 0;
  const unlinked = unknownFor(evidence, 'nothing was connected to: name --product and --firmware');
  return [
    check('links', 'how many it carries at a time', {
      value: limit,
      holds: (count) => count > 0,
      say: (count) => `${count}: one more was refused`,
      unknown: unknownFor(
        evidence,
        `a controller does not say; learnt when it refuses one (${findings.mostLinks} at once were carried)`,
      ),
    }),
    ...(connected
      ? [
          check('links at once', 'the links of this run', {
            value: findings.mostLinks,
            holds: () => true,
            say: String,
            unknown: unlinked,
          }),
        ]
      : []),
    check('connection event', 'each connection is told once, by an event that is handled', {
      value: connected ? findings.connectionEvents : null,
      holds: (events) => events.length === 1,
      say: (events) =>
        events
          .map((event) => (event === 'enhanced' ? 'LE Enhanced Connection Complete' : 'LE Connection Complete'))
          .join(', '),
      unknown: unlinked,
    }),
    check('failed connections', 'no more fail than succeed', {
      value: findings.connectionEvents.length > 0 ? findings.failedConnections : null,
      holds: (count) => count <= Math.max(1, findings.mostLinks),
      say: String,
      unknown: unlinked,
    }),
    check('data length of links', `links come to ${FULL_PACKET} octets a packet`, {
      value: findings.dataLengths.length > 0 ? findings.dataLengths : null,
      holds: (lengths) => Math.max(...lengths) >= FULL_PACKET,
      say: (lengths) => lengths.join(', '),
      detail: 'the device has a say in it',
      unknown: unlinked,
    }),
    check('PHY of links', 'links come to 2M', {
      value: findings.phys.length > 0 ? findings.phys : null,
      holds: (phys) => phys.includes('2M'),
      say: (phys) => phys.join(', '),
      detail: 'the device has a say in it',
      unknown: unlinked,
    }),
    check('packet reports', 'packets are told done one by one, or by the event', {
      value: findings.mostCompletedAtOnce > 0 ? findings.mostCompletedAtOnce : null,
      holds: () => true,
      say: (most) => (most === 1 ? 'each by an event of its own' : `up to ${most} by one event`),
      detail:
        findings.packetMs === null
          ? null
          : `a packet is done after ${ms(findings.packetMs)} (median), up to ${findings.mostOnTheirWay} on their way`,
      unknown: unlinked,
    }),
  ];
}

function listening(evidence: RadioEvidence): QualificationCheck[] {
  const costs = evidence.findings.listening.toSorted((a, b) => b.percent - a.percent);
  const unknown = unknownFor(evidence, 'it was not heard to listen');
  if (costs.length === 0)
    return [check('listening', 'it listens', { value: null, holds: () => true, say: String, unknown })];
  return costs.map(({ percent, linked, ms: heardMs, reports, octets }) => ({
    name: `${percent} % of the time${linked ? ', with links' : ''}`,
    expectation: 'reports, and what they take of the wire',
    found: `${reports} reports in ${(heardMs / 1000).toFixed(1)} s: ${((reports * 1000) / heardMs).toFixed(0)} a second, ${kB((octets * 1000) / heardMs)}`,
    verdict: 'held',
    detail: linked ? 'while it listens, the connection events under its window are lost to the links' : null,
  }));
}

function throughput(evidence: RadioEvidence): QualificationCheck[] {
  const { findings, probed, summary, baudRate } = evidence;
  const { buffers, features } = findings;
  const has = (bit: number) => features !== null && ((features >> BigInt(bit)) & 1n) === 1n;
  const phy = has(LE_FEATURE.PHY_2M) ? '2M' : '1M';
  const dataLength = has(LE_FEATURE.DATA_LENGTH) ? FULL_PACKET : 27;
  const conditions = { phy, intervalMs: 30, links: 1, dataLength, mtu: FULL_MTU, encrypted: true } as const;
  const air = features === null ? null : perfectSenderBytesPerSecond(conditions, SHAPE);
  const trip = probed ? median(probed.shortMs) : null;
  const byBuffers = buffers && trip ? (buffers.count * Math.min(buffers.octets, dataLength) * 1000) / trip : null;
  const wire = wireBytesPerSecond(evidence);
  const carried = wire === null ? null : wire * VALUE_SHARE;
  const bounds = [air, byBuffers, carried].filter((bound) => bound !== null);
  const bound = bounds.length > 0 ? Math.min(...bounds) : null;
  const unknown = unknownFor(evidence);
  return [
    check('air', 'what a perfect sender has with one link', {
      value: air,
      holds: () => true,
      say: kB,
      detail: `${phy}, ${dataLength} octets a packet, encrypted, 30 ms`,
      unknown,
    }),
    check('buffers over the round trip', 'the buffers cover the way to the controller and back', {
      value: byBuffers,
      holds: (most) => air === null || most >= air,
      say: (most) => `at most ${kB(most)}`,
      unknown,
    }),
    check('wire', 'the wire carries what the air does', {
      value: carried,
      holds: (most) => air === null || most >= air,
      say: (most) => `at most ${kB(most)}`,
      detail:
        baudRate === null
          ? 'by how much longer a long answer takes than a short one'
          : `a UART of ${baudRate / 1e6} Mbaud: an upload is bound by it`,
      unknown: unknownFor(evidence, 'faster than can be told by its answers'),
    }),
    ...(evidence.recorded
      ? [
          check('best second', 'octets to devices in the best second of the recording', {
            value: findings.bestSecondBytes > 0 ? findings.bestSecondBytes : null,
            holds: () => true,
            say: kB,
            unknown,
          }),
        ]
      : []),
    ...(summary
      ? goodput(summary, bound)
      : evidence.recorded
        ? []
        : [notTried('goodput', 'an upgrade over it', 'name --product and --firmware')]),
  ];
}

/** Octets a second of the wire: of a UART by its rate, else by how much longer a long answer takes; null when that cannot be told. */
function wireBytesPerSecond({ baudRate, probed }: RadioEvidence): number | null {
  if (baudRate !== null) return baudRate / UART_BITS;
  if (!probed) return null;
  const longer = (median(probed.longMs) ?? 0) - (median(probed.shortMs) ?? 0);
  if (longer < LEAST_DIFFERENCE_MS) return null;
  return ((LONG_ANSWER_OCTETS - SHORT_ANSWER_OCTETS) * 1000) / longer;
}

function goodput(summary: JobSummary, bound: number | null): QualificationCheck[] {
  if (summary.units.length === 0)
    return [notTried('goodput', 'an upgrade over it', summary.code ?? 'no unit was found')];
  return summary.units.map((unit) => ({
    name: `goodput to ${unit.unit}`,
    expectation: 'the unit is upgraded; how fast',
    found: `${unit.outcome}${unit.code ? ` ${unit.code}` : ''}${unit.bytesPerSecond === null ? '' : `, ${kB(unit.bytesPerSecond)}`}`,
    verdict: unit.outcome === 'pass' || unit.outcome === 'skipped' || unit.outcome === 'staged' ? 'held' : 'not-held',
    detail: [
      bound === null ? null : `the radio's own bound is ${kB(bound)}`,
      unit.attemptId && `attempt ${unit.attemptId}`,
    ]
      .filter(Boolean)
      .join('; '),
  }));
}
