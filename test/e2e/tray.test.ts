import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { launchBrowser } from '../support/browser.ts';
import { openPage, type ServedStation, scan, serveStation, signIn } from '../support/serve.ts';

const SPEED = 8;
const tray = (faults: object[] = []) => ({ units: 8, device: { slotKiB: 512, bootMs: 800 }, speed: SPEED, faults });
const labels = ['SN0001', 'SN0002', 'SN0003', 'SN0004', 'SN0005', 'SN0006', 'SN0007', 'SN0008'];
/** The same unit as its GS1 label says it. */
const gs1 = (serial: string) => `(01)02000000000008(21)${serial}`;

let browser: Browser;
let station: ServedStation;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser.close());
afterEach(() => station.stop());

const phase = (page: Page, wanted: string) => page.locator(`.banner[data-phase=${wanted}]`).waitFor();
const outcomes = (page: Page) =>
  page
    .locator('.tile[data-state=ended]')
    .evaluateAll((tiles) => tiles.map((tile) => tile.getAttribute('data-outcome')));
const said = (page: Page, code: string) => page.getByRole('alert').filter({ hasText: code }).first().waitFor();

describe('an operator with keyboard and scanner alone', () => {
  test('upgrades a tray of eight, tries the failed unit again and goes on to the next tray', async () => {
    station = await serveStation(tray([{ unit: 7, at: 'boot', do: 'reject-image', times: 1 }]));
    const { page, complaints } = await openPage(browser, station.address);
    await signIn(page, 'Olga', '1111');
    await page.locator('.order').waitFor();
    await scan(page, 'WO-1001');
    await phase(page, 'loading');
    for (const label of labels) await scan(page, label);
    await page.locator('.tile[data-unit=SN0008][data-slot=B4]').waitFor();
    await page.keyboard.press('F2');
    await phase(page, 'ended');
    expect((await outcomes(page)).filter((outcome) => outcome === 'pass')).toHaveLength(7);
    expect(await page.locator('.banner').innerText()).toContain('7 of 8 passed');
    expect(await page.locator('.banner').getAttribute('class')).toContain('failed');
    expect(await page.locator('.take-out').innerText()).toContain('B3');
    await page.keyboard.press('F3');
    await phase(page, 'running');
    await phase(page, 'ended');
    expect(await outcomes(page)).toEqual(Array(8).fill('pass'));
    expect(await page.locator('.banner').getAttribute('class')).toContain('passed');
    await page.keyboard.press('F4');
    await phase(page, 'loading');
    expect(await page.locator('.tile[data-state=empty]').count()).toBe(8);
    await scan(page, 'SN0009');
    await page.locator('.tile[data-unit=SN0009][data-slot=A1]').waitFor();
    expect(complaints).toEqual([]);
    await page.close();
  });

  test('is told of every wrong scan, and nothing of it is placed', async () => {
    station = await serveStation(tray());
    const { page } = await openPage(browser, station.address);
    await signIn(page, 'Olga', '1111');
    await page.locator('.order').waitFor();
    await scan(page, 'WO-9999');
    await said(page, 'WORK_ORDER_UNKNOWN');
    await scan(page, 'WO-1001');
    await phase(page, 'loading');
    await scan(page, gs1('SN0001'));
    await page.locator('.tile[data-unit=SN0001]').waitFor();
    await scan(page, 'SN0001');
    await said(page, 'SCAN_DUPLICATE');
    await scan(page, '(01)09506000134352(21)SN0002');
    await said(page, 'LABEL_OF_OTHER_PRODUCT');
    await scan(page, 'SERIAL-7');
    await said(page, 'LABEL_INVALID');
    await scan(page, '(01)02000000000007(21)SN0002');
    await said(page, 'LABEL_INVALID');
    await scan(page, 'SN\ufffd0002');
    await said(page, 'LABEL_DAMAGED');
    await scan(page, 'sn0002');
    await said(page, 'LABEL_CASE_DIFFERS');
    expect(await page.locator('.tile[data-state=placed]').count()).toBe(1);
    await scan(page, ']d2010200000000000810LOT-7\u001d21SN0002');
    await page.locator('.tile[data-unit=SN0002]').waitFor();
    await page.close();
  });

  test("a scanner's Enter presses no button and its characters end up in no field", async () => {
    station = await serveStation(tray());
    const { page } = await openPage(browser, station.address);
    await signIn(page, 'Olga', '1111');
    await page.locator('.order').waitFor();
    await scan(page, 'WO-1001');
    await phase(page, 'loading');
    await page.getByRole('button', { name: 'START' }).focus();
    await scan(page, 'SN 001');
    await said(page, 'LABEL_INVALID');
    await phase(page, 'loading');
    await page.getByRole('link', { name: 'Records' }).click();
    const job = page.getByLabel('Work order');
    await job.fill('WO-1001');
    await job.focus();
    await scan(page, 'SN0001');
    await expect.poll(() => page.getByLabel('Serial').inputValue()).toBe('SN0001');
    expect(await job.inputValue()).toBe('WO-1001');
    await page.close();
  });
});

describe('a running tray', () => {
  test('goes on while the page is reloaded, and the operator is still signed in', async () => {
    station = await serveStation({ ...tray(), speed: 1 });
    const { page } = await openPage(browser, station.address);
    await signIn(page, 'Olga', '1111');
    await page.locator('.order').waitFor();
    await scan(page, 'WO-1001');
    await phase(page, 'loading');
    for (const label of labels) await scan(page, label);
    await page.locator('.tile[data-unit=SN0008]').waitFor();
    await page.keyboard.press('F2');
    await page.locator('.tile[data-state=working]').first().waitFor();
    await page.reload();
    await phase(page, 'running');
    expect(await page.locator('.who').innerText()).toContain('Olga');
    await phase(page, 'ended');
    expect(await outcomes(page)).toEqual(Array(8).fill('pass'));
    await page.close();
  });

  test('is taken over by a second window that asks for it, and the first says so', async () => {
    station = await serveStation(tray());
    const first = await openPage(browser, station.address);
    await signIn(first.page, 'Olga', '1111');
    const second = await openPage(browser, station.address);
    await second.page.getByText('open in another window').waitFor();
    await second.page.getByRole('button', { name: 'Use it here' }).click();
    await second.page.getByText('Who is working?').waitFor();
    await first.page.getByText('taken over by another window').waitFor();
    await first.page.close();
    await second.page.close();
  });

  test('that is stopped leaves every unit ended, and says so', async () => {
    station = await serveStation({ ...tray(), speed: 1 });
    const { page } = await openPage(browser, station.address);
    await signIn(page, 'Olga', '1111');
    await page.locator('.order').waitFor();
    await scan(page, 'WO-1001');
    await phase(page, 'loading');
    for (const label of labels.slice(0, 3)) await scan(page, label);
    await page.locator('.tile[data-unit=SN0003]').waitFor();
    await page.keyboard.press('F2');
    await page.locator('.tile[data-state=working]').first().waitFor();
    await page.keyboard.press('F8');
    await page.getByRole('button', { name: 'Stop the tray' }).focus();
    await page.keyboard.press('Enter');
    await phase(page, 'ended');
    expect(await outcomes(page)).toEqual(Array(3).fill('aborted'));
    await page.close();
  });
});
