import { describe, expect, test } from 'vitest';
import { CODE, EVENT_CODE, SUBEVENT } from '../../src/virtual/hci/codes.ts';
import { addressOctets, commandPacket, H4 } from '../../src/virtual/hci/packet.ts';
import { FloodingHost } from '../support/flooding-host.ts';
import { hasRecording, type RecordedPacket, recordedPackets } from '../support/recording.ts';

/** Recordings of Zephyr's own controller. */
const ZEPHYRS = ['controller-one-unit', 'controller-one-unit-narrow-scan', 'controller-four-units'];
const FOUR = 'controller-four-units';
const ENHANCED = 'controller-enhanced-connection-complete';
/** Reports of one connection event are at most so far apart, those of two at least. */
const SAME_EVENT_MS = 2.9;

interface Report {
  readonly timeMs: number;
  readonly handle: number;
}

const isEvent = ({ packet }: RecordedPacket, code: number) => packet[0] === H4.event && packet[1] === code;
const isMeta = (each: RecordedPacket, subevent: number) =>
  isEvent(each, EVENT_CODE.leMeta) && each.packet[3] === subevent;
const opcodeOf = ({ packet }: RecordedPacket) => (packet[0] === H4.command ? packet.readUInt16LE(1) : null);

/** Each Number Of Completed Packets of a recording. */
function reports(packets: readonly RecordedPacket[]): Report[] {
  return packets
    .filter((each) => isEvent(each, EVENT_CODE.numberOfCompletedPackets))
    .map(({ packet, timeMs }) => ({ timeMs, handle: packet.readUInt16LE(4) }));
}

/** Reports of one link that came within one connection event. */
function bursts(all: readonly Report[]): Report[][] {
  const found: Report[][] = [];
  const last = new Map<number, Report[]>();
  for (const report of all) {
    const burst = last.get(report.handle);
    if (burst && report.timeMs - burst.at(-1)!.timeMs <= SAME_EVENT_MS) burst.push(report);
    else {
      const begun = [report];
      last.set(report.handle, begun);
      found.push(begun);
    }
  }
  return found;
}

const gaps = (all: readonly Report[][]) =>
  all.flatMap((burst) => burst.slice(1).map(({ timeMs }, i) => timeMs - burst[i]!.timeMs));
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;

/** How often each burst length occurs, the most frequent first. */
function lengths(all: readonly Report[][]): [number, number][] {
  const counts = new Map<number, number>();
  for (const { length } of all) counts.set(length, (counts.get(length) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

/** A virtual controller's reports while a host gives its buffers to one link after the other. */
function virtualReports(links: number, intervalMs: number): Report[] {
  const host = new FloodingHost({ latencyMs: 0.3 });
  host.connect(links, intervalMs);
  let turn = 0;
  host.flood(() => turn++ % links);
  return host.completed.map(({ atUs, handle }) => ({ timeMs: atUs / 1000, handle }));
}

describe.skipIf(!hasRecording(FOUR))('a recorded controller and the virtual one', () => {
  test.each(ZEPHYRS)('answer the commands before the first connection alike (%s)', (name) => {
    const packets = recordedPackets(name);
    const until = packets.findIndex((each) => opcodeOf(each) === CODE.leCreateConnection);
    const before = packets.slice(0, until + 2).filter((each) => !isMeta(each, SUBEVENT.advertisingReport));
    const recorded = before.filter(({ fromHost }) => !fromHost).map(({ packet }) => packet);
    const host = new FloodingHost();
    const answers: Buffer[] = [];
    host.central.toHost = (packet) => answers.push(packet);
    for (const { fromHost, packet } of before) if (fromHost) host.central.fromHost(packet);
    // What a controller is called and can is its own.
    const own = new Set<number>([CODE.readBdAddr, CODE.readLocalVersionInformation, CODE.leReadLocalSupportedFeatures]);
    const comparable = (packet: Buffer) =>
      packet[1] === EVENT_CODE.commandComplete && own.has(packet.readUInt16LE(4))
        ? `${packet.subarray(0, 7).toString('hex')} and ${packet.length - 7} octets`
        : packet.toString('hex');
    expect(recorded.length).toBeGreaterThan(12);
    expect(answers.map(comparable)).toEqual(recorded.map(comparable));
  });

  test.each(ZEPHYRS)('report each packet by an event of its own, as often as it was sent (%s)', (name) => {
    const packets = recordedPackets(name);
    const events = packets.filter((each) => isEvent(each, EVENT_CODE.numberOfCompletedPackets));
    expect(new Set(events.map(({ packet }) => `${packet[3]} handle, ${packet.readUInt16LE(6)} packet`))).toEqual(
      new Set(['1 handle, 1 packet']),
    );
    const host = new FloodingHost();
    const counts = new Set<string>();
    const { toHost } = host.central;
    host.central.toHost = (packet) => {
      if (packet[1] === EVENT_CODE.numberOfCompletedPackets) {
        counts.add(`${packet[3]} handle, ${packet.readUInt16LE(6)} packet`);
      }
      toHost(packet);
    };
    host.connect(2, 30);
    host.flood(({ held }) => held.indexOf(Math.min(...held)), 1000);
    expect(counts).toEqual(new Set(['1 handle, 1 packet']));
  });

  test('give a packet back when it has been on the air: a full one in 1.39 ms after the one before', () => {
    // With four units the simulated air fell behind the clock at times, and caught up.
    for (const name of ZEPHYRS.filter((each) => each !== FOUR)) {
      expect(mean(gaps(bursts(reports(recordedPackets(name)))))).toBeCloseTo(1.39, 1);
    }
    expect(mean(gaps(bursts(virtualReports(1, 10))))).toBeCloseTo(1.39, 1);
  });

  test('carry three full packets of each of four links in an interval of 30 ms, the rest is the next one’s time', () => {
    const recorded = lengths(bursts(reports(recordedPackets(FOUR))));
    expect(recorded[0]![0]).toBe(3);
    expect(recorded[0]![1] / recorded.reduce((sum, [, times]) => sum + times, 0)).toBeGreaterThan(0.85);
    expect(lengths(bursts(virtualReports(4, 30)))[0]![0]).toBe(3);
  });

  test('report the last packet of an event within it: what the host had given is not left to the next one', () => {
    // Of each event: what was held when it began, and what was left when it was over.
    const held = new Map<number, number>();
    let emptied = 0;
    let all = 0;
    const packets = recordedPackets(FOUR);
    const begun = new Map<Report, number>();
    const left = new Map<Report, number>();
    const bursting = bursts(reports(packets));
    const firsts = new Map(bursting.map((burst) => [`${burst[0]!.handle} ${burst[0]!.timeMs}`, burst]));
    const lasts = new Map(bursting.map((burst) => [`${burst[0]!.handle} ${burst.at(-1)!.timeMs}`, burst]));
    for (const { fromHost, packet, timeMs } of packets) {
      if (packet[0] === H4.acl && fromHost) {
        const handle = packet.readUInt16LE(1) & 0x0fff;
        held.set(handle, (held.get(handle) ?? 0) + 1);
      } else if (packet[0] === H4.event && packet[1] === EVENT_CODE.disconnectionComplete) {
        held.set(packet.readUInt16LE(4), 0);
      } else if (packet[0] === H4.event && packet[1] === EVENT_CODE.numberOfCompletedPackets) {
        const handle = packet.readUInt16LE(4);
        const key = `${handle} ${timeMs}`;
        const started = firsts.get(key);
        if (started) begun.set(started[0]!, held.get(handle)!);
        held.set(handle, held.get(handle)! - 1);
        const ended = lasts.get(key);
        if (ended) left.set(ended[0]!, held.get(handle)!);
      }
    }
    for (const [first, { length }] of bursting.map((burst) => [burst[0]!, burst] as const)) {
      if (begun.get(first)! > 3) continue;
      all += 1;
      if (length >= begun.get(first)! && left.get(first) === 0) emptied += 1;
    }
    expect(all).toBeGreaterThan(1000);
    expect(emptied / all).toBeGreaterThan(0.97);

    const host = new FloodingHost();
    host.connect(1, 30);
    let given = 0;
    host.flood(() => (given++ < 3 ? 0 : null), 100);
    expect(bursts(host.completed.map(({ atUs, handle }) => ({ timeMs: atUs / 1000, handle })))).toHaveLength(1);
    expect(host.held).toEqual([0]);
  });

  test('pack the anchors of four links 4.81 ms apart', () => {
    const intervalMs = 30;
    const single = bursts(reports(recordedPackets(FOUR))).filter(
      (burst) => burst.length === 1 && burst[0]!.timeMs > 1230 && burst[0]!.timeMs < 1680,
    );
    const phase = (handle: number) =>
      median(single.filter(([report]) => report!.handle === handle).map(([report]) => report!.timeMs % intervalMs));
    const between = (phase(3) - phase(0) + intervalMs) % intervalMs;
    expect(between / 3).toBeCloseTo(4.81, 1);

    const host = new FloodingHost();
    host.connect(4, intervalMs);
    const anchors = [...host.ether.links].map(({ nextAnchor }) => (nextAnchor / 1000) % intervalMs);
    expect((anchors[3]! - anchors[0]! + intervalMs) % intervalMs).toBeCloseTo(3 * 4.81, 3);
  });

  test('take eight intervals from one procedure of the link layer to the end of the PHY’s', () => {
    const intervals = [
      ...ratios(recordedPackets('controller-one-unit-narrow-scan'), 10),
      ...ratios(recordedPackets(FOUR), 30),
    ];
    expect(intervals.length).toBeGreaterThanOrEqual(5);
    expect(median(intervals)).toBeCloseTo(8, 0);

    const host = new FloodingHost();
    const events: RecordedPacket[] = [];
    const { toHost } = host.central;
    host.central.toHost = (packet) => {
      events.push({ fromHost: false, timeMs: host.ether.now / 1000, packet });
      toHost(packet);
    };
    host.connect(1, 30);
    expect(ratios(events, 30)).toEqual([expect.closeTo(8, 1)]);
  });

  test('may apply what a peripheral asks for, whatever the host says', () => {
    const packets = recordedPackets('controller-one-unit');
    const asked = packets.findIndex((each) => isMeta(each, SUBEVENT.remoteConnectionParameterRequest));
    const reply = packets.slice(asked).find((each) => each.fromHost && each.packet[0] === H4.command)!;
    const applied = packets.slice(asked).find((each) => isMeta(each, SUBEVENT.connectionUpdateComplete))!;
    expect(opcodeOf(reply)).toBe(CODE.leRemoteConnectionParameterRequestReply);

    const host = new FloodingHost({ ownParameters: true });
    host.connect(1, 10);
    const events: { readonly timeMs: number; readonly packet: Buffer }[] = [];
    host.central.toHost = (packet) => events.push({ timeMs: host.ether.now / 1000, packet });
    // 6 to 9, no latency, 420 ms, as the recorded unit asks.
    host.peers[0]!.fromHost(
      commandPacket(CODE.leConnectionUpdate, Buffer.of(0, 0, 6, 0, 9, 0, 0, 0, 42, 0, 0, 0, 0, 0)),
    );
    host.advance(50);
    host.central.fromHost(reply.packet);
    const answeredMs = host.ether.now / 1000;
    host.advance(100);
    const metas = events.filter(({ packet }) => packet[1] === EVENT_CODE.leMeta);
    expect(metas.map(({ packet }) => packet.toString('hex'))).toEqual(
      [packets[asked]!, applied].map(({ packet }) => packet.toString('hex')),
    );
    for (const tookMs of [applied.timeMs - reply.timeMs, metas[1]!.timeMs - answeredMs]) {
      expect(tookMs).toBeGreaterThan(50);
      expect(tookMs).toBeLessThan(60);
    }
  });

  test('end a link that the host ends by 0x16, within two events', () => {
    for (const [name, intervalMs] of [
      ['controller-one-unit-narrow-scan', 10],
      [FOUR, 30],
    ] as const) {
      const packets = recordedPackets(name);
      const at = packets.findLastIndex((each) => opcodeOf(each) === CODE.disconnect);
      const kinds = packets.slice(at + 1).filter(({ packet }) => packet[0] === H4.event);
      expect(kinds[0]!.packet[1]).toBe(EVENT_CODE.commandStatus);
      const ended = kinds.find((each) => isEvent(each, EVENT_CODE.disconnectionComplete))!;
      expect(ended.packet[6]).toBe(0x16);
      expect(ended.timeMs - packets[at]!.timeMs).toBeLessThan(2 * intervalMs);

      const host = new FloodingHost();
      host.connect(1, intervalMs);
      const events: Buffer[] = [];
      host.central.toHost = (packet) => events.push(packet);
      host.command(CODE.disconnect, Buffer.of(0, 0, 0x13));
      host.advance(2 * intervalMs);
      expect(events.map((packet) => packet[1])).toEqual([EVENT_CODE.commandStatus, EVENT_CODE.disconnectionComplete]);
      expect(events[1]!.subarray(3).toString('hex')).toBe(
        ended.packet.subarray(3).toString('hex').replace(/^00../, '0000'),
      );
    }
  });
});

/** Intervals from Data Length Change to PHY Update Complete, link by link. */
function ratios(packets: readonly RecordedPacket[], intervalMs: number): number[] {
  const since = new Map<number, number>();
  const found: number[] = [];
  for (const each of packets) {
    if (isMeta(each, SUBEVENT.dataLengthChange)) since.set(each.packet.readUInt16LE(4), each.timeMs);
    if (!isMeta(each, SUBEVENT.phyUpdateComplete)) continue;
    const begun = since.get(each.packet.readUInt16LE(5));
    if (begun !== undefined) found.push((each.timeMs - begun) / intervalMs);
    since.delete(each.packet.readUInt16LE(5));
  }
  return found;
}

describe.skipIf(!hasRecording(ENHANCED))('a mask that lets Enhanced Connection Complete through', () => {
  test('has it sent in place of Connection Complete, octet for octet as recorded', () => {
    const packets = recordedPackets(ENHANCED);
    const recorded = packets.find((each) => isMeta(each, SUBEVENT.enhancedConnectionComplete))!.packet;
    expect(packets.some((each) => isMeta(each, SUBEVENT.connectionComplete))).toBe(false);
    const asked = packets.find((each) => opcodeOf(each) === CODE.leCreateConnection)!.packet;

    const host = new FloodingHost();
    const events: Buffer[] = [];
    host.central.toHost = (packet) => events.push(packet);
    for (const { fromHost, packet } of packets) {
      if (fromHost && packet.readUInt16LE(1) === CODE.leSetEventMask) host.central.fromHost(packet);
    }
    const peer = host.ether.createController('02:00:00:00:00:01');
    peer.fromHost(commandPacket(CODE.leSetRandomAddress, addressOctets('c0:ff:ee:00:00:01')));
    peer.fromHost(
      commandPacket(CODE.leSetAdvertisingParameters, Buffer.of(32, 0, 32, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0)),
    );
    peer.fromHost(commandPacket(CODE.leSetAdvertisingEnable, Buffer.of(1)));
    host.central.fromHost(asked);
    host.advance(500);
    expect(events.filter((packet) => packet[1] === EVENT_CODE.leMeta).map((packet) => packet.toString('hex'))).toEqual([
      recorded.toString('hex'),
    ]);
  });
});
