import { EventEmitter } from 'node:events';
import type { BrowserWindowConstructorOptions } from 'electron';
import type { Electron } from '../../electron/shell.ts';

/** A window's contents as the shell sees them. */
export class FakeContents extends EventEmitter {
  readonly mainFrame = { url: 'app://station/' };
  readonly sent: [string, unknown][] = [];
  openHandler: ((details: { url: string }) => { action: string }) | null = null;
  crashed = 0;
  destroyed = false;
  setWindowOpenHandler(handler: (details: { url: string }) => { action: string }): void {
    this.openHandler = handler;
  }
  send(channel: string, message: unknown): void {
    this.sent.push([channel, message]);
  }
  isDestroyed(): boolean {
    return this.destroyed;
  }
  forcefullyCrashRenderer(): void {
    this.crashed += 1;
  }
}

/** A window that shows nothing. */
export class FakeWindow extends EventEmitter {
  static all: FakeWindow[] = [];
  readonly webContents = new FakeContents();
  readonly options: BrowserWindowConstructorOptions;
  loaded: string | null = null;
  focused = 0;
  minimized = false;
  constructor(options: BrowserWindowConstructorOptions) {
    super();
    this.options = options;
    FakeWindow.all.push(this);
  }
  async loadURL(address: string): Promise<void> {
    this.loaded = address;
  }
  shown = 0;
  show(): void {
    this.shown += 1;
  }
  isMinimized(): boolean {
    return this.minimized;
  }
  restore(): void {
    this.minimized = false;
  }
  focus(): void {
    this.focused += 1;
  }
  destroy(): void {
    this.webContents.destroyed = true;
    this.emit('closed');
  }
}

class FakeApp extends EventEmitter {
  first = true;
  sandboxed = false;
  quits = 0;
  exits: number[] = [];
  userData = '';
  enableSandbox(): void {
    this.sandboxed = true;
  }
  requestSingleInstanceLock(): boolean {
    return this.first;
  }
  whenReady(): Promise<void> {
    return Promise.resolve();
  }
  getPath(): string {
    return this.userData;
  }
  quit(): void {
    this.quits += 1;
    let prevented = false;
    const event = {
      preventDefault: () => {
        prevented = true;
      },
    };
    this.emit('before-quit', event);
    if (!prevented) this.emit('will-quit', event);
  }
  exit(code: number): void {
    this.exits.push(code);
  }
}

/** What an injected Electron has been told. */
export interface FakeElectron {
  readonly app: FakeApp;
  readonly ipc: EventEmitter;
  readonly updater: EventEmitter & { feed: string | null; checks: number; installs: number };
  readonly said: string[];
  readonly awake: Set<number>;
  schemes: { scheme: string; privileges?: object }[];
  handler: ((request: Request) => Promise<Response>) | null;
  permission: ((contents: unknown, permission: string, decide: (granted: boolean) => void) => void) | null;
  readonly module: Electron;
}

/** Electron as the shell is handed it, without Electron. */
export function fakeElectron(userData: string): FakeElectron {
  FakeWindow.all = [];
  const app = new FakeApp();
  app.userData = userData;
  const ipc = new EventEmitter();
  const awake = new Set<number>();
  const said: string[] = [];
  const updater = Object.assign(new EventEmitter(), {
    feed: null as string | null,
    checks: 0,
    installs: 0,
    setFeedURL({ url }: { url: string }) {
      updater.feed = url;
    },
    checkForUpdates() {
      updater.checks += 1;
    },
    quitAndInstall() {
      updater.installs += 1;
    },
  });
  const fake: Omit<FakeElectron, 'module'> & { module?: Electron } = {
    app,
    ipc,
    updater,
    said,
    awake,
    schemes: [],
    handler: null,
    permission: null,
  };
  let nextId = 1;
  const parts = {
    app,
    autoUpdater: updater,
    BrowserWindow: FakeWindow,
    dialog: {
      showErrorBox: (_title: string, text: string) => void said.push(text),
      showMessageBox: async ({ message }: { message: string }) => {
        said.push(message);
        return { response: 0 };
      },
    },
    ipcMain: ipc,
    powerSaveBlocker: {
      start: () => {
        awake.add(nextId);
        return nextId++;
      },
      stop: (id: number) => awake.delete(id),
    },
    protocol: {
      registerSchemesAsPrivileged: (schemes: { scheme: string }[]) => {
        fake.schemes = schemes;
      },
      handle: (_scheme: string, handler: (request: Request) => Promise<Response>) => {
        fake.handler = handler;
      },
    },
    session: {
      defaultSession: {
        setPermissionRequestHandler: (handler: FakeElectron['permission']) => {
          fake.permission = handler;
        },
        setPermissionCheckHandler: () => undefined,
        setDevicePermissionHandler: () => undefined,
        webRequest: { onBeforeRequest: () => undefined },
      },
    },
    safeStorage: {
      isEncryptionAvailable: () => true,
      getSelectedStorageBackend: () => 'gnome_libsecret',
      encryptString: (plain: string) => Buffer.from(`sealed:${Buffer.from(plain).toString('hex')}`),
      decryptString: (sealed: Buffer) => Buffer.from(sealed.toString().slice('sealed:'.length), 'hex').toString(),
    },
    utilityProcess: {
      fork: () => {
        throw new Error('a real radio needs no process');
      },
    },
  };
  return Object.assign(fake, { module: parts as unknown as Electron });
}
