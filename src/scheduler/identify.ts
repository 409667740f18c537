import { StationError } from '../contract/errors.ts';
import type { Radio } from '../radio/radio.ts';
import { SUPERVISION_TIMEOUT_MS } from './link-plan.ts';

/** Immediate Alert Service and its Alert Level (Bluetooth assigned numbers; Find Me Profile 1.0). */
const IMMEDIATE_ALERT = '1802';
const ALERT_LEVEL = '2a06';
const HIGH_ALERT = Buffer.of(2);
const CONNECT_TIMEOUT_MS = 5_000;
/** The alert ends with the link at the latest, so the link is kept this long. */
const SHOW_MS = 4_000;

/**
 * Makes a device show itself (blink, beep) by its Immediate Alert Service.
 * @throws StationError IDENTIFY_UNSUPPORTED when it has none, or why it cannot be reached
 */
export async function identifyDevice(
  radio: Radio,
  address: string,
  wait: (ms: number) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const link = await radio.connect(address, {
    intervalMs: 30,
    supervisionTimeoutMs: SUPERVISION_TIMEOUT_MS,
    timeoutMs: CONNECT_TIMEOUT_MS,
    signal,
  });
  try {
    const level = await link.characteristic(IMMEDIATE_ALERT, ALERT_LEVEL);
    await link.writeCommand(level, HIGH_ALERT);
    await wait(SHOW_MS);
  } catch (error) {
    if (error instanceof StationError && error.code === 'SERVICE_NOT_FOUND') {
      throw new StationError('IDENTIFY_UNSUPPORTED', '', { cause: error });
    }
    throw error;
  } finally {
    await link.disconnect();
  }
}
