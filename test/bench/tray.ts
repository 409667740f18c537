import { systemClock } from '../../src/clock.ts';
import type { JobEvent, JobSummary } from '../../src/contract/job-events.ts';
import { productFile } from '../../src/contract/product-file.ts';
import type { FaultDescription } from '../../src/contract/tray-file.ts';
import { perfectSenderBytesPerSecond, smpUploadShape } from '../../src/radio/perfect-sender.ts';
import { fixedShelf } from '../../src/radio/radio-shelf.ts';
import { RecordWriter } from '../../src/records/record-writer.ts';
import { Station } from '../../src/station/station.ts';
import { testFirmware } from '../support/virtual-station.ts';
import { limitsOf } from './controller.ts';
import { atMost, type Figure } from './figure.ts';
import { benchProduct, FRAME_BYTES, openRig } from './rig.ts';

const UNITS = 64;
const RADIOS = 4;
/** As much as a slot holds when MCUboot splits the application core's flash in two. */
const IMAGE_BYTES = 480_000;
const PAGE_BYTES = 4096;
/** Flash of an nRF5340 (Product Specification: 43 µs a word, 87.5 ms a page), and its restart. */
const FLASH = { writeUsPerWord: 43, eraseMsPerPage: 87.5 };
const BOOT_MS = 1500;
const SWAP_MS = 1000;
const RESTART_AFTER_MS = 250;
/** The longer the interval, the more the air carries in all: the bound has one of 16 slots of six packets, whatever the station chooses. */
const BOUND_INTERVAL_MS = 150;
/** What hears an advertiser at once waits half of its interval, and half of the 10 ms by which each is late (Core 5.4, Vol 6 Part B, 4.4.2.2). */
const HEARD_MS = (100 + 10) / 2;
/**
 * Questions that no station can leave out, each an event of the shortest interval there is: before the upload MTU, service, characteristic,
 * subscription and image list; after the restart the same, and the confirmation.
 */
const QUESTIONS_MS = { before: 5 * 7.5, after: 6 * 7.5 };

/**
 * The least that a tray can take, in milliseconds: nothing can be sent before a unit has been connected to and asked, and has erased its
 * slot; all bytes of a radio's units have to go through its air, or through one unit's flash; the last unit restarts after its last byte, and
 * has to be found, connected to and asked again.
 */
function lowerBoundMs(imageBytes: number): number {
  const perRadio = UNITS / RADIOS;
  const conditions = {
    phy: '2M' as const,
    intervalMs: BOUND_INTERVAL_MS,
    links: perRadio,
    dataLength: 251,
    mtu: 498,
    encrypted: false,
    controller: limitsOf(),
  };
  const air =
    ((perRadio * imageBytes) / perfectSenderBytesPerSecond(conditions, smpUploadShape(FRAME_BYTES, 498))) * 1000;
  const write = ((imageBytes / 4) * FLASH.writeUsPerWord) / 1000;
  const erase = Math.ceil(imageBytes / PAGE_BYTES) * FLASH.eraseMsPerPage;
  const start = HEARD_MS + QUESTIONS_MS.before;
  // Heard once to be found, and once more to be connected to.
  const restart = RESTART_AFTER_MS + SWAP_MS + BOOT_MS + 2 * HEARD_MS + QUESTIONS_MS.after;
  return start + erase + Math.max(air, write) + restart;
}

/** How long a tray takes from the first attempt's beginning to the end, all units found. */
async function makespan(
  faults: readonly Partial<FaultDescription>[],
): Promise<{ ms: number; summary: JobSummary; bytes: number }> {
  const device = { slotKiB: 480, flash: FLASH, bootMs: BOOT_MS, swapMs: SWAP_MS };
  const rig = await openRig({ units: UNITS, device, faults: faults as FaultDescription[] }, RADIOS, true);
  const records = new RecordWriter(rig.directory, systemClock);
  try {
    const firmware = await testFirmware(IMAGE_BYTES);
    const station = new Station({
      radios: fixedShelf(rig.radios),
      records,
      clock: systemClock,
      practice: true,
      appVersion: 'bench',
    });
    let beganMs = 0;
    const onEvent = (event: JobEvent) => {
      if (event.type === 'attempt-started') beganMs ||= performance.now();
    };
    const profile = productFile.parse(benchProduct);
    const order = { job: { job: 'bench' }, profile, firmware, units: UNITS, findTimeoutMs: 60_000 };
    const summary = await station.run(order, new AbortController().signal, onEvent);
    return { ms: performance.now() - beganMs, summary, bytes: firmware.images[0]!.bytes.length };
  } finally {
    records.close();
    await rig.stop();
  }
}

/**
 * A tray of 64 units over four radios, against the least that it can take; and with three faulty units among them. What is lost: 2 s of
 * connecting and questions before the erase, half a second of questions after the upload, and slots that a hiccup of the machine leaves empty.
 */
export async function tray(): Promise<Figure[]> {
  const good = await makespan([]);
  if (good.summary.outcome !== 'pass') throw new Error(`the tray ended ${good.summary.outcome}`);
  const faulty = await makespan([
    { unit: 7, do: 'drop-link', at: { bytes: 60_000 }, times: 1 },
    { unit: 29, do: 'reject-image', at: 'boot' },
    { unit: 50, do: 'flip-bit', at: { bytes: 90_000 }, times: 1 },
  ]);
  const failed = faulty.summary.units.filter(({ outcome }) => outcome !== 'pass').map(({ unit }) => unit);
  if (failed.join() !== 'SN0029,SN0050') throw new Error(`of the faulty tray ${failed.join() || 'no unit'} failed`);
  const bound = lowerBoundMs(good.bytes);
  return [
    atMost('tray of 64 on 4 radios / lower bound', good.ms, bound, 1.08, 'ms'),
    atMost('the same with 5 % faulty units / lower bound', faulty.ms, bound, 1.15, 'ms'),
  ];
}
