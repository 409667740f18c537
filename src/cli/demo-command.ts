import type { JobEvent, JobSummary } from '../contract/job-events.ts';
import { trayFile } from '../contract/tray-file.ts';
import { readFirmware } from '../firmware/firmware-package.ts';
import { practiceFirmware } from '../host/practice-seed.ts';
import { executeRun, virtualProduct } from './run-command.ts';

const ROWS = 2;
const COLUMNS = 4;
const LINK_LOSER = 3;
const REJECTER = 7;

/** What the demonstration announces before it starts. */
export const announcement = [
  `A virtual tray of ${ROWS} × ${COLUMNS} devices on one virtual radio, through the real noble stack, in real air time.`,
  `  SN000${LINK_LOSER} loses its link half way and must resume.`,
  `  SN000${REJECTER} refuses the image in its bootloader and must come out FAIL.`,
  'Expected: 7 PASS, 1 FAIL.',
].join('\n');

/** Runs the demonstration; `asAnnounced` says whether it came out as it said it would. */
export async function runDemo(
  options: { firmware?: string; data?: string },
  signal: AbortSignal,
  emit: (event: JobEvent) => void,
): Promise<{ summary: JobSummary; followUp: string; asAnnounced: boolean }> {
  const firmware = options.firmware ? await readFirmware(options.firmware) : await practiceFirmware();
  const bytes = firmware.images[0]!.bytes.length;
  const tray = trayFile.parse({
    units: ROWS * COLUMNS,
    device: {
      image: '0.0.0',
      slotKiB: 1024,
      flash: { writeUsPerWord: 20, eraseMsPerPage: 10 },
      bootMs: 1200,
      swapMs: 800,
    },
    faults: [
      { unit: LINK_LOSER, at: { bytes: Math.round(bytes / 2) }, do: 'drop-link', times: 1 },
      { unit: REJECTER, at: 'boot', do: 'reject-image' },
    ],
  });
  const units = Array.from({ length: ROWS * COLUMNS }, (_, index) => ({
    slot: `${'AB'[Math.floor(index / COLUMNS)]}${(index % COLUMNS) + 1}`,
    serial: `SN000${index + 1}`,
  }));
  const prepared = {
    job: { job: 'demo', tray: { rows: ROWS, columns: COLUMNS }, units },
    profile: virtualProduct,
    firmware,
    tray,
    units: undefined,
  };
  const where = options.data === undefined ? {} : { data: options.data };
  const { summary, followUp } = await executeRun(prepared, { radio: ['virtual'], ...where }, signal, emit);
  return { summary, followUp, asAnnounced: cameOutAsAnnounced(summary) };
}

function cameOutAsAnnounced({ units }: JobSummary): boolean {
  return (
    units.length === ROWS * COLUMNS &&
    units.every(({ unit, outcome, code, resumedFrom }) => {
      if (unit === `SN000${REJECTER}`) return outcome === 'fail' && code === 'BOOTLOADER_REJECTED';
      if (unit === `SN000${LINK_LOSER}`) return outcome === 'pass' && (resumedFrom ?? 0) > 0;
      return outcome === 'pass';
    })
  );
}
