import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import type { JobSummary } from '../../src/contract/job-events.ts';
import { productFile } from '../../src/contract/product-file.ts';
import { writeBtsnoop } from '../../src/diagnostics/btsnoop-file.ts';
import { readCapture } from '../../src/diagnostics/capture-file.ts';
import { parseFirmware } from '../../src/firmware/firmware-package.ts';
import { openReplay } from '../../src/host/radios.ts';
import { fixedShelf } from '../../src/radio/radio-shelf.ts';
import { RecordReader } from '../../src/records/record-reader.ts';
import { RecordWriter } from '../../src/records/record-writer.ts';
import { Station } from '../../src/station/station.ts';

/** Recordings of controllers and servers that the station's authors did not write; see the README beside them. */
const captures = new URL('../../../shared/captures/', import.meta.url).pathname;
const firmware = new URL('../../../shared/firmware/', import.meta.url).pathname;
const there = existsSync(captures) && existsSync(firmware);

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'replay-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** Upgrades what a recording holds, with the firmware that was sent when it was taken, and one try for each unit. */
async function replay(
  capture: string,
  { units = 1, security = 'none' as 'none' | 'just-works', image = 'nrf52840dk-b.bin' } = {},
): Promise<JobSummary> {
  const radio = await openReplay(capture.includes('/') ? capture : join(captures, capture), systemClock);
  const records = new RecordWriter(join(directory, 'data'), systemClock);
  try {
    const radios = fixedShelf([radio]);
    const station = new Station({ radios, records, clock: systemClock, practice: true, appVersion: 'test' });
    const profile = productFile.parse({ product: 'nrf', protocol: 'smp', security, retries: 0 });
    const sent = await parseFirmware(await readFile(join(firmware, image)), image);
    const { signal } = new AbortController();
    return await station.run({ job: { job: 'replay' }, profile, firmware: sent, units }, signal, () => undefined);
  } finally {
    await radio.stop();
    records.close();
  }
}

const facts = ({ units }: JobSummary) =>
  units.map(({ outcome, code, resumedFrom, images }) => ({
    outcome,
    code,
    resumedFrom,
    hash: images[0]?.hash.slice(0, 16) ?? null,
  }));

const passed = (resumedFrom: number | null = null) => ({
  outcome: 'pass',
  code: null,
  resumedFrom,
  hash: '62a8e0864e02761c',
});

describe.skipIf(!there)('a recording of a real device, played back', () => {
  it('loses its link in the middle of the upload and is resumed where the server says', async () => {
    expect(facts(await replay('controller-one-unit.btsnoop'))).toEqual([passed(122_824)]);
  });

  it('is upgraded whole where nothing went wrong', async () => {
    expect(facts(await replay('controller-one-unit-narrow-scan.btsnoop'))).toEqual([passed()]);
  });

  it('is one of four whose links last at the same time', async () => {
    expect(facts(await replay('controller-four-units.btsnoop', { units: 4 }))).toEqual(new Array(4).fill(passed()));
  });

  it('refuses Just Works as it did, which is its word and nothing to be tried again', async () => {
    const [unit] = (await replay('server-wants-mitm.btsnoop', { security: 'just-works' })).units;
    expect(unit).toMatchObject({ outcome: 'fail', code: 'PAIRING_NEEDS_MITM' });
  });

  it('is paired with by a stand-in, and the record says that nothing of it was verified', async () => {
    const summary = await replay('server-secure-connections.btsnoop', { security: 'just-works' });
    expect(facts(summary)).toEqual([passed()]);
    const reader = new RecordReader(join(directory, 'data'));
    try {
      const { security } = reader.show(summary.units[0]?.attemptId ?? '').link?.facts ?? {};
      expect(security).toMatchObject({ level: 'just-works', pairing: 'secure-connections', replayed: true });
    } finally {
      reader.close();
    }
  });

  it('says nothing where the recorded host had asked nothing: that ends the replay, and blames no device', async () => {
    const [unit] = (await replay('server-wants-mitm.btsnoop')).units;
    expect(unit).toMatchObject({ outcome: 'error', code: 'RECORDING_OVER' });
  });

  it('is connected to by LE Enhanced Connection Complete; what the recording does not hold of that link ends the replay', async () => {
    const [unit] = (await replay('controller-enhanced-connection-complete.btsnoop')).units;
    expect(unit).toMatchObject({ outcome: 'error', code: 'RECORDING_OVER' });
  });

  it('without reassembly is sent frames of one write, and what a server says to those the recording does not hold', async () => {
    const [unit] = (await replay('server-no-reassembly.btsnoop')).units;
    expect(unit).toMatchObject({ outcome: 'error', code: 'RECORDING_OVER', detail: 'an upload in frames of 1 write' });
  });

  it('does not accept other firmware than it was sent', async () => {
    const [unit] = (await replay('controller-one-unit.btsnoop', { image: 'nrf52dk-b.bin' })).units;
    expect(unit).toMatchObject({ outcome: 'error', code: 'RECORDING_OVER' });
    expect(unit?.detail).toMatch(/other firmware/);
  });

  it('knows nothing beyond the end of a recording that was cut off', async () => {
    const { packets } = readCapture(await readFile(join(captures, 'controller-one-unit-narrow-scan.btsnoop')));
    const cut = join(directory, 'cut.btsnoop');
    await writeFile(cut, writeBtsnoop(packets.slice(0, Math.floor(packets.length / 2))));
    const [unit] = (await replay(cut)).units;
    expect(unit).toMatchObject({ outcome: 'error', code: 'RECORDING_OVER' });
  });
});
