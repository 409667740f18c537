import { z } from 'zod';
import { serial, serialLikeness } from './serial.ts';

/** Slots are named like a spreadsheet: the row as a letter, the column as a number (A1 … H12). */
export const slotName = z.string().regex(/^[A-Z][1-9][0-9]?$/, 'a slot is a letter and a number, such as A1');

/**
 * A job (work order) as an operator is given it, in YAML. `product` and `firmware` are paths beside the job file. With `units` only
 * the listed serials may be written, each in its slot; without it units are listed by serial and no position is claimed.
 */
export const jobFile = z
  .strictObject({
    job: z.string().min(1).max(100),
    product: z.string().min(1).optional(),
    firmware: z.string().min(1).optional(),
    tray: z.strictObject({ rows: z.int().min(1).max(26), columns: z.int().min(1).max(99) }).optional(),
    operator: z.string().min(1).max(100).optional(),
    units: z
      .array(z.strictObject({ slot: slotName.optional(), serial }))
      .min(1)
      .max(1000)
      .optional(),
  })
  .superRefine(({ tray, units = [] }, context) => {
    for (const { index, key, message } of unitListProblems(units, tray ?? null))
      context.addIssue({ code: 'custom', path: ['units', index, key], message });
  });

/**
 * What is wrong with a list of units: a serial or a slot that stands there twice, serials that differ only in case or width and that nobody
 * can tell apart on a label, a slot that the tray does not have. `index` is the entry's.
 */
export function unitListProblems(
  units: readonly { readonly serial: string; readonly slot?: string | null | undefined }[],
  tray: { readonly rows: number; readonly columns: number } | null,
): { readonly index: number; readonly key: 'serial' | 'slot'; readonly message: string }[] {
  const serials = new Map<string, string>();
  const slots = new Set<string>();
  return units.flatMap((unit, index) => {
    const problems: { index: number; key: 'serial' | 'slot'; message: string }[] = [];
    const likeness = serialLikeness(unit.serial);
    const twin = serials.get(likeness);
    if (twin === unit.serial) problems.push({ index, key: 'serial', message: 'a serial is listed twice' });
    else if (twin !== undefined)
      problems.push({ index, key: 'serial', message: `${unit.serial} and ${twin} differ only in case or width` });
    serials.set(likeness, unit.serial);
    const { slot } = unit;
    if (!slot) return problems;
    if (slots.has(slot)) problems.push({ index, key: 'slot', message: 'a slot is listed twice' });
    else if (tray && !inTray(slot, tray))
      problems.push({ index, key: 'slot', message: `the tray of ${tray.rows} × ${tray.columns} has no slot ${slot}` });
    slots.add(slot);
    return problems;
  });
}

function inTray(slot: string, { rows, columns }: { readonly rows: number; readonly columns: number }): boolean {
  return slot.charCodeAt(0) - 64 <= rows && Number(slot.slice(1)) <= columns;
}

/** A job file's content after validation. */
export type JobFile = z.infer<typeof jobFile>;
