import { StationError } from '../contract/errors.ts';
import type { Link } from '../radio/radio.ts';

/** Immediate Alert Service and its Alert Level (Bluetooth assigned numbers; Find Me Profile 1.0). */
const IMMEDIATE_ALERT = '1802';
const ALERT_LEVEL = '2a06';
const HIGH_ALERT = Buffer.of(2);

/** Makes a device show itself (blink, beep) for as long as the link lasts. @throws StationError IDENTIFY_UNSUPPORTED when it cannot */
export async function alertImmediately(link: Link): Promise<void> {
  try {
    const characteristic = await link.characteristic(IMMEDIATE_ALERT, ALERT_LEVEL);
    await link.writeCommands([{ characteristic, value: HIGH_ALERT }]);
  } catch (error) {
    if (error instanceof StationError && error.code === 'SERVICE_NOT_FOUND') {
      throw new StationError('IDENTIFY_UNSUPPORTED', '', { cause: error });
    }
    throw error;
  }
}
