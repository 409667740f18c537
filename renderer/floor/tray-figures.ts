import type { Gauge, Tile } from '../../src/contract/board.ts';
import { goodOutcomes } from '../../src/contract/records.ts';

/** What the banner counts. */
export interface TrayCount {
  readonly passed: number;
  /** Those of them that could not be read back whole. */
  readonly indirect: number;
  readonly failed: number;
  readonly aborted: number;
  /** Units that stand in a slot and are ready to run. */
  readonly placed: number;
  /** Units that take part. */
  readonly total: number;
}

/** Counts units by how they stand; a unit that already ran the image counts as passed. */
export function countTray(tiles: readonly Tile[]): TrayCount {
  const units = tiles.filter(({ unit }) => unit !== null);
  const ended = (outcomes: readonly string[]) =>
    units.filter(({ state, outcome }) => state === 'ended' && outcomes.includes(outcome ?? '')).length;
  return {
    passed: ended(goodOutcomes),
    indirect: units.filter(({ state, proof }) => state === 'ended' && proof === 'indirect').length,
    failed: ended(['fail', 'error']),
    aborted: ended(['aborted']),
    placed: units.filter(({ state }) => state === 'placed' || state === 'expected').length,
    total: units.length,
  };
}

/** Bytes per second of the tray, and the time until its slowest unit has been sent; null while that cannot be told. */
export function traySpeed(
  tiles: readonly Tile[],
  gaugeAt: (index: number) => Gauge,
): { readonly bytesPerSecond: number; readonly leftMs: number | null } {
  let bytesPerSecond = 0;
  let leftMs: number | null = null;
  tiles.forEach((tile, index) => {
    if (tile.state !== 'working') return;
    const gauge = gaugeAt(index);
    bytesPerSecond += gauge.bytesPerSecond;
    if (gauge.bytesPerSecond <= 0 || gauge.permille >= 1000) return;
    const remaining = (tile.totalBytes * (1000 - gauge.permille)) / 1000;
    leftMs = Math.max(leftMs ?? 0, (remaining / gauge.bytesPerSecond) * 1000);
  });
  return { bytesPerSecond, leftMs };
}
