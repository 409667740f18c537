import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { systemClock } from '../../src/clock.ts';
import type { ListFilter } from '../../src/contract/records.ts';
import { DATABASE_FILE } from '../../src/records/database.ts';
import { RecordReader } from '../../src/records/record-reader.ts';
import { RecordWriter } from '../../src/records/record-writer.ts';
import { testFirmware } from '../support/virtual-station.ts';
import { atMost, type Figure } from './figure.ts';
import { profile } from './rig.ts';

const ATTEMPTS = 1_000_000;
const PAGE_LIMIT_MS = 20;
const COMMON_LIMIT_MS = 200;
const MONTH_LIMIT_MS = 500;
const TIMES = 9;

/** A page of records out of a history of a million attempts, whatever is asked for and however deep, and a month's statistics. */
export async function history(): Promise<Figure[]> {
  const directory = mkdtempSync(join(tmpdir(), 'dfu-history-'));
  try {
    await fill(directory);
    const reader = new RecordReader(directory);
    const slowest = (filters: readonly ListFilter[]) =>
      Math.max(...filters.map((filter) => medianMs(() => reader.list({ limit: 50, ...filter }))));
    const page = slowest([
      {},
      { before: ATTEMPTS / 2 },
      { before: 100 },
      { serial: 'SN0500000' },
      { serial: 'SN05000' },
      { outcome: 'fail', before: ATTEMPTS / 3 },
      { from: '2025-06-01', to: '2025-06-02' },
      { job: 'WO-500' },
      { hash: 'ffff' },
    ]);
    // A tenth of all units, all of them old: the latest attempts are walked back to them.
    const common = slowest([{ serial: 'SN05' }]);
    const month = medianMs(() => reader.statistics('2025-06-01', '2025-06-30'));
    reader.close();
    return [
      atMost('page of 50 out of a million records', page, PAGE_LIMIT_MS, 1, 'ms'),
      atMost('page of units whose serials begin alike', common, COMMON_LIMIT_MS, 1, 'ms'),
      atMost('statistics of a month of a million records', month, MONTH_LIMIT_MS, 1, 'ms'),
    ];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A million attempts over two years, one in fifty failed, a thousand work orders. */
async function fill(directory: string): Promise<void> {
  const writer = new RecordWriter(directory, systemClock);
  const firmware = await testFirmware(1000);
  const order = { name: 'WO-0', profile, firmware, operator: 'jdoe', practice: false, appVersion: 'bench' };
  writer.openJob(order).finish('pass', null);
  writer.close();
  const database = new Database(join(directory, DATABASE_FILE));
  database.pragma('synchronous = OFF');
  database.exec(`
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
      INSERT INTO job (name, profile, firmware, operator, practice, station, app_version, started_at, outcome)
      SELECT 'WO-' || i, profile, firmware, operator, practice, station, app_version, started_at, 'pass' FROM n, (SELECT * FROM job LIMIT 1);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ATTEMPTS})
      INSERT INTO unit (id, serial, product, first_seen_at) SELECT i, printf('SN%07d', i), 'bench', '2025-01-01' FROM n;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ATTEMPTS})
      INSERT INTO attempt (id, job, unit, number, started_at, started_monotonic_ms, duration_ms, outcome, code, radio, bytes, upload_ms)
      SELECT printf('00000000-0000-4000-8000-%012d', i), 2 + i / 1001, i, 1,
        strftime('%Y-%m-%dT%H:%M:%fZ', '2025-01-01', '+' || (i * 63) || ' seconds'), 0, 20000 + i % 9000,
        CASE WHEN i % 50 = 0 THEN 'fail' ELSE 'pass' END, CASE WHEN i % 50 = 0 THEN 'SWAP_REVERTED' END, 'hci:0', 200000, 10000 FROM n;
    ANALYZE;
  `);
  database.close();
}

function medianMs(work: () => unknown): number {
  const times = Array.from({ length: TIMES }, () => {
    const started = performance.now();
    work();
    return performance.now() - started;
  });
  return times.sort((a, b) => a - b)[Math.floor(TIMES / 2)] ?? 0;
}
