import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';
import { systemClock } from '../../src/clock.ts';
import type { JobEvent, JobSummary } from '../../src/contract/job-events.ts';
import { type ProductProfile, productFile } from '../../src/contract/product-file.ts';
import { trayFile } from '../../src/contract/tray-file.ts';
import type { FirmwarePackage } from '../../src/firmware/firmware-package.ts';
import { forkOnNode } from '../../src/host/fork.ts';
import { openOwnRadio } from '../../src/host/radio-process.ts';
import { startVirtualTray } from '../../src/host/virtual-radio.ts';
import type { Radio } from '../../src/radio/radio.ts';
import { fixedShelf } from '../../src/radio/radio-shelf.ts';
import { RecordWriter } from '../../src/records/record-writer.ts';
import { Station } from '../../src/station/station.ts';
import { realController } from './controller.ts';

export const cliPath = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** The SMP server that figures are taken against: buffers of 2475 bytes, two requests held. */
export const FRAME_BYTES = 2475;

/** The product of the benchmarks as its file says it. */
export const benchProduct = {
  product: 'bench',
  protocol: 'smp',
  discover: { namePrefix: 'DFU-' },
  identity: { from: 'name', pattern: '^DFU-(.+)$' },
} as const;
export const profile = productFile.parse(benchProduct);

/** The reference profile of a FUS device. */
export const fusProfile = productFile.parse({
  product: 'bench-fus',
  protocol: 'fus',
  discover: { namePrefix: 'DFU-' },
  identity: { from: 'name', pattern: '^DFU-(.+)$' },
});

/** A virtual tray in a process of its own, with so many radios, whose controllers are as real ones. */
export async function openRig(tray: z.input<typeof trayFile>, radioCount: number, isolate = false): Promise<Rig> {
  const described = { ...tray, controller: { ...realController, ...tray.controller } };
  const child = await startVirtualTray(trayFile.parse(described), { fork: forkOnNode(cliPath) });
  const radios: Radio[] = [];
  for (let i = 1; i <= radioCount; i++) {
    const spec = { kind: 'h4', name: `virtual:${i}`, path: child.path } as const;
    radios.push(await openOwnRadio(spec, null, systemClock, isolate ? forkOnNode(cliPath) : null));
  }
  const directory = mkdtempSync(join(tmpdir(), 'dfu-bench-'));
  return {
    radios,
    path: child.path,
    directory,
    async stop() {
      await Promise.all(radios.map((radio) => radio.stop()));
      await child.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export interface Rig {
  readonly radios: readonly Radio[];
  readonly path: string;
  readonly directory: string;
  stop(): Promise<void>;
}

/** Runs a whole job on a rig and returns its summary; throws when not every unit passed. */
export async function runJob(
  rig: Rig,
  firmware: FirmwarePackage,
  units: number,
  onEvent: (event: JobEvent) => void = () => undefined,
  product: ProductProfile = profile,
): Promise<JobSummary> {
  const records = new RecordWriter(rig.directory, systemClock);
  try {
    const station = new Station({
      radios: fixedShelf(rig.radios),
      records,
      clock: systemClock,
      practice: true,
      appVersion: 'bench',
    });
    const signal = new AbortController().signal;
    const summary = await station.run({ job: { job: 'bench' }, profile: product, firmware, units }, signal, onEvent);
    const disturbed = summary.units.some(({ attempts, resumedFrom }) => attempts > 1 || resumedFrom !== null);
    if (summary.outcome !== 'pass' || disturbed)
      throw new Error(`bench run ended ${summary.outcome}: ${JSON.stringify(summary.units)}`);
    return summary;
  } finally {
    records.close();
  }
}
