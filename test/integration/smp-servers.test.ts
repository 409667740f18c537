import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import type { z } from 'zod';
import type { AttemptDetail } from '../../src/contract/records.ts';
import type { trayFile } from '../../src/contract/tray-file.ts';
import { type FirmwarePackage, readFirmware } from '../../src/firmware/firmware-package.ts';
import { outcomes, type TestRun, testFirmware, twoCoreFirmware, VirtualStation } from '../support/virtual-station.ts';

/** What real servers do, each by its row of the collected facts: a virtual device does it, and the station has the right answer. */

type Device = NonNullable<z.input<typeof trayFile>['device']>;
type Faults = NonNullable<z.input<typeof trayFile>['faults']>;

let station: VirtualStation;
afterEach(() => station.stop());

/** One such unit; its outcome, and its last attempt's record. */
async function upgrade(
  device: Device,
  { faults = [], ...run }: TestRun & { faults?: Faults } = {},
): Promise<{ outcome: string; attempt: AttemptDetail; attempts: number; bytes: number }> {
  station = await VirtualStation.start({ units: 1, device, faults });
  return again(run);
}

async function again(run: TestRun = {}) {
  const summary = await station.run({ units: 1, ...run });
  const reader = station.reader();
  const attempt = reader.show('SN0001');
  reader.close();
  const { attempts, bytes } = summary.units[0]!;
  return { outcome: outcomes(summary).SN0001!, attempt, attempts, bytes };
}

/** The package's image as a file, for a device that has it from the beginning. */
async function imageFile({ images }: FirmwarePackage): Promise<string> {
  const file = join(await mkdtemp(join(tmpdir(), 'dfu-image-')), 'image.bin');
  await writeFile(file, images[0]!.bytes);
  onTestFinished(() => rm(dirname(file), { recursive: true }));
  return file;
}

/** What the unit would run after its next power-up: nothing that is pending changes it. */
async function willRun(): Promise<string | undefined> {
  const { attempt } = await again();
  expect(attempt.slots.filter(({ seen, flags }) => seen === 'before' && flags.includes('pending'))).toEqual([]);
  return station.truth().get('SN0001')?.[0]?.hash;
}

const remarks = ({ remarks: all }: AttemptDetail) => all.map(({ code }) => code);
/** How long the frames were that carried image bytes, and of how many writes at most. */
function writesPerFrame(attempt: AttemptDetail): number {
  const reader = station.reader();
  const parts = [...reader.frames(attempt.id)].filter(({ image }) => image !== null);
  reader.close();
  const begins = parts.filter(({ bytes }) => bytes.length > 8).length;
  return parts.length / begins;
}

describe('frames', () => {
  test.each([
    ['answers rc 9 to half a frame', 'rc-9'],
    ['says nothing to half a frame', 'silence'],
  ] as const)('a server that joins nothing and %s is given frames of one write', async (_, reassembly) => {
    const { outcome, attempt, attempts } = await upgrade({ smp: { reassembly, bufferBytes: 2475 } });
    expect(outcome).toBe('pass');
    expect(attempts).toBe(1);
    expect(remarks(attempt)).toContain('SERVER_JOINS_NOTHING');
    const reader = station.reader();
    expect(reader.learnt('test')).toMatchObject([{ units: 1, facts: { frames: 'one-write' } }]);
    reader.close();
  });

  test('the next unit of the product is given frames of one write from the first on', async () => {
    station = await VirtualStation.start({ units: 2, device: { smp: { reassembly: 'silence' } } });
    const job = (serial: string) => ({ job: { units: [{ slot: 'A1', serial }] } });
    await station.run(job('SN0001'));
    const second = await station.run(job('SN0002'));
    expect(outcomes(second)).toEqual({ SN0002: 'pass' });
    const reader = station.reader();
    const attempt = reader.show('SN0002');
    reader.close();
    expect(remarks(attempt)).toEqual([]);
    expect(attempt.link?.resends).toBe(0);
    expect(writesPerFrame(attempt)).toBe(1);
  });

  test('a profile that knows better has no long frame tried', async () => {
    const { outcome, attempt } = await upgrade(
      { smp: { reassembly: 'silence' } },
      { profile: { upgrade: { frames: 'one-write' } } },
    );
    expect(outcome).toBe('pass');
    expect(attempt.link?.resends).toBe(0);
  });

  test('a server that joins is given long frames, after one of one write', async () => {
    const { attempt } = await upgrade({});
    expect(writesPerFrame(attempt)).toBeGreaterThan(2);
  });

  test.each([65, 72, 80, 90, 100])('an MTU of %i without params takes the image all the same', async (mtu) => {
    const firmware = await testFirmware(8000);
    const { outcome, attempt } = await upgrade({ mtu, smp: { params: false, reassembly: 'rc-9' } }, { firmware });
    expect(outcome).toBe('pass');
    expect(attempt.link?.facts?.mtu).toBe(mtu);
  });

  test('a server that does not say how small its buffers are is found out, and the next unit is spared it', async () => {
    const smp = { params: false, bufferBytes: 300 };
    const { outcome, attempts } = await upgrade({ mtu: 498, smp });
    expect(outcome).toBe('pass');
    expect(attempts).toBe(1);
    const reader = station.reader();
    expect(reader.learnt('test')).toMatchObject([{ facts: { longestFrame: 256 } }]);
    reader.close();
  });

  test('an MTU that cannot carry the image header in one write is the link to blame, never the unit', async () => {
    const smp = { params: false, reassembly: 'rc-9' as const };
    const { outcome } = await upgrade({ mtu: 50, smp }, { firmware: await testFirmware(8000) });
    expect(outcome).toBe('error MTU_TOO_SMALL');
    expect(outcomes(await station.run({ units: 1 }))).toEqual({ SN0001: 'error MTU_TOO_SMALL' });
  });

  test('of a server that says it joins and does not, at such an MTU, it is the link as well', async () => {
    const { outcome } = await upgrade({ mtu: 50, smp: { reassembly: 'rc-9' } }, { firmware: await testFirmware(8000) });
    expect(outcome).toBe('error MTU_TOO_SMALL');
  });
});

describe('errors that pass', () => {
  type Answer = NonNullable<NonNullable<Device['smp']>['answers']>[number];
  const answered = (answer: Answer) => ({ smp: { answers: [answer] } });
  const flashWriteFailed = { err: { group: 1, rc: 12 } };

  test.each<[string, Answer]>([
    ['flash write failed', { to: 'upload', offset: 10_000, times: 1, with: flashWriteFailed, forgetsUpload: true }],
    ['flash write failed, the upload not lost', { to: 'upload', offset: 10_000, times: 1, with: flashWriteFailed }],
    ['flash erase failed', { to: 'upload', times: 1, with: { err: { group: 1, rc: 13 } } }],
    ['no free memory', { to: 'upload', offset: 10_000, times: 2, with: { err: { group: 1, rc: 15 } } }],
    ['rc 1', { to: 'upload', offset: 10_000, times: 3, with: { rc: 1 } }],
    ['rc 2', { to: 'upload', offset: 10_000, times: 3, with: { rc: 2 } }],
    ['rc 10', { to: 'upload', offset: 10_000, times: 4, with: { rc: 10 } }],
    ['rc 10 to the first chunk', { to: 'upload', times: 2, with: { rc: 10 } }],
    ['group 0, rc 1', { to: 'upload', offset: 10_000, times: 2, with: { err: { group: 0, rc: 1 } } }],
    ['rc 2 to a question', { to: 'image-list', times: 2, with: { rc: 2 } }],
    ['rc 10 to the test', { to: 'image-state', times: 2, with: { rc: 10 } }],
    ['rc 10 to the reset', { to: 'reset', times: 2, with: { rc: 10 } }],
    ['group 0, rc 2 to the reset', { to: 'reset', times: 2, with: { err: { group: 0, rc: 2 } } }],
  ])('%s is asked again in place, and one attempt passes', async (_, answer) => {
    const { outcome, attempts, attempt } = await upgrade(answered(answer));
    expect(outcome).toBe('pass');
    expect(attempts).toBe(1);
    expect(attempt.code).toBeNull();
    expect(remarks(attempt)).toContain('ERRORS_PASSED');
  });

  test.each<[string, Answer, string]>([
    ['rc 10 for ever', { to: 'upload', offset: 10_000, with: { rc: 10 } }, 'fail DEVICE_NOT_READY'],
    [
      'rc 2 for ever, which is not called too large',
      { to: 'upload', with: { rc: 2, rsn: 'no mem' } },
      'fail DEVICE_NOT_READY',
    ],
    [
      'a flash that is never written is the board’s fault',
      { to: 'upload', offset: 10_000, with: flashWriteFailed, forgetsUpload: true },
      'fail DEVICE_FLASH_ERROR',
    ],
  ])('%s ends the attempt by name after several in a row', async (_, answer, expected) => {
    const { outcome, attempts } = await upgrade(answered(answer), { profile: { retries: 1 } });
    expect(outcome).toBe(expected);
    expect(attempts).toBe(2);
  });

  test('only a fault of the unit that repeats over attempts puts it in quarantine', async () => {
    await upgrade(answered({ to: 'upload', with: { rc: 10 } }), { profile: { retries: 1 } });
    expect((await again({ profile: { retries: 0 } })).outcome).toBe('fail DEVICE_NOT_READY');
    await station.stop();
    const broken = answered({ to: 'upload', with: flashWriteFailed });
    expect((await upgrade(broken, { profile: { retries: 0 } })).outcome).toBe('fail DEVICE_FLASH_ERROR');
    expect((await again({ profile: { retries: 1 } })).outcome).toBe('fail DEVICE_FLASH_ERROR');
    expect((await again()).outcome).toBe('fail UNIT_QUARANTINED');
  });

  test.each<[string, Answer['with'], string, string]>([
    ['rc 6, newer', { rc: 6, rsn: 'downgrade' }, 'fail DOWNGRADE_REFUSED', '"downgrade"'],
    ['rc 6, no slot', { rc: 6, rsn: 'no slot' }, 'fail DEVICE_BUSY', '"no slot"'],
    ['rc 3, bad header', { rc: 3, rsn: 'header malformed' }, 'fail DEVICE_REJECTED_IMAGE', '"header malformed"'],
    ['rc 1, too large', { rc: 1, rsn: 'img too large' }, 'fail IMAGE_TOO_LARGE', '"img too large"'],
    ['escapes', { rc: 11, rsn: 'no\u001b[31m\u202e!' }, 'fail DEVICE_ERROR', '"no\\u001b[31m\\u202e!"'],
  ])("the server's own words are told: %s", async (_, answer, expected, words) => {
    const { outcome, attempt } = await upgrade(answered({ to: 'upload', with: answer }), { profile: { retries: 0 } });
    expect(outcome).toBe(expected);
    expect(attempt.detail).toContain(words);
  });

  test.each<[string, Answer['with'], string]>([
    ['a newer version', { err: { group: 1, rc: 27 } }, 'fail DOWNGRADE_REFUSED'],
    ['too large', { err: { group: 1, rc: 30 } }, 'fail IMAGE_TOO_LARGE'],
    ['a bad header', { err: { group: 1, rc: 23 } }, 'fail DEVICE_REJECTED_IMAGE'],
    ['no such slot', { err: { group: 1, rc: 14 } }, 'fail IMAGE_SLOT_UNKNOWN'],
  ])('%s is final: it is not asked again', async (_, answer, expected) => {
    const { outcome, attempts, attempt } = await upgrade(answered({ to: 'upload', with: answer }));
    expect(outcome).toBe(expected);
    expect(attempts).toBe(1);
    expect(remarks(attempt)).toEqual([]);
  });
});

describe('protocol versions', () => {
  test('a server that refuses version 2 is spoken to in version 1', async () => {
    const answers = [{ to: 'params' as const, times: 1, with: { rc: 13 } }];
    const { outcome, attempts } = await upgrade({ smp: { version: 1, answers } });
    expect(outcome).toBe('pass');
    expect(attempts).toBe(1);
  });
});

const variants = '../shared/firmware/variants';
describe.skipIf(!existsSync(variants))('images of other kinds (../shared/firmware/variants)', () => {
  test.each([
    ['ed25519-sha512.bin', 'sha512'],
    ['ed25519-sha512-pure.bin', 'sha512'],
    ['padded-confirmed.bin', 'sha256'],
  ] as const)('%s is read back by its whole hash', async (file, hash) => {
    const firmware = await readFirmware(join(variants, file));
    const { outcome, attempt } = await upgrade({ hash, slotKiB: 512 }, { firmware });
    expect(outcome).toBe('pass');
    expect(attempt.images).toMatchObject([{ hash: firmware.images[0]!.image.hash, verified: 'read-back' }]);
    expect(attempt.images[0]!.hash).toHaveLength(hash === 'sha512' ? 128 : 64);
  });
});

describe('sizes', () => {
  test('an image larger than a slot whose size is known is refused before anything is erased', async () => {
    const { outcome, bytes } = await upgrade({ slotKiB: 32, smp: { slotInfo: true } });
    expect(outcome).toBe('fail IMAGE_TOO_LARGE');
    expect(bytes).toBe(0);
  });

  test('the largest image that the device names counts, too', async () => {
    const { outcome, bytes } = await upgrade({ smp: { slotInfo: true, maxImageBytes: 30_000 } });
    expect(outcome).toBe('fail IMAGE_TOO_LARGE');
    expect(bytes).toBe(0);
  });

  test('a device whose slots are known and are fewer than the images of the package is refused first', async () => {
    const firmware = await twoCoreFirmware();
    const { outcome, bytes } = await upgrade({ smp: { slotInfo: true } }, { firmware });
    expect(outcome).toBe('fail IMAGE_SLOT_UNKNOWN');
    expect(bytes).toBe(0);
  });
});

describe('buffers', () => {
  test.each<[string, NonNullable<Device['smp']>]>([
    ['two buffers hold one request', { bufferCount: 2, holds: 1 }],
    ['two buffers hold one request, one more is answered by rc 2', { bufferCount: 2, holds: 1, whenFull: 'rc-2' }],
    ['a buffer that is still held when the next request comes', { bufferCount: 2, holds: 1, releaseMs: 15 }],
    ['the same, answered by rc 2', { bufferCount: 2, holds: 1, releaseMs: 15, whenFull: 'rc-2' }],
    ['one request held though four buffers are named', { bufferCount: 4, holds: 1 }],
    ['the same, answered by rc 2', { bufferCount: 4, holds: 1, whenFull: 'rc-2' }],
  ])('%s: the upload passes at the first attempt', async (_, smp) => {
    const { outcome, attempts } = await upgrade({ smp });
    expect(outcome).toBe('pass');
    expect(attempts).toBe(1);
  });

  test('of N buffers no more than N − 1 are ever filled', async () => {
    const { attempt } = await upgrade({ smp: { bufferCount: 2, holds: 1 } });
    expect(attempt.link).toMatchObject({ window: 1, resends: 0 });
  });
});

describe('questions that need no answer', () => {
  const unanswered = [
    ['rc 8', { rc: 8 }],
    ['rc 1', { rc: 1 }],
    ['group 0, rc 3', { err: { group: 0, rc: 3 } }],
    ['another body', { body: { nothing: true } }],
    ['silence', 'silence'],
  ] as const;
  test.each(unanswered)(
    'params, bootloader information and slot info answered by %s are unknown, and no failure',
    async (_, answer) => {
      const answers = (['params', 'bootloader-info', 'slot-info'] as const).map((to) => ({ to, with: answer }));
      const { outcome, attempts } = await upgrade({ smp: { answers } });
      expect(outcome).toBe('pass');
      expect(attempts).toBe(1);
    },
  );
});

describe('a reset that is refused', () => {
  test.each<[string, { rc: number } | { err: { group: number; rc: number } }]>([
    ['rc 10', { rc: 10 }],
    ['err 2', { err: { group: 0, rc: 2 } }],
  ])('by %s for ever fails by name, and says that the image stays pending', async (_, answer) => {
    const device = { smp: { answers: [{ to: 'reset' as const, with: answer }] } };
    const { outcome, attempt } = await upgrade(device, { profile: { retries: 0 } });
    expect(outcome).toBe('fail RESET_FAILED');
    expect(attempt.detail).toContain('refused');
    expect(remarks(attempt)).toContain('STAYS_PENDING');
    expect(attempt.slots.find(({ seen, slot }) => seen === 'after-upload' && slot === 1)).toMatchObject({
      version: '1.0.0',
    });
  });
});

describe('what the unit was left with', () => {
  test('the right image runs while another is pending: that is cleared, and the unit then skipped', async () => {
    const file = await imageFile(await testFirmware());
    const { outcome, attempt, bytes } = await upgrade({
      slots: [
        { slot: 0, file },
        { version: '0.8.0', state: 'pending' },
      ],
    });
    expect(outcome).toBe('skipped');
    expect(bytes).toBe(0);
    expect(remarks(attempt)).toContain('PENDING_CLEARED');
    expect(await willRun()).toBe((await testFirmware()).images[0]!.image.hash);
  });

  test('the right image runs while another is pending for good: it is installed again after that one has started', async () => {
    const file = await imageFile(await testFirmware());
    const { outcome, attempt, bytes } = await upgrade({
      slots: [
        { slot: 0, file },
        { version: '0.8.0', state: 'permanent' },
      ],
    });
    expect(outcome).toBe('pass');
    expect(bytes).toBe(0);
    expect(remarks(attempt)).toEqual(expect.arrayContaining(['PENDING_CLEARED', 'NO_UPLOAD_NEEDED']));
    expect(await willRun()).toBe((await testFirmware()).images[0]!.image.hash);
  });

  test("the package's own image is pending, left by a reset that was refused: it is started, and nothing is sent", async () => {
    const file = await imageFile(await testFirmware());
    const { outcome, attempt, bytes } = await upgrade({ image: '0.9.0', slots: [{ file, state: 'pending' }] });
    expect(outcome).toBe('pass');
    expect(bytes).toBe(0);
    expect(remarks(attempt)).toContain('NO_UPLOAD_NEEDED');
  });

  test('only to be uploaded, and pending already: it would start at the next power-up, so it is not called staged', async () => {
    const file = await imageFile(await testFirmware());
    const device = { image: '0.9.0', slots: [{ file, state: 'pending' as const }] };
    const { outcome } = await upgrade(device, { profile: { upgrade: { mode: 'upload-only' } } });
    expect(outcome).toBe('fail DEVICE_BUSY');
  });

  test('an older image of the package is pending on a newer one: refused, and not left to start by itself unsaid', async () => {
    const file = await imageFile(await testFirmware());
    const { outcome, attempt } = await upgrade({ image: '2.0.0', slots: [{ file, state: 'pending' }] });
    expect(outcome).toBe('fail DOWNGRADE_REFUSED');
    expect(remarks(attempt)).toContain('STAYS_PENDING');
  });

  test('another image on trial is ended first, and a downgrade is judged against what then runs', async () => {
    const { outcome, attempt, bytes } = await upgrade({
      image: '2.0.0',
      slots: [
        { slot: 0, version: '0.5.0', state: 'on-trial' },
        { slot: 1, version: '2.0.0' },
      ],
    });
    expect(remarks(attempt)).toContain('TRIAL_ENDED');
    expect(outcome).toBe('fail DOWNGRADE_REFUSED');
    expect(bytes).toBe(0);
  });

  test('after a swap the old image lies in the second slot: the way back needs no upload, and the record says so', async () => {
    await upgrade({ image: '0.9.0' }, { firmware: await testFirmware(60_000, '1.0.0') });
    await again({ firmware: await testFirmware(60_000, '1.1.0') });
    const { outcome, attempt, bytes } = await again({
      firmware: await testFirmware(60_000, '1.0.0'),
      profile: { upgrade: { allowDowngrade: true } },
    });
    expect(outcome).toBe('pass');
    expect(bytes).toBe(0);
    expect(remarks(attempt)).toContain('NO_UPLOAD_NEEDED');
  });

  test('a unit that was confirmed and never read back is no pass; tried again, it is found right', async () => {
    const unanswered = { to: 'image-list' as const, nth: 4, times: 4, with: 'silence' as const };
    const { outcome, attempts } = await upgrade({ smp: { answers: [unanswered] } });
    expect(outcome).toBe('skipped');
    expect(attempts).toBe(2);
    const reader = station.reader();
    expect(reader.list({ limit: 2 }).map((row) => [row.outcome, row.code])).toEqual([
      ['skipped', null],
      ['error', 'DEVICE_SILENT'],
    ]);
    reader.close();
  });
});

describe('versions that cannot be parsed', () => {
  const device: Device = { smp: { list: { version: '<???>' } } };

  test('are a refusal, because a downgrade cannot be judged', async () => {
    const { outcome, attempt, bytes } = await upgrade(device);
    expect(outcome).toBe('fail VERSION_UNKNOWN');
    expect(attempt.detail).toContain('"<???>"');
    expect(bytes).toBe(0);
  });

  test('are an allowance where the profile says so, on record', async () => {
    const { outcome, attempt } = await upgrade(device, { profile: { upgrade: { unknownVersion: 'allow' } } });
    expect(outcome).toBe('pass');
    expect(remarks(attempt)).toContain('VERSION_UNJUDGED');
  });

  test('do not matter where downgrades are allowed', async () => {
    expect((await upgrade(device, { profile: { upgrade: { allowDowngrade: true } } })).outcome).toBe('pass');
  });
});

describe('what the device says of itself', () => {
  test('two active slots of one image are nonsense', async () => {
    const { outcome } = await upgrade(
      { slots: [{ version: '0.5.0' }], smp: { list: { twoActive: true } } },
      { profile: { retries: 0 } },
    );
    expect(outcome).toBe('fail DEVICE_NONSENSE');
  });

  test('an acknowledgement of a byte at a time does not hold the tray', async () => {
    const { outcome } = await upgrade(
      { smp: { bytesPerAnswer: 4, answerMs: 200 } },
      { profile: { retries: 0, upgrade: { leastBytesPerMinute: 6000 } } },
    );
    expect(outcome).toBe('error DEVICE_TOO_SLOW');
  });

  test('a list in definite CBOR, without what is false, reads the same', async () => {
    expect((await upgrade({ smp: { cbor: 'definite', list: { frugal: true } } })).outcome).toBe('pass');
  });
});
