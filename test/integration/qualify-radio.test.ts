import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, it } from 'vitest';
import type { Qualification, QualificationCheck, QualificationSection } from '../../src/contract/qualification.ts';
import { readCapture } from '../../src/diagnostics/capture-file.ts';
import { ControllerObservation } from '../../src/qualification/controller-observation.ts';
import { qualifyRadio, qualifyRecording } from '../../src/qualification/qualify-radio.ts';
import { radioSections } from '../../src/qualification/radio-sections.ts';
import { openRadioOver, openTransport } from '../../src/radio/open-radio.ts';
import type { Radio } from '../../src/radio/radio.ts';
import { cli } from '../support/cli.ts';
import { fastClock, VirtualStation } from '../support/virtual-station.ts';

const ONE_UNIT = '../shared/captures/controller-one-unit.btsnoop';
const FOUR_UNITS = '../shared/captures/controller-four-units.btsnoop';

let station: VirtualStation | null = null;
const directory = mkdtempSync(join(tmpdir(), 'dfu-qualify-'));
afterEach(async () => {
  await station?.stop();
  station = null;
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function named(sections: readonly QualificationSection[], name: string): QualificationCheck {
  const found = sections.flatMap(({ checks }) => checks).find((check) => check.name === name);
  if (!found) throw new Error(`no check ${name}`);
  return found;
}

async function qualify(tray: Parameters<typeof VirtualStation.start>[0], upgrades = false) {
  station = await VirtualStation.start(tray);
  const { path } = station;
  const transport = await openTransport({ kind: 'h4', name: 'virtual', path });
  const over = station;
  return qualifyRadio(
    {
      transport,
      open: (observed) => openRadioOver('virtual', observed!, fastClock),
      clock: fastClock,
      baudRate: null,
      upgrade: upgrades ? (radio: Radio) => over.run({ units: 1, radios: [radio] }) : null,
    },
    new AbortController().signal,
  );
}

it('tells what a controller says of itself, and what was not tried', async () => {
  const sections = await qualify({ units: 1 });
  expect(named(sections, 'usable').verdict).toBe('held');
  expect(named(sections, 'buffers')).toMatchObject({ verdict: 'held', found: '7 of 251 octets' });
  expect(named(sections, 'unknown commands')).toMatchObject({ verdict: 'held', found: 'refused: unknown command' });
  expect(named(sections, 'PHY of links').verdict).toBe('not-tried');
  expect(named(sections, 'goodput')).toMatchObject({ verdict: 'not-tried', detail: 'name --product and --firmware' });
});

it('holds few buffers and a slow way to the controller against the radio', async () => {
  const controller = { aclBuffers: 3, latencyMs: 20 };
  const sections = await qualify({ units: 1, controller });
  expect(named(sections, 'buffers')).toMatchObject({ verdict: 'not-held', found: '3 of 251 octets' });
  expect(named(sections, 'latency').verdict).toBe('not-held');
  expect(named(sections, 'buffers over the round trip').verdict).toBe('not-held');
});

it('upgrades a unit to tell what the links come to and how fast it goes', async () => {
  const sections = await qualify({ units: 1 }, true);
  expect(named(sections, 'connection event').verdict).toBe('held');
  expect(named(sections, 'data length of links')).toMatchObject({ verdict: 'held', found: '251' });
  const goodput = sections.flatMap(({ checks }) => checks).find(({ name }) => name.startsWith('goodput to '));
  expect(goodput).toMatchObject({ verdict: 'held', found: expect.stringMatching(/^pass, .* kB\/s$/) });
});

it('says that a UART of 1 Mbaud carries 96 kB/s at most, less than the air', () => {
  const observation = new ControllerObservation();
  // LE Read Local Supported Features is answered: encryption, data length, 2M (Core 5.4, Vol 4 Part E, 7.8.3; Vol 6 Part B, 4.6).
  observation.take(Buffer.from('01032000', 'hex'), false, 0);
  observation.take(Buffer.from('040e0c01032000ff49010000000000', 'hex'), true, 1);
  const evidence = { recorded: false, probed: null, notProbed: null, linkLimit: null, summary: null, unusable: null };
  const sections = radioSections({ ...evidence, findings: observation.findings(), baudRate: 1_000_000 });
  expect(named(sections, 'wire')).toMatchObject({ verdict: 'not-held', found: 'at most 97 kB/s' });
  expect(named(sections, '2M').found).toBe('yes');
});

it.skipIf(!existsSync(ONE_UNIT))('tells of a recording what it holds, and what is not in it', () => {
  const sections = qualifyRecording(readCapture(readFileSync(ONE_UNIT)).packets);
  // As tshark reads the same file.
  expect(named(sections, 'version').found).toBe('5.4, revision 0x0000');
  expect(named(sections, 'manufacturer').found).toBe('Linux Foundation (Zephyr) (0x05f1)');
  expect(named(sections, 'buffers').found).toBe('7 of 251 octets');
  expect(named(sections, 'PHY of links').found).toBe('2M');
  expect(named(sections, 'connection event').found).toBe('LE Connection Complete');
  expect(named(sections, 'packet reports').found).toBe('each by an event of its own');
  expect(named(sections, 'address').verdict).toBe('not-held');
  for (const name of ['wire', 'unknown commands', 'latency while it listens', 'links'])
    expect(named(sections, name).verdict).toBe('not-in-recording');
});

it.skipIf(!existsSync(FOUR_UNITS))('counts the links of a recording of four units', () => {
  const sections = qualifyRecording(readCapture(readFileSync(FOUR_UNITS)).packets);
  expect(named(sections, 'links at once').found).toBe('4');
});

it.skipIf(!existsSync(ONE_UNIT))(
  'writes a report as text, JSON and PDF, keeps it, and exits by its verdicts',
  async () => {
    const data = mkdtempSync(join(tmpdir(), 'dfu-qualify-'));
    try {
      for (const suffix of ['txt', 'json', 'pdf']) {
        const output = join(data, `report.${suffix}`);
        const run = await cli('qualify', 'radio', '--radio', `replay:${ONE_UNIT}`, '--data', data, '-o', output);
        expect(run.status).toBe(1);
        expect(run.stdout).toContain('not in this recording');
      }
      expect(readFileSync(join(data, 'report.txt'), 'utf8')).toContain('NOT HELD');
      const report = JSON.parse(readFileSync(join(data, 'report.json'), 'utf8')) as Qualification;
      expect(report).toMatchObject({ kind: 'radio', practice: true, profile: null });
      expect(readFileSync(join(data, 'report.pdf')).subarray(0, 5).toString()).toBe('%PDF-');
      expect(existsSync(join(data, 'practice', 'qualifications'))).toBe(true);
    } finally {
      rmSync(data, { recursive: true, force: true });
    }
  },
);

it.each([
  [['--radio', 'nonsense'], 'RADIO_SPEC_INVALID'],
  [['--radio', 'replay:nowhere.btsnoop'], 'FILE_NOT_FOUND'],
  [['--radio', 'virtual', '--output', 'report.docx'], 'ARGUMENT_INVALID'],
  [['--radio', 'virtual', '--firmware', 'nowhere.bin'], 'ARGUMENT_INVALID'],
  [['--radio', 'virtual', '--firmware', 'nowhere.bin', '--units', '1'], 'FILE_NOT_FOUND'],
])('exits 2 with nothing done for %j', async (args, code) => {
  const run = await cli('qualify', 'radio', ...args, '--data', directory);
  expect(run.status).toBe(2);
  expect(run.stderr).toContain(code);
  expect(existsSync(join(directory, 'practice', 'qualifications'))).toBe(false);
});
