import type { BrowserWindow, BrowserWindowConstructorOptions, RenderProcessGoneDetails } from 'electron';
import { APP_ORIGIN } from './app-protocol.ts';

/** A window that crashes more often within `CRASH_SPAN_MS` is not opened again by itself. */
const MAX_CRASHES = 5;
const CRASH_SPAN_MS = 60_000;

/** What the window needs of Electron. */
export interface WindowElectron {
  readonly BrowserWindow: new (options: BrowserWindowConstructorOptions) => BrowserWindow;
}

/** How windows are made: isolated, sandboxed, with the one preload. */
export function windowOptions(preload: string, title: string): BrowserWindowConstructorOptions {
  return {
    title,
    width: 1280,
    height: 800,
    minWidth: 1024,
    minHeight: 700,
    show: false,
    backgroundColor: '#0d1318',
    autoHideMenuBar: true,
    webPreferences: {
      preload,
      contextIsolation: true,
      sandbox: true,
      nodeIntegration: false,
      nodeIntegrationInWorker: false,
      webSecurity: true,
      webviewTag: false,
      spellcheck: false,
      devTools: false,
      // A tray that is watched from another window still counts.
      backgroundThrottling: false,
    },
  };
}

/** The station's one window. A renderer that crashes is made anew: the upgrade goes on in the meantime, in this process. */
export class StationWindow {
  readonly #electron: WindowElectron;
  readonly #preload: string;
  readonly #title: string;
  readonly #now: () => number;
  readonly #onGone: (reason: string, again: boolean) => void;
  #window: BrowserWindow | null = null;
  #crashes: number[] = [];

  constructor(
    electron: WindowElectron,
    setting: {
      readonly preload: string;
      readonly title: string;
      readonly now: () => number;
      /** A renderer is gone, and whether the window is made again. */
      readonly onGone: (reason: string, again: boolean) => void;
    },
  ) {
    this.#electron = electron;
    this.#preload = setting.preload;
    this.#title = setting.title;
    this.#now = setting.now;
    this.#onGone = setting.onGone;
  }

  /** The window while there is one. */
  get window(): BrowserWindow | null {
    return this.#window;
  }

  async open(): Promise<void> {
    const window = new this.#electron.BrowserWindow(windowOptions(this.#preload, this.#title));
    this.#window = window;
    window.once('ready-to-show', () => window.show());
    window.on('closed', () => {
      if (this.#window === window) this.#window = null;
    });
    window.webContents.on('render-process-gone', (_event, details) => void this.#gone(window, details));
    window.webContents.on('unresponsive', () => window.webContents.forcefullyCrashRenderer());
    await window.loadURL(`${APP_ORIGIN}/`);
  }

  /** Brings the window to the front, as when the program is started a second time. */
  async show(): Promise<void> {
    if (!this.#window) return this.open();
    if (this.#window.isMinimized()) this.#window.restore();
    this.#window.focus();
  }

  async #gone(window: BrowserWindow, { reason }: RenderProcessGoneDetails): Promise<void> {
    if (reason === 'clean-exit' || this.#window !== window) return;
    const now = this.#now();
    this.#crashes = [...this.#crashes.filter((at) => now - at < CRASH_SPAN_MS), now];
    const again = this.#crashes.length <= MAX_CRASHES;
    this.#onGone(reason, again);
    this.#window = null;
    window.destroy();
    if (again) await this.open();
  }
}
