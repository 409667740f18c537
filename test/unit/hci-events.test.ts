import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { readCapture } from '../../src/diagnostics/capture-file.ts';
import { openNobleRadio } from '../../src/radio/noble/noble-radio.ts';
import type { CapturedPacket } from '../../src/radio/radio.ts';
import { recordedHost } from '../support/hci-recorder.ts';
import { CHARACTERISTIC, PEER, ScriptedController, SERVICE } from '../support/scripted-controller.ts';
import { SteppedClock } from '../support/stepped-clock.ts';

const recording = (name: string) => `../shared/captures/${name}.btsnoop`;
const without = (name: string) => !existsSync(recording(name));
const packets = (name: string): readonly CapturedPacket[] => readCapture(readFileSync(recording(name))).packets;
const hex = (text: string) => Buffer.from(text, 'hex');

const options = { intervalMs: 30, supervisionTimeoutMs: 2000, timeoutMs: 3000 };

/** An open radio in front of a controller that does as it is told. */
async function open(): Promise<{
  clock: SteppedClock;
  controller: ScriptedController;
  radio: Awaited<ReturnType<typeof openNobleRadio>>;
}> {
  const clock = new SteppedClock();
  const controller = new ScriptedController(clock);
  const radio = await clock.resolved(openNobleRadio('scripted', controller, clock), 20_000);
  const heard = new Promise<void>((resolve) => {
    const stop = radio.scan(({ address }) => {
      if (address !== PEER) return;
      stop();
      resolve();
    });
  });
  await clock.resolved(heard, 5000);
  return { clock, controller, radio };
}

/** An event of each code whose bit a mask may have, and what shows that it was taken. By bit of the mask. */
const connected = hex('043e13010001000001010000eeffc018000000c80005');
const taken: Record<
  string,
  Record<number, { event: string; shows: (told: unknown[][], toNoble: Buffer[]) => boolean }>
> = {
  'Set Event Mask': {
    4: { event: '04050400010013', shows: (told) => told.some(([name]) => name === 'disconnected') },
    7: { event: '04080400010001', shows: (told) => told.some(([name]) => name === 'encryptionChanged') },
    15: { event: '04100142', shows: (told) => told.some(([name]) => name === 'lost') },
    47: { event: '043003000100', shows: (told) => told.some(([name]) => name === 'encryptionChanged') },
    61: { event: '043e13010001000001010000eeffc018000000c80005', shows: (told) => told.length > 1 },
  },
  'Set Event Mask Page 2': {},
};

describe('the event masks', () => {
  const opcodes = { 'Set Event Mask': 0x0c01, 'Set Event Mask Page 2': 0x0c63, 'LE Set Event Mask': 0x2001 } as const;

  test.each([
    // Disconnection Complete, Encryption Change, Hardware Error, Encryption Key Refresh Complete, LE Meta.
    ['Set Event Mask', '9080000000800020'],
    ['Set Event Mask Page 2', '0000000000000000'],
    // Connection Complete, Advertising Report, Connection Update Complete, Remote Connection Parameter Request, Data Length Change, Enhanced
    // Connection Complete, PHY Update Complete.
    ['LE Set Event Mask', '670a000000000000'],
  ] as const)('%s lets through what is handled and nothing else, whoever set it last', async (name, mask) => {
    const { controller } = await open();
    const set = controller.commands().filter(([opcode]) => opcode === opcodes[name]);
    expect(set.length).toBeGreaterThan(0);
    for (const [, parameters] of set) expect(parameters).toBe(mask);
  });

  test.each(['Set Event Mask', 'Set Event Mask Page 2'] as const)(
    'each event that %s lets through is taken',
    async (name) => {
      const { controller } = await open();
      const parameters = controller.commands().find(([opcode]) => opcode === opcodes[name])?.[1] ?? '';
      const mask = hex(parameters).readBigUInt64LE();
      const bits = Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => (mask >> BigInt(bit)) & 1n);
      for (const bit of bits) {
        const sample = taken[name]?.[bit];
        expect(sample, `bit ${bit} lets an event through that no test knows`).toBeDefined();
        const { receive, told, toNoble } = recordedHost(new SteppedClock());
        receive(connected);
        receive(hex(sample!.event));
        expect(sample!.shows(told, toNoble), `bit ${bit}`).toBe(true);
      }
    },
  );

  test('each subevent that LE Set Event Mask lets through is taken', async () => {
    const { controller } = await open();
    const mask = hex(
      controller.commands().find(([opcode]) => opcode === opcodes['LE Set Event Mask'])?.[1] ?? '',
    ).readBigUInt64LE();
    const bits = Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => (mask >> BigInt(bit)) & 1n);
    const effects: Record<number, () => unknown> = {
      0: () => following('043e13010002000001020000eeffc018000000c80005').host.link(2)?.address,
      1: () => following('043e0c02010001010000eeffc000c4').toNoble.length > 1,
      2: () => following('043e0a03000100280000003200').host.link(1)?.intervalMs === 50,
      5: () => following('043e0b0601001800300000009001').sent.length === 1,
      6: () => following('043e0b070100fb004808fb004808').host.link(1)?.dataLength === 251,
      9: () => following('043e1f0a0002000001020000eeffc000000000000000000000000018000000c80005').host.link(2)?.address,
      11: () => following('043e060c0001000202').host.link(1)?.phy === '2M',
    };
    function following(event: string) {
      const recorded = recordedHost(new SteppedClock());
      recorded.receive(connected);
      recorded.receive(hex(event));
      return recorded;
    }
    for (const bit of bits) {
      expect(effects[bit], `bit ${bit} lets an event through that no test knows`).toBeDefined();
      expect(effects[bit]?.(), `bit ${bit}`).toBeTruthy();
    }
  });
});

describe('a controller that tells connections by LE Enhanced Connection Complete', () => {
  test('is connected through like any other', async () => {
    const { clock, controller, radio } = await open();
    controller.enhanced = true;
    const link = await clock.resolved(radio.connect(PEER, options), 5000);
    expect(link.facts()).toMatchObject({ intervalMs: 30, supervisionTimeoutMs: 2000, phy: '2M', dataLength: 251 });
    const characteristic = await clock.resolved(link.characteristic(SERVICE, CHARACTERISTIC), 5000);
    expect(await clock.resolved(link.read(characteristic), 5000)).toEqual(Buffer.from('SN1'));
    await clock.resolved(radio.stop(), 10_000);
  });

  const name = 'controller-enhanced-connection-complete';
  test.skipIf(without(name))(`is understood in the recording ${name}`, () => {
    const { host, told, toNoble, receive } = recordedHost(new SteppedClock());
    for (const { received, packet } of packets(name)) if (received) receive(packet);
    expect(told).toEqual([['connectionComplete', 0, 0, 'c0:ff:ee:00:00:01']]);
    expect(host.link(0)).toMatchObject({
      address: 'c0:ff:ee:00:00:01',
      random: true,
      intervalMs: 10,
      supervisionTimeoutMs: 2000,
      phy: '2M',
      dataLength: 27,
    });
    // noble knows the plain event.
    expect(toNoble.at(-1)?.toString('hex')).toBe('043e13010000000001010000eeffc008000000c80005');
  });
});

describe('a supervision timeout', () => {
  const asked = (controller: ScriptedController) => controller.commands().filter(([opcode]) => opcode === 0x2013);

  test('that the device made too short by itself is asked away, twice at most, and both are on record', async () => {
    const { clock, controller, radio } = await open();
    const link = await clock.resolved(radio.connect(PEER, options), 5000);
    // What Zephyr's controller applies after a request of the device's own: 11.25 ms and 420 ms.
    controller.updates(9, 42);
    await clock.settled(link.rssi(), 1000);
    expect(asked(controller)).toEqual([[0x2013, '0100' + '0900' + '0900' + '0000' + 'c800' + '0000' + '1200']]);
    expect(link.facts()).toMatchObject({ intervalMs: 11.25, supervisionTimeoutMs: 2000 });
    expect(link.facts().supervisionChanges?.map(([, ms]) => ms)).toEqual([420, 2000]);
    for (let times = 0; times < 4; times++) {
      controller.updates(9, 42);
      await clock.settled(link.rssi(), 1000);
    }
    expect(asked(controller)).toHaveLength(2);
    await clock.resolved(radio.stop(), 10_000);
  });

  test('that is long enough, or was shortened for a restart, is left as it is', async () => {
    const { clock, controller, radio } = await open();
    const link = await clock.resolved(radio.connect(PEER, options), 5000);
    controller.updates(24, 150);
    await clock.settled(link.rssi(), 1000);
    expect(asked(controller)).toHaveLength(0);
    link.expectRestart();
    await clock.settled(link.rssi(), 1000);
    expect(asked(controller)).toHaveLength(1);
    expect(link.facts().supervisionTimeoutMs).toBe(500);
    await clock.resolved(radio.stop(), 10_000);
  });
});

describe('what a device sends', () => {
  test.each([
    ['an entry length of 0', [0x11, 0, 1, 0, 3, 0, 0x0a, 0x18]],
    ['a list without entries', [0x11, 6]],
    ['a list that ends within an entry', [0x11, 6, 1, 0, 3, 0, 0x0a]],
  ])('that has %s where its services are asked for ends its link as nonsense, not the radio', async (_what, pdu) => {
    const { clock, controller, radio } = await open();
    const link = await clock.resolved(radio.connect(PEER, options), 5000);
    controller.att = (request) => (request[0] === 0x10 ? pdu : null);
    expect(await clock.settled(link.characteristic(SERVICE, CHARACTERISTIC), 40_000)).toMatchObject({
      status: 'rejected',
      reason: { code: 'DEVICE_NONSENSE' },
    });
    controller.att = () => null;
    const again = await clock.resolved(radio.connect(PEER, options), 10_000);
    await clock.resolved(again.characteristic(SERVICE, CHARACTERISTIC), 5000);
    await clock.resolved(radio.stop(), 10_000);
  });
});

describe('a link that its controller does not end', () => {
  test('is given up in five seconds, however long a supervision timeout the peer has asked for', async () => {
    const { clock, controller, radio } = await open();
    const link = await clock.resolved(radio.connect(PEER, options), 5000);
    controller.updates(24, 3200);
    await clock.settled(link.rssi(), 1000);
    expect(link.facts().supervisionTimeoutMs).toBe(32_000);
    controller.disturb = (packet) => (packet[1] === 0x05 ? [] : [packet]);
    const before = clock.now();
    await clock.resolved(link.disconnect(), 6000);
    expect(clock.now() - before).toBeLessThanOrEqual(5000);
    await clock.resolved(radio.stop(), 10_000);
  });
});

describe('a controller that refuses to scan', () => {
  test('is asked again while it carries links, and lost only when it has none', async () => {
    const { clock, controller, radio } = await open();
    const link = await clock.resolved(radio.connect(PEER, options), 5000);
    // Command Disallowed in place of success.
    controller.disturb = (packet) => [packet.toString('hex') === '040e04010c2000' ? hex('040e04010c200c') : packet];
    let lost: string | null = null;
    void radio.ended.then((reason) => {
      lost = reason?.detail ?? 'stopped';
    });
    const stop = radio.scan(() => undefined);
    const asked = () =>
      controller.commands().filter(([opcode, parameters]) => opcode === 0x200c && parameters.startsWith('01')).length;
    const before = asked();
    for (const untilMs = clock.now() + 8000; clock.now() < untilMs; clock.step()) {
      expect(await clock.resolved(link.rssi(), 1000)).toBe(-56);
    }
    expect(lost).toBeNull();
    expect(asked() - before).toBeGreaterThan(5);
    await clock.resolved(link.disconnect(), 6000);
    expect(await clock.resolved(radio.ended, 20_000)).toMatchObject({
      code: 'RADIO_LOST',
      detail: 'does not scan: status 0x0c',
    });
    stop();
  });
});
