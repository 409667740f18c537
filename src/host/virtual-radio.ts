import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { StationError } from '../contract/errors.ts';
import type { TrayFile } from '../contract/tray-file.ts';
import { Lifetime } from '../radio/lifetime.ts';
import type { ForkProgram } from './fork.ts';

/** A virtual tray in a process of its own, and the socket at which it offers controllers. */
export interface VirtualRadioProcess {
  readonly path: string;
  /** Takes the devices away and brings as many new ones. */
  nextTray(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts `virtual-tray --listen` in a child process, which ends with this one. Figures about the station are then about the station.
 * @throws StationError RADIO_UNREACHABLE when it does not start
 */
export async function startVirtualTray(
  tray: TrayFile,
  options: { fork: ForkProgram; deviceLogs?: string | undefined },
): Promise<VirtualRadioProcess> {
  const directory = await mkdtemp(join(tmpdir(), 'dfu-station-'));
  const path = process.platform === 'win32' ? `\\\\.\\pipe\\dfu-station-${process.pid}` : join(directory, 'ether');
  const trayPath = join(directory, 'tray.yaml');
  await writeFile(trayPath, stringify(tray));
  const logs = options.deviceLogs ? ['--device-logs', options.deviceLogs] : [];
  const child = options.fork(['virtual-tray', '--tray', trayPath, '--listen', `h4:unix:${path}`, ...logs]);
  const life = new Lifetime();
  void child.ended.then((complaint) =>
    life.end(new StationError('RADIO_UNREACHABLE', `the virtual tray: ${complaint}`)),
  );
  const heard = new Set<(message: unknown) => void>();
  child.onMessage((message) => {
    for (const hear of heard) hear(message);
  });
  const says = (expected: string) =>
    new Promise<true>((resolve) => {
      const hear = (message: unknown) => {
        if (message !== expected) return;
        heard.delete(hear);
        resolve(true);
      };
      heard.add(hear);
    });
  const started = await Promise.race([says('listening'), child.ended]);
  if (started !== true) throw new StationError('RADIO_UNREACHABLE', `the virtual tray did not start: ${started}`);
  return {
    path,
    async nextTray() {
      const changed = says('next-tray');
      child.send('next-tray');
      // One that has ended brings nothing more; that its radios are gone is told by them.
      await life.during(changed).catch(() => undefined);
    },
    async stop() {
      child.release();
      await child.ended;
      await rm(directory, { recursive: true, force: true });
    },
  };
}
