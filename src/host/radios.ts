import { readFile } from 'node:fs/promises';
import type { Clock } from '../clock.ts';
import { StationError } from '../contract/errors.ts';
import type { TrayFile } from '../contract/tray-file.ts';
import { readCapture } from '../diagnostics/capture-file.ts';
import { kernelAdapters } from '../radio/hci/kernel-adapter.ts';
import { openRadioOver } from '../radio/open-radio.ts';
import type { CapturedPacket, Radio } from '../radio/radio.ts';
import { parseRadioSpec, type RadioSpec } from '../radio/radio-spec.ts';
import { ReplayTransport } from '../virtual/replay/replay-transport.ts';
import type { ForkProgram } from './fork.ts';
import { type HostDisorder, openOwnRadio } from './radio-process.ts';
import { type RadioOpener, RadioRack } from './radio-rack.ts';
import { startVirtualTray, type VirtualRadioProcess } from './virtual-radio.ts';

/** What reorders on the host's side, if the tray's faults say so; it concerns the whole radio, whichever unit is named. */
export function hostDisorder({ faults, seed }: TrayFile): HostDisorder | null {
  const fault = faults.find(({ do: act }) => act === 'host-late-data' || act === 'host-queues');
  return fault ? { fault, seed } : null;
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

/** Radios run in processes of their own unless they are told not to: what it costs is in docs/benchmarks.md. */
export const ISOLATE_BY_DEFAULT = true;

/** How radios are opened. */
export interface RadioOpening {
  readonly clock: Clock;
  /** What stands in front of virtual radios. */
  readonly tray: TrayFile;
  readonly fork: ForkProgram;
  /** Each radio runs in a process of its own. */
  readonly isolate: boolean;
  readonly deviceLogs?: string | undefined;
}

/** Radios of a station, and what is virtual in front of them. */
export interface OpenRadios {
  readonly rack: RadioRack;
  readonly virtualTray: VirtualRadioProcess | null;
  stop(): Promise<void>;
}

/**
 * Puts the radios into a rack; for virtual ones a tray is started first, once for all of them. With `strict` all have to open at once;
 * else those that cannot be opened are tried again.
 */
export async function openRadios(
  specs: readonly RadioSpec[],
  opening: RadioOpening,
  { strict }: { readonly strict: boolean },
): Promise<OpenRadios> {
  const { tray: description, fork, deviceLogs, clock } = opening;
  const isVirtual = specs.some(({ kind }) => kind === 'virtual');
  const virtualTray = isVirtual ? await startVirtualTray(description, { fork, deviceLogs }) : null;
  const rack = new RadioRack(
    specs.flatMap((spec) => openers(spec, virtualTray?.path ?? '', opening)),
    clock,
  );
  const stop = async () => {
    await rack.stop();
    await virtualTray?.stop();
  };
  try {
    await rack.start();
    const missing = rack.lastErrors()[0];
    if (strict && missing) throw missing;
    return { rack, virtualTray, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function openers(spec: RadioSpec, virtualPath: string, opening: RadioOpening): RadioOpener[] {
  const { clock, fork, isolate } = opening;
  if (spec.kind === 'replay') return [{ name: spec.name, open: () => openReplay(spec.path, clock) }];
  const isolated = isolate ? fork : null;
  if (spec.kind !== 'virtual')
    return [{ name: spec.name, open: (signal) => openOwnRadio(spec, null, clock, isolated, signal) }];
  return Array.from({ length: spec.count }, (_, index) => {
    const name = spec.count > 1 ? `virtual:${index + 1}` : 'virtual';
    const own = { kind: 'h4', name, path: virtualPath } as const;
    return { name, open: (signal) => openOwnRadio(own, hostDisorder(opening.tray), clock, isolated, signal) };
  });
}
