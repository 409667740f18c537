import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { trayDevices, trayFile } from '../../src/contract/tray-file.ts';
import { CID_ATT } from '../../src/radio/hci/packets.ts';
import { openNobleRadio } from '../../src/radio/noble/noble-radio.ts';
import type { Characteristic, Link, Radio } from '../../src/radio/radio.ts';
import { CID_PAIRING, PAIRING } from '../../src/radio/security/pairing-codec.ts';
import { DeviceSecurity } from '../../src/virtual/device-security.ts';
import { Faults } from '../../src/virtual/faults.ts';
import { hear, TEST_CHARACTERISTIC, TEST_SERVICE, TestAir, type TestPeripheral } from '../support/test-air.ts';
import { until } from '../support/until.ts';

const ERROR_RESPONSE = 0x01;
const READ_REQUEST = 0x0a;
const INSUFFICIENT_AUTHENTICATION = 0x05;
const NOTIFICATION = 0x1b;

let air: TestAir;
let radio: Radio;
let device: TestPeripheral;

beforeEach(async () => {
  air = new TestAir();
  device = air.peripheral(1);
  device.start();
  radio = await openNobleRadio('test', air.central(), systemClock);
});

afterEach(async () => {
  await radio.stop();
  air.stop();
});

async function linkTo(peer: TestPeripheral = device): Promise<{ link: Link; characteristic: Characteristic }> {
  await hear(radio, peer);
  const link = await radio.connect(peer.address, { intervalMs: 15, supervisionTimeoutMs: 2000, timeoutMs: 2000 });
  return { link, characteristic: await link.characteristic(TEST_SERVICE, TEST_CHARACTERISTIC) };
}

const notify = (text: string, peer = device) =>
  air.time.sync(() => peer.host.notify(TEST_CHARACTERISTIC, Buffer.from(text)));
const send = (...octets: number[]) => air.time.sync(() => device.host.sendL2cap(CID_ATT, Buffer.from(octets)));

describe('values that a device notifies', () => {
  test('reach everybody who subscribed to them, in their order', async () => {
    const { link, characteristic } = await linkTo();
    const [first, second]: [string[], string[]] = [[], []];
    await link.subscribe(characteristic, (value) => first.push(value.toString()));
    await link.subscribe(characteristic, (value) => second.push(value.toString()));
    for (const text of ['a', 'b', 'c']) notify(text);
    await until(() => second.length === 3);
    expect([first, second]).toEqual([
      ['a', 'b', 'c'],
      ['a', 'b', 'c'],
    ]);
  });

  test('are not mixed up between links, nor with those of the link before', async () => {
    const before: string[] = [];
    const { link, characteristic } = await linkTo();
    await link.subscribe(characteristic, (value) => before.push(value.toString()));
    await link.disconnect();
    const other = air.peripheral(2);
    other.start();
    const [again, beside] = [await linkTo(), await linkTo(other)];
    const [own, others]: [string[], string[]] = [[], []];
    await again.link.subscribe(again.characteristic, (value) => own.push(value.toString()));
    await beside.link.subscribe(beside.characteristic, (value) => others.push(value.toString()));
    notify('own');
    notify('other', other);
    await until(() => own.length === 1 && others.length === 1);
    expect([before, own, others]).toEqual([[], ['own'], ['other']]);
  });

  test('cannot be subscribed to on a link that is over: the reason is the link’s', async () => {
    const { link, characteristic } = await linkTo();
    await link.disconnect();
    await expect(link.subscribe(characteristic, () => undefined)).rejects.toMatchObject({ code: 'LINK_CLOSED' });
    await expect(link.writeCommands([{ characteristic, value: Buffer.from('x') }])).rejects.toMatchObject({
      code: 'LINK_CLOSED',
    });
  });

  test('say nothing when they end before their handle, or have one that nobody asked for, and the link goes on', async () => {
    const { link, characteristic } = await linkTo();
    const values: string[] = [];
    await link.subscribe(characteristic, (value) => values.push(value.toString()));
    send(NOTIFICATION);
    send(NOTIFICATION, 0x03);
    send(NOTIFICATION, 0xff, 0xff, 0x41);
    notify('whole');
    await until(() => values.length > 0);
    expect(values).toEqual(['whole']);
    expect(await link.read(characteristic)).toEqual(Buffer.from('value'));
  });

  test('end their link, and no other, when who reads them throws', async () => {
    const other = air.peripheral(2);
    other.start();
    const [{ link, characteristic }, beside] = [await linkTo(), await linkTo(other)];
    await link.subscribe(characteristic, () => {
      throw new RangeError('beyond the end');
    });
    notify('nonsense');
    expect(await link.ended).toMatchObject({ code: 'DEVICE_NONSENSE', detail: 'beyond the end' });
    expect(await beside.link.read(beside.characteristic)).toEqual(Buffer.from('value'));
  });
});

describe('the writes of a frame', () => {
  test('leave in their order and settle together', async () => {
    const { link, characteristic } = await linkTo();
    const values = Array.from({ length: 12 }, (_, i) => Buffer.alloc(495, i));
    await link.writeCommands(values.map((value) => ({ characteristic, value })));
    await until(() => device.received.filter((pdu) => pdu[0] === 0x52).length === 12);
    expect(device.received.filter((pdu) => pdu[0] === 0x52).map((pdu) => pdu.subarray(3))).toEqual(values);
  });

  test('stay here, all of them, when one is too long or goes to what is not there', async () => {
    const { link, characteristic } = await linkTo();
    const short = { characteristic, value: Buffer.from('short') };
    const long = { characteristic, value: Buffer.alloc(496) };
    const astray = { characteristic: { ...characteristic, uuid: '2a00' }, value: Buffer.from('astray') };
    await expect(link.writeCommands([short, long])).rejects.toMatchObject({ code: 'WRITE_TOO_LONG' });
    await expect(link.writeCommands([short, astray])).rejects.toMatchObject({ code: 'SERVICE_NOT_FOUND' });
    await link.writeCommands([]);
    await link.read(characteristic);
    expect(device.received.filter((pdu) => pdu[0] === 0x52)).toEqual([]);
  });

  test('fail with the link’s end when it comes first', async () => {
    const { link, characteristic } = await linkTo();
    const many = Array.from({ length: 60 }, () => ({ characteristic, value: Buffer.alloc(495) }));
    const writing = expect(link.writeCommands(many)).rejects.toMatchObject({ code: 'LINK_LOST' });
    await link.disconnect();
    await writing;
  });
});

describe('a refusal for want of encryption', () => {
  /** A device that pairs, whose first answer to a read the test gives itself. */
  const startPairing = () => {
    const [description] = trayDevices(trayFile.parse({ units: 1, device: { security: 'both' } }));
    const security = new DeviceSecurity(description!, device.host, new Faults([]), () => undefined);
    security.boot(device.address);
    let reads = 0;
    const characteristic = {
      uuid: TEST_CHARACTERISTIC,
      properties: ['read'] as const,
      read: () => (reads++ === 0 ? null : Buffer.from('value')),
      write: () => undefined,
    };
    device.start({
      services: [{ uuid: TEST_SERVICE, characteristics: [characteristic] }],
      ...security.setup(),
      onConnected: (peer) => security.connected(peer),
    });
  };
  const readRequest = () => device.received.find((pdu) => pdu[0] === READ_REQUEST);
  const refuse = () =>
    send(ERROR_RESPONSE, READ_REQUEST, readRequest()![1]!, readRequest()![2]!, INSUFFICIENT_AUTHENTICATION);
  const askForSecurity = () =>
    air.time.sync(() => device.host.sendL2cap(CID_PAIRING, Buffer.of(PAIRING.SECURITY_REQUEST, 0)));

  test('that was on its way while the link was encrypted is no call for more: what was asked is asked again', async () => {
    startPairing();
    const { link, characteristic } = await linkTo();
    const read = link.read(characteristic);
    await until(() => readRequest() !== undefined);
    askForSecurity();
    await until(() => link.facts().security?.level === 'just-works');
    refuse();
    expect(await read).toEqual(Buffer.from('value'));
  });

  test('of what was asked on an encrypted link is a call for MITM protection', async () => {
    startPairing();
    const { link, characteristic } = await linkTo();
    askForSecurity();
    await until(() => link.facts().security?.level === 'just-works');
    const read = expect(link.read(characteristic)).rejects.toMatchObject({ code: 'PAIRING_NEEDS_MITM' });
    await until(() => readRequest() !== undefined);
    refuse();
    await read;
  });
});
