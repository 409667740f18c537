import { createHash } from 'node:crypto';
import { systemClock } from '../../src/clock.ts';
import { SMP_SERVICE_UUID } from '../../src/contract/product-file.ts';
import { GROUP, IMAGE, OP } from '../../src/protocols/smp/codec.ts';
import { SmpClient } from '../../src/protocols/smp/smp-client.ts';
import { uploadImage } from '../../src/protocols/smp/smp-upload.ts';
import { perfectSenderBytesPerSecond, smpUploadShape } from '../../src/radio/perfect-sender.ts';
import type { Radio } from '../../src/radio/radio.ts';
import { testFirmware } from '../support/virtual-station.ts';
import { atLeast, atMost, type Figure } from './figure.ts';
import { FRAME_BYTES, openRig } from './rig.ts';

const IMAGE_BYTES = 300_000;
const INTERVAL_MS = 30;
const TIMEOUT_MS = 2500;
const FIRST_TIMEOUT_MS = 40_000;
/** Header and the CBOR around the data of a request. */
const OVERHEAD = 26;
/** Share of the upload after which the window counts as learnt. */
const LEARNT = 0.2;

interface Point {
  readonly atMs: number;
  readonly bytes: number;
}
type Upload = (client: SmpClient, onProgress: (bytes: number) => void) => Promise<void>;

/** One upload on a fresh link to a fresh device: bytes a second from the first acknowledged byte to the last, and every step of it. */
async function measure(
  upload: Upload,
  smp: { holds: number; writeUsPerWord: number },
): Promise<{ rate: number; points: Point[] }> {
  const { holds, writeUsPerWord } = smp;
  const flash = { writeUsPerWord, eraseMsPerPage: 0 };
  const rig = await openRig({ units: 1, device: { slotKiB: 1024, flash, smp: { holds } } }, 1);
  try {
    const [radio] = rig.radios;
    const link = await radio!.connect(await firstHeard(radio!), {
      intervalMs: INTERVAL_MS,
      supervisionTimeoutMs: 2000,
      timeoutMs: 5000,
    });
    const points: Point[] = [];
    await upload(await SmpClient.open(link, systemClock), (bytes) => points.push({ atMs: performance.now(), bytes }));
    await link.disconnect();
    const first = points[0]!;
    const last = points.at(-1)!;
    return { rate: ((last.bytes - first.bytes) / (last.atMs - first.atMs)) * 1000, points };
  } finally {
    await rig.stop();
  }
}

function firstHeard(radio: Radio): Promise<string> {
  return new Promise((resolve) => {
    const stop = radio.scan(({ services, address }) => {
      if (!services.includes(SMP_SERVICE_UUID)) return;
      stop();
      resolve(address);
    });
  });
}

/** The station's own upload; with `window` it is told what the device holds and has nothing to learn. */
const ours =
  (window: number | 'auto' = 'auto'): Upload =>
  async (client, onProgress) => {
    const firmware = await testFirmware(IMAGE_BYTES);
    await uploadImage(client, firmware.images[0]!, {
      buffers: { frameBytes: FRAME_BYTES, count: 4 },
      window,
      clock: systemClock,
      signal: new AbortController().signal,
      isComplete: async () => true,
      onProgress,
      onEnd: () => undefined,
    });
  };

/**
 * The strategy of published clients, in our own words: a fixed number of requests of a fixed size in flight, what is acknowledged moves
 * on, a gap goes back, and nothing for a time-out goes back as well. With a window of one it is stop and wait.
 */
function fixedWindow(window: number, frameBytes: number): Upload {
  return async (client, onProgress) => {
    const firmware = await testFirmware(IMAGE_BYTES);
    const { bytes } = firmware.images[0]!;
    const sha = createHash('sha256').update(bytes).digest();
    const send = (offset: number) => {
      const data = bytes.subarray(offset, offset + frameBytes - OVERHEAD - (offset === 0 ? 64 : 0));
      const body = { off: offset, ...(offset === 0 ? { len: bytes.length, sha } : {}), data };
      const exchange = client.send({ op: OP.WRITE, group: GROUP.IMAGE, command: IMAGE.UPLOAD, body });
      exchange.sent.catch(() => undefined);
      return { offset, end: offset + data.length, exchange };
    };
    let acknowledged = 0;
    let next = 0;
    let flying: ReturnType<typeof send>[] = [];
    while (acknowledged < bytes.length) {
      const room = acknowledged === 0 ? 1 : window;
      while (flying.length < room && next < bytes.length) {
        const request = send(next);
        flying.push(request);
        next = request.end;
      }
      const oldest = flying[0]!;
      const answer = await within(oldest.exchange.answered, acknowledged === 0 ? FIRST_TIMEOUT_MS : TIMEOUT_MS);
      const off = answer && typeof answer.off === 'number' ? answer.off : acknowledged;
      if (answer) flying.shift();
      if (off > acknowledged) onProgress(off);
      acknowledged = Math.max(acknowledged, off);
      if (answer && off === oldest.end) continue;
      for (const { exchange } of flying) exchange.forget();
      flying = [];
      next = acknowledged;
    }
  };
}

function within<T>(answer: Promise<T>, ms: number): Promise<T | null> {
  const { promise, resolve } = Promise.withResolvers<null>();
  const cancel = systemClock.after(ms, () => resolve(null));
  return Promise.race([answer, promise]).finally(cancel);
}

/** A server that answers at once, and one that writes slower than the air brings and holds two requests: more vanish. */
const QUICK = { holds: 2, writeUsPerWord: 0 };
const LOSING = { holds: 2, writeUsPerWord: 30 };

/** Our upload beside what others do, on the same link to the same device in one run. */
export async function peers(): Promise<Figure[]> {
  const quick = await measure(ours(), QUICK);
  const stopAndWait = await measure(fixedWindow(1, 244), QUICK);
  const own = await measure(ours(), LOSING);
  const windowOfFour = await measure(fixedWindow(4, FRAME_BYTES), LOSING);
  const longestStall = Math.max(...own.points.slice(1).map(({ atMs }, i) => atMs - own.points[i]!.atMs));
  const known = await measure(ours(2), LOSING);
  const conditions = {
    phy: '2M',
    intervalMs: INTERVAL_MS,
    links: 1,
    dataLength: 251,
    mtu: 498,
    encrypted: false,
  } as const;
  const shape = smpUploadShape(FRAME_BYTES, 498);
  const limit = perfectSenderBytesPerSecond(conditions, shape);
  // As with every goodput: answers may share an event, and a frame may be on its way when the time begins.
  const ceiling =
    perfectSenderBytesPerSecond(conditions, { ...shape, notifications: [] }) *
    (1 + shape.imageBytes / (IMAGE_BYTES * (1 - LEARNT)));
  return [
    gain('own upload / stop and wait, one packet a request', quick.rate, stopAndWait.rate, 10),
    gain('own upload / fixed window of 4, server that loses', own.rate, windowOfFour.rate, 1.3),
    atLeast('server that loses beyond its second, once learnt', onceLearnt(quick.points), limit, 0.95, 'B/s', ceiling),
    gain('the same, with slow flash / window known', onceLearnt(own.points), known.rate, 0.95),
    atMost('longest stall / time-out, server that loses', longestStall, TIMEOUT_MS, 1, 'ms'),
  ];
}

/** Bytes a second after the window has been learnt. */
function onceLearnt(points: readonly Point[]): number {
  const learnt = points.filter(({ bytes }) => bytes >= IMAGE_BYTES * LEARNT);
  const [first, last] = [learnt[0]!, learnt.at(-1)!];
  return ((last.bytes - first.bytes) / (last.atMs - first.atMs)) * 1000;
}

/** So many times as much, at least. */
function gain(name: string, value: number, limit: number, goal: number): Figure {
  const ratio = value / limit;
  return { name, value, limit, unit: 'B/s', ratio, goal: `>= ${goal}`, ok: ratio >= goal };
}
