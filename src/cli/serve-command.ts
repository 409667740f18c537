import { systemClock } from '../clock.ts';
import { trayFile } from '../contract/tray-file.ts';
import { forkOnNode } from '../host/fork.ts';
import { openStation } from '../host/open-station.ts';
import { screensDirectory } from '../host/screens.ts';
import { serveConsole } from '../server/console.ts';
import { readYamlFile } from '../station/yaml-file.ts';

/** Options of `serve` as commander hands them over. */
export interface ServeOptions {
  readonly radio: readonly string[];
  readonly port?: number;
  readonly data?: string;
  readonly practice?: boolean;
  readonly tray?: string;
  readonly deviceLogs?: string;
  readonly isolate?: boolean;
}

/** Runs a station with its local console until the signal aborts. @throws StationError when it cannot start */
export async function serve(options: ServeOptions, signal: AbortSignal, say: (text: string) => void): Promise<void> {
  screensDirectory();
  const { radio, data, practice, deviceLogs } = options;
  const tray = options.tray === undefined ? undefined : await readYamlFile(options.tray, trayFile);
  const station = await openStation({
    radio,
    data,
    practice,
    tray,
    deviceLogs,
    clock: systemClock,
    isolate: options.isolate,
    fork: forkOnNode(process.argv[1] ?? ''),
  });
  try {
    const console = await serveConsole(station.reception, options.port ?? 0);
    try {
      if (station.interrupted > 0)
        say(`${station.interrupted} attempts were cut off last time and are recorded as such.`);
      if (station.practice)
        say(practice ? 'Practice: a virtual tray.' : 'No radio was found: practice on a virtual tray.');
      say(`Records: ${station.directory}`);
      say(`Open ${console.address}`);
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener('abort', () => resolve(), { once: true });
      });
    } finally {
      await console.stop();
    }
  } finally {
    await station.stop();
  }
}
