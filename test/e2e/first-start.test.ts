import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { launchBrowser } from '../support/browser.ts';
import { startCli } from '../support/cli.ts';
import { openPage, signIn } from '../support/serve.ts';

test('a new station makes its administrator, shows recovery codes once, and a lost PIN is replaced by one of them', async () => {
  const data = await mkdtemp(join(tmpdir(), 'dfu-first-'));
  // A radio that leads nowhere: no practice, and the station says that the radio is lost.
  const run = startCli('serve', '--radio', 'h4:unix:/nowhere', '--data', data);
  const address = (await run.line(/^Open http/)).slice('Open '.length);
  const browser = await launchBrowser();
  try {
    const { page, complaints } = await openPage(browser, address);
    await page.getByText('First start').waitFor();
    expect(await page.getByText('PRACTICE').count()).toBe(0);
    await page.getByLabel('Name').fill('Ada');
    await page.getByLabel('New PIN').fill('2468');
    await page.keyboard.press('Enter');
    await page.getByText('Recovery codes').waitFor();
    await page.locator('.codes li').first().waitFor();
    const codes = await page.locator('.codes li').allInnerTexts();
    expect(codes).toHaveLength(8);
    expect(new Set(codes).size).toBe(8);
    await page.getByRole('button', { name: 'I have written them down' }).click();
    await page.getByText('There are no open work orders').waitFor();
    await page.getByRole('link', { name: 'Engineer' }).click();
    await page.getByRole('link', { name: 'Radios' }).click();
    await page.getByText('lost, tried again every few seconds').waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('button', { name: 'Ada' }).click();
    await page.getByRole('button', { name: 'PIN lost?' }).click();
    await page.getByLabel('Recovery code').fill(codes[3] ?? '');
    await page.getByLabel('New PIN').fill('1357');
    await page.getByRole('button', { name: 'Set new PIN' }).click();
    await page.locator('.bar').waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await signIn(page, 'Ada', '1357');
    expect(complaints).toEqual([]);
  } finally {
    await browser.close();
    run.child.kill('SIGTERM');
    await run.done;
    await rm(data, { recursive: true, force: true });
  }
});
