import type { Clock } from '../clock.ts';
import { asStationError, StationError } from '../contract/errors.ts';
import { type TrayFile, trayDevices } from '../contract/tray-file.ts';
import { openRadio } from '../radio/open-radio.ts';
import type { RadioSpec } from '../radio/radio-spec.ts';
import { AsyncReader } from '../records/async-reader.ts';
import type { Sealer } from '../records/bond-store.ts';
import { RecordWriter } from '../records/record-writer.ts';
import { Desk } from '../station/desk.ts';
import type { Practice } from '../station/radio-shelf.ts';
import { Reception } from '../station/reception.ts';
import { dataDirectory } from './data-directory.ts';
import { practicePins, practiceTray, seedPractice } from './practice-seed.ts';
import { type RadioOpener, RadioRack } from './radio-rack.ts';
import { chooseRadios, hostDisorder, openReplay } from './radios.ts';
import { appVersion } from './version.ts';
import { type ForkTray, startVirtualTray, type VirtualRadioProcess } from './virtual-radio.ts';

/** How a station with screens is started. */
export interface StationOptions {
  readonly radio: readonly string[];
  readonly data?: string | undefined;
  readonly practice?: boolean | undefined;
  /** The tray that a practising station has in front of it. */
  readonly tray?: TrayFile | undefined;
  readonly deviceLogs?: string | undefined;
  readonly clock: Clock;
  /** How the host starts the process that a virtual tray runs in. */
  readonly forkTray: ForkTray;
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
  let tray: VirtualRadioProcess | null = null;
  try {
    const trayDescription = options.tray ?? practiceTray;
    if (specs.some(({ kind }) => kind === 'virtual')) {
      tray = await startVirtualTray(trayDescription, { fork: options.forkTray, deviceLogs: options.deviceLogs });
    }
    const rack = new RadioRack(
      specs.flatMap((spec) => openers(spec, tray, trayDescription, clock)),
      clock,
    );
    await rack.start();
    const reader = new AsyncReader(directory);
    const desk = new Desk({
      records,
      reader,
      shelf: rack,
      practice: practice ? practiceOf(trayDescription, tray) : null,
      practiceReason,
      practicePins: practice ? practicePins : [],
      clock,
      appVersion,
    });
    if (practice) await seedPractice(desk, trayDescription);
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
        await rack.stop();
        await tray?.stop();
        await reader.stop();
        records.close();
      },
    };
  } catch (error) {
    await tray?.stop();
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

function openers(
  spec: RadioSpec,
  tray: VirtualRadioProcess | null,
  description: TrayFile,
  clock: Clock,
): RadioOpener[] {
  if (spec.kind === 'replay') return [{ name: spec.name, open: () => openReplay(spec.path, clock) }];
  if (spec.kind !== 'virtual') return [{ name: spec.name, open: () => openRadio(spec, clock) }];
  return Array.from({ length: spec.count }, (_, index) => {
    const name = spec.count > 1 ? `virtual:${index + 1}` : 'virtual';
    return {
      name,
      open: () => openRadio({ kind: 'h4', name, path: tray?.path ?? '' }, clock, hostDisorder(description, clock)),
    };
  });
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
