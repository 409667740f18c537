import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { securityHeaders } from '../../src/host/content-security.ts';
import { launchBrowser } from '../support/browser.ts';
import buildScreens from '../support/build-screens.ts';
import { startCli } from '../support/cli.ts';
import { openTestStation } from '../support/open-test-station.ts';
import { openPage, signIn } from '../support/serve.ts';
import { atMost, type Figure } from './figure.ts';
import type { HostFigures } from './screen-host.ts';

const TILES = 128;
const RUN_MS = 30_000;
/** Fonts, first layouts and compiled code are not what an operator looks at all day. */
const WARM_UP_MS = 5_000;
const LATE_FRAME_MS = 25;
const FIRST_TILE_LIMIT_MS = 1500;
const LAUNCHES = 5;

/** 128 units live at once in a real Chromium, through the real console: frames, bytes, and what it costs the station. */
export async function screen(): Promise<Figure[]> {
  await buildScreens();
  const host = await startHost();
  const browser = await launchBrowser();
  try {
    const alone = await host.measure(RUN_MS / 3);
    const { page } = await openPage(browser, host.address, { width: 1920, height: 1080 });
    await signIn(page, 'Olga', '1111');
    await page
      .locator('.tile')
      .nth(TILES - 1)
      .waitFor();
    await host.measure(WARM_UP_MS);
    const [late, watched] = await Promise.all([lateFrames(page), host.measure(RUN_MS)]);
    const share = watched.busy - alone.busy;
    return [
      atMost('128 units, frames later than 25 ms', late * 100, 1, 1, '%'),
      atMost('128 units, bytes to the window', watched.bytesPerSecond, 100_000, 1, 'B/s'),
      atMost('128 units, station time for the screen', Math.max(0, share) * 100, 5, 1, '% core'),
    ];
  } finally {
    await browser.close();
    await host.stop();
  }
}

/** The station with its 128 units is a process of its own, so that the figures about it are about it. */
async function startHost() {
  const child = fork(fileURLToPath(new URL('screen-host.ts', import.meta.url)), { stdio: 'inherit' });
  const [address] = (await once(child, 'message')) as [string];
  return {
    address,
    async measure(ms: number): Promise<HostFigures> {
      child.send(ms);
      const [figures] = (await once(child, 'message')) as [HostFigures];
      return figures;
    },
    async stop() {
      const ended = once(child, 'exit');
      child.disconnect();
      await ended;
    },
  };
}

/** From the printed address to the first tile on the screen, and what an empty page takes in the same browser. */
export async function firstTile(): Promise<Figure[]> {
  await buildScreens();
  const browser = await launchBrowser();
  try {
    // The first page of a browser pays for the browser: it is opened before.
    await emptyPageMs(browser);
    const own: number[] = [];
    const empty: number[] = [];
    for (let i = 0; i < LAUNCHES; i++) {
      own.push(await launchMs(browser));
      empty.push(await emptyPageMs(browser));
    }
    const worst = Math.max(...own);
    return [
      atMost('first tile after serve', worst, FIRST_TILE_LIMIT_MS, 1, 'ms'),
      atMost('first tile / empty page', median(own), median(empty), 20, 'ms'),
    ];
  } finally {
    await browser.close();
  }
}

async function launchMs(browser: Browser): Promise<number> {
  const station = await openTestStation({ units: 1 });
  await station.stop();
  const run = startCli('serve', '--practice', '--data', station.data);
  const line = await run.line(/^Open http/);
  const started = performance.now();
  const { page } = await openPage(browser, line.slice('Open '.length));
  await page.locator('.person').first().waitFor();
  await painted(page);
  const ms = performance.now() - started;
  await page.close();
  run.child.kill('SIGTERM');
  await run.done;
  return ms;
}

async function emptyPageMs(browser: Browser): Promise<number> {
  const server = createServer((_request, response) => {
    response.writeHead(200, { ...securityHeaders, 'Content-Type': 'text/html' }).end('<!doctype html><p>.</p>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const started = performance.now();
  const { page } = await openPage(browser, `http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.locator('p').waitFor();
  await painted(page);
  const ms = performance.now() - started;
  await page.close();
  server.close();
  return ms;
}

/** Two frames: what was drawn in the first is on the screen in the second. */
const painted = (page: Page) =>
  page.evaluate('new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve(true))))');

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** The share of frames, by the page's own clock, that came late during the run. */
async function lateFrames(page: Page): Promise<number> {
  const gaps = (await page.evaluate(
    `new Promise((resolve) => {
      const gaps = [];
      let last = performance.now();
      const end = last + ${RUN_MS};
      const frame = (now) => {
        gaps.push(now - last);
        last = now;
        if (now < end) requestAnimationFrame(frame);
        else resolve(gaps.slice(2));
      };
      requestAnimationFrame(frame);
    })`,
  )) as number[];
  return gaps.filter((gap) => gap > LATE_FRAME_MS).length / gaps.length;
}
