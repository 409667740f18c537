import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../src/clock.ts';
import { SMP_SERVICE_UUID } from '../../src/contract/product-file.ts';
import type { FirmwarePackage } from '../../src/firmware/firmware-package.ts';
import { SMP_CHARACTERISTIC_UUID, SmpClient } from '../../src/protocols/smp/smp-client.ts';
import { uploadImage } from '../../src/protocols/smp/smp-upload.ts';
import { connectH4 } from '../../src/radio/hci/h4-stream.ts';
import { openNobleRadio } from '../../src/radio/noble/noble-radio.ts';
import { openRadio } from '../../src/radio/open-radio.ts';
import type { Link, Radio } from '../../src/radio/radio.ts';
import { RecordReader } from '../../src/records/record-reader.ts';
import { RecordWriter } from '../../src/records/record-writer.ts';
import { RecordedLink } from '../../src/scheduler/recorded-link.ts';
import { until } from '../support/until.ts';
import { testFirmware, testImage } from '../support/virtual-station.ts';
import type { CpuFigures } from './cpu-host.ts';
import { atMost, type Figure } from './figure.ts';
import { cliPath, FRAME_BYTES, openRig, profile } from './rig.ts';

const IMAGE_BYTES = 1_000_000;
const MEMORY_UNITS = 64;
const MEMORY_LIMIT_MB = 300;

/** The station's CPU for an upload, records and all, against bare noble writing as many bytes in the same writes. */
export async function cpu(): Promise<Figure[]> {
  const child = fork(fileURLToPath(new URL('cpu-host.ts', import.meta.url)), { stdio: 'inherit' });
  const ended = once(child, 'exit');
  const [figures] = (await Promise.race([once(child, 'message'), ended])) as [CpuFigures | number];
  if (typeof figures === 'number') throw new Error(`the benchmark's process ended with ${figures}`);
  await ended;
  return [atMost('CPU per MB / bare noble', figures.ownMsPerMb, figures.bareMsPerMb, 1.5, 'ms/MB')];
}

/** The most memory that a station holds while 64 units are upgraded over four radios. */
export async function memory(): Promise<Figure[]> {
  const rig = await openRig({ units: 1 }, 0);
  const image = join(rig.directory, 'image.bin');
  writeFileSync(image, testImage(60_000, '1.0.0'));
  const data = join(rig.directory, 'data');
  const child = spawn(
    process.execPath,
    [
      cliPath,
      'run',
      '--radio',
      'virtual:4',
      '--units',
      String(MEMORY_UNITS),
      '--firmware',
      image,
      '--data',
      data,
      '--json',
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  let peakMb = 0;
  const sample = setInterval(() => {
    peakMb = Math.max(peakMb, residentMb(child.pid));
  }, 100);
  const [status] = (await once(child, 'exit')) as [number];
  clearInterval(sample);
  await rig.stop();
  if (status !== 0)
    throw new Error(`the run of ${MEMORY_UNITS} units ended with ${status}: ${output.split('\n').at(-2)}`);
  return [atMost('memory for 64 units', peakMb, MEMORY_LIMIT_MB, 1, 'MB')];
}

function residentMb(pid: number | undefined): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')) return 0;
    throw error;
  }
}

/** The same upload with and without its frames on record, and what a frame takes on disk. */
export async function frameLog(): Promise<Figure[]> {
  const rig = await openRig({ units: 2, device: { slotKiB: 2048 } }, 1);
  const firmware = await testFirmware(IMAGE_BYTES);
  const records = new RecordWriter(rig.directory, systemClock);
  try {
    const radio = rig.radios[0]!;
    const [first, second] = await hearTwo(radio);
    const job = records.openJob({
      name: 'bench',
      profile,
      firmware,
      operator: null,
      practice: true,
      appVersion: 'bench',
    });
    const attempt = job.openAttempt({ serial: 'SN0001', slot: null, number: 1, repeats: null, address: first });
    const withLog = await timeUpload(radio, first, firmware, (link) => new RecordedLink(link, attempt, systemClock));
    attempt.step('upload', systemClock.now(), null);
    const without = await timeUpload(radio, second, firmware);
    const reader = new RecordReader(rig.directory);
    const { bytes, frames } = reader.frameLogSize(attempt.id);
    reader.close();
    return [
      atMost('upload time recorded / not recorded', withLog, without, 1.03, 'ms'),
      atMost('frame log on disk', bytes / frames, 12, 1, 'B/frame'),
    ];
  } finally {
    records.close();
    await rig.stop();
  }
}

async function hearTwo(radio: Radio): Promise<[string, string]> {
  const heard = new Set<string>();
  const stop = radio.scan(({ address }) => heard.add(address));
  await until(() => heard.size >= 2);
  stop();
  return [...heard] as [string, string];
}

async function timeUpload(
  radio: Radio,
  address: string,
  firmware: FirmwarePackage,
  wrap: (link: Link) => Link = (link) => link,
): Promise<number> {
  const link = wrap(await radio.connect(address, { intervalMs: 15, supervisionTimeoutMs: 2000, timeoutMs: 3000 }));
  await link.characteristic(SMP_SERVICE_UUID, SMP_CHARACTERISTIC_UUID);
  const client = await SmpClient.open(link, systemClock);
  const begunMs = performance.now();
  await uploadImage(client, firmware.images[0]!, {
    buffers: { frameBytes: FRAME_BYTES, count: 4 },
    window: 'auto',
    clock: systemClock,
    signal: new AbortController().signal,
    isComplete: async () => false,
    onProgress: () => undefined,
    onEnd: () => undefined,
  });
  const tookMs = performance.now() - begunMs;
  await link.disconnect();
  return tookMs;
}

/** An upload over a radio that captures every packet, against one that captures none. */
export async function capture(): Promise<Figure[]> {
  const rig = await openRig({ units: 2, device: { slotKiB: 2048 } }, 0);
  const firmware = await testFirmware(IMAGE_BYTES);
  const capturing = await openRadio({ kind: 'h4', name: 'capturing', path: rig.path }, systemClock);
  const plain = await openNobleRadio('plain', await connectH4({ path: rig.path }), systemClock);
  try {
    const [first] = await hearTwo(capturing);
    const heard = await hearTwo(plain);
    const second = heard.find((address) => address !== first) ?? heard[1];
    const on = await timeUpload(capturing, first, firmware);
    const off = await timeUpload(plain, second, firmware);
    return [atMost('upload time with capture / without', on, off, 1.03, 'ms')];
  } finally {
    await capturing.stop();
    await plain.stop();
    await rig.stop();
  }
}
