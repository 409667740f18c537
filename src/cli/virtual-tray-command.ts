import { StationError } from '../contract/errors.ts';
import { type TrayFile, trayFile } from '../contract/tray-file.ts';
import { parentChannel } from '../host/fork.ts';
import { parseRadioSpec } from '../radio/radio-spec.ts';
import { readYamlFile } from '../station/yaml-file.ts';
import { attachVirtualTray, listenVirtualTray } from '../virtual/virtual-tray.ts';

/** Options of `virtual-tray`. */
export interface VirtualTrayOptions {
  readonly units?: number;
  readonly tray?: string;
  readonly deviceLogs?: string;
  readonly attach?: string;
  readonly listen?: string;
}

/** Runs a virtual tray until it is interrupted, its parent ends, or the controller it is attached to goes away. */
export async function runVirtualTray(options: VirtualTrayOptions, say: (text: string) => void): Promise<number> {
  const file = options.tray ? await readYamlFile(options.tray, trayFile) : trayFile.parse({});
  const tray: TrayFile = options.units === undefined ? file : { ...file, units: options.units };
  if ((options.attach === undefined) === (options.listen === undefined)) {
    throw new StationError('ARGUMENT_INVALID', 'give either --attach or --listen');
  }
  const path = unixPath(options.attach ?? options.listen ?? '');
  const stopped = new Promise<string | null>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(null));
    process.once('disconnect', () => resolve(null));
  });
  if (options.attach !== undefined) {
    const attached = await attachVirtualTray(tray, path, options.deviceLogs);
    say(`${tray.units} virtual devices attached to ${options.attach}; interrupt to stop.`);
    const reason = await Promise.race([stopped, attached.lost]);
    await attached.stop();
    if (reason !== null) throw new StationError('RADIO_LOST', reason);
    return 0;
  }
  const listening = await listenVirtualTray(tray, path, options.deviceLogs);
  say(`${tray.units} virtual devices; controllers are offered at ${options.listen}; interrupt to stop.`);
  const parent = parentChannel();
  parent.onMessage((message) => {
    if (message !== 'next-tray') return;
    listening.next();
    parent.send('next-tray');
  });
  parent.send('listening');
  await stopped;
  await listening.stop();
  return 0;
}

function unixPath(text: string): string {
  const spec = parseRadioSpec(text);
  if (spec.kind !== 'h4' || !('path' in spec))
    throw new StationError('RADIO_SPEC_INVALID', `${text}: only h4:unix:PATH here`);
  return spec.path;
}
