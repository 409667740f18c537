import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { JobSummary, UnitSummary } from '../../src/contract/job-events.ts';
import { cli, startCli } from '../support/cli.ts';
import { testImage } from '../support/virtual-station.ts';

let directory: string;
let image: string;
const cleanups: (() => unknown)[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'dfu-cli-'));
  image = file('image.bin', testImage(50_000, '1.0.0'));
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  rmSync(directory, { recursive: true, force: true });
});

function file(name: string, content: string | Buffer): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

const data = () => ['--data', join(directory, 'data')];
const summaryOf = (lines: readonly Record<string, unknown>[]) =>
  lines.at(-1) as unknown as JobSummary & { followUp: string };
const outcomesOf = (units: readonly UnitSummary[]) => units.map(({ outcome }) => outcome);

async function listen(...args: string[]): Promise<string> {
  const path = `h4:unix:${join(directory, 'ether')}`;
  const tray = startCli('virtual-tray', '--listen', path, ...args);
  cleanups.push(async () => {
    tray.child.kill('SIGTERM');
    expect((await tray.done).status).toBe(0);
  });
  await tray.line(/virtual devices/);
  return path;
}

describe('run', () => {
  test('upgrades a virtual tray as practice, says so, and names the command that shows its records', async () => {
    const { status, lines } = await cli(
      'run',
      '--radio',
      'virtual',
      '--units',
      '3',
      '--firmware',
      image,
      ...data(),
      '--json',
    );
    const summary = summaryOf(lines);
    expect(status).toBe(0);
    expect(summary).toMatchObject({ type: 'summary', outcome: 'pass', practice: true });
    expect(outcomesOf(summary.units)).toEqual(['pass', 'pass', 'pass']);
    expect(summary.units[0]).toMatchObject({ attempts: 1, code: null, images: [{ verified: 'read-back' }] });
    const [npx, name, ...args] = summary.followUp.split(' ');
    expect([npx, name]).toEqual(['npx', 'dfu-station']);
    const shown = await cli(...args, '--json', '--frames');
    expect(shown.status).toBe(0);
    expect(shown.lines[0]).toMatchObject({ type: 'attempt', practice: true, outcome: 'pass' });
    expect(shown.lines.filter(({ type }) => type === 'frame').length).toBe(shown.lines[0]!.frameCount);
    const real = await cli('records', 'list', ...data());
    expect(real.status).toBe(2);
    expect(real.stderr).toContain('add --practice');
    expect((await cli('records', 'list', ...data(), '--practice')).stdout).toContain('PRACTICE');
  });

  test('takes job, product and tray files, keeps slots, and exits 1 when a unit fails', async () => {
    file(
      'product.yaml',
      'product: acme\nprotocol: smp\ndiscover: {namePrefix: DFU-}\nidentity: {from: name, pattern: "DFU-(.+)"}\n',
    );
    const job = file(
      'job.yaml',
      'job: WO-7\nproduct: product.yaml\nfirmware: image.bin\ntray: {rows: 1, columns: 2}\noperator: jdoe\nunits: [{slot: A1, serial: X1}, {slot: A2, serial: X2}]\n',
    );
    const tray = file(
      'tray.yaml',
      'units: 2\noverrides: [{unit: 1, serial: X1}, {unit: 2, serial: X2}]\nfaults: [{unit: 2, at: boot, do: reject-image}]\n',
    );
    const logs = join(directory, 'logs');
    const { status, stdout } = await cli(
      'run',
      job,
      '--radio',
      'virtual',
      '--tray',
      tray,
      '--device-logs',
      logs,
      ...data(),
    );
    expect(status).toBe(1);
    expect(stdout).toMatch(/X1 +A1 +PASS/);
    expect(stdout).toMatch(/X2 +A2 +FAIL +BOOTLOADER_REJECTED/);
    expect((await readdir(logs)).sort()).toEqual(['X1.log', 'X2.log']);
    expect(await readFile(join(logs, 'X2.log'), 'utf8')).toMatch(
      /^\[00:00:\d\d\.\d{3},\d{3}\] <inf> mcuboot: rejected/m,
    );
  });

  test('works the same over TCP, with a product file of the user’s own', async () => {
    const path = (await listen('--units', '1')).replace('h4:unix:', '');
    const server = createServer((client) => {
      const ether = connect(path);
      client.on('error', () => ether.destroy()).on('close', () => ether.destroy());
      ether.on('error', () => client.destroy());
      client.pipe(ether).pipe(client);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => server.close());
    const radio = `h4:tcp:127.0.0.1:${(server.address() as AddressInfo).port}`;
    const product = file('own.yaml', 'product: own\nprotocol: smp\nidentity: {from: dis-serial}\n');
    const args = [
      'run',
      '--radio',
      radio,
      '--product',
      product,
      '--units',
      '1',
      '--firmware',
      image,
      ...data(),
      '--json',
    ];
    const { status, lines } = await cli(...args);
    expect(status).toBe(0);
    expect(summaryOf(lines)).toMatchObject({ practice: false, units: [{ unit: 'SN0001', outcome: 'pass' }] });
  });

  test('killed half way leaves a tray that the next run finishes, resuming, and no record is lost', async () => {
    const radio = await listen('--units', '3');
    const large = file('large.bin', testImage(200_000, '1.0.0'));
    const args = ['run', '--radio', radio, '--units', '3', '--firmware', large, ...data(), '--json'];
    const first = startCli(...args);
    await first.line(/"progress".*"bytes":[3-9]\d{4},/);
    first.child.kill('SIGKILL');
    await first.done;
    const { status, lines } = await cli(...args);
    expect(status).toBe(0);
    const { units } = summaryOf(lines);
    expect(outcomesOf(units)).toEqual(['pass', 'pass', 'pass']);
    expect(units.every(({ resumedFrom }) => (resumedFrom ?? 0) > 0)).toBe(true);
    const list = await cli('records', 'list', ...data(), '--json');
    expect(list.lines.map(({ outcome, code }) => `${outcome} ${code}`).sort()).toEqual([
      ...Array(3).fill('aborted STATION_INTERRUPTED'),
      ...Array(3).fill('pass null'),
    ]);
  });

  test('interrupted by the operator exits 130 with every unit accounted for', async () => {
    const large = file('large.bin', testImage(300_000, '1.0.0'));
    const run = startCli('run', '--radio', 'virtual', '--units', '2', '--firmware', large, ...data(), '--json');
    await run.line(/"progress"/);
    run.child.kill('SIGINT');
    const { status, lines } = await run.done;
    expect(status).toBe(130);
    expect(summaryOf(lines)).toMatchObject({
      outcome: 'aborted',
      units: [{ outcome: 'aborted' }, { outcome: 'aborted' }],
    });
  });

  test.each<[string, string[], string]>([
    ['without firmware', ['run', '--radio', 'virtual'], 'ARGUMENT_INVALID'],
    ['with firmware that is not there', ['run', '--radio', 'virtual', '--firmware', 'none.bin'], 'FILE_NOT_FOUND'],
    ['with a radio that cannot be reached', ['run', '--radio', 'h4:unix:/nowhere'], 'RADIO_UNREACHABLE'],
    ['with an adapter that is not there', ['run', '--radio', 'hci:77'], 'RADIO_UNREACHABLE'],
    ['with a radio of no known kind', ['run', '--radio', 'usb'], 'RADIO_SPEC_INVALID'],
    ['with a job that is not there', ['run', 'none.yaml', '--radio', 'virtual'], 'FILE_NOT_FOUND'],
  ])('%s cannot start: exit 2 and a code', async (_, args, code) => {
    const firmware = args.includes('--firmware') || code === 'ARGUMENT_INVALID' ? [] : ['--firmware', image];
    const { status, stderr } = await cli(...args, ...firmware, ...data());
    expect(status).toBe(2);
    expect(stderr).toMatch(new RegExp(`^${code}: `));
  });

  test('with a radio that does not answer like one cannot start', async () => {
    const path = join(directory, 'silent');
    const server = createServer((socket) => socket.on('error', () => undefined));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    cleanups.push(() => server.close());
    const { status, stderr } = await cli('run', '--radio', `h4:unix:${path}`, '--firmware', image, ...data());
    expect(status).toBe(2);
    expect(stderr).toMatch(/^RADIO_REFUSED: /);
  });

  test('on a data directory that another run holds cannot start', async () => {
    const radio = await listen('--units', '1');
    const other = startCli(
      'run',
      '--radio',
      radio,
      '--units',
      '2',
      '--find-timeout',
      '3',
      '--firmware',
      image,
      ...data(),
      '--json',
    );
    await other.line(/job-started/);
    const { status, stderr } = await cli('run', '--radio', radio, '--firmware', image, ...data());
    expect(status).toBe(2);
    expect(stderr).toMatch(/^DATA_DIRECTORY_IN_USE: /);
    expect(summaryOf((await other.done).lines)).toMatchObject({ outcome: 'fail', code: 'UNITS_MISSING' });
  });
});

describe('firmware', () => {
  test('prints what is inside', async () => {
    const { status, lines } = await cli('firmware', image, '--json');
    expect(status).toBe(0);
    expect(lines[0]).toMatchObject({
      type: 'firmware',
      verified: true,
      images: [{ index: 0, version: '1.0.0', imageSize: 50_000 }],
    });
  });

  test('exits 2 with a code for a file that does not hold', async () => {
    const damaged = testImage(1000, '1.0.0');
    damaged[600]! ^= 1;
    const { status, stderr, lines } = await cli('firmware', file('damaged.bin', damaged), '--json');
    expect(status).toBe(2);
    expect(stderr).toMatch(/^IMAGE_HASH_INVALID: /);
    expect(lines).toEqual([expect.objectContaining({ type: 'error', code: 'IMAGE_HASH_INVALID' })]);
  });
});

describe('virtual-tray', () => {
  test('--attach joins devices to controllers that another process offers, and they are upgraded there', async () => {
    const radio = await listen('--units', '1');
    const tray = file('attached.yaml', 'units: 2\noverrides: [{unit: 1, serial: AT1}, {unit: 2, serial: AT2}]\n');
    const attached = startCli('virtual-tray', '--tray', tray, '--attach', radio);
    cleanups.push(() => attached.child.kill('SIGTERM'));
    await attached.line(/attached/);
    const { status, lines } = await cli(
      'run',
      '--radio',
      radio,
      '--units',
      '3',
      '--firmware',
      image,
      ...data(),
      '--json',
    );
    expect(status).toBe(0);
    expect(summaryOf(lines).units.map(({ unit, outcome }) => `${unit} ${outcome}`)).toEqual([
      'AT1 pass',
      'AT2 pass',
      'SN0001 pass',
    ]);
  });

  test('wants either --attach or --listen', async () => {
    expect((await cli('virtual-tray')).status).toBe(2);
    expect((await cli('virtual-tray', '--listen', 'virtual')).stderr).toMatch(/^RADIO_SPEC_INVALID: /);
  });
});

describe('doctor', () => {
  test('looks at runtime, radio, disk and database, and says what is wrong', async () => {
    const radio = await listen('--units', '1');
    const good = await cli('doctor', '--radio', radio, ...data(), '--json');
    expect(good.status).toBe(0);
    expect(good.lines.map(({ check, ok }) => [check, ok])).toEqual([
      ['runtime', true],
      [`radio ${radio}`, true],
      ['disk', true],
      ['database', true],
      ['bond keys', true],
    ]);
    const bad = await cli('doctor', '--radio', 'h4:unix:/nowhere', ...data(), '--json');
    expect(bad.status).toBe(1);
    expect(bad.lines[1]).toMatchObject({ ok: false, code: 'RADIO_UNREACHABLE' });
  });
});

test('a quarantined unit is released on the command line, with a reason', async () => {
  const tray = file('tray.yaml', 'units: 1\nfaults: [{unit: 1, at: boot, do: reject-image, times: 1}]\n');
  const radio = await listen('--tray', tray);
  const run = () => cli('run', '--radio', radio, '--units', '1', '--firmware', image, ...data(), '--json');
  expect(summaryOf((await run()).lines).units[0]).toMatchObject({ outcome: 'fail', code: 'BOOTLOADER_REJECTED' });
  expect(summaryOf((await run()).lines).units[0]).toMatchObject({ outcome: 'fail', code: 'UNIT_QUARANTINED' });
  expect((await cli('quarantine', 'release', 'SN0001', ...data())).status).toBe(2);
  expect((await cli('quarantine', 'release', 'SN0001', '--reason', 'board replaced', ...data())).status).toBe(0);
  expect(summaryOf((await run()).lines).units[0]).toMatchObject({ outcome: 'pass' });
});
