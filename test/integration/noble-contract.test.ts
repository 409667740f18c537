import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Clock, systemClock } from '../../src/clock.ts';
import { trayDevices, trayFile } from '../../src/contract/tray-file.ts';
import { CID_SIGNALLING, OPCODE } from '../../src/radio/hci/packets.ts';
import type { NobleCharacteristic, NoblePeripheral, NobleService } from '../../src/radio/noble/noble-internals.ts';
import { openNobleRadio } from '../../src/radio/noble/noble-radio.ts';
import type { Characteristic, Link, Radio } from '../../src/radio/radio.ts';
import { DeviceSecurity } from '../../src/virtual/device-security.ts';
import { Faults } from '../../src/virtual/faults.ts';
import { type BareNoble, bareNoble } from '../support/bare-noble.ts';
import {
  hear,
  TEST_CHARACTERISTIC,
  TEST_SERVICE,
  TestAir,
  type TestCentral,
  type TestPeripheral,
} from '../support/test-air.ts';
import { aWhile, until } from '../support/until.ts';

// Each defect of noble 1.9.2-26 on its HCI path is shown in bare noble, and its absence through the port. The numbers are the rows of
// the table in docs/noble.md.

let air: TestAir;
let central: TestCentral;
let device: TestPeripheral;
const cleanups: (() => unknown)[] = [];

beforeEach(() => {
  air = new TestAir();
  central = air.central();
  device = air.peripheral(1);
  device.start();
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  air.stop();
});

async function bare(): Promise<BareNoble> {
  const noble = await bareNoble(central);
  cleanups.push(() => noble.dispose());
  return noble;
}

async function port(clock: Clock = systemClock): Promise<Radio> {
  const radio = await openNobleRadio('test', central, clock);
  cleanups.push(() => radio.stop());
  return radio;
}

const options = { intervalMs: 15, supervisionTimeoutMs: 2000, timeoutMs: 2000 };

async function linkTo(
  radio: Radio,
  peer: TestPeripheral = device,
): Promise<{ link: Link; characteristic: Characteristic }> {
  await hear(radio, peer);
  const link = await radio.connect(peer.address, options);
  return { link, characteristic: await link.characteristic(TEST_SERVICE, TEST_CHARACTERISTIC) };
}

async function bareCharacteristic(peripheral: NoblePeripheral): Promise<NobleCharacteristic> {
  const services = await new Promise<NobleService[]>((resolve) => {
    peripheral.once('servicesDiscover', resolve);
    peripheral.discoverServices([]);
  });
  const service = services.find(({ uuid }) => uuid === TEST_SERVICE.replaceAll('-', ''))!;
  const characteristics = await new Promise<NobleCharacteristic[]>((resolve) => {
    service.once('characteristicsDiscover', resolve);
    service.discoverCharacteristics([]);
  });
  return characteristics[0]!;
}

/** The device's service with another characteristic in place of the usual one. */
const offering = (characteristic: object) => ({
  services: [
    {
      uuid: TEST_SERVICE,
      characteristics: [
        {
          uuid: TEST_CHARACTERISTIC,
          properties: ['read', 'write', 'writeWithoutResponse', 'notify'] as const,
          read: () => Buffer.from('value'),
          write: () => undefined,
          ...characteristic,
        },
      ],
    },
  ],
});

const writesReceived = (peer: TestPeripheral) =>
  peer.received.filter((pdu) => pdu[0] === 0x52 || pdu[0] === 0x12).length;

describe('row 1: a write without response', () => {
  test('resolves in bare noble although hundreds of packets still wait', async () => {
    const { bindings, connect } = await bare();
    const characteristic = await bareCharacteristic(await connect(device.address));
    let resolved = 0;
    characteristic.on('write', () => resolved++);
    for (let i = 0; i < 400; i++) characteristic.write(Buffer.alloc(200), true);
    await until(() => resolved === 400);
    const { _aclQueue: queue } = bindings._hci as unknown as { _aclQueue: unknown[] };
    expect(queue.length).toBeGreaterThan(300);
  });

  test('settles through the port only when the controller took it', async () => {
    const { link, characteristic } = await linkTo(await port());
    let resolved = 0;
    const writes = Array.from({ length: 100 }, () =>
      link.writeCommands([{ characteristic, value: Buffer.alloc(200) }]).then(() => {
        resolved += 1;
        expect(resolved).toBeLessThanOrEqual(writesReceived(device) + 8);
      }),
    );
    await Promise.all(writes);
    await until(() => writesReceived(device) === 100);
  });
});

describe('row 2: a link that stalls', () => {
  const other = () => {
    const second = air.peripheral(2);
    second.start();
    return second;
  };

  test('blocks every other link in bare noble', async () => {
    const second = other();
    const { connect } = await bare();
    const first = await bareCharacteristic(await connect(device.address));
    const free = await bareCharacteristic(await connect(second.address));
    device.controller.silenceLinks();
    for (let i = 0; i < 20; i++) first.write(Buffer.alloc(200), true);
    free.write(Buffer.alloc(200), true);
    await aWhile();
    expect(writesReceived(second)).toBe(0);
  });

  test('leaves the others going through the port', async () => {
    const second = other();
    const radio = await port();
    const stalled = await linkTo(radio);
    const free = await linkTo(radio, second);
    device.controller.silenceLinks();
    const lost = Array.from({ length: 20 }, () =>
      stalled.link.writeCommands([{ characteristic: stalled.characteristic, value: Buffer.alloc(200) }]),
    );
    const settled = Promise.allSettled(lost);
    for (let i = 0; i < 20; i++)
      await free.link.writeCommands([{ characteristic: free.characteristic, value: Buffer.alloc(200) }]);
    await until(() => writesReceived(second) === 20);
    await settled;
  });
});

describe('row 3: data queued just before the link ends', () => {
  test('throws inside bare noble, where nobody can catch it', async () => {
    const { bindings, connect } = await bare();
    const peripheral = await connect(device.address);
    const handle = bindings._handles[peripheral.id]!;
    const hci = bindings._hci as unknown as { flushAcl(): Promise<void> };
    const flush = hci.flushAcl.bind(hci);
    const outcomes: Promise<unknown>[] = [];
    hci.flushAcl = () => {
      const flushed = flush();
      outcomes.push(flushed.catch((error: unknown) => error));
      return Promise.resolve();
    };
    peripheral.disconnect();
    await until(() => peripheral.state === 'disconnected');
    bindings._hci.writeAclDataPkt(handle, 4, Buffer.from([0x52, 3, 0, 1]));
    await until(() => outcomes.length > 1);
    expect((await Promise.all(outcomes)).at(-1)).toBeInstanceOf(TypeError);
  });

  test('rejects with the link’s end through the port', async () => {
    const { link, characteristic } = await linkTo(await port());
    await link.disconnect();
    await expect(link.writeCommands([{ characteristic, value: Buffer.alloc(4) }])).rejects.toMatchObject({
      code: 'LINK_CLOSED',
    });
  });
});

describe('row 4: a write that the device refuses', () => {
  test('never settles in bare noble', async () => {
    device.start(offering({ write: () => 0x03 }));
    const { connect } = await bare();
    const characteristic = await bareCharacteristic(await connect(device.address));
    let settled = false;
    characteristic.once('write', () => {
      settled = true;
    });
    characteristic.write(Buffer.from('x'), false);
    const read = new Promise((resolve) => characteristic.once('read', resolve));
    characteristic.read();
    await read;
    expect(settled).toBe(false);
  });

  test('rejects with the device’s error through the port', async () => {
    device.start(offering({ write: () => 0x03 }));
    const { link, characteristic } = await linkTo(await port());
    const refused = link.write(characteristic, Buffer.from('x'));
    await expect(refused).rejects.toMatchObject({ code: 'ATT_ERROR', detail: 'ATT error 0x03' });
  });
});

describe('row 5: ATT error 0x04', () => {
  test('wedges the link’s queue in bare noble', async () => {
    device.start(offering({ write: () => 0x04 }));
    const { connect } = await bare();
    const characteristic = await bareCharacteristic(await connect(device.address));
    characteristic.write(Buffer.from('x'), false);
    let answered = false;
    characteristic.once('read', () => {
      answered = true;
    });
    characteristic.read();
    await aWhile();
    expect(answered).toBe(false);
  });

  test('is an error like any other through the port', async () => {
    device.start(offering({ write: () => 0x04 }));
    const { link, characteristic } = await linkTo(await port());
    await expect(link.write(characteristic, Buffer.from('x'))).rejects.toMatchObject({ detail: 'ATT error 0x04' });
    expect(await link.read(characteristic)).toEqual(Buffer.from('value'));
  });
});

describe('row 6: a request when the link breaks', () => {
  test('stays pending for ever in bare noble', async () => {
    device.start(offering({ read: () => null }));
    const { connect } = await bare();
    const peripheral = await connect(device.address, 300);
    const characteristic = await bareCharacteristic(peripheral);
    let settled = false;
    characteristic.once('read', () => {
      settled = true;
    });
    characteristic.read();
    device.controller.silenceLinks();
    await until(() => peripheral.state === 'disconnected');
    await aWhile(50);
    expect(settled).toBe(false);
  });

  test('rejects with LINK_LOST through the port', async () => {
    device.start(offering({ read: () => null }));
    const { link, characteristic } = await linkTo(await port());
    const read = link.read(characteristic);
    device.controller.silenceLinks();
    await expect(read).rejects.toMatchObject({ code: 'LINK_LOST' });
  });

  test('rejects with ATT_TIMEOUT through the port when the device never answers', async () => {
    device.start(offering({ read: () => null }));
    const hasty: Clock = { ...systemClock, after: (ms, fn) => systemClock.after(ms === 30_000 ? 200 : ms, fn) };
    const { link, characteristic } = await linkTo(await port(hasty));
    await expect(link.read(characteristic)).rejects.toMatchObject({ code: 'ATT_TIMEOUT' });
  });
});

describe('row 7: the MTU', () => {
  test('is unknown when bare noble says connected, and then more than it asked for', async () => {
    device.start({ mtu: 517 });
    const { discover } = await bare();
    const peripheral = await discover(device.address);
    let atConnect: number | null = -1;
    peripheral.once('connect', () => {
      atConnect = peripheral.mtu;
    });
    peripheral.connect();
    await until(() => peripheral.mtu !== null);
    expect(atConnect).toBeNull();
    expect(device.received.find((pdu) => pdu[0] === 0x02)?.readUInt16LE(1)).toBe(256);
    expect(peripheral.mtu).toBe(517);
  });

  test.each([
    [517, 498],
    [498, 498],
    [247, 247],
    [23, 23],
  ])('with a device of %i is %i through the port, as soon as it is connected', async (offered, reached) => {
    device.start({ mtu: offered });
    const radio = await port();
    await hear(radio, device);
    const link = await radio.connect(device.address, options);
    expect(link.facts().mtu).toBe(reached);
  });
});

describe('row 8: a device that is absent', () => {
  test('blocks the connection to every other in bare noble', async () => {
    const second = air.peripheral(2);
    second.start();
    const { discover } = await bare();
    const absent = await discover(device.address);
    const present = await discover(second.address);
    device.vanish();
    absent.connect();
    present.connect();
    await aWhile();
    expect(present.state).toBe('connecting');
  });

  test('times out through the port and the next one connects', async () => {
    const second = air.peripheral(2);
    second.start();
    const radio = await port();
    await hear(radio, device, second);
    device.vanish();
    const absent = radio.connect(device.address, { ...options, timeoutMs: 200 });
    const present = radio.connect(second.address, options);
    await expect(absent).rejects.toMatchObject({ code: 'CONNECT_TIMEOUT' });
    expect((await present).address).toBe(second.address);
  });
});

describe('row 9: giving up a connection that still waits its turn', () => {
  test('cancels the one under way in bare noble', async () => {
    const second = air.peripheral(2);
    second.start();
    const { discover } = await bare();
    const first = await discover(device.address);
    const waiting = await discover(second.address);
    device.vanish();
    let failure: unknown = null;
    first.once('connect', (error: unknown) => {
      failure = error;
    });
    first.connect();
    waiting.connect();
    waiting.cancelConnect();
    await until(() => failure !== null);
    expect(failure).toBeInstanceOf(Error);
  });

  test('leaves the one under way alone through the port', async () => {
    const second = air.peripheral(2);
    second.start();
    const radio = await port();
    await hear(radio, device, second);
    device.vanish();
    const first = radio.connect(device.address, options);
    const abort = new AbortController();
    const waiting = radio.connect(second.address, { ...options, signal: abort.signal });
    const gaveUp = expect(waiting).rejects.toBe('changed my mind');
    abort.abort('changed my mind');
    device.start();
    expect((await first).address).toBe(device.address);
    await gaveUp;
  });
});

describe('row 10: a second connect to the same device', () => {
  test('leaves bare noble’s peripheral in state error on a live link', async () => {
    const { discover } = await bare();
    const peripheral = await discover(device.address);
    peripheral.connect();
    peripheral.connect();
    await until(() => peripheral.state === 'error');
    expect(device.host.connected).toBe(true);
  });

  test('is refused through the port and the link goes on', async () => {
    const radio = await port();
    const { link, characteristic } = await linkTo(radio);
    await expect(radio.connect(device.address, options)).rejects.toMatchObject({ code: 'ALREADY_CONNECTED' });
    expect(await link.read(characteristic)).toEqual(Buffer.from('value'));
  });
});

describe('row 11: two writes at a time on one characteristic', () => {
  test('both resolve on the first answer in bare noble', async () => {
    const { connect } = await bare();
    const characteristic = await bareCharacteristic(await connect(device.address));
    const receivedAt: number[] = [];
    for (let i = 0; i < 2; i++) characteristic.once('write', () => receivedAt.push(writesReceived(device)));
    characteristic.write(Buffer.from('a'), false);
    characteristic.write(Buffer.from('b'), false);
    await until(() => receivedAt.length === 2);
    expect(receivedAt[1]).toBe(1);
  });

  test('each waits for its own answer through the port', async () => {
    const { link, characteristic } = await linkTo(await port());
    const receivedAt: number[] = [];
    await Promise.all(
      ['a', 'b'].map((text) =>
        link.write(characteristic, Buffer.from(text)).then(() => receivedAt.push(writesReceived(device))),
      ),
    );
    expect(receivedAt).toEqual([1, 2]);
  });
});

describe('row 12: behind a request that is out', () => {
  test('a write without response waits in bare noble', async () => {
    device.start(offering({ read: () => null }));
    const { connect } = await bare();
    const characteristic = await bareCharacteristic(await connect(device.address));
    characteristic.read();
    characteristic.write(Buffer.from('x'), true);
    await aWhile();
    expect(writesReceived(device)).toBe(0);
  });

  test('a write without response leaves at once through the port', async () => {
    device.start(offering({ read: () => null }));
    const { link, characteristic } = await linkTo(await port());
    const read = link.read(characteristic).catch((error: unknown) => error);
    await link.writeCommands([{ characteristic, value: Buffer.from('x') }]);
    await until(() => writesReceived(device) === 1);
    await link.disconnect();
    expect(await read).toMatchObject({ code: 'LINK_CLOSED' });
  });

  const indicating = { read: () => null, properties: ['read', 'indicate'] as const };
  const confirmations = () => device.received.filter((pdu) => pdu[0] === 0x1e).length;

  test('the confirmation of an indication waits in bare noble', async () => {
    device.start(offering(indicating));
    const { connect } = await bare();
    const characteristic = await bareCharacteristic(await connect(device.address));
    const subscribed = new Promise((resolve) => characteristic.once('notify', resolve));
    characteristic.notify(true);
    await subscribed;
    characteristic.read();
    air.time.sync(() => device.host.indicate(TEST_CHARACTERISTIC, Buffer.from('i')));
    await aWhile();
    expect(confirmations()).toBe(0);
  });

  test('the confirmation of an indication leaves at once through the port, and once', async () => {
    device.start(offering(indicating));
    const { link, characteristic } = await linkTo(await port());
    const values: string[] = [];
    await link.subscribe(characteristic, (value) => values.push(value.toString()));
    const read = link.read(characteristic).catch((error: unknown) => error);
    air.time.sync(() => device.host.indicate(TEST_CHARACTERISTIC, Buffer.from('i')));
    await until(() => confirmations() === 1);
    expect(values).toEqual(['i']);
    await link.disconnect();
    await read;
    expect(confirmations()).toBe(1);
  });
});

describe('row 13: connection parameters', () => {
  test('of bare noble give a supervision timeout of 420 ms', async () => {
    const { bindings, discover } = await bare();
    const peripheral = await discover(device.address);
    const complete = new Promise<unknown[]>((resolve) => {
      bindings._hci.once('leConnComplete', (...values: unknown[]) => resolve(values));
    });
    peripheral.connect();
    expect((await complete)[7]).toBe(420);
  });

  test('are what the station asks for through the port', async () => {
    const { link } = await linkTo(await port());
    expect(link.facts()).toMatchObject({ intervalMs: 15, supervisionTimeoutMs: 2000 });
  });
});

describe('row 14: longer packets and the 2M PHY', () => {
  const asked = () => central.sent.map((packet) => packet.readUInt16LE(1));

  test('are never asked for by bare noble', async () => {
    await (await bare()).connect(device.address);
    expect(asked()).toContain(OPCODE.LE_CREATE_CONNECTION);
    expect(asked()).not.toContain(OPCODE.LE_SET_DATA_LENGTH);
    expect(asked()).not.toContain(OPCODE.LE_SET_PHY);
  });

  test('are asked for and reached through the port', async () => {
    const { link } = await linkTo(await port());
    await until(() => link.facts().phy === '2M');
    expect(link.facts()).toMatchObject({ phy: '2M', dataLength: 251 });
  });
});

describe('row 15: a device’s request for other connection parameters (L2CAP)', () => {
  const request = Buffer.from([0x12, 0x07, 8, 0, 80, 0, 160, 0, 0, 0, 200, 0]);
  const startListening = () => {
    const answers: Buffer[] = [];
    device.start({ onL2cap: (cid, payload) => cid === CID_SIGNALLING && answers.push(Buffer.from(payload)) });
    return answers;
  };

  test.runIf(process.platform === 'linux')('goes unanswered in bare noble', async () => {
    const answers = startListening();
    const { connect } = await bare();
    await connect(device.address);
    air.time.sync(() => device.host.sendL2cap(CID_SIGNALLING, request));
    await aWhile();
    expect(answers).toEqual([]);
  });

  test('is answered through the port', async () => {
    const answers = startListening();
    await linkTo(await port());
    air.time.sync(() => device.host.sendL2cap(CID_SIGNALLING, request));
    await until(() => answers.length === 1);
    expect(answers[0]).toEqual(Buffer.from([0x13, 0x07, 2, 0, 1, 0]));
  });
});

describe('row 16: a device without a scan response', () => {
  test('is not discovered by bare noble with the controller’s duplicate filter', async () => {
    device.start({ name: '' });
    const { noble } = await bare();
    let discovered = 0;
    noble.on('discover', () => discovered++);
    noble.startScanning([], false);
    await aWhile();
    expect(discovered).toBe(0);
    noble.stopScanning();
  });

  test('is heard through the port', async () => {
    device.start({ name: '' });
    await hear(await port(), device);
  });
});

describe('row 17: scan parameters', () => {
  const lastSet = () =>
    central.sent.findLast((packet) => packet[0] === 1 && packet.readUInt16LE(1) === OPCODE.LE_SET_SCAN_PARAMETERS);

  test('are reset to the whole time when bare noble starts to scan', async () => {
    const { noble, discover } = await bare();
    (noble as unknown as { setScanParameters(interval: number, window: number): void }).setScanParameters(96, 48);
    await discover(device.address);
    expect(lastSet()?.readUInt16LE(5)).toBe(lastSet()?.readUInt16LE(7));
  });

  test('leave time for the links through the port', async () => {
    await hear(await port(), device);
    expect(lastSet()!.readUInt16LE(7)).toBeLessThan(lastSet()!.readUInt16LE(5));
  });
});

describe('listening for a device while another is linked', () => {
  const windowOf = (opcode: number, at: number) => {
    const packet = central.sent.findLast((each) => each[0] === 1 && each.readUInt16LE(1) === opcode)!;
    return { intervalMs: packet.readUInt16LE(at) * 0.625, windowMs: packet.readUInt16LE(at + 2) * 0.625 };
  };

  test('takes the share of the air that it is given, in windows that are worth their price', async () => {
    const radio = await port();
    await linkTo(radio);
    const stop = radio.scan(() => undefined, 1 / 8);
    await until(() => windowOf(OPCODE.LE_SET_SCAN_PARAMETERS, 5).intervalMs === 800);
    expect(windowOf(OPCODE.LE_SET_SCAN_PARAMETERS, 5).windowMs).toBe(100);
    stop();
  });

  test('takes half of it to connect to a second one', async () => {
    const radio = await port();
    await linkTo(radio);
    const second = air.peripheral(2);
    second.start();
    await linkTo(radio, second);
    expect(windowOf(OPCODE.LE_CREATE_CONNECTION, 4)).toEqual({ intervalMs: 200, windowMs: 100 });
  });
});

describe('row 18: scanning while connecting', () => {
  const scanEnables = () =>
    central.sent
      .filter((packet) => packet[0] === 1)
      .map((packet) => [packet.readUInt16LE(1), packet[4]] as const)
      .filter(([opcode]) => opcode === OPCODE.LE_SET_SCAN_ENABLE || opcode === OPCODE.LE_CREATE_CONNECTION);

  test('goes on in bare noble', async () => {
    // Zephyr's controller would refuse to connect.
    central = air.central({ connectsWhileScanning: true });
    const { noble } = await bare();
    noble.startScanning([], true);
    await until(() => noble._peripherals[device.address.replaceAll(':', '')] !== undefined);
    const peripheral = noble._peripherals[device.address.replaceAll(':', '')]!;
    peripheral.connect();
    await until(() => peripheral.state === 'connected');
    const commands = scanEnables();
    expect(commands.at(-2)).toEqual([OPCODE.LE_SET_SCAN_ENABLE, 1]);
    expect(commands.at(-1)?.[0]).toBe(OPCODE.LE_CREATE_CONNECTION);
  });

  test('rests through the port, and resumes for those who listen', async () => {
    const radio = await port();
    const stop = radio.scan(() => undefined);
    cleanups.push(stop);
    await linkTo(radio);
    const commands = scanEnables();
    const at = commands.findIndex(([opcode]) => opcode === OPCODE.LE_CREATE_CONNECTION);
    expect(commands[at - 1]).toEqual([OPCODE.LE_SET_SCAN_ENABLE, 0]);
    expect(commands.at(-1)).toEqual([OPCODE.LE_SET_SCAN_ENABLE, 1]);
  });
});

describe('row 19: a transport that is lost', () => {
  test('leaves bare noble’s peripherals connected', async () => {
    const { connect } = await bare();
    const peripheral = await connect(device.address);
    central.pull();
    await aWhile();
    expect(peripheral.state).toBe('connected');
  });

  test('ends links and radio through the port', async () => {
    const radio = await port();
    const { link, characteristic } = await linkTo(radio);
    device.controller.silenceLinks();
    const waiting = Array.from({ length: 20 }, () =>
      link.writeCommands([{ characteristic, value: Buffer.alloc(200) }]),
    );
    const settled = Promise.allSettled(waiting);
    central.pull();
    expect((await settled).some(({ status }) => status === 'rejected')).toBe(true);
    expect(await link.ended).toMatchObject({ code: 'RADIO_LOST' });
    expect(await radio.ended).toMatchObject({ code: 'RADIO_LOST' });
    await expect(link.read(characteristic)).rejects.toMatchObject({ code: 'RADIO_LOST' });
    await expect(radio.connect(device.address, options)).rejects.toMatchObject({ code: 'RADIO_LOST' });
  });
});

describe('row 20: a connection that fails while another is live on handle 0', () => {
  test('makes bare noble overrun the controller’s buffers', async () => {
    const second = air.peripheral(2);
    second.start();
    const { connect, discover } = await bare();
    const absent = await discover(second.address);
    const characteristic = await bareCharacteristic(await connect(device.address));
    second.vanish();
    device.controller.silenceLinks();
    for (let i = 0; i < 30; i++) characteristic.write(Buffer.alloc(200), true);
    await until(() => central.sent.filter((packet) => packet[0] === 2 && packet.length > 200).length === 7);
    absent.connect();
    absent.cancelConnect();
    await aWhile();
    characteristic.write(Buffer.alloc(200), true);
    await until(() => central.controller.overflows > 0);
  });

  test('costs nothing through the port', async () => {
    const second = air.peripheral(2);
    second.start();
    const radio = await port();
    await hear(radio, second);
    const { link, characteristic } = await linkTo(radio);
    second.vanish();
    device.controller.silenceLinks();
    const writes = Promise.allSettled(
      Array.from({ length: 30 }, () => link.writeCommands([{ characteristic, value: Buffer.alloc(200) }])),
    );
    await expect(radio.connect(second.address, { ...options, timeoutMs: 100 })).rejects.toMatchObject({
      code: 'CONNECT_TIMEOUT',
    });
    await writes;
    expect(central.controller.overflows).toBe(0);
  });
});

describe('row 21: with HCI_CHANNEL_USER set', () => {
  beforeEach(() => {
    process.env.HCI_CHANNEL_USER = '1';
    cleanups.push(() => delete process.env.HCI_CHANNEL_USER);
  });

  test('data never leaves bare noble', async () => {
    const { discover } = await bare();
    const peripheral = await discover(device.address);
    peripheral.connect();
    await until(() => device.host.connected);
    await aWhile();
    expect(device.received).toEqual([]);
  });

  test('data leaves through the port', async () => {
    const { link, characteristic } = await linkTo(await port());
    expect(await link.read(characteristic)).toEqual(Buffer.from('value'));
  });
});

describe('row 22: ending a link that is over', () => {
  test('throws or hangs in bare noble', async () => {
    const { discover } = await bare();
    const peripheral = await discover(device.address);
    let settled = false;
    peripheral.once('disconnect', () => {
      settled = true;
    });
    try {
      peripheral.disconnect();
    } catch (error) {
      expect(error).toBeInstanceOf(TypeError);
    }
    await aWhile(100);
    expect(settled).toBe(false);
    expect(peripheral.state).toBe('disconnecting');
  });

  test('resolves through the port, however often', async () => {
    const { link } = await linkTo(await port());
    await Promise.all([link.disconnect(), link.disconnect()]);
    await link.disconnect();
    expect(await link.ended).toMatchObject({ code: 'LINK_CLOSED' });
  });
});

describe('row 23: a radio that is done with', () => {
  const handlers = () => process.listenerCount('SIGINT') + process.listenerCount('exit');

  test('leaves handlers that end the process, and a poll, in bare noble', async () => {
    const before = handlers();
    const { bindings } = await bare();
    expect(handlers()).toBe(before + 2);
    let polls = 0;
    const poll = bindings._hci.pollIsDevUp.bind(bindings._hci);
    bindings._hci.pollIsDevUp = () => {
      polls += 1;
      poll();
    };
    await until(() => polls > 0);
  });

  test('leaves nothing through the port', async () => {
    const before = handlers();
    let waiting = 0;
    const counting: Clock = {
      ...systemClock,
      after: (ms, fn) => {
        waiting += 1;
        const done = () => {
          waiting -= 1;
        };
        const cancel = systemClock.after(ms, () => {
          done();
          fn();
        });
        let over = false;
        return () => {
          if (!over) done();
          over = true;
          cancel();
        };
      },
    };
    const radio = await port(counting);
    await linkTo(radio);
    expect(handlers()).toBe(before);
    await radio.stop();
    expect(await radio.ended).toBeNull();
    expect(handlers()).toBe(before);
    expect(waiting).toBeLessThanOrEqual(0);
  });
});

describe('row 24: devices that are gone for good', () => {
  test('stay in bare noble’s tables', async () => {
    const { noble, bindings, discover } = await bare();
    await discover(device.address);
    device.vanish();
    expect(Object.keys(noble._peripherals)).toHaveLength(1);
    expect(Object.keys(bindings._gap._discoveries)).toHaveLength(1);
  });

  test('are forgotten through the port', async () => {
    let skewMs = 0;
    let purge: () => void = () => undefined;
    const clock: Clock = {
      ...systemClock,
      now: () => systemClock.now() + skewMs,
      after: (ms, fn) => {
        if (ms !== 30_000) return systemClock.after(ms, fn);
        purge = fn;
        return () => undefined;
      },
    };
    const radio = await port(clock);
    await hear(radio, device);
    device.vanish();
    skewMs = 60_000;
    purge();
    await expect(radio.connect(device.address, options)).rejects.toMatchObject({ code: 'UNIT_NOT_FOUND' });
  });
});

describe('row 25: a device that pairs by LE Secure Connections only', () => {
  const protect = () => {
    const [description] = trayDevices(trayFile.parse({ units: 1, device: { security: 'sc' } }));
    const security = new DeviceSecurity(description!, device.host, new Faults([]), () => undefined);
    security.boot(device.address);
    device.start({
      services: offering({}).services.map((service) => ({ ...service, refuses: security.refuses })),
      ...security.setup(),
      onConnected: (peer) => security.connected(peer),
    });
  };

  test('is never read by bare noble, and nothing says so', async () => {
    protect();
    const characteristic = await bareCharacteristic(await (await bare()).connect(device.address));
    let settled = false;
    characteristic.once('read', () => {
      settled = true;
    });
    characteristic.read();
    await aWhile();
    expect(settled).toBe(false);
    expect(device.host.encrypted).toBe(false);
  });

  test('is paired with when it asks, and read, through the port', async () => {
    protect();
    const { link, characteristic } = await linkTo(await port());
    expect(await link.read(characteristic)).toEqual(Buffer.from('value'));
    expect(device.host.encrypted).toBe(true);
    expect(link.facts().security).toMatchObject({ level: 'just-works', pairing: 'secure-connections' });
  });
});

describe('row 26: the native socket', () => {
  test('is not loaded before a kernel adapter is opened', () => {
    const script = `
      import { createRequire } from 'node:module';
      const { openRadio } = await import('./src/radio/open-radio.ts');
      const refused = await openRadio({ kind: 'kernel', name: 'hci:99', id: 99 }, {}).catch((error) => error.code);
      const loaded = Object.keys(createRequire(import.meta.url).cache).filter((path) => path.includes('stoprocent'));
      console.log(JSON.stringify({ refused, loaded }));`;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(JSON.parse(output)).toEqual({ refused: 'RADIO_UNREACHABLE', loaded: [] });
  });
});
