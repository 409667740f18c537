import { type Clock, sleep } from '../clock.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import { type DfuDriver, SHOW_MS } from '../protocols/driver.ts';
import type { Radio } from '../radio/radio.ts';
import { SUPERVISION_TIMEOUT_MS } from './link-plan.ts';

const CONNECT_TIMEOUT_MS = 5_000;

/** Makes a device show itself. @throws StationError IDENTIFY_UNSUPPORTED when it cannot, or why it cannot be reached */
export async function identifyDevice(
  radio: Radio,
  address: string,
  how: {
    readonly driver: DfuDriver;
    readonly profile: ProductProfile;
    readonly clock: Clock;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { driver, profile, clock, signal } = how;
  const link = await radio.connect(address, {
    intervalMs: 30,
    supervisionTimeoutMs: SUPERVISION_TIMEOUT_MS,
    timeoutMs: CONNECT_TIMEOUT_MS,
    signal,
  });
  try {
    await driver.identify(link, profile, clock, signal);
    // Some devices show themselves only while there is a link.
    await sleep(clock, SHOW_MS, signal);
  } finally {
    await link.disconnect();
    link.evidence?.release();
  }
}
