import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { systemClock } from '../../src/clock.ts';
import type { JobEvent, JobSummary } from '../../src/contract/job-events.ts';
import { productFile } from '../../src/contract/product-file.ts';
import { trayFile } from '../../src/contract/tray-file.ts';
import { type ForkProgram, forkOnNode, type ProgramProcess } from '../../src/host/fork.ts';
import { openOwnRadio } from '../../src/host/radio-process.ts';
import { type OpenRadios, openRadios } from '../../src/host/radios.ts';
import { RecordReader } from '../../src/records/record-reader.ts';
import { RecordWriter } from '../../src/records/record-writer.ts';
import { Station } from '../../src/station/station.ts';
import { outcomes, testFirmware } from '../support/virtual-station.ts';

const cliPath = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

let directory: string;
let opened: OpenRadios | null = null;
/** Processes of radios, in the order in which they were started. */
let processes: ProgramProcess[] = [];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'dfu-isolated-'));
  processes = [];
});
afterEach(async () => {
  await opened?.stop();
  opened = null;
  await rm(directory, { recursive: true, force: true });
});

const fork: ForkProgram = (args) => {
  const child = forkOnNode(cliPath)(args);
  if (args[0] === 'radio-process') processes.push(child);
  return child;
};

async function run(
  radios: number,
  tray: z.input<typeof trayFile>,
  onEvent: (event: JobEvent) => void,
  more: Partial<z.input<typeof productFile>> = {},
): Promise<JobSummary> {
  const description = trayFile.parse({ speed: 4, device: { bootMs: 500 }, ...tray });
  const specs = [{ kind: 'virtual', name: 'virtual', count: radios } as const];
  const opening = { clock: systemClock, tray: description, fork, isolate: true };
  opened = await openRadios(specs, opening, { strict: true });
  const records = new RecordWriter(join(directory, 'data'), systemClock);
  try {
    const station = new Station({
      radios: opened.rack,
      records,
      clock: systemClock,
      practice: true,
      appVersion: 'test',
    });
    const profile = productFile.parse({
      product: 'test',
      protocol: 'smp',
      discover: { namePrefix: 'DFU-' },
      identity: { from: 'name', pattern: '^DFU-(.+)$' },
      ...more,
    });
    const order = {
      job: { job: 'isolated' },
      profile,
      firmware: await testFirmware(200_000),
      units: description.units,
    };
    return await station.run(order, new AbortController().signal, onEvent);
  } finally {
    records.close();
  }
}

const passed = (units: number) =>
  Object.fromEntries(Array.from({ length: units }, (_, i) => [`SN000${i + 1}`, 'pass']));

/** Does something once, when a unit's upload is under way. */
function onceUploading(act: () => void): (event: JobEvent) => void {
  let done = false;
  return (event) => {
    if (done || event.type !== 'progress' || event.bytes < 30_000) return;
    done = true;
    act();
  };
}

describe('a radio in a process of its own', () => {
  test('upgrades a tray like any other, with security, bonds, facts and the evidence of HCI on record', async () => {
    const more = { security: 'just-works', bond: 'keep', capture: 'always' } as const;
    const summary = await run(1, { units: 2, device: { bootMs: 500, security: 'both' } }, () => undefined, more);
    expect(outcomes(summary)).toEqual(passed(2));
    const reader = new RecordReader(join(directory, 'data'));
    const { link, capture } = reader.show('SN0001');
    reader.close();
    expect(link?.facts).toMatchObject({ mtu: 498, phy: '2M', security: { level: 'just-works', bonded: true } });
    expect(capture?.packets).toBeGreaterThan(100);
    const records = new RecordWriter(join(directory, 'data'), systemClock);
    expect(records.bonds.list()).toHaveLength(2);
    records.close();
  });

  test('that is killed in the middle of a tray hands its units to the other, and the tray completes', async () => {
    const lost: string[] = [];
    const kill = onceUploading(() => processes[0]?.kill());
    const summary = await run(2, { units: 4 }, (event) => {
      if (event.type === 'radio-lost') lost.push(event.radio);
      kill(event);
    });
    expect(lost).toEqual(['virtual:1']);
    expect(outcomes(summary)).toEqual(passed(4));
  });

  test('that is the only one is started again when it is killed, and the tray completes', async () => {
    const summary = await run(
      1,
      { units: 2 },
      onceUploading(() => processes[0]?.kill()),
    );
    expect(outcomes(summary)).toEqual(passed(2));
    expect(processes.length).toBeGreaterThan(1);
  });

  test('that cannot be opened says why', async () => {
    const spec = { kind: 'h4', name: 'nowhere', path: join(directory, 'nowhere') } as const;
    await expect(openOwnRadio(spec, null, systemClock, fork)).rejects.toMatchObject({ code: 'RADIO_UNREACHABLE' });
    await Promise.all(processes.map(({ ended }) => ended));
  });

  test('that hangs is ended and counts as lost', async () => {
    const silent: ProgramProcess = {
      onMessage: () => undefined,
      send: () => undefined,
      release: () => undefined,
      kill: () => end('killed'),
      ended: new Promise((resolve) => {
        queueMicrotask(() => undefined);
        end = resolve;
      }),
    };
    const clock = { ...systemClock, after: (ms: number, fn: () => void) => systemClock.after(ms / 100, fn) };
    const spec = { kind: 'h4', name: 'silent', path: 'x' } as const;
    await expect(openOwnRadio(spec, null, clock, () => silent)).rejects.toMatchObject({ code: 'RADIO_LOST' });
    expect(await silent.ended).toBe('killed');
  });
});

let end: (complaint: string) => void = () => undefined;
