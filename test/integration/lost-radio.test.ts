import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { JobSummary } from '../../src/contract/job-events.ts';
import { trayFile } from '../../src/contract/tray-file.ts';
import { listenVirtualTray, type VirtualTray } from '../../src/virtual/virtual-tray.ts';
import { startCli } from '../support/cli.ts';
import { until } from '../support/until.ts';
import { testImage } from '../support/virtual-station.ts';
import { Wire } from '../support/wire.ts';

// Real processes, a real socket: what the station starts, it ends, whatever ended first.

let directory: string;
let tray: VirtualTray;
let wire: Wire;
const cleanups: (() => unknown)[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'dfu-lost-'));
  const ether = join(directory, 'ether');
  tray = await listenVirtualTray(trayFile.parse({ units: 2, device: { bootMs: 500 } }), ether);
  wire = new Wire(ether, join(directory, 'wire'));
  await wire.plug();
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  wire.pull();
  await tray.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** Processes that a process has started and that still are, by number. */
const childrenOf = (pid: number) =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
const withoutProc = process.platform !== 'linux';

const data = () => join(directory, 'data');

function run() {
  const image = join(directory, 'image.bin');
  writeFileSync(image, testImage(380_000, '1.0.0'));
  const product = join(directory, 'product.yaml');
  const identity = 'discover: {namePrefix: DFU-}\nidentity: {from: name, pattern: "DFU-(.+)"}\n';
  writeFileSync(product, `product: own\nprotocol: smp\n${identity}`);
  const what = ['--product', product, '--firmware', image, '--units', '2'];
  const started = startCli('run', '--radio', `h4:unix:${wire.path}`, ...what, '--data', data(), '--json');
  cleanups.push(() => started.child.kill('SIGKILL'));
  return started;
}

const summaryOf = (lines: readonly Record<string, unknown>[]) => lines.at(-1) as unknown as JobSummary;

describe('run', () => {
  test('goes on with a radio that got one byte wrong: lost, opened again, and the tray passes', async () => {
    const { done, line } = run();
    await line(/"progress"/);
    wire.spoil();
    const { status, lines } = await done;
    expect(lines.filter(({ type }) => type === 'radio-lost')).toHaveLength(1);
    expect(summaryOf(lines).outcome).toBe('pass');
    expect(status).toBe(0);
    const codes = lines.filter(({ type }) => type === 'attempt-ended').map(({ code }) => code);
    for (const code of codes) expect([null, 'RADIO_LOST']).toContain(code);
  });

  test.skipIf(withoutProc)(
    'prints its summary and ends when its last radio is gone for good, and the record blames the radio',
    async () => {
      const { child, done, line } = run();
      await line(/"progress"/);
      const [radio] = childrenOf(child.pid!);
      expect(radio).toBeDefined();
      wire.pull();
      const { status, lines } = await done;
      expect(status).toBe(1);
      const summary = summaryOf(lines);
      expect(summary).toMatchObject({ type: 'summary', outcome: 'aborted', code: 'RADIO_LOST' });
      for (const { code } of summary.units) expect(code).toBe('RADIO_LOST');
      const codes = lines.filter(({ type }) => type === 'attempt-ended').map(({ code }) => code);
      expect(codes.length).toBeGreaterThanOrEqual(2);
      for (const code of codes) expect(code).toBe('RADIO_LOST');
      expect(() => process.kill(radio!, 0), 'the radio’s process is gone').toThrow();
    },
  );
});

describe('serve', () => {
  test.skipIf(withoutProc)('leaves no process behind a radio that is lost, however often', async () => {
    const { child, done, line } = startCli('serve', '--radio', `h4:unix:${wire.path}`, '--data', data());
    cleanups.push(() => child.kill('SIGKILL'));
    await line(/^Open http/);
    await until(() => childrenOf(child.pid!).length === 1, 10_000);
    for (let loss = 0; loss < 2; loss++) {
      const [before] = childrenOf(child.pid!);
      wire.spoil();
      await until(() => !childrenOf(child.pid!).includes(before!), 10_000);
      await until(() => childrenOf(child.pid!).length === 1, 10_000);
      // It opens the wire before it can be spoilt again.
      await until(() => wire.connected, 10_000);
    }
    child.kill('SIGTERM');
    await done;
  });
});
