/** What a manifest says that the file of an image was built for, as the build names it; null where it does not say. */
export interface FirmwareHardware {
  readonly image: number;
  readonly board: string | null;
  readonly soc: string | null;
}

/** What files were built for, in words; null when nothing says. */
export function hardwareLabel(hardware: readonly FirmwareHardware[]): string | null {
  const names = hardware.flatMap(({ board, soc }) => board ?? soc ?? []);
  return names.length > 0 ? [...new Set(names)].join(', ') : null;
}

/**
 * Whether a file was built for the hardware that a product profile names. A board is known by its whole name, with or without what the
 * build adds to it: `omi` is `omi`, `omi@2` and `omi/nrf5340/cpuapp` (Zephyr "Board terminology": board, revision, qualifiers) and
 * `omi_nrf5340_cpuapp` of older builds, which put the SoC behind an underscore; `omi2` is another board. A file for another core than the
 * application's has to name the same board, not the same core. The name may also be the SoC's. What nothing is said of is not refused.
 */
export function hardwareMatches(wanted: string, { image, board, soc }: FirmwareHardware): boolean {
  if (board === null && soc === null) return true;
  const name = wanted.toLowerCase();
  const chip = soc?.toLowerCase() ?? null;
  const core = chip?.split(/[_/]/)[0];
  if (chip === name || core === name) return true;
  if (board === null) return false;
  const full = board.toLowerCase();
  if (image > 0) return boardName(full, core) === boardName(name, core);
  if (!full.startsWith(name)) return false;
  const rest = full.slice(name.length);
  return rest === '' || /^[@/]/.test(rest) || (core !== undefined && rest.startsWith(`_${core}`));
}

/** The board without revision, SoC and core. */
function boardName(full: string, core: string | undefined): string {
  const board = full.split(/[@/]/)[0]!;
  const at = core ? board.indexOf(`_${core}`) : -1;
  return at > 0 ? board.slice(0, at) : board;
}
