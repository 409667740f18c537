import { z } from 'zod';

/** A 128-bit UUID in its usual spelling, or a 16-bit one as four digits. */
export const uuid = z
  .string()
  .regex(/^([0-9a-f]{4}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/i, 'a Bluetooth UUID')
  .transform((text) => text.toLowerCase());

const regularExpression = z.string().refine((text) => {
  try {
    new RegExp(text);
    return true;
  } catch (error) {
    return !(error instanceof SyntaxError);
  }
}, 'a regular expression');

/** The service of SMP servers (Zephyr `smp_bt.c`). */
export const SMP_SERVICE_UUID = '8d53dc1d-1db7-4cd3-868b-8a527460aa84';

/**
 * A product profile: how its devices are found, told apart, secured and upgraded. YAML.
 *
 * - `identity` says where a unit's serial is read; the first group of `pattern`, or its whole match, is the serial.
 * - `label`: what is printed on the unit and scanned. Plain serials or GS1 element strings; `gtin` is the product's, and the first group
 *   of `pattern`, or its whole match, is the serial.
 * - `upgrade.mode`: `test-and-confirm` boots the image on trial and confirms it after it has been read back, `confirm` makes it
 *   permanent before the reboot, `upload-only` leaves it in the second slot (STAGED).
 * - `upgrade.window`: SMP requests in flight; `auto` learns it from what the device takes.
 * - `batteryMin` percent, asked before anything is erased; `rssiMin` dBm.
 */
export const productFile = z.strictObject({
  product: z.string().min(1).max(100),
  protocol: z.enum(['smp']),
  hardware: z.string().min(1).optional(),
  discover: z
    .strictObject({ service: uuid.default(SMP_SERVICE_UUID), namePrefix: z.string().min(1).optional() })
    .prefault({}),
  identity: z
    .strictObject({
      from: z.enum(['name', 'address', 'manufacturer-data', 'dis-serial']),
      pattern: regularExpression.optional(),
    })
    .prefault({ from: 'address' }),
  label: z
    .strictObject({
      gtin: z
        .string()
        .regex(/^\d{8,14}$/, 'a GTIN of 8 to 14 digits')
        .transform((digits) => digits.padStart(14, '0'))
        .optional(),
      pattern: regularExpression.optional(),
    })
    .prefault({}),
  security: z.enum(['none', 'just-works']).default('none'),
  bond: z.enum(['none', 'keep', 'remove-after']).default('none'),
  upgrade: z
    .strictObject({
      mode: z.enum(['test-and-confirm', 'confirm', 'upload-only']).default('test-and-confirm'),
      window: z.union([z.literal('auto'), z.int().min(1).max(16)]).default('auto'),
      allowDowngrade: z.boolean().default(false),
      swapTimeoutS: z.number().min(1).max(600).default(60),
    })
    .prefault({}),
  batteryMin: z.int().min(1).max(100).optional(),
  retries: z.int().min(0).max(10).default(2),
  rssiMin: z.int().min(-127).max(0).optional(),
});

/** A product profile after validation, defaults filled in. */
export type ProductProfile = z.infer<typeof productFile>;
