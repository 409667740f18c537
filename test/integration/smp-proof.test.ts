import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import type { z } from 'zod';
import type { productFile } from '../../src/contract/product-file.ts';
import type { trayFile } from '../../src/contract/tray-file.ts';
import type { FirmwarePackage } from '../../src/firmware/firmware-package.ts';
import { outcomes, type TestRun, testFirmware, twoCoreFirmware, VirtualStation } from '../support/virtual-station.ts';

/** What may be called a good outcome: what is read back, what is indirect, and what is neither. */

type Device = NonNullable<z.input<typeof trayFile>['device']>;
type Faults = NonNullable<z.input<typeof trayFile>['faults']>;
type Proof = NonNullable<z.input<typeof productFile>['proof']>;

let station: VirtualStation;
afterEach(() => station.stop());

async function upgrade(device: Device, { faults = [], ...run }: TestRun & { faults?: Faults }) {
  station = await VirtualStation.start({ units: 1, device, faults });
  return again(run);
}

async function again(run: TestRun) {
  const summary = await station.run({ units: 1, ...run });
  const reader = station.reader();
  const attempt = reader.show('SN0001');
  reader.close();
  const { images, bytes } = summary.units[0]!;
  const verified = images.map((image) => `${image.index} ${image.verified}`);
  return {
    outcome: outcomes(summary).SN0001!,
    verified,
    attempt,
    bytes,
    codes: attempt.remarks.map(({ code }) => code),
  };
}

/** The images of two cores, or only those of the indexes that are named. */
async function cores(...indexes: readonly number[]): Promise<FirmwarePackage> {
  const both = await twoCoreFirmware();
  return indexes.length === 0 ? both : { ...both, images: both.images.filter(({ index }) => indexes.includes(index)) };
}

const confirm = (proof: Proof = {}, retries = 0) => ({ retries, proof, upgrade: { mode: 'confirm' as const } });
const twoCores: Device = { cores: 2 };

describe('two cores', () => {
  test('the network core that was accepted is indirect, because nothing says that it runs', async () => {
    const { outcome, verified } = await upgrade(twoCores, { firmware: await cores(), profile: confirm() });
    expect(outcome).toBe('pass');
    expect(verified).toEqual(['0 read-back', '1 indirect']);
  });

  test('the network core that the bootloader rejected and erased looks the same, and is no more than indirect', async () => {
    const faults: Faults = [{ unit: 1, at: 'boot', do: 'reject-image', image: 1 }];
    const { outcome, verified } = await upgrade(twoCores, { faults, firmware: await cores(), profile: confirm() });
    expect(outcome).toBe('pass');
    expect(verified).toEqual(['0 read-back', '1 indirect']);
  });

  test('where the profile demands proof, that is a failure of its own', async () => {
    const profile = confirm({ demand: true });
    const { outcome, attempt } = await upgrade(twoCores, { firmware: await cores(), profile });
    expect(outcome).toBe('fail PROOF_MISSING');
    expect(attempt.detail).toContain('image 1');
  });

  test('a package for the network core alone has a verdict of its own', async () => {
    const { outcome, verified } = await upgrade(twoCores, { firmware: await cores(1), profile: confirm() });
    expect(outcome).toBe('pass');
    expect(verified).toEqual(['1 indirect']);
  });

  test('a package for the application core alone is read back', async () => {
    const { outcome, verified } = await upgrade(twoCores, {
      firmware: await cores(0),
      profile: confirm({ demand: true }),
    });
    expect(outcome).toBe('pass');
    expect(verified).toEqual(['0 read-back']);
  });

  test('the application that was rejected fails, whatever became of the network core', async () => {
    const faults: Faults = [{ unit: 1, at: 'boot', do: 'reject-image', image: 0 }];
    const { outcome } = await upgrade(twoCores, { faults, firmware: await cores(), profile: confirm() });
    expect(outcome).toBe('fail BOOTLOADER_REJECTED');
  });
});

describe('the profile’s own proof', () => {
  const uuids = { service: '12345678-0000-4000-8000-000000000001', uuid: '12345678-0000-4000-8000-000000000002' };
  const characteristic = (value: string): Device => ({ ...twoCores, characteristics: [{ ...uuids, value }] });
  const ways: [string, Device, NonNullable<Proof['images']>[number]][] = [
    ['a characteristic', characteristic('net {version.1}'), { image: 1, characteristic: uuids, pattern: 'net (.+)' }],
    [
      'a shell command',
      { ...twoCores, smp: { shell: { 'net version': 'network core v{version.1}\r\n' } } },
      { image: 1, shell: ['net', 'version'], pattern: 'v(\\d+\\.\\d+\\.\\d+)' },
    ],
    [
      'the application information',
      { ...twoCores, smp: { applicationInfo: 'Zephyr app {version.0} net {version.1}' } },
      { image: 1, info: 'a', pattern: 'net (\\S+)' },
    ],
  ];

  test.each(ways)('%s that tells the version makes the network core’s image proven', async (_, device, proof) => {
    const run = { firmware: await cores(), profile: confirm({ images: [proof], demand: true }) };
    const { outcome, verified, codes } = await upgrade(device, run);
    expect(outcome).toBe('pass');
    expect(verified).toEqual(['0 read-back', '1 read-back']);
    expect(codes).toContain('PROOF_READ');
    expect((await again(run)).outcome).toBe('skipped');
  });

  test.each(ways)('%s that tells the old version is proof of the bootloader’s refusal', async (_, device, proof) => {
    const faults: Faults = [{ unit: 1, at: 'boot', do: 'reject-image', image: 1 }];
    const profile = confirm({ images: [proof] });
    const { outcome, attempt } = await upgrade(device, { faults, firmware: await cores(), profile });
    expect(outcome).toBe('fail BOOTLOADER_REJECTED');
    expect(attempt.detail).toContain('expected "2.0.1"');
  });

  test.each(ways)('%s judges a downgrade of the network core, too', async (_, device, proof) => {
    const profile = confirm({ images: [proof] });
    const slots = [{ image: 1, slot: 0 as const, version: '3.0.0' }];
    const { outcome, bytes } = await upgrade({ ...device, slots }, { firmware: await cores(), profile });
    expect(outcome).toBe('fail DOWNGRADE_REFUSED');
    expect(bytes).toBe(0);
  });

  test('what cannot be read proves nothing: indirect, or missing where it is demanded', async () => {
    const proof = { image: 1, shell: ['net', 'version'] };
    const { outcome, verified, codes } = await upgrade(twoCores, {
      firmware: await cores(),
      profile: confirm({ images: [proof] }),
    });
    expect([outcome, ...verified]).toEqual(['pass', '0 read-back', '1 indirect']);
    expect(codes).toContain('PROOF_UNREAD');
    const demanded = await again({ firmware: await cores(), profile: confirm({ images: [proof], demand: true }) });
    expect(demanded.outcome).toBe('fail PROOF_MISSING');
  });

  test('a contradiction fails even what the image list reads back', async () => {
    const device = { characteristics: [{ ...uuids, value: '0.0.9' }] };
    const profile = { retries: 0, proof: { images: [{ image: 0, characteristic: uuids }] } };
    const { outcome, attempt, verified } = await upgrade(device, { profile });
    expect(outcome).toBe('fail WRONG_IMAGE_RUNNING');
    expect(verified).toEqual(['0 no']);
    expect(attempt.steps.some(({ name }) => name === 'confirm')).toBe(false);
  });
});

describe('several images that swap', () => {
  const three: Device = { images: [{}, {}, {}] };

  test('each that is listed as running is read back and confirmed, whichever its index', async () => {
    const { outcome, verified, attempt } = await upgrade(three, { firmware: await cores() });
    expect(outcome).toBe('pass');
    expect(verified).toEqual(['0 read-back', '1 read-back']);
    const final = attempt.slots.filter(({ seen, flags }) => seen === 'final' && flags.includes('active'));
    expect(final.map(({ image, flags }) => [image, flags])).toEqual([
      [0, 'active confirmed'],
      [1, 'active confirmed'],
      [2, 'active confirmed'],
    ]);
  });

  test('one that cannot be confirmed is no pass, though the application is', async () => {
    const device: Device = { images: [{}, { confirms: false }] };
    const { outcome } = await upgrade(device, { firmware: await cores(), profile: { retries: 0 } });
    expect(outcome).toBe('fail NOT_CONFIRMED');
  });

  test.each([0, 1])('image %i rejected alone fails the unit', async (image) => {
    const faults: Faults = [{ unit: 1, at: 'boot', do: 'reject-image', image }];
    const run = { faults, firmware: await cores(), profile: { retries: 0 } };
    const { outcome, verified } = await upgrade(three, run);
    expect(outcome).toBe('fail BOOTLOADER_REJECTED');
    expect(verified).toEqual([0, 1].map((index) => `${index} ${index === image ? 'no' : 'read-back'}`));
  });

  test('one that comes up by another hash is another image', async () => {
    const faults: Faults = [{ unit: 1, at: 'boot', do: 'other-hash', image: 1 }];
    const run = { faults, firmware: await cores(), profile: { retries: 0 } };
    expect((await upgrade(three, run)).outcome).toBe('fail WRONG_IMAGE_RUNNING');
  });

  test('the application may be another index than 0', async () => {
    const profile = { upgrade: { applicationImage: 1 } };
    expect((await upgrade(three, { firmware: await cores(), profile })).outcome).toBe('pass');
  });
});

describe('bytes that were never sent', () => {
  async function imageFile({ images }: FirmwarePackage): Promise<string> {
    const file = join(await mkdtemp(join(tmpdir(), 'dfu-image-')), 'image.bin');
    await writeFile(file, images[0]!.bytes);
    onTestFinished(() => rm(dirname(file), { recursive: true }));
    return file;
  }

  test.each([0, 20_000])(
    'a device that lists the image after %i bytes of it fails, and goes on failing',
    async (afterBytes) => {
      const file = await imageFile(await testFirmware());
      const { outcome, codes } = await upgrade({ smp: { pretends: { file, afterBytes } } }, {});
      expect(outcome).toBe('fail UPLOAD_NOT_SENT');
      expect(codes).toContain('BYTES_NOT_SENT');
    },
  );

  test('where the profile only wants it flagged, the record says it', async () => {
    const file = await imageFile(await testFirmware());
    const profile = { upgrade: { bytesNotSent: 'flag' as const } };
    const { outcome, codes } = await upgrade({ smp: { pretends: { file, afterBytes: 0 } } }, { profile });
    expect(outcome).toBe('pass');
    expect(codes).toContain('BYTES_NOT_SENT');
  });

  test('an upload that is resumed was sent', async () => {
    const faults: Faults = [{ unit: 1, at: { bytes: 30_000 }, do: 'drop-link', times: 1 }];
    const { outcome, codes } = await upgrade({}, { faults });
    expect(outcome).toBe('pass');
    expect(codes).not.toContain('BYTES_NOT_SENT');
  });
});

describe('hashes', () => {
  test('a device that lists one of another length lists another image, and never passes', async () => {
    const firmware = await testFirmware();
    const [image] = firmware.images;
    const longer = createHash('sha512').update('another').digest('hex');
    const told = { ...firmware, images: [{ ...image!, image: { ...image!.image, hash: longer, runsAs: longer } }] };
    const { outcome } = await upgrade({}, { firmware: told, profile: { retries: 0 } });
    expect(outcome).toBe('fail IMAGE_HASH_MISMATCH');
  });
});
