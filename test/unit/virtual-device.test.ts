import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { trayFile } from '../../src/contract/tray-file.ts';
import { RawCentral } from '../support/raw-central.ts';
import { rawImage } from '../support/raw-image.ts';
import { acknowledged, RawSmp, text } from '../support/raw-smp.ts';

type Tray = z.input<typeof trayFile>;

/** `{rc: n}` and `{err: {group, rc}}` as zcbor writes them. */
const rc = (code: number) => `bf627263${code < 24 ? code.toString(16).padStart(2, '0') : `18${code.toString(16)}`}ff`;
const err = (group: number, code: number) =>
  `bf63657272bf6567726f7570${group.toString(16).padStart(2, '0')}627263${code < 24 ? code.toString(16).padStart(2, '0') : `18${code.toString(16)}`}ffff`;
const EMPTY = 'bfff';
const TRUE = 'f5';
const FALSE = 'f4';
const key = (name: string) => text(name);

const connected = (device: Tray['device'], tray: Tray = {}) =>
  new RawCentral(trayFile.parse({ units: 1, device, ...tray })).connect();

/** Until the device has restarted and can be connected to. */
function restarted(central: RawCentral): RawSmp {
  central.pass();
  return new RawSmp(central.connect());
}

/** The flags behind a hash in a list of images. */
function flags(list: string, hash: string): Record<string, boolean | undefined> {
  const from = list.indexOf(hash);
  const entry = from < 0 ? '' : list.slice(from + hash.length, list.indexOf('ff', from + hash.length));
  const flag = (name: string) => (entry.includes(key(name)) ? entry.includes(key(name) + TRUE) : undefined);
  return {
    pending: flag('pending'),
    confirmed: flag('confirmed'),
    active: flag('active'),
    permanent: flag('permanent'),
  };
}

const folder = mkdtempSync(join(tmpdir(), 'virtual-device-'));
afterAll(() => rmSync(folder, { recursive: true }));
function imageFile(name: string, image: Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, image);
  return path;
}

const good = rawImage();
const other = rawImage({ version: [2, 0, 0], fill: 0x33 });

describe('a virtual SMP server, held against octets', () => {
  test.each([
    ['rc-9' as const, [rc(9), rc(9)]],
    ['silence' as const, []],
  ])('without reassembly (%s) takes frames of one write only, whatever its params say', (reassembly, answers) => {
    const smp = new RawSmp(connected({ mtu: 252, smp: { reassembly, bufferBytes: 384 } }), { mtu: 252 });
    expect(smp.ask('read', 0, 6)).toEqual([`bf${key('buf_size')}190180${key('buf_count')}04ff`]);
    expect(smp.piece(good.image, 0, 300)).toEqual(answers);
    expect(smp.piece(good.image, 0, 150)).toEqual([`bf${key('off')}1896ff`]);
  });

  test('on a small MTU and without params takes a short hash, or none, and wants the header in the first piece', () => {
    const smp = new RawSmp(connected({ mtu: 65, smp: { params: false } }), { mtu: 498 });
    expect(smp.mtu).toBe(65);
    expect(smp.ask('read', 0, 6)).toEqual([rc(8)]);
    expect(smp.piece(good.image, 0, 31, { sha: false })).toEqual([err(1, 22)]);
    expect(smp.piece(good.image, 0, 32, { sha: false })).toEqual([`bf${key('off')}1820ff`]);
  });

  test.each([
    ['flash write failed', { err: { group: 1, rc: 12 } }, err(1, 12)],
    ['busy', { rc: 10 }, rc(10)],
    ['unknown', { rc: 1 }, rc(1)],
  ])('can answer %s in the middle of an upload, and take the same piece the second time', (_, answer, body) => {
    const smp = new RawSmp(connected({ smp: { answers: [{ to: 'upload', offset: 900, times: 1, with: answer }] } }));
    expect(smp.piece(good.image, 0, 1000)).toEqual([`bf${key('off')}1903e8ff`]);
    expect(smp.piece(good.image, 1000, 400)).toEqual([body]);
    expect(smp.piece(good.image, 1000, 400)).toEqual([`bf${key('off')}190578ff`]);
  });

  test('can lose the upload with such an error: the next piece is answered by offset 0', () => {
    const answers = [
      { to: 'upload', nth: 2, times: 1, with: { err: { group: 1, rc: 12 } }, forgetsUpload: true },
    ] as const;
    const smp = new RawSmp(connected({ smp: { answers: [...answers] } }));
    smp.piece(good.image, 0, 400);
    expect(smp.piece(good.image, 400, 400)).toEqual([err(1, 12)]);
    expect(smp.piece(good.image, 400, 400)).toEqual([`bf${key('off')}00ff`]);
  });

  test.each([2, 6])('of version 1 refuses an upload by rc %i and says why', (code) => {
    const answers = [{ to: 'upload' as const, with: { rc: code, rsn: 'No slot' } }];
    const smp = new RawSmp(connected({ smp: { version: 1, answers } }), { version: 1 });
    expect(smp.piece(good.image, 0, 400)).toEqual([`bf${key('rc')}0${code}${key('rsn')}${text('No slot')}ff`]);
  });

  test.each([
    ['lost' as const, 1],
    ['rc-2' as const, 2],
  ])('that has room for one request: the second of two at once is %s', (whenFull, answers) => {
    const central = connected({ smp: { holds: 1, whenFull, answerMs: 20 } });
    const smp = new RawSmp(central);
    smp.post('read', 0, 6);
    smp.post('read', 1, 0);
    central.pass();
    const bodies = smp.answers();
    expect(bodies).toHaveLength(answers);
    expect(bodies.filter((body) => body === rc(2))).toHaveLength(answers - 1);
  });

  test('that still holds the buffer of what it has answered loses what comes right behind', () => {
    const central = connected({ smp: { holds: 1, releaseMs: 5 } });
    const smp = new RawSmp(central);
    expect(smp.ask('read', 0, 6)).toHaveLength(1);
    expect(smp.ask('read', 1, 0)).toEqual([]);
    central.pass();
    expect(smp.ask('read', 1, 0)).toHaveLength(1);
  });

  test('can refuse a reset, some times or for ever', () => {
    const central = connected({ smp: { answers: [{ to: 'reset', times: 2, with: { rc: 10 } }] } });
    const smp = new RawSmp(central);
    expect([smp.reset(), smp.reset()]).toEqual([[rc(10)], [rc(10)]]);
    expect(central.log).not.toContain('sys: restart');
    expect(smp.reset()).toEqual([EMPTY]);
    central.pass();
    expect(central.log).toContain('sys: restart');
    const forEver = new RawSmp(connected({ smp: { answers: [{ to: 'reset', with: { err: { group: 0, rc: 2 } } }] } }));
    expect([1, 2, 3, 4, 5].map(() => forEver.reset()[0])).toEqual(Array(5).fill(err(0, 2)));
  });

  test.each([
    ['by rc 8', { rc: 8 }, [rc(8)]],
    ['by an error of the OS group', { err: { group: 0, rc: 3 } }, [err(0, 3)]],
    ['by nothing', 'silence' as const, []],
    ['by a map of its own', { body: { rc: 5, note: 'x' } }, [`bf${key('rc')}05${key('note')}${text('x')}ff`]],
  ])('can answer what it need not know %s', (_, answer, bodies) => {
    const questions = ['params', 'bootloader-info', 'slot-info'] as const;
    const smp = new RawSmp(connected({ smp: { answers: questions.map((to) => ({ to, with: answer })) } }));
    expect(smp.ask('read', 0, 6)).toEqual(bodies);
    expect(smp.ask('read', 0, 8, `a1${text('query')}${text('mode')}`)).toEqual(bodies);
    expect(smp.ask('read', 1, 6)).toEqual(bodies);
  });

  test('tells the sizes of its slots and the largest image, and refuses one that is larger', () => {
    const smp = new RawSmp(connected({ slotKiB: 256, smp: { slotInfo: true, maxImageBytes: 1500 } }));
    const slot = (number: number) => `bf${key('slot')}0${number}${key('size')}1a00040000ff`;
    const image = `bf${key('image')}00${key('slots')}9f${slot(0)}${slot(1)}ff${key('max_image_size')}1905dcff`;
    expect(smp.ask('read', 1, 6)).toEqual([`bf${key('images')}9f${image}ffff`]);
    expect(smp.piece(good.image, 0, 400)).toEqual([err(1, 30)]);
  });

  test('can take one octet an answer', () => {
    const smp = new RawSmp(connected({ smp: { bytesPerAnswer: 1 } }));
    expect(acknowledged(smp.piece(good.image, 0, 400)[0]!)).toBe(32);
    expect(acknowledged(smp.piece(good.image, 32, 400)[0]!)).toBe(33);
    expect(acknowledged(smp.piece(good.image, 33, 400)[0]!)).toBe(34);
  });

  test('takes as long as its flash: the erase before the first answer, the writing before each', () => {
    const flash = { eraseMsPerPage: 1000, writeUsPerWord: 1000 };
    const central = connected({ flash });
    const smp = new RawSmp(central);
    expect(smp.piece(good.image, 0, 400)).toEqual([]);
    central.pass();
    expect(smp.answers()).toHaveLength(1);
    expect(central.clock.now()).toBe(1000 + 100);
  });

  test('spells maps with their length where it is built so', () => {
    const smp = new RawSmp(connected({ smp: { cbor: 'definite', params: false } }));
    expect(smp.ask('read', 0, 6)).toEqual(['a162726308']);
  });

  test('answers questions about what it runs: application info, shell, a characteristic', () => {
    const central = connected({
      cores: 2,
      slots: [{ image: 1, slot: 0, version: '3.4.5' }],
      smp: { applicationInfo: 'net {version.1}', shell: { 'net version': 'v{version.1}' } },
      characteristics: [{ service: '180a', uuid: '2a26', value: '{version.1}' }],
    });
    const smp = new RawSmp(central);
    expect(smp.ask('read', 0, 7, `a1${text('format')}${text('a')}`)).toEqual([
      `bf${key('output')}${text('net 3.4.5')}ff`,
    ]);
    const exec = (...argv: string[]) =>
      smp.ask('write', 9, 0, `a1${text('argv')}8${argv.length}${argv.map(text).join('')}`);
    expect(exec('net', 'version')).toEqual([`bf${key('o')}${text('v3.4.5')}${key('ret')}00ff`]);
    expect(exec('nonsense')[0]).toContain(`${key('ret')}27`);
    expect(central.att('08 0100 ffff 262a')[0]).toMatch(new RegExp(`${Buffer.from('3.4.5').toString('hex')}$`));
  });
});

describe('the slots of a virtual device', () => {
  test.each([
    ['pending' as const, { pending: true, confirmed: false, active: false, permanent: false }, false],
    ['permanent' as const, { pending: true, confirmed: false, active: false, permanent: true }, true],
  ])('can hold an image that is %s at the start: a restart brings it up', (state, listed, confirmed) => {
    const slots = [{ state, file: imageFile(`${state}.bin`, other.image) }];
    const central = connected({ slots });
    const smp = new RawSmp(central);
    expect(flags(smp.list(), other.hash)).toEqual(listed);
    expect(smp.piece(good.image, 0, 400)).toEqual([err(1, 9)]);
    expect(smp.ask('write', 1, 5)).toEqual([err(1, 9)]);
    smp.reset();
    const after = restarted(central).list();
    expect(flags(after, other.hash)).toEqual({ pending: false, confirmed, active: true, permanent: false });
  });

  test('can run an image on trial at the start: a restart takes it back', () => {
    const slots = [
      { slot: 0 as const, state: 'on-trial' as const, file: imageFile('trial.bin', good.image) },
      { file: imageFile('old.bin', other.image) },
    ];
    const central = connected({ slots });
    const smp = new RawSmp(central);
    expect(flags(smp.list(), good.hash)).toMatchObject({ confirmed: false, active: true });
    // As Zephyr lists it: what a revert brings back is the confirmed one.
    expect(flags(smp.list(), other.hash)).toMatchObject({ confirmed: true, active: false, pending: false });
    expect(smp.piece(good.image, 0, 400)).toEqual([err(1, 9)]);
    expect(smp.setState(other.hash, false)).toEqual([err(1, 28)]);
    smp.reset();
    expect(flags(restarted(central).list(), other.hash)).toMatchObject({ confirmed: true, active: true });
  });

  test('keep the old image after a swap: the way back needs no upload', () => {
    const central = connected({ slots: [{ slot: 0, file: imageFile('a.bin', good.image) }] });
    const smp = new RawSmp(central);
    smp.upload(other.image);
    smp.setState(other.hash, true);
    smp.reset();
    const back = restarted(central);
    expect(flags(back.list(), good.hash)).toMatchObject({ active: false, pending: false });
    back.setState(good.hash, true);
    back.reset();
    expect(flags(restarted(central).list(), good.hash)).toMatchObject({ active: true, confirmed: true });
  });

  test.each(['sha256', 'sha384', 'sha512'] as const)('hold images with %s, list its octets and start them', (hash) => {
    const { image, hash: digest } = rawImage({ kind: hash });
    const central = connected({ hash });
    const smp = new RawSmp(central);
    smp.upload(image);
    const octets = digest.length / 2;
    expect(smp.list()).toContain(`${key('hash')}58${octets.toString(16)}${digest}`);
    smp.setState(digest, true);
    smp.reset();
    expect(flags(restarted(central).list(), digest)).toMatchObject({ active: true });
  });

  test('hold an image with a hash that the server does not look for: it is not listed', () => {
    const smp = new RawSmp(connected({ hash: 'sha256' }));
    const { image, hash } = rawImage({ kind: 'sha512' });
    smp.upload(image);
    expect(smp.list()).not.toContain(hash);
  });

  test('list a version that cannot be printed', () => {
    const smp = new RawSmp(connected({ smp: { list: { version: '<???>' } } }));
    expect(smp.list()).toContain(key('version') + text('<???>'));
  });

  test('are listed without what is false by a frugal server', () => {
    const list = new RawSmp(connected({ smp: { list: { frugal: true } } })).list();
    expect(list).toContain(`${key('bootable')}${TRUE}${key('confirmed')}${TRUE}${key('active')}${TRUE}ffffff`);
    expect(list).not.toContain(FALSE + key('active'));
  });

  test.each([
    ['refused', [{ unit: 1, at: 'boot' as const, do: 'reject-image' as const, image: 1 }]],
    ['taken', []],
  ])(
    'of a network core look alike whether its image was %s: the second is empty, the running one cannot be read',
    (_, faults) => {
      const central = connected({ cores: 2, slots: [{ image: 0, slot: 0, version: '9.9.9' }] }, { faults });
      const smp = new RawSmp(central);
      smp.upload(good.image, 0);
      smp.upload(other.image, 1);
      expect(smp.setState(other.hash, false)).toEqual([err(1, 32)]);
      for (const { hash } of [other, good]) smp.setState(hash, true);
      smp.reset();
      const list = restarted(central).list();
      expect(flags(list, good.hash)).toMatchObject({ active: true, confirmed: true });
      expect(list).not.toContain(other.hash);
      expect(list).not.toContain(`${key('image')}01`);
      expect(central.device.running()[1]?.hash === other.hash).toBe(faults.length === 0);
    },
  );

  test('of a swapped application beside a network core allow a trial', () => {
    const images = [{ mode: 'swap' as const }, { mode: 'overwrite' as const, readBack: false }];
    const central = connected({ images });
    const smp = new RawSmp(central);
    smp.upload(good.image, 0);
    smp.upload(other.image, 1);
    smp.setState(other.hash, true);
    expect(flags(smp.setState(good.hash, false)[0] ?? '', good.hash)).toMatchObject({
      pending: true,
      permanent: false,
    });
    smp.reset();
    const list = restarted(central).list();
    expect(flags(list, good.hash)).toMatchObject({ active: true, confirmed: false });
    expect(central.device.running()[1]?.hash).toBe(other.hash);
  });

  test('of several images have each their own state: one refused, one on trial, the confirm of one alone', () => {
    const third = rawImage({ version: [3, 0, 0], fill: 0x11 });
    const faults = [{ unit: 1, at: 'boot' as const, do: 'reject-image' as const, image: 1 }];
    const central = connected({ images: [{}, {}, { confirms: false }] }, { faults });
    const smp = new RawSmp(central);
    for (const [index, { image }] of [good, other, third].entries()) smp.upload(image, index);
    for (const { hash } of [good, other, third]) smp.setState(hash, false);
    smp.reset();
    const after = restarted(central);
    expect(flags(after.list(), good.hash)).toMatchObject({ active: true, confirmed: false });
    expect(after.list()).not.toContain(other.hash);
    expect(flags(after.list(), third.hash)).toMatchObject({ active: true, confirmed: false });
    after.setState(null, true);
    expect(flags(after.list(), good.hash)).toMatchObject({ confirmed: true });
    expect(flags(after.list(), third.hash)).toMatchObject({ confirmed: false });
    after.setState(third.hash, true);
    expect(flags(after.list(), third.hash)).toMatchObject({ confirmed: false });
  });

  test('can lie: two active entries; a whole image after its first piece', () => {
    const file = imageFile('pretended.bin', good.image);
    const two = new RawSmp(connected({ slots: [{ file }], smp: { list: { twoActive: true } } }));
    expect(two.list().split(key('active') + TRUE)).toHaveLength(3);
    const smp = new RawSmp(connected({ smp: { pretends: { file } } }));
    expect(acknowledged(smp.piece(good.image, 0, 200)[0]!)).toBe(good.image.length);
    expect(smp.list()).toContain(good.hash);
  });

  test('can start what they hold under another hash', () => {
    const central = connected({}, { faults: [{ unit: 1, at: 'boot', do: 'other-hash' }] });
    const smp = new RawSmp(central);
    smp.upload(good.image);
    smp.setState(good.hash, true);
    smp.reset();
    expect(restarted(central).list()).not.toContain(good.hash);
    expect(central.log).toContain('mcuboot: swapped');
  });

  const compressed = '../shared/firmware/variants/lzma2-armthumb.bin';
  test.skipIf(!existsSync(compressed))('run a compressed image under the hash of what comes of it', () => {
    const image = readFileSync(compressed);
    const central = connected({});
    const smp = new RawSmp(central);
    smp.upload(image);
    const sent = /5840(31a2f45428f28afe.{112})/.exec(smp.list())?.[1] ?? '';
    smp.setState(sent, true);
    smp.reset();
    const list = restarted(central).list();
    expect(list).toContain('20d94dd1a197510f');
    expect(list).not.toContain(sent);
  });
});

describe('a virtual device on the air', () => {
  test('can come back under another name, address and serial', () => {
    const afterReboot = { name: 'DFU-SN0002', address: 'c0:00:00:00:00:02', disSerial: 'SN0002' };
    const central = connected({ afterReboot });
    const before = { name: central.name, address: central.address };
    const smp = new RawSmp(central);
    smp.reset();
    central.pass();
    expect({ name: central.name, address: central.address }).toEqual({ name: 'DFU-SN0002', address: 'c00000000002' });
    expect(before.name).toBe('DFU-SN0001');
    expect(central.connect().att('08 0100 ffff 252a')[0]).toMatch(
      new RegExp(`${Buffer.from('SN0002').toString('hex')}$`),
    );
  });

  test('can be a duplicate: two units of one name at two addresses, from the start or after a restart', () => {
    const overrides = [{ unit: 2, name: 'DFU-SN0001' }];
    const tray = trayFile.parse({ units: 2, overrides, device: { afterReboot: { name: 'DFU-SN0007' } } });
    const [one, two] = [1, 2].map((unit) => new RawCentral(tray, unit));
    expect(two!.name).toBe(one!.name);
    expect(two!.address).not.toBe(one!.address);
    for (const each of [one!, two!]) {
      new RawSmp(each.connect()).reset();
      each.pass();
    }
    expect([one!.name, two!.name]).toEqual(['DFU-SN0007', 'DFU-SN0007']);
  });

  test('has a service once, whatever the tray file adds to it', () => {
    const central = connected({ characteristics: [{ service: '180a', uuid: '2a26', value: '1.0' }] });
    central.att('02 f201');
    const from = (handle: number) =>
      central.att(`10 ${Buffer.of(handle & 0xff, handle >> 8).toString('hex')} ffff 0028`)[0]!;
    expect(from(0x14).match(/0a18/g)).toHaveLength(1);
    expect(central.att('08 0100 ffff 252a')[0]).toMatch(/^09/);
    expect(central.att('08 0100 ffff 262a')[0]).toMatch(/312e30$/);
  });

  test.each(['', 'SN\0\u001b[2J'])('can give %j as its serial', (disSerial) => {
    const [answer = ''] = connected({ disSerial }).att('08 0100 ffff 252a');
    expect(answer).toMatch(
      new RegExp(
        `^09${(2 + disSerial.length).toString(16).padStart(2, '0')}....${Buffer.from(disSerial).toString('hex')}$`,
      ),
    );
  });

  test('can ask for a connection of its own: 7.5 to 11.25 ms, 420 ms, half a second after it is connected', () => {
    const central = connected({ wantsIntervalMs: [7.5, 11.25], wantsSupervisionMs: 420, wantsAfterMs: 500 });
    expect(central.taken(5)).toEqual([]);
    central.pass();
    expect(central.taken(5)[0]).toBe('12010800 0600 0900 0000 2a00'.replaceAll(' ', ''));
  });

  test.each([0x05, 0x0f] as const)(
    'that is protected refuses by %i until the link is encrypted, and is deaf to writes till then',
    (refusesBy) => {
      const central = connected({ security: 'sc', refusesBy });
      const code = refusesBy.toString(16).padStart(2, '0');
      expect(central.att('12 1300 0100')).toEqual([`01121300${code}`]);
      expect(central.att('52 1200 0800000100000000a0')).toEqual([]);
      central.encrypt();
      expect(central.att('12 1300 0100')).toEqual(['13']);
    },
  );
});
