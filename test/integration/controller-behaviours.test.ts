import { describe, expect, test } from 'vitest';
import { type ControllerDescription, trayFile } from '../../src/contract/tray-file.ts';
import { CODE, EVENT_CODE, REASON, SUBEVENT } from '../../src/virtual/hci/codes.ts';
import { BOUNDARY, dataPacket, H4 } from '../../src/virtual/hci/packet.ts';
import { FloodingHost } from '../support/flooding-host.ts';

interface Told {
  readonly timeMs: number;
  readonly packet: Buffer;
}

/** A host of such a controller, with everything that it is told. */
function hostOf(controller: Partial<ControllerDescription>, neighbours?: { count: number; intervalMs: number }) {
  const host = new FloodingHost(controller, neighbours);
  const told: Told[] = [];
  const { toHost } = host.central;
  host.central.toHost = (packet) => {
    told.push({ timeMs: host.ether.now / 1000, packet });
    toHost(packet);
  };
  return { host, told };
}

const described = (controller: object) => trayFile.parse({ controller }).controller;
const hex = ({ packet }: Told) => packet.toString('hex');

describe('a tray file’s controller', () => {
  test('is Zephyr’s when nothing is said, and refuses what it does not know', () => {
    expect(described({})).toMatchObject({ aclBuffers: 7, slotUs: 4810, completed: 'each', crowded: 'share' });
    expect(() => described({ buffers: 8 })).toThrow();
    expect(() => described({ answers: [{ opcode: 0x2022, status: 0 }] })).toThrow();
  });

  test('refuses a command with any status, so many times, in the form that the command is answered by', () => {
    const { host, told } = hostOf(
      described({
        answers: [
          { opcode: CODE.leSetDataLength, status: 0x11, times: 1 },
          { opcode: CODE.leSetPhy, status: 0x1a },
          { opcode: CODE.leSetScanParameters, status: 0x01 },
        ],
      }),
    );
    host.command(CODE.leSetDataLength, Buffer.of(5, 0, 251, 0, 0x48, 0x08));
    host.command(CODE.leSetPhy, Buffer.of(5, 0, 0, 2, 2, 0, 0));
    host.command(CODE.leSetScanParameters, Buffer.of(0, 0x60, 0, 0x30, 0, 0, 0));
    host.command(CODE.leSetDataLength, Buffer.of(5, 0, 251, 0, 0x48, 0x08));
    expect(told.map(hex)).toEqual(['040e06012220110500', '040f041a013220', '040f0401010b20', '040e06012220020500']);
  });

  test('answers late, when other events have gone before, or not at all', () => {
    const { host, told } = hostOf(
      described({
        answers: [
          { opcode: CODE.leSetEventMask, afterMs: 5, times: 1 },
          { opcode: CODE.readBdAddr, silent: true },
        ],
      }),
    );
    host.command(CODE.readBdAddr, Buffer.alloc(0));
    host.command(CODE.leReadBufferSize, Buffer.alloc(0));
    host.advance(10);
    // The mask was asked for before anything was listened to.
    expect(told.map(({ packet }) => packet.readUInt16LE(4))).toEqual([CODE.leReadBufferSize, CODE.leSetEventMask]);
  });

  test.each(['status', 'disconnection'] as const)('fails connections by a %s, so many of them', (how) => {
    const { host, told } = hostOf(described({ failsConnects: { times: 2, how } }));
    for (let i = 0; i < 2; i++) {
      expect(() => host.connect(1, 30)).toThrow();
      host.failures.length = 0;
      host.held.length = 0;
    }
    host.connect(1, 30);
    const failed = told.filter(({ packet }) =>
      how === 'status'
        ? packet[1] === EVENT_CODE.leMeta && packet[4] === REASON.failedToBeEstablished
        : packet[1] === EVENT_CODE.disconnectionComplete && packet[6] === REASON.failedToBeEstablished,
    );
    expect(failed).toHaveLength(2);
  });

  test('reports the packets of an event together where it is such a one', () => {
    const { host, told } = hostOf(described({ completed: 'event' }));
    host.connect(1, 30);
    told.length = 0;
    for (let i = 0; i < 5; i++) host.central.fromHost(dataPacket(0, BOUNDARY.continuing, Buffer.alloc(251)));
    host.advance(60);
    expect(told.map(hex)).toEqual(['0413050100000500']);
  });

  test('breaks at the moment that is given, once', () => {
    const { host, told } = hostOf(
      described({
        faults: [
          { atMs: 10, do: 'garbage' },
          { atMs: 20, do: 'hardware-error' },
          { atMs: 30, do: 'stuck' },
        ],
      }),
    );
    host.advance(25);
    expect(told.map(hex)).toEqual(['7fffffff', '04100101']);
    host.advance(25);
    host.command(CODE.reset, Buffer.alloc(0));
    expect(told).toHaveLength(2);
  });

  test('that starts anew forgets its links, and says no more of them', () => {
    const { host, told } = hostOf(described({ faults: [{ atMs: 2500, do: 'reset' }] }));
    host.connect(1, 30);
    told.length = 0;
    host.advance(2500);
    expect(told.map(hex)).toEqual(['040e03010000']);
    host.command(CODE.disconnect, Buffer.of(0, 0, 0x13));
    expect(told.slice(1).map(hex)).toEqual(['040f0402010604']);
  });

  test('keeps LE events to itself after a reset, until the host’s masks let them through', () => {
    const { host, told } = hostOf(described({}));
    host.command(CODE.reset, Buffer.alloc(0));
    expect(() => host.connect(1, 30)).toThrow();
    expect(told.filter(({ packet }) => packet[1] === EVENT_CODE.leMeta)).toEqual([]);
  });

  test('takes its time between host and air: each way, and by what the wire carries', () => {
    const { host, told } = hostOf(described({ latencyMs: 4, wireBytesPerSecond: 1000 }));
    const beganMs = host.ether.now / 1000;
    host.advance(100);
    told.length = 0;
    host.command(CODE.leReadBufferSize, Buffer.alloc(0));
    host.advance(100);
    // Four octets there and ten back at an octet a millisecond, and 4 ms each way.
    expect(told[0]!.timeMs - beganMs - 100).toBeCloseTo(4 + 4 + 10 + 4, 3);
  });

  test('answers a command that is too short, and one that nobody knows', () => {
    const { host, told } = hostOf(described({}));
    host.command(CODE.leSetDataLength, Buffer.of(0));
    host.command(0xfc01, Buffer.alloc(0));
    expect(told.map(hex)).toEqual(['040f0412012220', '040f04010101fc']);
  });
});

describe('other people’s advertisers', () => {
  test('load the host with a report each, as often as the scan hears them', () => {
    const heard = (count: number, windowMs: number) => {
      const { host, told } = hostOf(described({}), { count, intervalMs: 250 });
      host.scan(windowMs);
      host.advance(3000);
      return told.filter(({ packet }) => packet[1] === EVENT_CODE.leMeta && packet[3] === SUBEVENT.advertisingReport)
        .length;
    };
    expect(heard(0, 60)).toBe(0);
    // 40 a second, hardly any lost to another.
    expect(heard(10, 60) / 3).toBeGreaterThan(30);
    expect(heard(10, 60) / 3).toBeLessThan(45);
    // 800 a second, of which 45 % meet another; a third of the time a third of them.
    const all = heard(200, 60) / 3;
    expect(all).toBeGreaterThan(0.5 * 800);
    expect(all).toBeLessThan(0.6 * 800);
    expect(heard(200, 20) / 3 / all).toBeCloseTo(1 / 3, 1);
  });

  test('make ours be heard less often, and connecting take longer', () => {
    const connectedAfterMs = (count: number) => {
      let sum = 0;
      for (let i = 0; i < 10; i++) {
        const { host } = hostOf(described({}), { count, intervalMs: 60 });
        host.advance(i * 7);
        const beganMs = host.ether.now / 1000;
        host.connect(1, 30);
        sum += host.ether.now / 1000 - beganMs;
      }
      return sum / 10;
    };
    expect(connectedAfterMs(200)).toBeGreaterThan(connectedAfterMs(0));
  });
});

test('a peripheral’s packet is acknowledged by the central’s next PDU: the last of an event is reported at the next one', () => {
  const { host } = hostOf(described({}));
  host.connect(1, 30);
  const peer = host.peers[0]!;
  const reported: number[] = [];
  peer.toHost = (packet) => {
    if (packet[0] === H4.event && packet[1] === EVENT_CODE.numberOfCompletedPackets) {
      reported.push(host.ether.now / 1000);
    }
  };
  for (let i = 0; i < 3; i++) peer.fromHost(dataPacket(0, BOUNDARY.firstNonFlushable, Buffer.alloc(100)));
  host.advance(120);
  expect(reported).toHaveLength(3);
  expect(reported[1]! - reported[0]!).toBeLessThan(2);
  expect(reported[2]! - reported[1]!).toBeGreaterThan(25);
});

test('what a controller can is told in Core’s form: its longest PDU, the PHY of a link, and what it does not know of a link', () => {
  const { host, told } = hostOf(described({}));
  host.connect(1, 30);
  told.length = 0;
  host.command(CODE.leReadMaximumDataLength, Buffer.alloc(0));
  host.command(CODE.leReadPhy, Buffer.of(0, 0));
  host.command(CODE.leReadPhy, Buffer.of(9, 0));
  // 251 octets take 2,120 µs on 1M and 17,040 µs on the coded PHY: Core 5.4, Vol 6 Part B, table 4.3.
  expect(told.map(hex)).toEqual(['040e0c012f2000fb009042fb009042', '040e080130200000000202', '040e080130200209000000']);
});
