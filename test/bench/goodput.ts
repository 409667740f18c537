import type { JobEvent } from '../../src/contract/job-events.ts';
import type { ProductProfile } from '../../src/contract/product-file.ts';
import { dataBytes } from '../../src/protocols/fus/fus-upload.ts';
import {
  type FrameShape,
  fusDataShape,
  perfectSenderBytesPerSecond,
  smpUploadShape,
} from '../../src/radio/perfect-sender.ts';
import { intervalFor } from '../../src/scheduler/link-plan.ts';
import { testFirmware } from '../support/virtual-station.ts';
import { atLeast, type Figure } from './figure.ts';
import { FRAME_BYTES, fusProfile, openRig, profile, runJob } from './rig.ts';

const IMAGE_BYTES = 500_000;

/** When each unit's upload was under way, and how far: progress events with the time they came. */
interface Track {
  readonly points: { atMs: number; bytes: number }[];
}

/**
 * Goodput while all units upload: from when the last one has begun to when the first one has ended, so that neither connecting nor
 * finishing early counts. Per unit, in bytes a second.
 */
function commonRates(tracks: readonly Track[]): number[] {
  const from = Math.max(...tracks.map(({ points }) => points[0]!.atMs));
  const to = Math.min(...tracks.map(({ points }) => points.at(-1)!.atMs));
  return tracks.map(({ points }) => {
    const inside = points.filter(({ atMs }) => atMs >= from && atMs <= to);
    const first = inside[0]!;
    const last = inside.at(-1)!;
    return ((last.bytes - first.bytes) / (last.atMs - first.atMs)) * 1000;
  });
}

async function measure(units: number, radios: number, product: ProductProfile = profile): Promise<number[]> {
  const rig = await openRig({ units, device: { protocol: product.protocol, slotKiB: 1024 } }, radios);
  const tracks = new Map<string, Track>();
  const onEvent = (event: JobEvent) => {
    if (event.type !== 'progress') return;
    const track = tracks.get(event.unit) ?? { points: [] };
    tracks.set(event.unit, track);
    track.points.push({ atMs: performance.now(), bytes: event.bytes });
  };
  try {
    await runJob(rig, await testFirmware(IMAGE_BYTES), units, onEvent, product);
  } finally {
    await rig.stop();
  }
  return commonRates([...tracks.values()]);
}

function limit(linksPerRadio: number, shape: FrameShape = smpUploadShape(FRAME_BYTES, 498)): number {
  const conditions = {
    phy: '2M' as const,
    intervalMs: intervalFor(linksPerRadio),
    links: linksPerRadio,
    dataLength: 251,
    mtu: 498,
    encrypted: false,
  };
  return perfectSenderBytesPerSecond(conditions, shape);
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/** One unit; its interval is the 15 ms of the goal. */
export async function oneUnit(): Promise<Figure[]> {
  return [atLeast('one unit, 2M, 15 ms', sum(await measure(1, 1)), limit(1), 0.95, 'B/s')];
}

export async function eightUnits(): Promise<Figure[]> {
  const rates = await measure(8, 1);
  return [
    atLeast('eight units on one radio', sum(rates), limit(8), 0.9, 'B/s'),
    atLeast('eight units, slowest / fastest', Math.min(...rates), Math.max(...rates), 0.8, 'B/s'),
  ];
}

export async function fourRadios(): Promise<Figure[]> {
  return [atLeast('four radios, four units each', sum(await measure(16, 4)), 4 * limit(4), 0.9, 'B/s')];
}

/** Unencrypted, 2M, MTU 498: what the air carries without a pause. */
const CONTINUOUS_BYTES_PER_SECOND = 175_800;
const FUS_MAX_FRAME = 8192;

/** FUS of the reference profile: one unit, and eight on one radio. */
export async function fus(): Promise<Figure[]> {
  const shape = fusDataShape(dataBytes(FUS_MAX_FRAME, 498, 'standard', 'crc16'), 498);
  const one = sum(await measure(1, 1, fusProfile));
  const eight = sum(await measure(8, 1, fusProfile));
  return [
    atLeast('FUS, one unit, 2M', one, limit(1, shape), 0.95, 'B/s'),
    atLeast('FUS, one unit / continuous air', one, CONTINUOUS_BYTES_PER_SECOND, 0.85, 'B/s'),
    atLeast('FUS, eight units on one radio', eight, limit(8, shape), 0.95, 'B/s'),
  ];
}
