import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { stringify } from 'yaml';
import { startCli } from './cli.ts';

/** A station with its console, as a process of its own, on a virtual tray. */
export interface ServedStation {
  readonly address: string;
  readonly directory: string;
  /** Ends the process and removes its directory; resolves with its exit status. */
  stop(): Promise<number | null>;
}

/** Runs `serve --practice`; `tray` is a tray file's content. */
export async function serveStation(tray?: object, ...args: string[]): Promise<ServedStation> {
  const directory = await mkdtemp(join(tmpdir(), 'dfu-serve-'));
  const trayPath = join(directory, 'tray.yaml');
  if (tray) await writeFile(trayPath, stringify(tray));
  const run = startCli('serve', '--practice', '--data', directory, ...(tray ? ['--tray', trayPath] : []), ...args);
  const line = await run.line(/^Open http/);
  return {
    address: line.slice('Open '.length),
    directory,
    async stop() {
      run.child.kill('SIGTERM');
      const { status } = await run.done;
      await rm(directory, { recursive: true, force: true });
      return status;
    },
  };
}

/** A page on the station; everything that it complains of is collected in `complaints`. */
export async function openPage(
  browser: Browser,
  address: string,
  size = { width: 1280, height: 800 },
): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage({ viewport: size, colorScheme: 'dark' });
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto(address);
  return { page, complaints };
}

/** How a scanner sends what no key writes: the group separator as F8, and U+FFFD stands for a dead key. */
const oddKeys: Readonly<Record<string, { name: string; code: number }>> = {
  '\u001d': { name: 'F8', code: 119 },
  '\ufffd': { name: 'Dead', code: 220 },
};

/** What a keyboard-wedge scanner does: real key events, one directly behind the other, then Enter. */
export async function scan(page: Page, code: string): Promise<void> {
  const devtools = await page.context().newCDPSession(page);
  const key = (type: 'keyDown' | 'keyUp', name: string, text: string) => {
    const odd = oddKeys[name];
    return devtools.send('Input.dispatchKeyEvent', {
      type,
      key: odd?.name ?? name,
      windowsVirtualKeyCode: odd?.code ?? (name === 'Enter' ? 13 : name.toUpperCase().charCodeAt(0)),
      ...(type === 'keyDown' && !odd ? { text } : {}),
    });
  };
  // All are under way before the first is answered: what the browser is busy with does not come between them.
  await Promise.all(
    [...code, 'Enter'].flatMap((name) => [
      key('keyDown', name, name === 'Enter' ? '\r' : name),
      key('keyUp', name, ''),
    ]),
  );
  await devtools.detach();
}

/** Signs in with the keyboard, at a person's pace. */
export async function signIn(page: Page, name: string, pin: string): Promise<void> {
  await page.getByRole('button', { name, exact: true }).focus();
  await page.keyboard.press('Enter');
  const field = page.getByLabel('PIN', { exact: true });
  await field.fill('');
  await field.focus();
  await page.keyboard.type(pin, { delay: 60 });
  await page.keyboard.press('Enter');
  await page.locator('.bar').waitFor();
}
