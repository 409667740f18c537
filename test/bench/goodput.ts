import type { z } from 'zod';
import type { JobEvent } from '../../src/contract/job-events.ts';
import { type ProductProfile, productFile } from '../../src/contract/product-file.ts';
import type { trayFile } from '../../src/contract/tray-file.ts';
import { dataBytes } from '../../src/protocols/fus/fus-upload.ts';
import {
  type ControllerLimits,
  type FrameShape,
  fusDataShape,
  perfectSenderBytesPerSecond,
  smpUploadShape,
} from '../../src/radio/perfect-sender.ts';
import { intervalFor } from '../../src/scheduler/link-plan.ts';
import { testFirmware } from '../support/virtual-station.ts';
import { limitsOf } from './controller.ts';
import { atLeast, atMost, type Figure, shown } from './figure.ts';
import { benchProduct, FRAME_BYTES, fusProfile, openRig, profile, runJob } from './rig.ts';

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

interface Conditions {
  readonly units: number;
  readonly radios: number;
  readonly product?: ProductProfile;
  readonly isolate?: boolean;
  /** What else is on the air, and how far the controllers are away. */
  readonly surroundings?: Pick<z.input<typeof trayFile>, 'air' | 'controller'>;
}

/** Encrypted links, an interval of one's own, or 1M. */
function secured(link: z.input<typeof productFile>['link'] = {}): ProductProfile {
  return productFile.parse({ ...benchProduct, security: 'just-works', link });
}

async function measure({
  units,
  radios,
  product = profile,
  isolate = false,
  surroundings = {},
}: Conditions): Promise<number[]> {
  const security = product.security === 'just-works' ? ('both' as const) : ('none' as const);
  const rig = await openRig(
    { units, device: { protocol: product.protocol, slotKiB: 1024, security }, ...surroundings },
    radios,
    isolate,
  );
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

/** What a goodput is held against, and how much of it there has to be. */
interface Goal {
  readonly links: number;
  readonly radios?: number;
  readonly product?: ProductProfile;
  readonly shape?: FrameShape;
  readonly goal: number;
}

function limit(
  linksPerRadio: number,
  product: ProductProfile,
  shape: FrameShape,
  controller: ControllerLimits | undefined = limitsOf(),
): number {
  const { intervalMs, phy } = product.link;
  return perfectSenderBytesPerSecond(
    {
      phy: phy === '1M' ? '1M' : '2M',
      intervalMs: intervalMs === 'auto' ? intervalFor(linksPerRadio) : intervalMs,
      links: linksPerRadio,
      dataLength: 251,
      mtu: 498,
      encrypted: product.security === 'just-works',
      controller,
    },
    shape,
  );
}

/**
 * A goodput against the perfect sender's. What cannot be: more than the air carries when answers weigh nothing, for several may share an
 * event by chance; and one frame, for the time begins and ends with an answer and a frame may be on its way then.
 */
function goodput(
  name: string,
  rate: number,
  { links, radios = 1, product = profile, shape = smpUploadShape(FRAME_BYTES, 498), goal }: Goal,
): Figure {
  const withAnswers = radios * limit(links, product, shape);
  const ceiling =
    radios * limit(links, product, { ...shape, notifications: [] }) * (1 + shape.imageBytes / IMAGE_BYTES);
  return atLeast(name, rate, withAnswers, goal, 'B/s', ceiling);
}

/** The same against the bound as it used to be: equal slots, buffers without end. */
function equalSlots(name: string, rate: number, links: number, radios = 1): Figure {
  const { intervalMs } = secured().link;
  const bound = perfectSenderBytesPerSecond(
    {
      phy: '2M',
      intervalMs: intervalMs === 'auto' ? intervalFor(links) : intervalMs,
      links,
      dataLength: 251,
      mtu: 498,
      encrypted: true,
    },
    smpUploadShape(FRAME_BYTES, 498),
  );
  return shown(`${name} / equal slots`, rate, radios * bound, 'B/s');
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/** What the air carries without a pause at MTU 498 on 2M: two PDUs of 251 octets, their answers empty (Core 5.4, Vol 6 Part B, 2.1). */
const CONTINUOUS = { clear: 175_800, encrypted: (495 / 2 / 1408) * 1e6 };
/** A full packet on 2M, encrypted, and its answer. */
const PACKET_MS = 1.408;
const FUS_MAX_FRAME = 8192;

/** One unit, encrypted, at each interval and on both PHYs; and at the interval that the station chooses. */
export async function oneUnit(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const phy of ['auto', '1M'] as const) {
    for (const intervalMs of [7.5, 15, 30, 50]) {
      const product = secured({ intervalMs, phy });
      const rate = sum(await measure({ units: 1, radios: 1, product }));
      const name = `one unit, encrypted, ${phy === '1M' ? '1M' : '2M'}, ${intervalMs} ms`;
      figures.push(goodput(name, rate, { links: 1, product, goal: 0.97 }));
    }
  }
  const own = sum(await measure({ units: 1, radios: 1, product: secured() }));
  return [
    ...figures,
    goodput('one unit, encrypted, own interval', own, { links: 1, product: secured(), goal: 0.97 }),
    equalSlots('one unit, encrypted', own, 1),
    atLeast('one unit, encrypted / continuous air', own, CONTINUOUS.encrypted, 0.94, 'B/s'),
  ];
}

export async function eightUnits(): Promise<Figure[]> {
  const rates = await measure({ units: 8, radios: 1, product: secured() });
  return [
    goodput('eight units on one radio, encrypted', sum(rates), { links: 8, product: secured(), goal: 0.95 }),
    equalSlots('eight units, encrypted', sum(rates), 8),
    atLeast('eight units, encrypted / continuous air', sum(rates), CONTINUOUS.encrypted, 0.9, 'B/s'),
    atLeast('eight units, slowest / fastest', Math.min(...rates), Math.max(...rates), 0.8, 'B/s'),
  ];
}

export async function fourRadios(): Promise<Figure[]> {
  const rate = sum(await measure({ units: 16, radios: 4, product: secured() }));
  const expected = { links: 4, radios: 4, product: secured(), goal: 0.95 };
  return [
    goodput('four radios, four units each, encrypted', rate, expected),
    equalSlots('four radios, four units each', rate, 4, 4),
  ];
}

/** What is measured without and with disturbances. */
const SETTINGS = [
  { name: 'one unit', units: 1, radios: 1 },
  { name: 'eight units on one radio', units: 8, radios: 1 },
  { name: 'four radios, four units each', units: 16, radios: 4 },
] as const;
const NEIGHBOURS = 200;
const LATENCIES_MS = [1, 4, 10];
const DISTURBED_GOAL = 0.9;

/**
 * With the advertisers of a neighbour on the air, and with controllers that are far away: against the figure without, or what the buffers
 * can carry there and back, where that is less. There and back is both ways and the packet's own time on the air.
 */
export async function disturbed(): Promise<Figure[]> {
  const figures: Figure[] = [];
  const { imageBytes, writes } = smpUploadShape(FRAME_BYTES, 498);
  const packetBytes = imageBytes / (2 * writes.length);
  for (const { name, units, radios } of SETTINGS) {
    const rate = async (surroundings: NonNullable<Conditions['surroundings']>) =>
      sum(await measure({ units, radios, product: secured(), surroundings }));
    const without = await rate({});
    const crowded = await rate({ air: { neighbours: NEIGHBOURS } });
    figures.push(
      atLeast(`${name}, ${NEIGHBOURS} neighbours / without`, crowded, without, DISTURBED_GOAL, 'B/s', Infinity),
    );
    for (const latencyMs of LATENCIES_MS) {
      const far = await rate({ controller: { latencyMs } });
      const byBuffers = (radios * limitsOf().buffers * packetBytes * 1000) / (2 * latencyMs + PACKET_MS);
      const least = Math.min(without, byBuffers);
      figures.push(atLeast(`${name}, ${latencyMs} ms each way / without`, far, least, DISTURBED_GOAL, 'B/s', Infinity));
    }
  }
  return figures;
}

/** Radios in processes of their own against the same in this one. */
export async function isolation(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const [units, radios] of [
    [1, 1],
    [8, 1],
  ] as const) {
    const here = sum(await measure({ units, radios, product: secured() }));
    const apart = sum(await measure({ units, radios, product: secured(), isolate: true }));
    figures.push(atMost(`in this process / isolated, ${units} units, ${radios} radios`, here, apart, 1.03, 'B/s'));
  }
  return figures;
}

/** FUS of the reference profile: one unit, and eight on one radio. */
export async function fus(): Promise<Figure[]> {
  const shape = fusDataShape(dataBytes(FUS_MAX_FRAME, 498, 'standard', 'crc16'), 498);
  const one = sum(await measure({ units: 1, radios: 1, product: fusProfile }));
  const eight = sum(await measure({ units: 8, radios: 1, product: fusProfile }));
  return [
    goodput('FUS, one unit, 2M', one, { links: 1, product: fusProfile, shape, goal: 0.95 }),
    atLeast('FUS, one unit / continuous air', one, CONTINUOUS.clear, 0.85, 'B/s'),
    goodput('FUS, eight units on one radio', eight, { links: 8, product: fusProfile, shape, goal: 0.95 }),
  ];
}
