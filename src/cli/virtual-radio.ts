import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { StationError } from '../contract/errors.ts';
import type { TrayFile } from '../contract/tray-file.ts';

/** A virtual tray in a process of its own, and the socket at which it offers controllers. */
export interface VirtualRadioProcess {
  readonly path: string;
  stop(): Promise<void>;
}

/**
 * Starts `virtual-tray --listen` in a child process, which ends with this one. Figures about the station are then about the station.
 * @throws StationError RADIO_UNREACHABLE when it does not start
 */
export async function startVirtualTray(
  tray: TrayFile,
  options: { cliPath: string; deviceLogs?: string | undefined },
): Promise<VirtualRadioProcess> {
  const directory = await mkdtemp(join(tmpdir(), 'dfu-station-'));
  const path = process.platform === 'win32' ? `\\\\.\\pipe\\dfu-station-${process.pid}` : join(directory, 'ether');
  const trayPath = join(directory, 'tray.yaml');
  await writeFile(trayPath, stringify(tray));
  const logs = options.deviceLogs ? ['--device-logs', options.deviceLogs] : [];
  const child = fork(options.cliPath, ['virtual-tray', '--tray', trayPath, '--listen', `h4:unix:${path}`, ...logs], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    detached: false,
  });
  let complaint = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  const ended = once(child, 'exit');
  const started = await Promise.race([once(child, 'message'), ended.then(() => null)]);
  if (!started) throw new StationError('RADIO_UNREACHABLE', `the virtual tray did not start: ${complaint.trim()}`);
  return {
    path,
    async stop() {
      if (child.connected) child.disconnect();
      await ended;
      await rm(directory, { recursive: true, force: true });
    },
  };
}
