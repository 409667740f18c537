import { z } from 'zod';
import { type Clock, systemClock } from '../clock.ts';
import { asStationError } from '../contract/errors.ts';
import { type FaultDescription, trayFile } from '../contract/tray-file.ts';
import type { HciTransport } from '../radio/hci/transport.ts';
import { openRadio, type RealRadioSpec } from '../radio/open-radio.ts';
import type { Radio } from '../radio/radio.ts';
import { RadioServer } from '../radio/remote/radio-server.ts';
import { openRemoteRadio } from '../radio/remote/remote-radio.ts';
import { DisorderlyTransport } from '../virtual/disorderly-transport.ts';
import { seededRandom } from '../virtual/random.ts';
import { type ForkProgram, parentChannel } from './fork.ts';

/** What reorders on the host's side, where a virtual tray's faults say so. */
export interface HostDisorder {
  readonly fault: FaultDescription;
  readonly seed: number;
}

/** What a radio's process is started with. */
interface RadioOrder {
  readonly spec: RealRadioSpec;
  readonly disorder: HostDisorder | null;
}

const order = z.object({
  spec: z.looseObject({ kind: z.enum(['kernel', 'h4', 'serial', 'system']), name: z.string() }),
  disorder: z.object({ fault: trayFile.shape.faults.unwrap().element, seed: z.number() }).nullable(),
});

/**
 * Opens a radio in this process, or, where `fork` is given, in one of its own; `signal` gives up one that is not yet ready there.
 * @throws StationError as openRadio
 */
export function openOwnRadio(
  spec: RealRadioSpec,
  disorder: HostDisorder | null,
  clock: Clock,
  fork: ForkProgram | null,
  signal?: AbortSignal,
): Promise<Radio> {
  if (!fork) return openRadio(spec, clock, transportDisorder(disorder, clock));
  const order: RadioOrder = { spec, disorder };
  return openRemoteRadio(spec.name, fork(['radio-process', JSON.stringify(order)]), clock, signal);
}

/** Runs a radio in this process for the one that started it, until it is told to stop or that one is gone. */
export async function runRadioProcess(text: string): Promise<void> {
  const { spec, disorder } = order.parse(JSON.parse(text)) as RadioOrder;
  const channel = parentChannel();
  const orphaned = new Promise<void>((resolve) => process.once('disconnect', resolve));
  let radio: Radio;
  try {
    radio = await openRadio(spec, systemClock, transportDisorder(disorder, systemClock));
  } catch (error) {
    const { code, detail, retryable } = asStationError(error);
    channel.send([{ type: 'ended', error: { code, detail, retryable } }]);
    return;
  }
  new RadioServer(radio, channel, systemClock);
  await Promise.race([radio.ended, orphaned]);
  await radio.stop();
}

function transportDisorder(
  disorder: HostDisorder | null,
  clock: Clock,
): ((transport: HciTransport) => HciTransport) | undefined {
  if (!disorder) return undefined;
  return (transport) => new DisorderlyTransport(transport, disorder.fault, clock, seededRandom(disorder.seed));
}
