import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';

/** Flags of a Chromium in a container: as root, without a GPU. Its security stays as it is on a desk. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--font-render-hinting=none',
  '--disable-dev-shm-usage',
  '--hide-scrollbars',
];

/** A real Chromium that comes with npm, and nothing else: no system package is needed. */
export async function launchBrowser(extraFlags: readonly string[] = []): Promise<Browser> {
  // The package decides when it is loaded whether to bring the shared libraries that a bare machine lacks.
  process.env.AWS_LAMBDA_JS_RUNTIME ??= 'nodejs24.x';
  const { default: packed } = await import('@sparticuz/chromium');
  const executablePath = await packed.executablePath();
  return chromium.launch({
    executablePath,
    args: [...FLAGS, ...extraFlags],
    env: { ...process.env, ...bareMachine(executablePath) },
  });
}

/** On a machine without Chromium's libraries and fonts, those of the package. */
function bareMachine(executablePath: string): Record<string, string> {
  const libraries = execFileSync('ldd', [executablePath], { encoding: 'utf8' });
  return {
    LD_LIBRARY_PATH: libraries.includes('not found') ? join(tmpdir(), 'al2023', 'lib') : '',
    FONTCONFIG_PATH: join(tmpdir(), 'fonts'),
  };
}
