import { EventEmitter } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { serveApp } from '../../electron/app-protocol.ts';
import { type Busy, blockQuit, keepAwake } from '../../electron/busy-guard.ts';
import { forkOnElectron } from '../../electron/fork-program.ts';
import { acceptWindows } from '../../electron/ipc-port.ts';
import { sealerOf } from '../../electron/safe-keys.ts';
import { confineContents, denyPermissions, isOwnAddress } from '../../electron/security.ts';
import { runShell } from '../../electron/shell.ts';
import { followUpdates } from '../../electron/updates.ts';
import { StationWindow } from '../../electron/window.ts';
import { systemClock } from '../../src/clock.ts';
import type { Port } from '../../src/contract/channel.ts';
import { screensDirectory } from '../../src/host/screens.ts';
import { RecordWriter } from '../../src/records/record-writer.ts';
import { FakeContents, type FakeElectron, FakeWindow, fakeElectron } from '../support/fake-electron.ts';

let directory: string;
let electron: FakeElectron;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'dfu-shell-'));
  electron = fakeElectron(directory);
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** A station that can be made busy by hand. */
function busyStation(): Busy & { set(busy: boolean): void } {
  const handlers = new Set<() => void>();
  let busy = false;
  return {
    get busy() {
      return busy;
    },
    onChange: (handler) => {
      handlers.add(handler);
      return () => handlers.delete(handler);
    },
    set: (value) => {
      busy = value;
      for (const handler of handlers) handler();
    },
  };
}

const program = '/opt/dfu-station/program';
// Radios that lead nowhere: the station starts, and keeps trying them.
const args = ['--no-isolate', '--radio', 'h4:unix:/nowhere'];

describe('the desktop program', () => {
  test('is sandboxed, isolated and on its own scheme, and opens one window on its own screens', async () => {
    await runShell(electron.module, program, args);
    expect(electron.app.sandboxed).toBe(true);
    expect(electron.schemes).toMatchObject([{ scheme: 'app', privileges: { standard: true, secure: true } }]);
    const [window] = FakeWindow.all;
    expect(FakeWindow.all).toHaveLength(1);
    expect(window?.loaded).toBe('app://station/');
    expect(window?.options.webPreferences).toMatchObject({
      contextIsolation: true,
      sandbox: true,
      nodeIntegration: false,
      webSecurity: true,
      webviewTag: false,
      preload: join(program, 'preload.cjs'),
    });
    electron.app.quit();
    await expect.poll(() => electron.app.quits).toBe(2);
  });

  test('talks to its window by messages and keeps the window alive', async () => {
    await runShell(electron.module, program, args);
    const contents = FakeWindow.all[0]!.webContents;
    const event = { sender: contents, senderFrame: contents.mainFrame };
    electron.ipc.emit('station:connect', event);
    electron.ipc.emit('station:message', event, JSON.stringify({ type: 'hello', ticket: null, takeOver: false }));
    const welcome = contents.sent.map(([, message]) => JSON.parse(String(message)));
    expect(welcome).toMatchObject([{ type: 'welcome', welcome: { practice: false, needsFirstStart: true } }]);
    electron.app.emit('second-instance', {}, []);
    expect(FakeWindow.all[0]?.focused).toBe(1);
    contents.emit('render-process-gone', {}, { reason: 'crashed' });
    expect(FakeWindow.all).toHaveLength(2);
    electron.app.quit();
    await expect.poll(() => electron.app.quits).toBe(2);
  });

  test('a second start leaves at once', async () => {
    electron.app.first = false;
    await runShell(electron.module, program, args);
    expect(electron.app.quits).toBe(1);
    expect(FakeWindow.all).toEqual([]);
  });

  test('that cannot start says why by code and ends', async () => {
    await writeFile(join(directory, 'data'), 'a file in the way');
    await runShell(electron.module, program, args);
    expect(electron.said.join()).toContain('DATA_DIRECTORY_READ_ONLY');
    expect(electron.app.exits).toEqual([2]);
  });

  test('says that an operator, or nobody, may not open a job file', async () => {
    const path = join(directory, 'order.dfujob');
    await writeFile(path, 'job: WO-1\n');
    await runShell(electron.module, program, [...args, path]);
    await expect.poll(() => electron.said.join()).toContain('Your role does not allow this');
    electron.app.quit();
    await expect.poll(() => electron.app.quits).toBe(2);
  });
});

describe('a window', () => {
  test('whose renderer crashes is made again, until it crashes too often', async () => {
    const gone: boolean[] = [];
    const window = new StationWindow(electron.module, {
      preload: 'p',
      title: 't',
      now: () => 0,
      onGone: (_reason, again) => gone.push(again),
    });
    await window.open();
    for (let i = 0; i < 6; i++) FakeWindow.all.at(-1)!.webContents.emit('render-process-gone', {}, { reason: 'oom' });
    expect(gone).toEqual([true, true, true, true, true, false]);
    expect(FakeWindow.all).toHaveLength(6);
    expect(window.window).toBeNull();
  });

  test('that hangs is ended, so that it is made again', async () => {
    const window = new StationWindow(electron.module, {
      preload: 'p',
      title: 't',
      now: () => 0,
      onGone: () => undefined,
    });
    await window.open();
    FakeWindow.all[0]!.webContents.emit('unresponsive');
    expect(FakeWindow.all[0]!.webContents.crashed).toBe(1);
  });

  test('goes nowhere else, opens nothing and is given no permission', () => {
    const app = new EventEmitter();
    confineContents(app as never);
    const contents = new FakeContents();
    app.emit('web-contents-created', {}, contents);
    const prevented = (name: string, ...rest: unknown[]) => {
      let stopped = false;
      contents.emit(name, { url: rest[0], preventDefault: () => (stopped = true) }, ...rest);
      return stopped;
    };
    expect(prevented('will-navigate', 'https://evil.example/')).toBe(true);
    expect(prevented('will-navigate', 'app://station.evil/')).toBe(true);
    expect(prevented('will-navigate', 'app://station/index.html')).toBe(false);
    expect(prevented('will-attach-webview')).toBe(true);
    expect(contents.openHandler?.({ url: 'app://station/' })).toEqual({ action: 'deny' });
    denyPermissions(electron.module.session.defaultSession);
    let granted: boolean | null = null;
    electron.permission?.(null, 'bluetooth', (answer) => (granted = answer));
    expect(granted).toBe(false);
    expect(isOwnAddress('file:///etc/passwd')).toBe(false);
  });
});

describe('the keys of bonds', () => {
  const bond = {
    ownAddress: '06:00:00:00:00:00',
    identityAddress: 'c0:00:00:00:00:01',
    random: true,
    irk: Buffer.alloc(16, 1),
    key: { ltk: Buffer.alloc(16, 2), ediv: 3, rand: Buffer.alloc(8, 4) },
    secureConnections: false,
    keyBits: 128,
  };

  test("lie sealed by the system's key store, and come back as they were", () => {
    const records = new RecordWriter(join(directory, 'sealed'), systemClock, sealerOf(electron.module.safeStorage));
    records.bonds.keep(bond);
    expect(records.bonds.list()).toEqual([bond]);
    const [row] = records.port.all('SELECT keys FROM bond');
    expect(String(row?.keys)).toMatch(/^sealed:/);
    expect(String(row?.keys)).not.toContain(bond.key.ltk.toString('hex'));
    records.bonds.forget(bond);
    expect(records.bonds.list()).toEqual([]);
    records.close();
  });

  test('are not sealed where Electron would only pretend to', () => {
    const { safeStorage } = electron.module;
    const pretending = { ...safeStorage, getSelectedStorageBackend: () => 'basic_text' as const };
    if (process.platform === 'linux') expect(sealerOf(pretending)).toBeUndefined();
    expect(sealerOf({ ...safeStorage, isEncryptionAvailable: () => false })).toBeUndefined();
  });
});

describe('messages between window and station', () => {
  const accept = () => {
    const ports: Port[] = [];
    const heard: string[] = [];
    const stop = acceptWindows(electron.module.ipcMain, (port) => {
      port.onMessage((message) => heard.push(message));
      port.onClose(() => heard.push('closed'));
      ports.push(port);
    });
    return { ports, heard, stop };
  };

  test('are taken only from the main frame of an own window, as text and below the cap', () => {
    const { ports, heard } = accept();
    const contents = new FakeContents();
    const foreign = { sender: contents, senderFrame: { url: 'https://evil.example/' } };
    const child = { sender: contents, senderFrame: { url: 'app://station/' } };
    const own = { sender: contents, senderFrame: contents.mainFrame };
    for (const event of [foreign, child, { sender: contents, senderFrame: null }])
      electron.ipc.emit('station:connect', event);
    expect(ports).toHaveLength(0);
    electron.ipc.emit('station:connect', own);
    for (const event of [foreign, child]) electron.ipc.emit('station:message', event, 'no');
    electron.ipc.emit('station:message', own, { not: 'text' });
    electron.ipc.emit('station:message', own, 'x'.repeat(200_000));
    electron.ipc.emit('station:message', own, 'yes');
    expect(heard).toEqual(['yes']);
  });

  test('end when the window reloads, is gone, or is closed by the station', () => {
    const { ports, heard, stop } = accept();
    const contents = new FakeContents();
    const own = { sender: contents, senderFrame: contents.mainFrame };
    electron.ipc.emit('station:connect', own);
    electron.ipc.emit('station:connect', own);
    expect(heard).toEqual(['closed']);
    ports[1]?.close();
    expect(contents.sent).toEqual([['station:closed', undefined]]);
    electron.ipc.emit('station:connect', own);
    contents.emit('destroyed');
    expect(heard).toEqual(['closed', 'closed', 'closed']);
    stop();
    electron.ipc.emit('station:connect', own);
    expect(ports).toHaveLength(3);
  });
});

describe('the screens on app://', () => {
  test('are served with the strict policy, and nothing outside their directory is', async () => {
    serveApp(electron.module.protocol, screensDirectory());
    const get = (address: string, init?: RequestInit) => electron.handler!(new Request(address, init));
    const page = await get('app://station/');
    expect(page.status).toBe(200);
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    for (const address of [
      'app://station/..%2f..%2fpackage.json',
      'app://station/%2e%2e/%2e%2e/package.json',
      'app://station/nothing.js',
      'app://elsewhere/index.html',
      'app://station/assets',
    ]) {
      expect((await get(address)).status, address).toBe(404);
    }
    expect((await get('app://station/', { method: 'POST' })).status).toBe(404);
  });
});

describe('while units run', () => {
  test('the machine does not sleep, and may again afterwards', () => {
    const station = busyStation();
    const stop = keepAwake(electron.module.powerSaveBlocker, station);
    expect(electron.awake.size).toBe(0);
    station.set(true);
    station.set(true);
    expect(electron.awake.size).toBe(1);
    station.set(false);
    expect(electron.awake.size).toBe(0);
    station.set(true);
    stop();
    expect(electron.awake.size).toBe(0);
  });

  test('the program does not quit and says why', () => {
    const station = busyStation();
    blockQuit(electron.module.app, electron.module.dialog, station, () => ({ title: 't', message: 'units run' }));
    let left = 0;
    electron.app.on('will-quit', () => (left += 1));
    station.set(true);
    electron.app.quit();
    expect([left, electron.said]).toEqual([0, ['units run']]);
    station.set(false);
    electron.app.quit();
    expect(left).toBe(1);
  });

  test('an update waits, and is installed when the tray has ended', () => {
    const station = busyStation();
    followUpdates(electron.updater as never, 'https://updates.example/', station, () => undefined);
    expect([electron.updater.feed, electron.updater.checks]).toEqual(['https://updates.example/', 1]);
    station.set(true);
    electron.updater.emit('update-downloaded');
    expect(electron.updater.installs).toBe(0);
    station.set(false);
    expect(electron.updater.installs).toBe(1);
  });

  test('without an address no update is looked for', () => {
    followUpdates(electron.updater as never, undefined, busyStation(), () => undefined);
    expect(electron.updater.checks).toBe(0);
  });
});

test('a virtual tray runs in a utility process and is told what a child process would be', async () => {
  const child = Object.assign(new EventEmitter(), {
    stderr: new EventEmitter(),
    posted: [] as unknown[],
    postMessage: (message: unknown) => child.posted.push(message),
    kill: () => child.emit('exit', 0),
  });
  const forked: unknown[] = [];
  const utility = {
    fork: (...all: unknown[]) => {
      forked.push(all);
      return child as never;
    },
  };
  const fork = forkOnElectron(utility, 'cli.js');
  const tray = fork(['virtual-tray']);
  const heard: unknown[] = [];
  tray.onMessage((message) => heard.push(message));
  child.emit('message', 'listening');
  tray.send('next-tray');
  child.stderr.emit('data', Buffer.from('oh no\n'));
  tray.release();
  expect([heard, child.posted, await tray.ended]).toEqual([['listening'], ['next-tray'], 'oh no']);
  expect(forked).toMatchObject([['cli.js', ['virtual-tray'], { serviceName: 'virtual-tray' }]]);
});
