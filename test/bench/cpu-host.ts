// What the station and bare noble cost the processor for the same bytes: a process of its own that tells both.
import { once } from 'node:events';
import { SMP_SERVICE_UUID } from '../../src/contract/product-file.ts';
import { connectH4 } from '../../src/radio/hci/h4-stream.ts';
import type { NobleCharacteristic, NobleService } from '../../src/radio/noble/noble-internals.ts';
import { bareNoble } from '../support/bare-noble.ts';
import { until } from '../support/until.ts';
import { testFirmware } from '../support/virtual-station.ts';
import { openRig, runJob } from './rig.ts';

const IMAGE_BYTES = 1_000_000;
const WRITE_BYTES = 495;
/** Both take turns, so that neither has the machine's good seconds, or the collector's bad ones, for itself. */
const TURNS = 3;

/** Milliseconds of processor time for each megabyte. */
export interface CpuFigures {
  readonly bareMsPerMb: number;
  readonly ownMsPerMb: number;
}

let bareMs = 0;
let ownMs = 0;
for (let turn = 0; turn < TURNS; turn++) {
  bareMs += await bareCpuMs();
  ownMs += await stationCpuMs();
}
const megabytes = (TURNS * IMAGE_BYTES) / 1_000_000;
process.send?.({ bareMsPerMb: bareMs / megabytes, ownMsPerMb: ownMs / megabytes } satisfies CpuFigures);
process.disconnect?.();

function cpuMs(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1000;
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
