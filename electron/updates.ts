import type { AutoUpdater } from 'electron';
import type { Busy } from './busy-guard.ts';

/** What is needed of the platform's updater. */
export type Updater = Pick<AutoUpdater, 'setFeedURL' | 'checkForUpdates' | 'quitAndInstall' | 'on'>;

/**
 * Fetches updates from the address that the site has configured and installs one only while no unit runs. Without an address nothing is
 * fetched: a factory decides itself when its stations change.
 */
export function followUpdates(
  updater: Updater,
  address: string | undefined,
  station: Busy,
  report: (error: Error) => void,
): void {
  if (!address) return;
  let ready = false;
  const install = () => {
    if (ready && !station.busy) updater.quitAndInstall();
  };
  updater.on('update-downloaded', () => {
    ready = true;
    install();
  });
  updater.on('error', report);
  station.onChange(install);
  updater.setFeedURL({ url: address });
  updater.checkForUpdates();
}
