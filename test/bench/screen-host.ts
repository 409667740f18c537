// A station with 128 units on its board, for the benchmark of the screen: a process of its own that tells what it costs.
import { systemClock } from '../../src/clock.ts';
import { emptyTile, slotNames } from '../../src/contract/board.ts';
import type { Port } from '../../src/contract/channel.ts';
import type { StepName } from '../../src/contract/records.ts';
import { serveConsole } from '../../src/server/console.ts';
import { openTestStation, type TestStation } from '../support/open-test-station.ts';

const ROWS = 8;
const COLUMNS = 16;
const IMAGE_BYTES = 480_000;
/** So fast that a unit is done within the run and begins anew: every state is drawn again and again. */
const BYTES_PER_SECOND = 24_000;
const TICK_MS = 20;

/** What the station cost while it was measured. */
export interface HostFigures {
  /** Share of one core. */
  readonly busy: number;
  readonly bytesPerSecond: number;
}

const station = await openTestStation({ units: 1 });
let bytes = 0;
const served = await serveConsole({ accept: (port: Port) => station.reception.accept(counted(port)) }, 0);
const timer = liveUnits(station);
process.on('message', async (ms: number) => {
  const before = process.cpuUsage();
  bytes = 0;
  await new Promise((resolve) => systemClock.after(ms, () => resolve(null)));
  const { user, system } = process.cpuUsage(before);
  process.send?.({ busy: (user + system) / 1000 / ms, bytesPerSecond: bytes / (ms / 1000) } satisfies HostFigures);
});
process.on('disconnect', async () => {
  clearInterval(timer);
  await served.stop();
  await station.stop();
});
process.send?.(served.address);

function counted(port: Port): Port {
  return {
    ...port,
    send: (message) => {
      bytes += message.length;
      port.send(message);
    },
  };
}

/** 128 units go through their states on the station's board, as a running tray drives it. */
function liveUnits({ desk }: TestStation): NodeJS.Timeout {
  const { board } = desk;
  const steps: readonly StepName[] = [
    'connect',
    'read-state',
    'upload',
    'verify-upload',
    'reset',
    'verify-running',
    'confirm',
  ];
  const tiles = slotNames(ROWS, COLUMNS).map((slot, index) => ({
    ...emptyTile(slot),
    unit: `SN${String(index + 1).padStart(4, '0')}`,
    state: 'working' as const,
    step: 'upload' as const,
    totalBytes: IMAGE_BYTES,
  }));
  const firmware = { sha256: '0'.repeat(64), fileName: 'bench.bin', version: '1.0.0', images: [] };
  board.reset(tiles, {
    phase: 'running',
    startedAt: new Date().toISOString(),
    job: { name: 'BENCH', product: 'bench', profileHash: '', firmware, rows: ROWS, columns: COLUMNS, listed: false },
  });
  const started = performance.now();
  let ticks = 0;
  return setInterval(() => {
    ticks += 1;
    const elapsedS = (performance.now() - started) / 1000;
    for (let index = 0; index < tiles.length; index++) {
      const sent = (elapsedS * BYTES_PER_SECOND + index * 7919) % (IMAGE_BYTES * 1.2);
      const permille = Math.min(1000, Math.floor((sent / IMAGE_BYTES) * 1000));
      board.gauge(index, { permille, bytesPerSecond: BYTES_PER_SECOND + ((index * ticks) % 900) });
    }
    // Each unit tells its signal once a second, passes a step every three, and ends or begins every eight.
    const each = (periodTicks: number, change: (index: number) => void) => {
      for (let index = ticks % periodTicks; index < tiles.length; index += periodTicks) change(index);
    };
    each(50, (index) => board.tile(index, { rssi: -50 - (ticks % 20) }));
    each(150, (index) => board.tile(index, { step: steps[ticks % steps.length] ?? null }));
    each(400, (index) =>
      board.tile(index, ticks % 2 === 0 ? { state: 'ended', outcome: 'pass' } : { state: 'working', outcome: null }),
    );
  }, TICK_MS);
}
