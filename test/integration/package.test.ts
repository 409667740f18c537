import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { extractAll, listPackage } from '@electron/asar';
import { FuseV1Options, getCurrentFuseWire } from '@electron/fuses';
import { build, Platform } from 'electron-builder';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import configuration from '../../build/electron-builder.config.js';
import packageJson from '../../package.json' with { type: 'json' };

const root = fileURLToPath(new URL('../../', import.meta.url));
/** Where Electron's program keeps its fuses: this sentence, the version, their number, and one character each. */
const FUSE_SENTINEL = 'dL7pKGdnNz796PbbjQWNKmHXBZaB9tsX';
const FUSES = 9;

let directory: string;
let resources: string;
let entries: string[];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'dfu-package-'));
  const standIn = join(directory, 'electron');
  await mkdir(standIn);
  for (const name of ['LICENSE', 'LICENSES.chromium.html', 'version']) await writeFile(join(standIn, name), '45.4.1');
  const wire = Buffer.concat([Buffer.from(FUSE_SENTINEL), Buffer.of(1, FUSES), Buffer.from('0'.repeat(FUSES))]);
  await writeFile(
    join(standIn, 'electron'),
    Buffer.concat([Buffer.from('\x7fELF'), Buffer.alloc(64), wire, Buffer.alloc(64)]),
  );
  await chmod(join(standIn, 'electron'), 0o755);
  await run('npm', ['run', 'build:program']);
  await build({
    projectDir: root,
    publish: 'never',
    targets: Platform.LINUX.createTarget('dir'),
    config: {
      ...(configuration as object),
      electronDist: standIn,
      directories: { output: join(directory, 'out'), buildResources: 'build/icons' },
    },
  });
  resources = join(directory, 'out', 'linux-unpacked', 'resources');
  entries = listPackage(join(resources, 'app.asar'), { isPack: false }).map((entry) => entry.replaceAll('\\', '/'));
}, 120_000);
afterAll(() => rm(directory, { recursive: true, force: true }));

async function run(command: string, args: string[]): Promise<void> {
  const child = spawn(command, args, { cwd: root, stdio: 'ignore' });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${code}`);
}

describe('the package', () => {
  test('holds the program, its preload, its reader and the screens', () => {
    for (const wanted of [
      '/package.json',
      '/dist/program/shell.js',
      '/dist/program/cli.js',
      '/dist/program/preload.cjs',
      '/dist/program/read-worker.js',
      '/dist/renderer/index.html',
      '/node_modules/@abandonware/noble/lib/noble.js',
      '/node_modules/@abandonware/bluetooth-hci-socket/package.json',
      '/node_modules/ws/package.json',
    ]) {
      expect(entries, wanted).toContain(wanted);
    }
    expect(packageJson.main).toBe('dist/program/shell.js');
  });

  test('holds no sources, no tests, no other Node and nothing that only builds', () => {
    const unwanted = entries.filter((entry) =>
      /\.(ts|vue|map)$|^\/(src|electron|renderer|test|build|docs|examples)(\/|$)|\/tests?\/|node-linux|node-win|\/electron-builder|\/vitest|\/typescript\/|\/vue\//.test(
        entry,
      ),
    );
    expect(unwanted).toEqual([]);
  });

  test('keeps native modules outside the archive', async () => {
    const native = entries.filter((entry) => entry.endsWith('.node'));
    expect(native.some((entry) => entry.includes('better-sqlite3'))).toBe(true);
    for (const entry of native) expect(existsSync(join(resources, 'app.asar.unpacked', entry)), entry).toBe(true);
  });

  test('has its fuses set', async () => {
    const wire = await getCurrentFuseWire(join(directory, 'out', 'linux-unpacked', 'dfu-station'));
    const set = (fuse: FuseV1Options) => String.fromCharCode(Number(wire[fuse])) === '1';
    expect(set(FuseV1Options.RunAsNode)).toBe(false);
    expect(set(FuseV1Options.EnableNodeOptionsEnvironmentVariable)).toBe(false);
    expect(set(FuseV1Options.EnableNodeCliInspectArguments)).toBe(false);
    expect(set(FuseV1Options.OnlyLoadAppFromAsar)).toBe(true);
    expect(set(FuseV1Options.EnableEmbeddedAsarIntegrityValidation)).toBe(true);
    expect(set(FuseV1Options.EnableCookieEncryption)).toBe(true);
    expect(set(FuseV1Options.GrantFileProtocolExtraPrivileges)).toBe(false);
  });

  test('runs from what it holds alone: nothing of the checkout is missing', async () => {
    const unpacked = join(directory, 'unpacked');
    extractAll(join(resources, 'app.asar'), unpacked);
    const child = spawn(
      process.execPath,
      [join(unpacked, 'dist/program/cli.js'), 'serve', '--practice', '--data', join(directory, 'data')],
      {
        cwd: directory,
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let said = '';
    for await (const chunk of child.stdout) {
      said += String(chunk);
      if (said.includes('Open http')) break;
    }
    child.kill('SIGTERM');
    await once(child, 'exit');
    expect(said).toContain('Open http://127.0.0.1:');
  });

  test('is configured for AppImage, deb, NSIS and dmg, with names, icons and job files', async () => {
    expect(configuration.linux.target).toEqual(['AppImage', 'deb']);
    expect(configuration.win.target).toEqual(['nsis']);
    expect(configuration.mac.target).toEqual(['dmg']);
    expect(configuration.fileAssociations[0]?.ext).toBe('dfujob');
    expect(configuration.artifactName).toMatch(/\{version\}.*\{os\}.*\{arch\}/);
    const icon = await readFile(join(root, 'build/icons/icon.png'));
    expect([icon.readUInt32BE(16), icon.readUInt32BE(20)]).toEqual([512, 512]);
  });
});
