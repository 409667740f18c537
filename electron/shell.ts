import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type * as ElectronModule from 'electron';
import { systemClock } from '../src/clock.ts';
import { asStationError, sentences } from '../src/contract/errors.ts';
import { openStation, type RunningStation } from '../src/host/open-station.ts';
import { screensDirectory } from '../src/host/screens.ts';
import { declareAppScheme, serveApp } from './app-protocol.ts';
import { type Busy, blockQuit, keepAwake } from './busy-guard.ts';
import { forkOnElectron } from './fork-program.ts';
import { acceptWindows } from './ipc-port.ts';
import { jobFileIn, readJobFile } from './job-files.ts';
import { sealerOf } from './safe-keys.ts';
import { confineContents, denyPermissions } from './security.ts';
import { followUpdates } from './updates.ts';
import { StationWindow } from './window.ts';

const TITLE = 'DFU Station';
const EXIT_CANNOT_START = 2;

/** Electron as this shell uses it. */
export type Electron = Pick<
  typeof ElectronModule,
  | 'app'
  | 'autoUpdater'
  | 'BrowserWindow'
  | 'dialog'
  | 'ipcMain'
  | 'powerSaveBlocker'
  | 'protocol'
  | 'safeStorage'
  | 'session'
  | 'utilityProcess'
>;

/** Runs the desktop program: one instance, one station, one window. `program` is the directory of the built program. */
export async function runShell(electron: Electron, program: string, argv: readonly string[]): Promise<void> {
  const { app, dialog, protocol, session } = electron;
  app.enableSandbox();
  declareAppScheme(protocol);
  confineContents(app);
  if (!app.requestSingleInstanceLock()) return app.quit();
  await app.whenReady();
  denyPermissions(session.defaultSession);
  let station: RunningStation;
  try {
    serveApp(protocol, screensDirectory());
    station = await startStation(electron, program, argv);
  } catch (error) {
    const { code, message } = asStationError(error);
    dialog.showErrorBox(TITLE, `${message}\n\n${code}`);
    return app.exit(EXIT_CANNOT_START);
  }
  await runStation(electron, program, station, argv);
}

function startStation(
  { app, safeStorage, utilityProcess }: Electron,
  program: string,
  argv: readonly string[],
): Promise<RunningStation> {
  const { values } = parseArgs({
    args: [...argv],
    strict: false,
    options: {
      radio: { type: 'string', multiple: true },
      data: { type: 'string' },
      practice: { type: 'boolean' },
      'no-isolate': { type: 'boolean' },
    },
  });
  const text = (value: unknown) => (typeof value === 'string' ? value : undefined);
  return openStation({
    radio: (values.radio ?? []).filter((each) => typeof each === 'string'),
    data: text(values.data) ?? join(app.getPath('userData'), 'data'),
    practice: values.practice === true,
    clock: systemClock,
    ...(values['no-isolate'] === true && { isolate: false }),
    fork: forkOnElectron(utilityProcess, join(program, 'cli.js')),
    sealer: sealerOf(safeStorage),
  });
}

async function runStation(
  electron: Electron,
  program: string,
  station: RunningStation,
  argv: readonly string[],
): Promise<void> {
  const { app, autoUpdater, dialog, ipcMain, powerSaveBlocker } = electron;
  const busy = busyOf(station);
  const window = new StationWindow(electron, {
    preload: join(program, 'preload.cjs'),
    title: TITLE,
    now: () => systemClock.now(),
    onGone: (reason, again) => {
      if (!again) dialog.showErrorBox(TITLE, `${sentences.INTERNAL}\n\n${reason}`);
    },
  });
  const stopAccepting = acceptWindows(ipcMain, (port) => station.reception.accept(port));
  const letSleep = keepAwake(powerSaveBlocker, busy);
  blockQuit(app, dialog, busy, () => ({ title: TITLE, message: sentences.TRAY_BUSY }));
  followUpdates(autoUpdater, process.env.DFU_STATION_UPDATES, busy, (error) =>
    process.stderr.write(`${error.message}\n`),
  );

  const openJob = (args: readonly string[]) => void importJob(electron, station, args);
  app.on('second-instance', (_event, args) => {
    void window.show();
    openJob(args);
  });
  app.on('open-file', (event, path) => {
    event.preventDefault();
    openJob([path]);
  });
  app.on('window-all-closed', () => {
    // A running tray needs its screen: it is opened again. Otherwise the last window ends the program.
    if (busy.busy) void window.open();
    else app.quit();
  });
  let stopped = false;
  app.on('will-quit', (event) => {
    if (stopped) return;
    event.preventDefault();
    stopped = true;
    stopAccepting();
    letSleep();
    void station.stop().finally(() => app.quit());
  });
  await window.open();
  openJob(argv);
}

/** A job file that was opened becomes a work order, if an engineer is signed in. */
async function importJob({ dialog }: Electron, station: RunningStation, args: readonly string[]): Promise<void> {
  const path = jobFileIn(args);
  if (path === null) return;
  const { session, library } = station.desk;
  try {
    const yaml = await readJobFile(path);
    if (!session || session.role === 'operator') {
      await dialog.showMessageBox({ type: 'info', title: TITLE, message: sentences.ROLE_INSUFFICIENT });
      return;
    }
    const name = library.importWorkOrder(session.name, yaml);
    await dialog.showMessageBox({ type: 'info', title: TITLE, message: name });
  } catch (error) {
    const { code, message } = asStationError(error);
    dialog.showErrorBox(TITLE, `${message}\n\n${code}`);
  }
}

function busyOf({ desk }: RunningStation): Busy {
  return {
    get busy() {
      return desk.floor.busy;
    },
    onChange: (handler) => desk.board.onChange(handler),
  };
}
