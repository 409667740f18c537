import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { en } from '../../renderer/i18n/en.ts';
import type { Qualification } from '../../src/contract/qualification.ts';
import { keepQualification } from '../../src/station/qualifications.ts';
import { launchBrowser } from '../support/browser.ts';
import { openPage, type ServedStation, scan, serveStation, signIn } from '../support/serve.ts';

const docs = fileURLToPath(new URL('../../docs/screens/', import.meta.url));
/** A report as `dfu-station qualify` keeps it. */
const qualification: Qualification = {
  kind: 'radio',
  subject: 'hci:0',
  takenAt: '2026-01-02T03:04:05.000Z',
  appVersion: '1.0.0',
  practice: true,
  sections: [
    {
      title: 'Controller',
      checks: [
        { name: 'buffers', expectation: 'at least 6', found: '4 of 251 octets', verdict: 'not-held', detail: null },
        { name: '2M', expectation: 'the 2M PHY', found: 'yes', verdict: 'held', detail: null },
        { name: 'goodput', expectation: 'how fast', found: null, verdict: 'not-tried', detail: 'no unit' },
      ],
    },
  ],
  profile: 'upgrade:\n  window: 3\n',
  left: null,
};
const themes = ['dark', 'bright', 'contrast'] as const;
const sizes = [
  { width: 1280, height: 800 },
  { width: 1920, height: 1080 },
];
/** What of the screens is kept under docs/, in both themes and sizes, by `npm run screens`. */
const keeps = process.env.KEEP_SCREENS === '1';
const kept = new Set([
  'sign-in',
  'set-up',
  'tray-loading',
  'tray-running',
  'tray-ended',
  'unit',
  'records',
  'statistics',
  'firmware',
  'radios',
  'comparison',
]);

let browser: Browser;
let station: ServedStation;
let page: Page;
let complaints: string[];
let axe: string;
const violations: string[] = [];
const looked: string[] = [];

beforeAll(async () => {
  axe = await readFile(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8');
  browser = await launchBrowser();
  station = await serveStation({
    units: 8,
    speed: 1,
    device: { slotKiB: 512, bootMs: 600 },
    faults: [
      { unit: 3, at: { bytes: 90_000 }, do: 'drop-link', times: 1 },
      { unit: 7, at: 'boot', do: 'reject-image' },
    ],
  });
  ({ page, complaints } = await openPage(browser, station.address));
});
afterAll(async () => {
  await browser.close();
  await station.stop();
});

async function dress(theme: (typeof themes)[number], size = sizes[0]!): Promise<void> {
  await page.setViewportSize(size);
  await page.evaluate((name) => {
    document.documentElement.dataset.theme = name;
  }, theme);
}

/** Looks at a screen as it stands: in every theme by axe, and in both themes and sizes as a picture. */
async function lookAt(name: string): Promise<void> {
  looked.push(name);
  for (const theme of themes) {
    await dress(theme);
    // In the page's own world, past its policy: the tool is ours, not the page's.
    const found = await page.evaluate(async (source) => {
      if (!('axe' in window)) new Function(source).call(window);
      const { axe: tool } = window as unknown as {
        axe: { run(): Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> };
      };
      const { violations: all } = await tool.run();
      return all.flatMap(({ id, nodes }) =>
        nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 160)} ${failureSummary}`),
      );
    }, axe);
    violations.push(...found.map((each) => `${name}, ${theme}: ${each}`));
  }
  if (!keeps || !kept.has(name)) return;
  for (const theme of ['dark', 'bright'] as const) {
    for (const size of sizes) {
      await dress(theme, size);
      await page.screenshot({ path: `${docs}${name}-${theme}-${size.width}.png` });
    }
  }
  await dress('dark');
}

/** What sticks out of its box, sideways: a text that does not fit. */
function overflowing(): Promise<string[]> {
  return page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>('button, h1, h2, label, dt, dd, p, th')]
      .filter((each) => each.offsetParent !== null && each.scrollWidth > each.clientWidth + 1)
      .filter(
        (each) => getComputedStyle(each).textOverflow !== 'ellipsis' && getComputedStyle(each).display !== 'inline',
      )
      .filter((each) => !each.closest('.visually-hidden') && !each.classList.contains('visually-hidden'))
      .map((each) => `${each.tagName} ${each.innerText.slice(0, 60)}`),
  );
}

async function go(path: string, ready: string): Promise<void> {
  await page.evaluate((hash) => {
    location.hash = hash;
  }, path);
  await page.locator(ready).first().waitFor();
}

const phase = (wanted: string) => page.locator(`.banner[data-phase=${wanted}]`).waitFor();

describe('every screen', () => {
  test('is shown, step by step', async () => {
    await page.locator('.person').first().waitFor();
    await lookAt('sign-in');
    await page.getByRole('button', { name: 'PIN lost?' }).click();
    await lookAt('pin-lost');
    await page.getByRole('button', { name: 'Back' }).click();
    await signIn(page, 'Ada', '4444');
    await page.locator('.order').waitFor();
    await lookAt('set-up');
    await scan(page, 'WO-9999');
    await page.locator('.note').waitFor();
    await lookAt('set-up-refused');
    await scan(page, 'WO-1001');
    await phase('loading');
    for (const label of ['SN0001', 'SN0002', 'SN0003']) await scan(page, label);
    await page.locator('.air li').first().waitFor();
    await lookAt('tray-loading');
    await page.keyboard.press('F9');
    await page.locator('.dialog').waitFor();
    await lookAt('type-a-code');
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Display' }).click();
    await page.locator('.menu').waitFor();
    await lookAt('display-menu');
    await page.keyboard.press('Escape');
    for (const label of ['SN0004', 'SN0005', 'SN0006', 'SN0007', 'SN0008']) await scan(page, label);
    await page.locator('.tile[data-unit=SN0008]').waitFor();
    await page.keyboard.press('F2');
    await page.locator('.tile[data-state=working] .figures', { hasText: 'kB/s' }).first().waitFor();
    await lookAt('tray-running');
    await phase('ended');
    await lookAt('tray-ended');
    await page.locator('.tile[data-unit=SN0007]').click();
    await page.locator('.box .line').first().waitFor();
    await lookAt('unit');
    await go('/records', 'td');
    await lookAt('records');
    await go('/statistics', '.big');
    await lookAt('statistics');
    await go('/engineer/work-orders', 'td');
    await lookAt('work-orders');
    await page.getByRole('button', { name: 'New work order' }).click();
    await page.locator('.dialog').waitFor();
    await lookAt('new-work-order');
    await page.keyboard.press('Escape');
    await go('/engineer/firmware', 'td');
    await lookAt('firmware');
    await go('/engineer/profiles', 'td');
    await lookAt('profiles');
    await go('/engineer/quarantine', 'h1');
    await lookAt('quarantine');
    await go('/engineer/radios', 'td');
    await lookAt('radios');
    await keepQualification(join(station.directory, 'practice'), qualification);
    await go('/engineer/qualifications', '.missed');
    await lookAt('qualifications');
    await go('/engineer/limits', '#find');
    await lookAt('limits');
    await go('/engineer/people', 'td');
    await lookAt('people');
    await go('/engineer/changes', 'td');
    await lookAt('changes');
    expect(looked.length).toBe(22);
  }, 180_000);

  test('has no violation of accessibility rules in any theme', () => {
    expect(violations).toEqual([]);
  });

  test('keeps to its content security policy and logs no error', () => {
    expect(complaints).toEqual([]);
  });

  test('has every word from the catalogue: in the pseudo-language nothing is left in English, and nothing overflows', async () => {
    await page.evaluate(() => localStorage.setItem('dfu-station.language', 'pseudo'));
    await page.reload();
    await page.locator('.bar').waitFor();
    const found: string[] = [];
    const words = new Set(
      Object.values(en.nav).concat(
        Object.values(en.records),
        Object.values(en.engineer).filter((each) => typeof each === 'string'),
      ),
    );
    for (const [path, ready] of [
      ['/tray', '.banner'],
      ['/records', 'td'],
      ['/statistics', '.big'],
      ['/engineer/work-orders', 'td'],
      ['/engineer/firmware', 'td'],
      ['/engineer/profiles', 'td'],
      ['/engineer/limits', '#find'],
      ['/engineer/people', 'td'],
    ] as const) {
      await go(path, ready);
      const texts = await page.evaluate(() => {
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        const all: string[] = [];
        while (walker.nextNode()) all.push(walker.currentNode.nodeValue?.trim() ?? '');
        return all;
      });
      found.push(...texts.filter((text) => words.has(text)).map((text) => `${path}: ${text}`));
      found.push(...(await overflowing()).map((text) => `${path} overflows: ${text}`));
    }
    expect(found).toEqual([]);
  });

  test('is there in Chinese, with its own letters', async () => {
    await page.evaluate(() => localStorage.setItem('dfu-station.language', 'zh-CN'));
    await page.reload();
    await page.locator('.bar').waitFor();
    await go('/tray', '.banner');
    expect(await page.locator('.nav').innerText()).toContain('托盘');
    await page.evaluate(() => document.fonts.ready);
    if (keeps) await page.screenshot({ path: `${docs}tray-ended-zh-CN.png` });
    expect(await page.evaluate(() => document.documentElement.lang)).toBe('zh-CN');
  });

  test('has controls that a gloved finger meets: at least 56 px, but for links inside tables', async () => {
    await page.evaluate(() => localStorage.setItem('dfu-station.language', 'en'));
    await page.reload();
    await page.locator('.bar').waitFor();
    for (const [path, ready] of [
      ['/tray', '.banner'],
      ['/records', 'td'],
      ['/engineer/firmware', 'td'],
    ] as const) {
      await go(path, ready);
      const small = await page.evaluate(() =>
        [...document.querySelectorAll<HTMLElement>('button, input:not([type=checkbox]), select, .link')]
          .filter((each) => each.offsetParent !== null)
          .map((each) => ({ text: each.innerText, box: each.getBoundingClientRect() }))
          .filter(({ box }) => box.height < 55.5)
          .map(({ text, box }) => `${text} ${box.width}×${box.height}`),
      );
      expect(small, path).toEqual([]);
    }
  });
});

describe('a unit that broke the order', () => {
  let fus: ServedStation;
  let deviceLogs: string;
  beforeAll(async () => {
    deviceLogs = await mkdtemp(join(tmpdir(), 'dfu-device-logs-'));
    const tray = {
      units: 1,
      speed: 1,
      device: { protocol: 'fus', bootMs: 500 },
      faults: [{ unit: 1, do: 'late-data' }],
    };
    fus = await serveStation(tray, '--device-logs', deviceLogs);
    ({ page, complaints } = await openPage(browser, fus.address));
  });
  afterAll(async () => {
    await fus.stop();
    await rm(deviceLogs, { recursive: true });
  });

  test('shows who did it, and where its own log and the station part, in words of the chosen language', async () => {
    await page.locator('.person').first().waitFor();
    await signIn(page, 'Emil', '2222');
    await page.locator('.order').waitFor();
    await scan(page, 'WO-1001');
    await phase('loading');
    await scan(page, 'SN0001');
    await page.keyboard.press('F2');
    await phase('ended');
    await page.locator('.tile[data-unit=SN0001]').click();
    await page.locator('.verdict').waitFor();
    expect(await page.locator('.order').innerText()).toContain(en.unit.verdicts.peripheral);
    await page.locator('.compare input[type=file]').setInputFiles(join(deviceLogs, 'SN0001.log'));
    await page.locator('.compare .first').waitFor();
    expect(await page.locator('.compare .finding').innerText()).toMatch(
      /device's log says data \d+; the station saw 0 instead/,
    );
    expect(await page.locator('.compare').innerText()).toMatch(/only in the device's log: 0; only at the station: 0/);
    await page.locator('.compare').evaluate((card) => card.scrollIntoView());
    await lookAt('comparison');
    expect(violations).toEqual([]);
    const saved = page.waitForEvent('download');
    await page.getByRole('button', { name: en.compare.exportText }).click();
    expect((await saved).suggestedFilename()).toMatch(/^SN0001-.*-comparison\.txt$/);
    await page.evaluate(() => localStorage.setItem('dfu-station.language', 'zh-CN'));
    await page.reload();
    await page.locator('.verdict').waitFor();
    expect(await page.locator('.verdict').innerText()).toContain('控制器交付数据的顺序');
    await page.evaluate(() => localStorage.setItem('dfu-station.language', 'pseudo'));
    await page.reload();
    await page.locator('.verdict').waitFor();
    expect(await overflowing()).toEqual([]);
    expect(complaints).toEqual([]);
  });
});
