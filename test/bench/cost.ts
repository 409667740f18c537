import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../src/clock.ts';
import { SMP_SERVICE_UUID } from '../../src/contract/product-file.ts';
import type { FirmwarePackage } from '../../src/firmware/firmware-package.ts';
import { SMP_CHARACTERISTIC_UUID, SmpClient } from '../../src/protocols/smp/smp-client.ts';
import { uploadImage } from '../../src/protocols/smp/smp-upload.ts';
import { connectH4 } from '../../src/radio/hci/h4-stream.ts';
import type { NobleCharacteristic, NobleService } from '../../src/radio/noble/noble-internals.ts';
import { openNobleRadio } from '../../src/radio/noble/noble-radio.ts';
import { openRadio } from '../../src/radio/open-radio.ts';
import type { Link, Radio } from '../../src/radio/radio.ts';
import { RecordReader } from '../../src/records/record-reader.ts';
import { RecordWriter } from '../../src/records/record-writer.ts';
import { RecordedLink } from '../../src/scheduler/recorded-link.ts';
import { bareNoble } from '../support/bare-noble.ts';
import { until } from '../support/until.ts';
import { testFirmware, testImage } from '../support/virtual-station.ts';
import { atMost, type Figure } from './figure.ts';
import { cliPath, FRAME_BYTES, openRig, profile, runJob } from './rig.ts';

const IMAGE_BYTES = 1_000_000;
const WRITE_BYTES = 495;
const CPU_RUNS = 9;
const MEGABYTE = 1_000_000;
const MEMORY_UNITS = 64;
const MEMORY_LIMIT_MB = 300;

const cpuMs = (since: NodeJS.CpuUsage) => {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1000;
};

/**
 * The station's CPU for an upload, records and all, against bare noble writing as many bytes in the same writes: the median of so many runs,
 * taken in turns in this one process.
 */
export async function cpu(): Promise<Figure[]> {
  const runs: { bare: number; own: number }[] = [];
  for (let run = 0; run < CPU_RUNS; run++) runs.push({ bare: await bareCpuMs(), own: await stationCpuMs() });
  const { bare, own } = runs.sort((a, b) => a.own / a.bare - b.own / b.bare)[Math.floor(CPU_RUNS / 2)]!;
  return [
    atMost('CPU per MB / bare noble', (own / IMAGE_BYTES) * MEGABYTE, (bare / IMAGE_BYTES) * MEGABYTE, 1.5, 'ms/MB'),
  ];
}

async function stationCpuMs(): Promise<number> {
  const rig = await openRig({ units: 1, device: { slotKiB: 2048 } }, 1);
  let begun: NodeJS.CpuUsage | null = null;
  let used = 0;
  try {
    await runJob(rig, await testFirmware(IMAGE_BYTES), 1, (event) => {
      if (event.type !== 'step') return;
      if (event.step === 'upload') begun = process.cpuUsage();
      if (event.step === 'verify-upload' && begun) used = cpuMs(begun);
    });
  } finally {
    await rig.stop();
  }
  return used;
}

async function bareCpuMs(): Promise<number> {
  // noble asks for neither data length nor PHY: here the device does, so that the packets are the same.
  const rig = await openRig({ units: 1, device: { asksForSpeed: true } }, 0);
  const transport = await connectH4({ path: rig.path });
  const noble = await bareNoble(transport);
  try {
    let address = '';
    noble.noble.on('discover', (peripheral: { address: string }) => {
      address = peripheral.address;
    });
    noble.noble.startScanning([], true);
    await until(() => address !== '');
    const peripheral = await noble.connect(address);
    const services = (await emitted(peripheral, 'servicesDiscover', () =>
      peripheral.discoverServices([]),
    )) as NobleService[];
    const service = services.find(({ uuid }) => uuid === SMP_SERVICE_UUID.replaceAll('-', ''))!;
    const found = await emitted(service, 'characteristicsDiscover', () => service.discoverCharacteristics([]));
    const characteristic = (found as NobleCharacteristic[])[0]!;
    const hci = noble.bindings._hci as unknown as {
      _aclQueue: unknown[];
      _aclConnections: Map<number, { pending: number }>;
    };
    const drained = () =>
      hci._aclQueue.length === 0 && [...hci._aclConnections.values()].every(({ pending }) => pending === 0);
    const begun = process.cpuUsage();
    for (let at = 0; at < IMAGE_BYTES; at += WRITE_BYTES) characteristic.write(Buffer.alloc(WRITE_BYTES, 0xff), true);
    do await new Promise((resolve) => setTimeout(resolve, 50));
    while (!drained());
    return cpuMs(begun);
  } finally {
    noble.dispose();
    await transport.close();
    await rig.stop();
  }
}

async function emitted(emitter: NodeJS.EventEmitter, event: string, start: () => void): Promise<unknown> {
  const answer = once(emitter, event);
  start();
  return (await answer)[0];
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
