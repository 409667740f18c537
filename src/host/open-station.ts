import type { Clock } from '../clock.ts';
import { asStationError, StationError } from '../contract/errors.ts';
import { type TrayFile, trayDevices } from '../contract/tray-file.ts';
import type { RadioSpec } from '../radio/radio-spec.ts';
import { AsyncReader } from '../records/async-reader.ts';
import type { Sealer } from '../records/bond-store.ts';
import { RecordWriter } from '../records/record-writer.ts';
import { Desk } from '../station/desk.ts';
import type { Practice } from '../station/practice.ts';
import { Reception } from '../station/reception.ts';
import { dataDirectory } from './data-directory.ts';
import type { ForkProgram } from './fork.ts';
import { practicePins, practiceTray, seedPractice } from './practice-seed.ts';
import { chooseRadios, ISOLATE_BY_DEFAULT, type OpenRadios, openRadios } from './radios.ts';
import { appVersion } from './version.ts';
import type { VirtualRadioProcess } from './virtual-radio.ts';

/** How a station with screens is started. */
export interface StationOptions {
  readonly radio: readonly string[];
  readonly data?: string | undefined;
  readonly practice?: boolean | undefined;
  /** The tray that a practising station has in front of it. */
  readonly tray?: TrayFile | undefined;
  readonly deviceLogs?: string | undefined;
  readonly clock: Clock;
  /** How the host starts processes of the program's own: virtual trays, and radios. */
  readonly fork: ForkProgram;
  /** Whether each radio runs in a process of its own. */
  readonly isolate?: boolean | undefined;
  /** Keeps the keys of bonds from whoever reads the disk, where the platform offers that. */
  readonly sealer?: Sealer | undefined;
}

/** A station that runs: windows come in at the reception. */
export interface RunningStation {
  readonly reception: Reception;
  readonly desk: Desk;
  readonly practice: boolean;
  readonly directory: string;
  /** Attempts of an earlier run that were cut off and have been closed as such. */
  readonly interrupted: number;
  stop(): Promise<void>;
}

/**
 * Opens records, radios and desk: what every host with screens needs. Without a radio, or when asked to, the station practises on a
 * virtual tray, with records of their own.
 * @throws StationError as RecordWriter and openRadio of the virtual tray; a real radio that cannot be opened is tried again instead
 */
export async function openStation(options: StationOptions): Promise<RunningStation> {
  const { clock } = options;
  const { specs, practiceReason } = await choose(options);
  const practice = practiceReason !== null;
  const directory = dataDirectory({ data: options.data, practice });
  const records = new RecordWriter(directory, clock, options.sealer);
  let opened: OpenRadios | null = null;
  try {
    const tray = options.tray ?? practiceTray;
    const { fork, isolate = ISOLATE_BY_DEFAULT, deviceLogs } = options;
    opened = await openRadios(specs, { clock, tray, fork, isolate, deviceLogs }, { strict: false });
    const { rack, virtualTray } = opened;
    const reader = new AsyncReader(directory);
    const desk = new Desk({
      records,
      reader,
      shelf: rack,
      practice: practice ? practiceOf(tray, virtualTray) : null,
      practiceReason,
      practicePins: practice ? practicePins : [],
      clock,
      appVersion,
    });
    if (practice) await seedPractice(desk, tray);
    const reception = new Reception(desk, clock);
    return {
      reception,
      desk,
      practice,
      directory,
      interrupted: records.interrupted,
      async stop() {
        reception.close();
        await desk.close();
        await opened?.stop();
        await reader.stop();
        records.close();
      },
    };
  } catch (error) {
    await opened?.stop();
    records.close();
    throw error;
  }
}

async function choose(
  options: StationOptions,
): Promise<{ specs: readonly RadioSpec[]; practiceReason: 'asked' | 'no-radio' | null }> {
  const virtual: RadioSpec = { kind: 'virtual', name: 'virtual', count: 1 };
  try {
    if (options.practice && options.radio.length === 0) return { specs: [virtual], practiceReason: 'asked' };
    const specs = await chooseRadios(options.radio);
    const asked = options.practice || specs.some(({ kind }) => kind === 'virtual' || kind === 'replay');
    return { specs, practiceReason: asked ? 'asked' : null };
  } catch (error) {
    if (!(error instanceof StationError) || asStationError(error).code !== 'NO_RADIO') throw error;
    return { specs: [virtual], practiceReason: 'no-radio' };
  }
}

function practiceOf(tray: TrayFile, process: VirtualRadioProcess | null): Practice {
  let nth = 0;
  return {
    labels: () => (process ? trayDevices(tray, nth).map(({ serial }) => serial ?? '') : []),
    async nextTray() {
      nth += 1;
      await process?.nextTray();
    },
  };
}
