import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlobWriter, TextReader, Uint8ArrayReader, ZipWriter } from '@zip.js/zip.js';
import type { z } from 'zod';
import { type Clock, systemClock } from '../../src/clock.ts';
import type { JobEvent, JobSummary, UnitSummary } from '../../src/contract/job-events.ts';
import { jobFile } from '../../src/contract/job-file.ts';
import { productFile } from '../../src/contract/product-file.ts';
import { type TrayFile, trayFile } from '../../src/contract/tray-file.ts';
import { buildImage } from '../../src/firmware/build-image.ts';
import { type FirmwarePackage, parseFirmware } from '../../src/firmware/firmware-package.ts';
import { parseVersion } from '../../src/firmware/mcuboot-image.ts';
import { openOwnRadio } from '../../src/host/radio-process.ts';
import { hostDisorder } from '../../src/host/radios.ts';
import type { Radio } from '../../src/radio/radio.ts';
import { fixedShelf } from '../../src/radio/radio-shelf.ts';
import { RecordReader } from '../../src/records/record-reader.ts';
import { RecordWriter } from '../../src/records/record-writer.ts';
import { Station } from '../../src/station/station.ts';
import { listenVirtualTray, type VirtualTray } from '../../src/virtual/virtual-tray.ts';

const SPEED = 10;

/** A clock that runs as much faster than the machine's as the ether of these tests does. */
export const fastClock: Clock = {
  now: () => systemClock.now() * SPEED,
  wall: () => new Date(),
  after: (ms, fn) => systemClock.after(ms / SPEED, fn),
};

/** A firmware image of so many bytes of payload. */
export async function testFirmware(bytes = 60_000, version = '1.0.0'): Promise<FirmwarePackage> {
  return parseFirmware(testImage(bytes, version), `test-${version}.bin`);
}

/** The image itself; its content follows from its size and version. */
export function testImage(bytes: number, version: string): Buffer {
  const payload = createHash('shake256', { outputLength: bytes }).update(version).digest();
  return buildImage({ payload, version: parseVersion(version)! });
}

/** A package for both cores of an nRF5340. */
export async function twoCoreFirmware(): Promise<FirmwarePackage> {
  const writer = new ZipWriter(new BlobWriter());
  const files = [
    { file: 'app.bin', image_index: '0', board: 'nrf5340dk/nrf5340/cpuapp' },
    { file: 'net.bin', image_index: '1', board: 'nrf5340dk/nrf5340/cpunet' },
  ];
  await writer.add('manifest.json', new TextReader(JSON.stringify({ 'format-version': 0, files })));
  await writer.add('app.bin', new Uint8ArrayReader(testImage(40_000, '2.0.0')));
  await writer.add('net.bin', new Uint8ArrayReader(testImage(20_000, '2.0.1')));
  return parseFirmware(Buffer.from(await (await writer.close()).arrayBuffer()), 'dfu_application.zip');
}

/** What a run of a test differs in. */
export interface TestRun {
  readonly profile?: z.input<typeof productFile> extends infer P ? Partial<P> : never;
  readonly job?: Partial<z.input<typeof jobFile>>;
  readonly firmware?: FirmwarePackage;
  readonly units?: number;
  readonly findTimeoutMs?: number;
  readonly practice?: boolean;
  readonly signal?: AbortSignal;
  /** Radios that are there already, in place of fresh ones; they are stopped at the end. */
  readonly radios?: readonly Radio[];
  readonly onEvent?: (event: JobEvent, radios: readonly Radio[]) => void;
}

/** A virtual tray, ten times as fast as the air, with a station in front of it. */
export class VirtualStation {
  readonly directory: string;
  readonly #tray: VirtualTray;
  readonly #path: string;
  readonly #radioCount: number;
  readonly events: JobEvent[] = [];
  readonly #wires: { server: Server; ends: Socket[] }[] = [];

  readonly #description: TrayFile;

  private constructor(directory: string, path: string, tray: VirtualTray, radioCount: number, description: TrayFile) {
    this.#description = description;
    this.directory = directory;
    this.#path = path;
    this.#tray = tray;
    this.#radioCount = radioCount;
  }

  static async start(tray: z.input<typeof trayFile>, radioCount = 1): Promise<VirtualStation> {
    const directory = await mkdtemp(join(tmpdir(), 'dfu-test-'));
    const path = join(directory, 'ether');
    const description = trayFile.parse({ ...tray, speed: SPEED });
    const listening = await listenVirtualTray(description, path);
    return new VirtualStation(directory, path, listening, radioCount, description);
  }

  /** Runs a job on fresh radios; the records stay for the next run and for `reader`. */
  async run(options: TestRun = {}): Promise<JobSummary> {
    const radios: Radio[] = [...(options.radios ?? [])];
    const records = new RecordWriter(join(this.directory, 'data'), fastClock);
    try {
      for (let i = radios.length; i < this.#radioCount; i++) {
        const path = await this.#wire();
        const disorder = hostDisorder(this.#description);
        radios.push(await openOwnRadio({ kind: 'h4', name: `radio ${i + 1}`, path }, disorder, fastClock, null));
      }
      const practice = options.practice ?? false;
      const station = new Station({
        radios: fixedShelf(radios),
        records,
        clock: fastClock,
        practice,
        appVersion: 'test',
      });
      return await station.run(
        {
          job: jobFile.parse({ job: 'WO-1', ...options.job }),
          profile: productFile.parse({
            product: 'test',
            protocol: 'smp',
            discover: { namePrefix: 'DFU-' },
            identity: { from: 'name', pattern: '^DFU-(.+)$' },
            ...options.profile,
          }),
          firmware: options.firmware ?? (await testFirmware()),
          units: options.units,
          findTimeoutMs: options.findTimeoutMs,
        },
        options.signal ?? new AbortController().signal,
        (event) => {
          this.events.push(event);
          options.onEvent?.(event, radios);
        },
      );
    } finally {
      await Promise.all(radios.map((radio) => radio.stop()));
      records.close();
      for (const { server } of this.#wires.splice(0)) server.close();
    }
  }

  /** The socket at which controllers are offered. */
  get path(): string {
    return this.#path;
  }

  /** Pulls a radio's plug. */
  pull(radio: number): void {
    for (const end of this.#wires[radio]?.ends ?? []) end.destroy();
  }

  /** A wire to the ether that can be pulled: the path of a socket that leads there. */
  async #wire(): Promise<string> {
    const path = join(this.directory, `wire-${this.#wires.length}`);
    const ends: Socket[] = [];
    const server = createServer((near) => {
      const far = connect(this.#path);
      ends.push(near, far);
      near.on('error', () => far.destroy()).on('close', () => far.destroy());
      far.on('error', () => near.destroy()).on('close', () => near.destroy());
      near.pipe(far).pipe(near);
    });
    this.#wires.push({ server, ends });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return path;
  }

  /** What the devices really run, by serial. */
  truth(): Map<string, ReturnType<VirtualTray['devices'][number]['running']>> {
    return new Map(this.#tray.devices.map((device) => [device.description.serial ?? '', device.running()]));
  }

  /** Bonds that the devices keep. */
  bonds(): number[] {
    return this.#tray.devices.map((device) => device.bonds);
  }

  reader(): RecordReader {
    return new RecordReader(join(this.directory, 'data'));
  }

  async stop(): Promise<void> {
    await this.#tray.stop();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** Outcome and code by serial: `pass`, `fail SWAP_REVERTED`. */
export function outcomes(summary: JobSummary): Record<string, string> {
  const text = ({ outcome, code }: UnitSummary) => (code ? `${outcome} ${code}` : outcome);
  return Object.fromEntries(summary.units.map((unit) => [unit.unit, text(unit)]));
}
