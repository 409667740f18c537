/** `npm start`: the desktop window, or, where Electron's program is not to be had, the same station in a browser. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const DOWNLOAD_TIMEOUT_MS = 120_000;
const root = fileURLToPath(new URL('../', import.meta.url));
const electronPackage = dirname(createRequire(import.meta.url).resolve('electron/package.json'));

/** Where Electron's program is; it is fetched at the first use. Null when it cannot be had. */
function electronProgram(): string | null {
  const pathFile = join(electronPackage, 'path.txt');
  const override = process.env.ELECTRON_OVERRIDE_DIST_PATH;
  const installed = () => {
    const name = existsSync(pathFile) ? readFileSync(pathFile, 'utf8') : 'electron';
    const path = join(override ?? join(electronPackage, 'dist'), name);
    return existsSync(path) ? path : null;
  };
  if (installed() || override) return installed();
  const install = join(electronPackage, 'install.js');
  const { status } = spawnSync(process.execPath, [install], { stdio: 'ignore', timeout: DOWNLOAD_TIMEOUT_MS });
  return status === 0 ? installed() : null;
}

const args = process.argv.slice(2);
const program = electronProgram();
if (!program) {
  process.stdout.write(
    'Electron cannot be downloaded here, so the station runs without its window: open the address below.\n',
  );
}
const child = program
  ? spawn(program, [root, ...args], { stdio: 'inherit' })
  : spawn(process.execPath, [join(root, 'src/cli/main.ts'), 'serve', ...args], { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
child.on('exit', (code) => {
  process.exitCode = code ?? 1;
});
