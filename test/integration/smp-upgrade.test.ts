import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import type { trayFile } from '../../src/contract/tray-file.ts';
import { decodeSmpFrame } from '../../src/protocols/smp/codec.ts';
import { DATABASE_FILE } from '../../src/records/database.ts';
import { outcomes, testFirmware, twoCoreFirmware, VirtualStation } from '../support/virtual-station.ts';

let station: VirtualStation;
afterEach(() => station.stop());

async function tray(description: z.input<typeof trayFile>, radios = 1): Promise<VirtualStation> {
  station = await VirtualStation.start(description, radios);
  return station;
}

describe('a tray', () => {
  test('passes when every unit runs the image, read back and confirmed, with steps and frames on record', async () => {
    await tray({ units: 8 });
    const firmware = await testFirmware();
    const summary = await station.run({ units: 8, firmware });
    expect(summary.outcome).toBe('pass');
    expect(summary.units).toHaveLength(8);
    const reader = station.reader();
    for (const unit of summary.units) {
      expect(unit.images).toEqual([
        { index: 0, hash: firmware.images[0]!.image.hash, version: '1.0.0', verified: 'read-back' },
      ]);
      const attempt = reader.show(unit.attemptId!);
      expect(attempt.steps.map(({ name }) => name)).toEqual(
        expect.arrayContaining([
          'connect',
          'read-state',
          'upload',
          'reset',
          'verify-running',
          'confirm',
          'verify-confirmed',
        ]),
      );
      const sent = [...reader.frames(unit.attemptId!)].flatMap(({ image, length, bytes }) =>
        image ? [{ from: image.offset, to: image.offset + length - bytes.length }] : [],
      );
      expect(sent.at(-1)?.to).toBe(firmware.images[0]!.bytes.length);
      expect(attempt.slots.filter(({ seen }) => seen === 'final')).toContainEqual(
        expect.objectContaining({ hash: firmware.images[0]!.image.hash, flags: 'active confirmed' }),
      );
    }
    reader.close();
  });

  test('is shared by several radios', async () => {
    await tray({ units: 6 }, 3);
    const summary = await station.run({ units: 6 });
    expect(summary.outcome).toBe('pass');
    const reader = station.reader();
    const radios = new Set(summary.units.map(({ attemptId }) => reader.show(attemptId!).radio));
    reader.close();
    expect(radios.size).toBeGreaterThan(1);
  });

  test('is finished by the radio that is left when another one is unplugged', async () => {
    await tray({ units: 4 }, 2);
    const pulled: string[] = [];
    const summary = await station.run({
      units: 4,
      firmware: await testFirmware(150_000),
      onEvent: (event) => {
        if (pulled.length > 0 || event.type !== 'progress' || event.bytes < 20_000) return;
        pulled.push(event.unit);
        station.pull(0);
      },
    });
    expect(outcomes(summary)).toEqual({ SN0001: 'pass', SN0002: 'pass', SN0003: 'pass', SN0004: 'pass' });
    expect(station.events).toContainEqual(expect.objectContaining({ type: 'radio-lost', radio: 'radio 1' }));
    const reader = station.reader();
    const moved = summary.units.filter(({ attemptId }) => (reader.show(attemptId!).link?.reconnects ?? 0) > 0);
    expect(moved.length).toBeGreaterThan(0);
    reader.close();
  });

  test('of which nothing can be reached any more ends, and says why', async () => {
    await tray({ units: 2 });
    const summary = await station.run({
      units: 2,
      firmware: await testFirmware(150_000),
      onEvent: (event) => {
        if (event.type === 'progress' && event.bytes > 20_000) station.pull(0);
      },
    });
    expect(summary).toMatchObject({ outcome: 'aborted', code: 'RADIO_LOST' });
    expect(outcomes(summary)).toEqual({ SN0001: 'error RADIO_LOST', SN0002: 'error RADIO_LOST' });
  });

  test('of units that run the image already is skipped, and not called an upgrade', async () => {
    await tray({ units: 2 });
    await station.run({ units: 2 });
    const again = await station.run({ units: 2 });
    expect(outcomes(again)).toEqual({ SN0001: 'skipped', SN0002: 'skipped' });
    expect(again.outcome).toBe('pass');
    expect(again.units.every(({ bytes }) => bytes === 0)).toBe(true);
  });
});

describe('a faulty unit, while the others pass', () => {
  const others = { SN0001: 'pass', SN0003: 'pass' };
  type Fault = Omit<NonNullable<z.input<typeof trayFile>['faults']>[number], 'unit'>;

  test.each<[string, Fault, string]>([
    ['that loses its link half way resumes and passes', { at: { bytes: 30_000 }, do: 'drop-link', times: 1 }, 'pass'],
    [
      'that always loses its link at the same place is an error',
      { at: { bytes: 30_000 }, do: 'drop-link' },
      'error LINK_LOST',
    ],
    ['whose bootloader refuses the image fails', { at: 'boot', do: 'reject-image' }, 'fail BOOTLOADER_REJECTED'],
    ['that falls back before it is reached fails', { at: 'boot', do: 'revert' }, 'fail SWAP_REVERTED'],
    ['that falls back when it is confirmed fails', { at: 'confirm', do: 'revert' }, 'fail SWAP_REVERTED'],
    ['whose flash keeps a flipped bit fails', { at: { bytes: 30_000 }, do: 'flip-bit' }, 'fail BOOTLOADER_REJECTED'],
    ['that drops every third answer passes', { do: 'drop-answer', every: 3 }, 'pass'],
    ['that goes silent for ever is an error', { at: { bytes: 30_000 }, do: 'silent' }, 'error DEVICE_SILENT'],
    ['that answers nonsense fails', { do: 'nonsense' }, 'fail DEVICE_NONSENSE'],
    ['that does not restart fails', { at: 'boot', do: 'no-reboot' }, 'fail RESET_FAILED'],
    ['that never comes back fails', { at: 'boot', do: 'never-back' }, 'fail NOT_BACK_AFTER_RESET'],
    ['that refuses connections is an error', { at: 'connect', do: 'refuse-connect' }, 'error CONNECT_TIMEOUT'],
  ])('%s', async (_, fault, expected) => {
    await tray({ units: 3, faults: [{ unit: 2, ...fault }] });
    const summary = await station.run({ units: 3, profile: { retries: 1, upgrade: { swapTimeoutS: 10 } } });
    expect(outcomes(summary)).toEqual({ ...others, SN0002: expected });
    expect(summary.outcome).toBe(expected === 'pass' ? 'pass' : 'fail');
  });

  test('that loses its link goes on where the device says, and the record tells from where', async () => {
    await tray({ units: 1, faults: [{ unit: 1, at: { bytes: 30_000 }, do: 'drop-link', times: 1 }] });
    const { units } = await station.run({ units: 1 });
    expect(units[0]!.resumedFrom).toBeGreaterThan(20_000);
    const reader = station.reader();
    expect(reader.show('SN0001').link?.reconnects).toBeGreaterThan(0);
    reader.close();
  });
});

describe('a server', () => {
  test.each([
    ['of protocol version 1', { version: 1 as const }],
    ['that does not know os/params gets frames of one write', { params: false }],
    ['of version 1 without params', { version: 1 as const, params: false }],
    ['that loses every request beyond its first', { holds: 1 }],
    ['with small buffers', { bufferBytes: 300, bufferCount: 2 }],
  ])('%s is upgraded', async (_, smp) => {
    await tray({ units: 2, device: { smp } });
    expect((await station.run({ units: 2 })).outcome).toBe('pass');
  });

  test('that takes more than two requests is given more where that helps', async () => {
    await tray({ units: 1, device: { smp: { holds: 8, bufferCount: 8, bufferBytes: 256 } } });
    await station.run({ units: 1 });
    const reader = station.reader();
    expect(reader.show('SN0001').link?.window).toBeGreaterThan(2);
    reader.close();
  });

  test('has the next request at hand when it has erased', async () => {
    await tray({ units: 1, device: { flash: { eraseMsPerPage: 5, writeUsPerWord: 0 } } });
    await station.run({ units: 1 });
    const reader = station.reader();
    const smp = reader.show('SN0001').channels.findIndex((uuid) => uuid.startsWith('da2e7828'));
    const frames = [...reader.frames('SN0001')].filter(({ channel }) => channel === smp);
    const second = frames.findIndex(({ image }) => image !== null);
    const erased = frames.findIndex(
      ({ direction, bytes }) =>
        direction === 'from-device' && decodeSmpFrame(bytes).body.off === frames[second]!.image!.offset,
    );
    reader.close();
    expect(second).toBeGreaterThan(0);
    expect(erased).toBeGreaterThan(second);
  });

  test('on a link of small PDUs and MTU is upgraded', async () => {
    await tray({ units: 1, device: { mtu: 23, dataLength: 27, phy: '1M' } });
    expect((await station.run({ units: 1, firmware: await testFirmware(10_000) })).outcome).toBe('pass');
  });

  test('behind a lossy link is upgraded', async () => {
    await tray({ units: 2, device: { lossRate: 0.3 } });
    expect((await station.run({ units: 2 })).outcome).toBe('pass');
  });

  test('that comes back under another address is found by its identity', async () => {
    await tray({ units: 2, device: { newAddressAfterReboot: true } });
    expect((await station.run({ units: 2 })).outcome).toBe('pass');
  });
});

describe('a unit that comes back as another', () => {
  const foreign = (more: object) => ({ units: 2, overrides: [{ unit: 2, afterReboot: more }] });

  test.each([
    ["by another's name", { name: 'DFU-SN0001' }, 'fail IDENTITY_CHANGED'],
    ["by another's serial", { disSerial: 'SN0001' }, 'fail IDENTITY_CHANGED'],
    [
      "at another address, with another's serial",
      { address: 'c0:01:02:03:04:05', disSerial: 'X' },
      'fail ADDRESS_NOT_PROVEN',
    ],
  ])('%s does not pass and is not quarantined; the other does', async (_, more, expected) => {
    await tray(foreign(more));
    const summary = await station.run({ units: 2, profile: { upgrade: { swapTimeoutS: 10 } } });
    expect(outcomes(summary)).toEqual({ SN0001: 'pass', SN0002: expected });
    expect(station.events.filter(({ type }) => type === 'unit-quarantined')).toEqual([]);
    const reader = station.reader();
    const refused = reader.show('SN0002').identities.filter(({ proof }) => proof === null);
    const writes = [...reader.frames('SN0002')].filter(({ direction }) => direction === 'to-device');
    const reset = reader.show('SN0002').steps.find(({ name }) => name === 'reset')!;
    reader.close();
    // Nothing was written after its restart.
    expect(writes.every(({ timeUs }) => timeUs / 1000 < reset.startedMs + reset.durationMs)).toBe(true);
    expect(refused.every(({ code }) => code !== null)).toBe(true);
  });

  test('is not taken for the other when that one stays away', async () => {
    await tray({ ...foreign({ name: 'DFU-SN0001' }), faults: [{ unit: 1, at: 'boot', do: 'never-back' }] });
    const summary = await station.run({ units: 2, profile: { upgrade: { swapTimeoutS: 10 } } });
    expect(outcomes(summary)).toEqual({ SN0001: 'fail ADDRESS_NOT_PROVEN', SN0002: 'fail IDENTITY_CHANGED' });
  });
});

describe('two cores', () => {
  test('are upgraded together, the network core with indirect proof', async () => {
    await tray({ units: 1, device: { cores: 2 } });
    const summary = await station.run({
      units: 1,
      firmware: await twoCoreFirmware(),
      profile: { upgrade: { mode: 'confirm' } },
    });
    expect(outcomes(summary)).toEqual({ SN0001: 'pass' });
    expect(summary.units[0]!.images.map(({ index, verified }) => [index, verified])).toEqual([
      [0, 'read-back'],
      [1, 'indirect'],
    ]);
    expect(summary).toMatchObject({ outcome: 'pass', units: [{ proof: 'indirect' }] });
    const reader = station.reader();
    expect(reader.list()).toMatchObject([{ outcome: 'pass', proof: 'indirect' }]);
    expect(reader.show('SN0001').proof).toBe('indirect');
    const today = new Date().toISOString().slice(0, 10);
    expect(reader.statistics(today, today).days).toMatchObject([{ firstPass: 1, passed: 1, units: 1, indirect: 1 }]);
    reader.close();
  });

  test('cannot be tried out, which is said before anything is sent', async () => {
    await tray({ units: 1, device: { cores: 2 } });
    const summary = await station.run({ units: 1, firmware: await twoCoreFirmware() });
    expect(outcomes(summary)).toEqual({ SN0001: 'fail MODE_REFUSED' });
    expect(summary.units[0]!.bytes).toBe(0);
  });

  test('are refused by a device that has only one', async () => {
    await tray({ units: 1 });
    const summary = await station.run({ units: 1, firmware: await twoCoreFirmware() });
    expect(outcomes(summary)).toEqual({ SN0001: 'fail IMAGE_SLOT_UNKNOWN' });
  });
});

describe('the profile decides', () => {
  test('upload-only ends as STAGED, never as PASS, and a later full run finishes it', async () => {
    await tray({ units: 1 });
    const staged = await station.run({ units: 1, profile: { upgrade: { mode: 'upload-only' } } });
    expect(outcomes(staged)).toEqual({ SN0001: 'staged' });
    expect(staged.units[0]!.images[0]!.verified).toBe('no');
    const finished = await station.run({ units: 1 });
    expect(outcomes(finished)).toEqual({ SN0001: 'pass' });
    expect(finished.units[0]!.bytes).toBe(0);
  });

  test('mode confirm makes the image permanent before the restart', async () => {
    await tray({ units: 1 });
    await station.run({ units: 1, profile: { upgrade: { mode: 'confirm' } } });
    const reader = station.reader();
    expect(reader.show('SN0001').steps.map(({ name }) => name)).not.toContain('confirm');
    reader.close();
  });

  test('a downgrade is refused unless it is allowed', async () => {
    await tray({ units: 1, device: { image: '2.0.0' } });
    expect(outcomes(await station.run({ units: 1 }))).toEqual({ SN0001: 'fail DOWNGRADE_REFUSED' });
    const allowed = await station.run({ units: 1, profile: { upgrade: { allowDowngrade: true } } });
    expect(outcomes(allowed)).toEqual({ SN0001: 'pass' });
  });

  test('an image too large for the slot is refused by name', async () => {
    await tray({ units: 1, device: { slotKiB: 32 } });
    expect(outcomes(await station.run({ units: 1 }))).toEqual({ SN0001: 'fail IMAGE_TOO_LARGE' });
  });

  test('a battery below the minimum, or one that cannot be read, is not written', async () => {
    await tray({ units: 3, device: { battery: 80 }, overrides: [{ unit: 2, battery: 12 }] });
    const summary = await station.run({ units: 3, profile: { batteryMin: 30 } });
    expect(outcomes(summary)).toEqual({ SN0001: 'pass', SN0002: 'fail BATTERY_LOW', SN0003: 'pass' });
    expect(summary.units[1]!.bytes).toBe(0);
    await station.stop();
    await tray({ units: 1 });
    expect(outcomes(await station.run({ units: 1, profile: { batteryMin: 30 } }))).toEqual({
      SN0001: 'fail BATTERY_UNREADABLE',
    });
  });

  test('a weak signal is refused', async () => {
    await tray({ units: 2, overrides: [{ unit: 1, rssi: -90 }] });
    const summary = await station.run({ units: 2, profile: { rssiMin: -75 } });
    expect(outcomes(summary)).toEqual({ SN0001: 'fail SIGNAL_WEAK', SN0002: 'pass' });
  });

  test('the serial can be read from the device information service', async () => {
    await tray({ units: 2 });
    const summary = await station.run({ units: 2, profile: { identity: { from: 'dis-serial' } } });
    expect(outcomes(summary)).toEqual({ SN0001: 'pass', SN0002: 'pass' });
  });

  test('the address can be the identity', async () => {
    await tray({ units: 1, device: { address: 'c0:01:02:03:04:05' } });
    const summary = await station.run({ units: 1, profile: { identity: { from: 'address' } } });
    expect(outcomes(summary)).toEqual({ 'c0:01:02:03:04:05': 'pass' });
  });
});

describe('who may be written', () => {
  test('two devices of one identity are both refused', async () => {
    await tray({ units: 3, overrides: [{ unit: 3, serial: 'SN0001', address: 'c0:01:02:03:04:05' }] });
    const summary = await station.run({ units: 2 });
    expect(outcomes(summary)).toEqual({ SN0001: 'fail DUPLICATE_IDENTITY', SN0002: 'pass' });
    expect(summary.outcome).toBe('fail');
  });

  test('only units on the list are written, and those of the list that are missing are named', async () => {
    await tray({ units: 3 });
    const units = [
      { slot: 'A1', serial: 'SN0002' },
      { slot: 'A2', serial: 'SN0009' },
    ];
    const summary = await station.run({ job: { units }, findTimeoutMs: 5000 });
    expect(outcomes(summary)).toEqual({ SN0002: 'pass', SN0009: 'error UNIT_NOT_FOUND' });
    expect(summary.units.map(({ slot }) => slot)).toEqual(['A1', 'A2']);
    expect(station.events).toContainEqual(
      expect.objectContaining({ type: 'unit-refused', unit: 'SN0001', code: 'NOT_ON_JOB' }),
    );
  });

  test('fewer units than slots is said', async () => {
    await tray({ units: 2 });
    const summary = await station.run({ job: { tray: { rows: 1, columns: 3 } }, findTimeoutMs: 5000 });
    expect(summary).toMatchObject({ outcome: 'fail', code: 'UNITS_MISSING' });
    expect(outcomes(summary)).toEqual({ SN0001: 'pass', SN0002: 'pass' });
  });

  test('no unit at all is said', async () => {
    await tray({ units: 1, device: { namePrefix: 'OTHER-' } });
    const summary = await station.run({ units: 1, findTimeoutMs: 5000 });
    expect(summary).toMatchObject({ outcome: 'fail', code: 'NO_UNIT_FOUND', units: [] });
    expect(station.events).toContainEqual(expect.objectContaining({ type: 'unit-refused', code: 'WRONG_PRODUCT' }));
  });

  test('a unit that failed is quarantined until it is released; practice is not held to it', async () => {
    await tray({ units: 2, faults: [{ unit: 1, at: 'boot', do: 'reject-image', times: 1 }] });
    expect(outcomes(await station.run({ units: 2 }))).toEqual({ SN0001: 'fail BOOTLOADER_REJECTED', SN0002: 'pass' });
    expect(outcomes(await station.run({ units: 2 }))).toEqual({ SN0001: 'fail UNIT_QUARANTINED', SN0002: 'skipped' });
    expect(outcomes(await station.run({ units: 2, practice: true }))).toEqual({ SN0001: 'pass', SN0002: 'skipped' });
  });
});

describe('records that cannot be written any more', () => {
  test('stop the job: no unit passes without one, and what was recorded stays', async () => {
    await tray({ units: 2 });
    const first: string[] = [];
    const summary = await station.run({
      units: 2,
      onEvent: (event) => {
        if (first.length > 0 || event.type !== 'step' || event.step !== 'reset') return;
        first.push(event.unit);
        const raw = new Database(join(station.directory, 'data', DATABASE_FILE));
        raw.exec("CREATE TRIGGER refuse BEFORE INSERT ON step BEGIN SELECT RAISE(FAIL, 'no more'); END");
        raw.close();
      },
    });
    expect(summary.outcome).toBe('aborted');
    expect(summary.units.map(({ outcome }) => outcome)).not.toContain('pass');
    const reader = station.reader();
    expect(reader.show(first[0]!).steps.map(({ name }) => name)).toContain('upload');
    reader.close();
  });
});

describe('a stop', () => {
  test('closes every record and leaves every device to a later run, which resumes', async () => {
    await tray({ units: 3 });
    const stop = new AbortController();
    const firmware = await testFirmware(300_000);
    const stopped = await station.run({
      units: 3,
      firmware,
      signal: stop.signal,
      onEvent: (event) => {
        if (event.type === 'progress' && event.bytes > 50_000) stop.abort();
      },
    });
    expect(stopped.outcome).toBe('aborted');
    expect(new Set(Object.values(outcomes(stopped)))).toEqual(new Set(['aborted STOPPED']));
    const reader = station.reader();
    expect(reader.list().every(({ outcome }) => outcome !== null)).toBe(true);
    reader.close();
    const again = await station.run({ units: 3, firmware });
    expect(again.outcome).toBe('pass');
    expect(again.units.every(({ resumedFrom }) => (resumedFrom ?? 0) > 0)).toBe(true);
  });
});
