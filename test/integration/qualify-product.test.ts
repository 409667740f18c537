import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { JobEvent } from '../../src/contract/job-events.ts';
import { productFile } from '../../src/contract/product-file.ts';
import type { QualificationCheck } from '../../src/contract/qualification.ts';
import { openOwnRadio } from '../../src/host/radio-process.ts';
import { badImage } from '../../src/qualification/bad-image.ts';
import { onlyUnit } from '../../src/qualification/only-unit.ts';
import { type ProductFindings, qualifyProduct } from '../../src/qualification/qualify-product.ts';
import { reportPdf } from '../../src/qualification/report-pdf.ts';
import { reportText } from '../../src/qualification/report-text.ts';
import { fixedShelf } from '../../src/radio/radio-shelf.ts';
import { RecordReader } from '../../src/records/record-reader.ts';
import { RecordWriter } from '../../src/records/record-writer.ts';
import { cli } from '../support/cli.ts';
import { fastClock, testFirmware, testImage, VirtualStation } from '../support/virtual-station.ts';

let station: VirtualStation | null = null;
afterEach(async () => {
  await station?.stop();
  station = null;
});

const profile = productFile.parse({
  product: 'test',
  protocol: 'smp',
  discover: { namePrefix: 'DFU-' },
  identity: { from: 'name', pattern: '^DFU-(.+)$' },
  retries: 1,
});

interface Run {
  readonly product?: typeof profile;
  readonly practice?: boolean;
  readonly signal?: AbortSignal;
  readonly emit?: (event: JobEvent) => void;
}

async function qualify(tray: Parameters<typeof VirtualStation.start>[0], run: Run = {}): Promise<ProductFindings> {
  station = await VirtualStation.start(tray);
  const radio = await openOwnRadio({ kind: 'h4', name: 'virtual', path: station.path }, null, fastClock, null);
  const directory = join(station.directory, 'data');
  const records = new RecordWriter(directory, fastClock);
  const reader = new RecordReader(directory);
  try {
    return await qualifyProduct(
      {
        radios: fixedShelf([radio]),
        records,
        reader,
        clock: fastClock,
        practice: run.practice ?? true,
        appVersion: 'test',
        profile: run.product ?? profile,
        serial: 'SN0001',
        signal: run.signal ?? new AbortController().signal,
        emit: run.emit ?? (() => undefined),
      },
      { a: await testFirmware(60_000, '1.0.0'), b: await testFirmware(60_000, '2.0.0') },
    );
  } finally {
    reader.close();
    records.close();
    await radio.stop();
  }
}

function verdicts({ sections }: ProductFindings): Record<string, string> {
  return Object.fromEntries(sections.flatMap(({ checks }) => checks).map(({ name, verdict }) => [name, verdict]));
}

function named({ sections }: ProductFindings, name: string): QualificationCheck {
  return sections.flatMap(({ checks }) => checks).find((check) => check.name === name)!;
}

const others = (all: Record<string, string>, ...names: string[]) =>
  Object.entries(all).filter(([name, verdict]) => verdict !== 'held' && !names.includes(name));

describe('a product', () => {
  test('that does all that is expected holds all of it, and is left with B, as its record says', async () => {
    const findings = await qualify({ units: 2 });
    expect(others(verdicts(findings))).toEqual([]);
    expect(findings.left).toBe('SN0001 was left with B (2.0.0), confirmed.');
    expect(findings.profile).toContain('swapTimeoutS:');
    const b = await testFirmware(60_000, '2.0.0');
    expect(station!.truth().get('SN0001')).toMatchObject([{ hash: b.images[0]!.image.hash }]);
    // The other unit of the tray was never connected to.
    const reader = station!.reader();
    expect(new Set(reader.list().map(({ serial }) => serial))).toEqual(new Set(['SN0001']));
    reader.close();
  });

  test('that does not join writes is told so, and what the profile should say', async () => {
    const findings = await qualify({ units: 1, device: { smp: { reassembly: 'rc-9' } } });
    expect(others(verdicts(findings), 'reassembly')).toEqual([]);
    expect(named(findings, 'reassembly')).toMatchObject({ verdict: 'not-held', found: 'no: one write a frame' });
    expect(findings.profile).toContain('frames: one-write');
  });

  test.each(['revert', 'reject-image'] as const)(
    'whose bootloader does %s gets no further, and is not left with B',
    async (fault) => {
      const findings = await qualify({ units: 1, faults: [{ unit: 1, at: 'boot', do: fault }] });
      expect(named(findings, 'upgrade to A').verdict).toBe('not-held');
      expect(named(findings, 'cut in the upload').verdict).toBe('not-tried');
      expect(findings.left).toContain('NOT left with B');
    },
  );

  test('that is stopped by the operator is told as far as it came', async () => {
    const stop = new AbortController();
    let skipped = 0;
    const emit = (event: JobEvent) => {
      if (event.type === 'attempt-ended' && event.outcome === 'skipped' && ++skipped === 2) stop.abort();
    };
    const findings = await qualify({ units: 1 }, { signal: stop.signal, emit });
    expect(named(findings, 'upgrade to B').verdict).toBe('held');
    expect(named(findings, 'downgrade')).toMatchObject({ verdict: 'not-tried' });
    expect(named(findings, 'falling back')).toMatchObject({ detail: 'stopped by the operator' });
    expect(findings.left).toContain('NOT left with B, as far as is known');
  });

  test('of which a fault was provoked is in no quarantine afterwards', async () => {
    await qualify({ units: 1 }, { practice: false });
    const records = new RecordWriter(join(station!.directory, 'data'), fastClock);
    expect(records.quarantined('test').size).toBe(0);
    records.close();
  });

  test('of which several units are heard has to be told which', async () => {
    station = await VirtualStation.start({ units: 2 });
    const radio = await openOwnRadio({ kind: 'h4', name: 'virtual', path: station.path }, null, fastClock, null);
    const only = onlyUnit(profile, fixedShelf([radio]), fastClock, new AbortController().signal);
    await expect(only).rejects.toMatchObject({ code: 'ARGUMENT_INVALID', detail: expect.stringContaining('--unit') });
    await radio.stop();
  });
});

test('a bad image differs from the good one in one bit, behind all that runs', async () => {
  const good = (await testFirmware(5000, '2.0.0')).images[0]!;
  const bad = badImage(await testFirmware(5000, '2.0.0'), 0)!.images[0]!;
  const different = [...bad.bytes.keys()].filter((at) => bad.bytes[at] !== good.bytes[at]);
  expect(different).toHaveLength(1);
  expect(different[0]).toBeGreaterThanOrEqual(good.image.headerBytes + good.image.imageBytes);
  expect(bad.image.hash).not.toBe(good.image.hash);
});

test('a report holds every check, the values and how the unit was left, and nothing that a terminal acts upon', async () => {
  const check = { name: 'n', expectation: 'e', found: '\x1b[31m', verdict: 'not-held', detail: null } as const;
  const report = {
    kind: 'product',
    subject: 'P, unit \x07',
    takenAt: '2026-01-02T03:04:05.000Z',
    appVersion: '1',
    practice: false,
    sections: [{ title: 'S', checks: Array.from({ length: 80 }, () => check) }],
    profile: 'window: 3\n',
    left: 'left so',
  } as const;
  const text = reportText(report);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must not be there
  expect(text).not.toMatch(/[\x00-\x09\x0b-\x1f]/);
  for (const part of ['NOT HELD', 'window: 3', 'left so', '80 NOT HELD']) expect(text).toContain(part);
  const pdf = (await reportPdf(report)).toString('latin1');
  expect(pdf.startsWith('%PDF-')).toBe(true);
  expect(pdf.match(/\/Type \/Page\b/g)!.length).toBeGreaterThan(1);
});

describe('what cannot be used', () => {
  const directory = mkdtempSync(join(tmpdir(), 'dfu-qualify-'));
  const a = join(directory, 'a.bin');
  writeFileSync(a, testImage(2000, '1.0.0'));
  afterEach(() => rmSync(join(directory, 'data'), { recursive: true, force: true }));

  test.each([
    [['--radio', 'virtual', '--firmware', a], 'ARGUMENT_INVALID'],
    [['--radio', 'virtual', '--firmware', a, '--firmware', a], 'both firmwares are the same'],
    [['--radio', 'hci:99', '--firmware', a, '--firmware', a], 'name the product'],
    [['--radio', 'replay:x', '--firmware', a, '--firmware', a], 'a recording cannot be upgraded'],
    [['--radio', 'virtual', '--firmware', a, '--firmware', 'nowhere.bin'], 'FILE_NOT_FOUND'],
  ])('exits 2: %j', async (args, said) => {
    const run = await cli('qualify', 'product', ...args, '--data', join(directory, 'data'));
    expect(run.status).toBe(2);
    expect(run.stderr).toContain(said);
  });
});
