import type { Clock } from '../clock.ts';
import { asStationError } from '../contract/errors.ts';
import type { JobSummary } from '../contract/job-events.ts';
import type { QualificationSection } from '../contract/qualification.ts';
import type { HciTransport } from '../radio/hci/transport.ts';
import type { CapturedPacket, Radio } from '../radio/radio.ts';
import { ControllerObservation } from './controller-observation.ts';
import { ObservedTransport } from './observed-transport.ts';
import { probeController } from './probe-controller.ts';
import { radioSections } from './radio-sections.ts';

const LISTEN_MS = 2000;

/** A radio that is to be qualified, and how. */
export interface RadioUnderTest {
  /** The way to its controller; null where the platform has it. */
  readonly transport: HciTransport | null;
  /** Makes a radio of it, as the station does. */
  readonly open: (transport: HciTransport | null) => Promise<Radio>;
  readonly clock: Clock;
  /** Of a UART, in bits a second. */
  readonly baudRate: number | null;
  /** Upgrades units over it; null when that was not asked for. */
  readonly upgrade: ((radio: Radio) => Promise<JobSummary>) | null;
}

/** Asks, listens and, where units are named, upgrades. The transport is closed at the end. @throws StationError RADIO_REFUSED, RADIO_LOST, or why `upgrade` could not begin */
export async function qualifyRadio(test: RadioUnderTest, signal: AbortSignal): Promise<QualificationSection[]> {
  const { clock, transport, baudRate } = test;
  const observation = new ControllerObservation();
  const observed = transport && new ObservedTransport(transport, clock, observation);
  const notProbed = observed ? null : "the system's own Bluetooth does not tell";
  const evidence = { recorded: false, notProbed, baudRate };
  try {
    const probed = observed && (await probeController(observed, clock, LISTEN_MS, signal));
    let radio: Radio;
    try {
      radio = await test.open(observed);
    } catch (error) {
      const unusable = asStationError(error).message;
      const findings = observation.findings();
      return radioSections({ ...evidence, findings, probed, linkLimit: null, summary: null, unusable });
    }
    try {
      const summary = test.upgrade && (await test.upgrade(radio));
      const { linkLimit } = radio;
      return radioSections({
        ...evidence,
        findings: observation.findings(),
        probed,
        linkLimit,
        summary,
        unusable: null,
      });
    } finally {
      await radio.stop();
    }
  } finally {
    await observed?.close();
  }
}

/** What a recording shows of the controller that it was taken of. */
export function qualifyRecording(packets: readonly CapturedPacket[]): QualificationSection[] {
  const observation = new ControllerObservation();
  for (const { packet, received, timeUs } of packets) observation.take(packet, received, timeUs / 1000);
  return radioSections({
    findings: observation.findings(),
    recorded: true,
    probed: null,
    notProbed: null,
    baudRate: null,
    linkLimit: null,
    summary: null,
    unusable: null,
  });
}
