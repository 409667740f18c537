import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { outcomes, type TestRun, testFirmware, twoCoreFirmware, VirtualStation } from '../support/virtual-station.ts';

let station: VirtualStation;
afterEach(() => station.stop());

const image = (version = '0.0.0') => ({ image: version, slotKiB: 256, bootMs: 800 });
const fus = (settings: object = {}, other: object = {}): NonNullable<TestRun['profile']> => ({
  protocol: 'fus',
  fus: settings,
  ...other,
});
const device = (settings: object = {}) => ({ ...image(), protocol: 'fus' as const, fus: settings });
const all = (units: number, outcome: string) =>
  Object.fromEntries(Array.from({ length: units }, (_, i) => [`SN000${i + 1}`, outcome]));
const shapes = (serial = 'SN0001') => {
  const reader = station.reader();
  const { anomalies } = reader.show(serial);
  reader.close();
  return anomalies.map(({ shape }) => shape);
};

describe('a FUS device', () => {
  test('of the reference profile is upgraded, read back and confirmed, and one that has the image is skipped', async () => {
    station = await VirtualStation.start({ units: 3, device: device() });
    expect(outcomes(await station.run({ profile: fus(), units: 3 }))).toEqual(all(3, 'pass'));
    for (const [running] of station.truth().values()) expect(running).toMatchObject({ intact: true, confirmed: true });
    expect(shapes()).toEqual([]);
    expect(outcomes(await station.run({ profile: fus(), units: 3 }))).toEqual(all(3, 'skipped'));
  });

  test('with other UUIDs, indications and no header is upgraded as well', async () => {
    const other = {
      service: 'a0b10001-0000-4000-8000-00000000beef',
      control: { uuid: 'a0b10002-0000-4000-8000-00000000beef', write: 'with-response' },
      dataIn: { uuid: 'a0b10003-0000-4000-8000-00000000beef' },
      response: { uuid: 'a0b10004-0000-4000-8000-00000000beef', mode: 'indicate' },
      dataOut: { uuid: 'a0b10005-0000-4000-8000-00000000beef', mode: 'indicate' },
      markers: { open: 0xa5, close: 0x5a },
      header: 'none',
    };
    station = await VirtualStation.start({ units: 1, device: device(other) });
    expect(outcomes(await station.run({ profile: fus(other), units: 1 }))).toEqual(all(1, 'pass'));
    expect(shapes()).toEqual([]);
  });

  test('with two images gets both, one after the other, each read back', async () => {
    station = await VirtualStation.start({ units: 1, device: { ...device(), cores: 2 } });
    const summary = await station.run({ profile: fus(), units: 1, firmware: await twoCoreFirmware() });
    expect(outcomes(summary)).toEqual(all(1, 'pass'));
    expect(summary.units[0]!.images.map(({ index, verified }) => [index, verified])).toEqual([
      [0, 'read-back'],
      [1, 'read-back'],
    ]);
    const [running] = station.truth().values();
    expect(running?.map(({ intact, confirmed }) => ({ intact, confirmed }))).toEqual(
      Array.from({ length: 2 }, () => ({ intact: true, confirmed: true })),
    );
  });

  test('that loses its link resumes where it was', async () => {
    const faults = [{ unit: 1, at: { bytes: 30_000 }, do: 'drop-link' as const, times: 1 }];
    station = await VirtualStation.start({ units: 1, device: device(), faults });
    const summary = await station.run({ profile: fus(), units: 1 });
    expect(outcomes(summary)).toEqual(all(1, 'pass'));
    expect(summary.units[0]?.resumedFrom).toBeGreaterThan(10_000);
  });

  test.each([
    ['flip-bit', { bytes: 10_000 }, 'fail IMAGE_HASH_MISMATCH'],
    ['reject-image', 'boot', 'fail BOOTLOADER_REJECTED'],
    ['revert', 'boot', 'fail SWAP_REVERTED'],
    ['silent', 'always', 'error DEVICE_SILENT'],
    ['nonsense', 'always', 'error DEVICE_SILENT'],
  ] as const)('told to %s ends with its own code', async (act, at, outcome) => {
    station = await VirtualStation.start({ units: 1, device: device(), faults: [{ unit: 1, at, do: act }] });
    expect(outcomes(await station.run({ profile: fus({}, { retries: 0 }), units: 1 }))).toEqual(all(1, outcome));
  });

  test('that runs the right image while another is pending is not skipped: that one would start at its next power-up', async () => {
    const firmware = await testFirmware();
    const directory = await mkdtemp(join(tmpdir(), 'dfu-image-'));
    onTestFinished(() => rm(directory, { recursive: true }));
    const file = join(directory, 'image.bin');
    await writeFile(file, firmware.images[0]!.bytes);
    const slots = [
      { slot: 0 as const, file },
      { version: '0.8.0', state: 'pending' as const },
    ];
    station = await VirtualStation.start({ units: 1, device: { ...device(), slots } });
    const summary = await station.run({ profile: fus({}, { retries: 0 }), units: 1, firmware });
    expect(outcomes(summary)).toEqual(all(1, 'fail DEVICE_BUSY'));
    const reader = station.reader();
    expect(reader.show('SN0001').remarks).toMatchObject([{ code: 'STAYS_PENDING' }]);
    reader.close();
  });

  test('too small for the image, or running a newer one, is refused before anything is sent', async () => {
    station = await VirtualStation.start({
      units: 2,
      device: { ...device(), slotKiB: 32 },
      overrides: [{ unit: 2, image: '2.0.0', slotKiB: 256 }],
    });
    const summary = await station.run({ profile: fus(), units: 2, firmware: await testFirmware(60_000) });
    expect(outcomes(summary)).toEqual({ SN0001: 'fail IMAGE_TOO_LARGE', SN0002: 'fail DOWNGRADE_REFUSED' });
  });
});

describe('a FUS device that breaks the order', () => {
  test.each([
    ['late-data', 'end-before-data'],
    ['late-start', 'data-before-start'],
    ['double-marker', 'duplicate'],
    ['lose-start', 'missing-start'],
    ['lose-end', 'missing-end'],
  ] as const)(
    'by %s passes when order is tolerant, with every anomaly on record, and fails by FRAME_ORDER when it is strict',
    async (act, shape) => {
      const faults = [{ unit: 1, do: act, every: 5 }];
      station = await VirtualStation.start({ units: 1, device: device(), faults });
      expect(outcomes(await station.run({ profile: fus(), units: 1 }))).toEqual(all(1, 'pass'));
      expect(new Set(shapes())).toEqual(new Set([shape]));
      await station.stop();
      station = await VirtualStation.start({ units: 1, device: device(), faults });
      expect(outcomes(await station.run({ profile: fus({ order: 'strict' }), units: 1 }))).toEqual(
        all(1, 'fail FRAME_ORDER'),
      );
    },
  );

  test('by two work queues passes when order is tolerant', async () => {
    station = await VirtualStation.start({ units: 1, device: device(), faults: [{ unit: 1, do: 'two-queues' }] });
    expect(outcomes(await station.run({ profile: fus(), units: 1 }))).toEqual(all(1, 'pass'));
    expect(shapes().length).toBeGreaterThan(0);
  });
});
