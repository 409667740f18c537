import { z } from 'zod';

/** Slots are named like a spreadsheet: the row as a letter, the column as a number (A1 … H12). */
export const slotName = z.string().regex(/^[A-Z][1-9][0-9]?$/, 'a slot is a letter and a number, such as A1');

/**
 * A job (work order) as an operator is given it, in YAML. `product` and `firmware` are paths beside the job file. With `units` only
 * the listed serials may be written, each in its slot; without it units are listed by serial and no position is claimed.
 */
export const jobFile = z.strictObject({
  job: z.string().min(1).max(100),
  product: z.string().min(1).optional(),
  firmware: z.string().min(1).optional(),
  tray: z.strictObject({ rows: z.int().min(1).max(26), columns: z.int().min(1).max(99) }).optional(),
  operator: z.string().min(1).max(100).optional(),
  units: z
    .array(z.strictObject({ slot: slotName.optional(), serial: z.string().min(1).max(100) }))
    .min(1)
    .max(1000)
    .refine((units) => new Set(units.map((unit) => unit.serial)).size === units.length, 'a serial is listed twice')
    .refine((units) => {
      const slots = units.flatMap((unit) => unit.slot ?? []);
      return new Set(slots).size === slots.length;
    }, 'a slot is listed twice')
    .optional(),
});

/** A job file's content after validation. */
export type JobFile = z.infer<typeof jobFile>;
