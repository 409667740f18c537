import { readFile } from 'node:fs/promises';
import type { Clock } from '../clock.ts';
import { StationError } from '../contract/errors.ts';
import type { TrayFile } from '../contract/tray-file.ts';
import { readCapture } from '../diagnostics/capture-file.ts';
import { kernelAdapters } from '../radio/hci/kernel-adapter.ts';
import type { HciTransport } from '../radio/hci/transport.ts';
import { openRadio, openRadioOver } from '../radio/open-radio.ts';
import type { CapturedPacket, Radio } from '../radio/radio.ts';
import { parseRadioSpec, type RadioSpec } from '../radio/radio-spec.ts';
import { DisorderlyTransport } from '../virtual/disorderly-transport.ts';
import { seededRandom } from '../virtual/random.ts';
import { ReplayTransport } from '../virtual/replay-transport.ts';
import { type ForkTray, startVirtualTray } from './virtual-radio.ts';

/** What reorders on the host's side, if the tray's faults say so; it concerns the whole radio, whichever unit is named. */
export function hostDisorder(tray: TrayFile, clock: Clock): ((transport: HciTransport) => HciTransport) | undefined {
  const fault = tray.faults.find(({ do: act }) => act === 'host-late-data' || act === 'host-queues');
  return fault && ((transport) => new DisorderlyTransport(transport, fault, clock, seededRandom(tray.seed)));
}

/** Radios that are open, and how to let go of all of them. */
export interface OpenRadios {
  readonly radios: readonly Radio[];
  stop(): Promise<void>;
}

/** The radios that the user named, or those of the machine. @throws StationError RADIO_SPEC_INVALID, NO_RADIO */
export async function chooseRadios(named: readonly string[]): Promise<RadioSpec[]> {
  if (named.length > 0) return named.map(parseRadioSpec);
  if (process.platform === 'darwin' || process.platform === 'win32') return [{ kind: 'system', name: 'system' }];
  const adapters = await kernelAdapters();
  if (adapters.length === 0) throw new StationError('NO_RADIO');
  return adapters.map((id) => ({ kind: 'kernel', name: `hci:${id}`, id }));
}

/** A radio that plays a capture back. @throws StationError FILE_NOT_FOUND, CAPTURE_INVALID, CAPTURE_TRUNCATED, CAPTURE_LINK_TYPE */
export async function openReplay(path: string, clock: Clock): Promise<Radio> {
  let file: Buffer;
  try {
    file = await readFile(path);
  } catch (error) {
    throw new StationError('FILE_NOT_FOUND', path, { cause: error });
  }
  return openRadioOver('replay', new ReplayTransport(hciPackets(file), clock), clock);
}

/** @throws StationError CAPTURE_LINK_TYPE: what was taken in the air has no commands and events to play back */
function hciPackets(file: Buffer): CapturedPacket[] {
  const { taken, packets } = readCapture(file);
  if (taken === 'air') throw new StationError('CAPTURE_LINK_TYPE', 'a capture of the air cannot be played back');
  return packets;
}

/** Opens radios; for virtual ones a tray is started first, once for all of them. If one fails, those before it are closed. */
export async function openRadios(
  specs: readonly RadioSpec[],
  clock: Clock,
  virtual: { tray: TrayFile; fork: ForkTray; deviceLogs?: string | undefined },
): Promise<OpenRadios> {
  const radios: Radio[] = [];
  const tray = specs.some((spec) => spec.kind === 'virtual') ? await startVirtualTray(virtual.tray, virtual) : null;
  const stop = async () => {
    await Promise.all(radios.map((radio) => radio.stop()));
    await tray?.stop();
  };
  try {
    for (const spec of specs) {
      if (spec.kind === 'replay') {
        radios.push(await openReplay(spec.path, clock));
        continue;
      }
      if (spec.kind !== 'virtual') {
        radios.push(await openRadio(spec, clock));
        continue;
      }
      for (let i = 1; i <= spec.count; i++) {
        const name = spec.count > 1 ? `virtual:${i}` : 'virtual';
        radios.push(await openRadio({ kind: 'h4', name, path: tray!.path }, clock, hostDisorder(virtual.tray, clock)));
      }
    }
    return { radios, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
