import type { Clock } from '../clock.ts';
import { CapturingTransport } from './hci/capture.ts';
import { connectH4, openSerial } from './hci/h4-stream.ts';
import { openKernelAdapter } from './hci/kernel-adapter.ts';
import type { HciTransport } from './hci/transport.ts';
import { openNobleRadio } from './noble/noble-radio.ts';
import type { Radio } from './radio.ts';
import type { RadioSpec } from './radio-spec.ts';

/** A radio that is not virtual: virtual ones are started by the host, which then connects to them like any other. */
export type RealRadioSpec = Exclude<RadioSpec, { kind: 'virtual' | 'replay' }>;

/**
 * Opens the radio that a spec names. `disorder` puts something between the capture and noble, as a host that reorders does.
 * @throws StationError RADIO_UNREACHABLE, RADIO_PERMISSION, RADIO_REFUSED
 */
export async function openRadio(
  spec: RealRadioSpec,
  clock: Clock,
  disorder?: (transport: HciTransport) => HciTransport,
): Promise<Radio> {
  if (spec.kind === 'system') {
    const { openSystemRadio } = await import('./noble/system-radio.ts');
    return openSystemRadio(spec.name, clock);
  }
  return openRadioOver(spec.name, await openTransport(spec), clock, disorder);
}

/** Opens a radio over a transport that is there already. @throws StationError RADIO_REFUSED */
export function openRadioOver(
  name: string,
  inner: HciTransport,
  clock: Clock,
  disorder?: (transport: HciTransport) => HciTransport,
): Promise<Radio> {
  const capturing = new CapturingTransport(inner, clock);
  const transport = disorder ? disorder(capturing) : capturing;
  return openNobleRadio(name, transport, clock, (handle) => capturing.link(handle));
}

/** The way to a controller of our own. @throws StationError RADIO_UNREACHABLE, RADIO_PERMISSION */
export function openTransport(spec: Exclude<RealRadioSpec, { kind: 'system' }>): Promise<HciTransport> {
  switch (spec.kind) {
    case 'kernel':
      return openKernelAdapter(spec.id);
    case 'serial':
      return openSerial(spec.path, spec.baudRate);
    case 'h4':
      return connectH4('path' in spec ? { path: spec.path } : { host: spec.host, port: spec.port });
  }
}
