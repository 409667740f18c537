import { z } from 'zod';
import { checkDigitHolds } from './gs1-identifiers.ts';

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

const octet = z.int().min(0).max(255);
const uuidOf = (number: number) => `6f8a000${number}-3d3c-4b5e-9a1f-5a7c1e2d4b60`;
const outgoing = (number: number) =>
  z
    .strictObject({ uuid: uuid.default(uuidOf(number)), mode: z.enum(['notify', 'indicate']).default('notify') })
    .prefault({});

/**
 * How an in-house upgrade service (FUS) is spoken: its characteristics, markers, frame and order policy. Defaults are the reference
 * profile's; docs/protocols/fus.md.
 *
 * - `control`, `dataIn`: station to device; `response`, `dataOut`: device to station.
 * - `header: none` is for devices whose frames are delimited by the markers alone; they have no `checksum`.
 * - `order`: `strict` fails the unit on any departure from 1, Data…, 0; `tolerant` goes on and records it.
 * - `graceMs`: how late a part of a frame may be; `auto` is 100 ms or four connection intervals.
 */
export const fusSettings = z.strictObject({
  service: uuid.default(uuidOf(1)),
  control: z
    .strictObject({
      uuid: uuid.default(uuidOf(2)),
      write: z.enum(['with-response', 'without-response']).default('without-response'),
    })
    .prefault({}),
  dataIn: z.strictObject({ uuid: uuid.default(uuidOf(3)) }).prefault({}),
  response: outgoing(4),
  dataOut: outgoing(5),
  markers: z.strictObject({ open: octet.default(1), close: octet.default(0) }).prefault({}),
  header: z.enum(['standard', 'none']).default('standard'),
  checksum: z.enum(['crc16', 'none']).default('crc16'),
  order: z.enum(['tolerant', 'strict']).default('tolerant'),
  graceMs: z.union([z.literal('auto'), z.int().min(10).max(10_000)]).default('auto'),
});
/** A FUS block after validation. */
export type FusSettings = z.infer<typeof fusSettings>;

const imageIndex = z.int().min(0).max(15);

/**
 * How the version is read that an image really runs, where the image list cannot say it: one of `characteristic` (read over GATT),
 * `shell` (a command of SMP's shell group, by its words), `info` (SMP's "OS/Application information" with this format) and `entry` (the
 * version of another entry of the image list).
 *
 * - `characteristic.format`: `text` (UTF-8), `version` (8 octets as in an MCUboot header: major, minor, revision u16, build u32, little
 *   endian) or `hex`.
 * - `pattern`: where in what is read the version stands: its first group, or its whole match.
 * - `expected`: what it must be, with `{version}` (1.2.3, with a build number 1.2.3+4), `{major}`, `{minor}`, `{revision}`, `{build}` and
 *   `{hash}` of the package's image.
 */
const imageProof = z
  .strictObject({
    image: imageIndex,
    characteristic: z
      .strictObject({ service: uuid, uuid, format: z.enum(['text', 'version', 'hex']).default('text') })
      .optional(),
    shell: z.array(z.string().min(1).max(100)).min(1).max(10).optional(),
    info: z.string().min(1).max(20).optional(),
    entry: z.strictObject({ image: imageIndex, slot: z.int().min(0).max(1).default(0) }).optional(),
    pattern: regularExpression.optional(),
    expected: z.string().min(1).max(200).default('{version}'),
  })
  .superRefine((proof, context) => {
    const ways = (['characteristic', 'shell', 'info', 'entry'] as const).filter((way) => proof[way] !== undefined);
    if (ways.length === 1) return;
    const path = ways[1] === undefined ? [] : [ways[1]];
    context.addIssue({ code: 'custom', path, message: 'wants one of characteristic, shell, info and entry' });
  });
/** How the version of one image is read, after validation. */
export type ImageProof = z.infer<typeof imageProof>;

/** Settings that exclude one another, with the key that is to be changed. */
function fusConflict(fus: FusSettings): { path: string[]; message: string } | null {
  const uuids = [fus.control.uuid, fus.dataIn.uuid, fus.response.uuid, fus.dataOut.uuid];
  const twice = uuids.findIndex((each, index) => uuids.indexOf(each) !== index);
  const key = ['control', 'dataIn', 'response', 'dataOut'][twice];
  if (key !== undefined) return { path: ['fus', key, 'uuid'], message: 'another characteristic has this UUID already' };
  if (fus.markers.open === fus.markers.close) {
    return { path: ['fus', 'markers', 'close'], message: 'start and end need different markers' };
  }
  return null;
}

/**
 * A product profile: how its devices are found, told apart, secured and upgraded. YAML.
 *
 * - `identity` says where a unit's serial is read; the first group of `pattern`, or its whole match, is the serial.
 *   A unit that comes back under another address is taken at it when that is `proven`: a bond resolves the address, or the device itself
 *   reports the serial (Device Information Service). `allow` takes whoever advertises the serial after the window for duplicates, `refuse`
 *   nobody but a bond's device. `secondSource: none` does not ask the device for the serial that its Device Information Service has.
 * - `label`: what is printed on the unit and scanned, in any of the forms that readLabel knows; `gtin` is the product's, `require: true`
 *   refuses a label without it, and the first group of `pattern`, or its whole match, is the serial. The pattern also tells where a
 *   serial ends when a separator could be missing.
 * - `link.intervalMs`: the connection interval in milliseconds; `auto` is chosen for the number of links. `link.phy`: 2M where both sides can.
 * - `upgrade.mode`: `test-and-confirm` boots the image on trial and confirms it after it has been read back, `confirm` makes it
 *   permanent before the reboot, `upload-only` leaves it in the second slot (STAGED).
 * - `upgrade.window`: SMP requests in flight; `auto` learns it from what the device takes.
 * - `upgrade.frames`: whether an SMP frame may be longer than one write; `auto` tries longer ones and falls back where they are not taken.
 * - `upgrade.applicationImage`: the index of the image whose firmware answers; it must read back, and is activated last.
 * - `upgrade.unknownVersion`: what becomes of a unit whose running version cannot be read while downgrades are not allowed.
 * - `upgrade.leastBytesPerMinute`: an upload that gets on more slowly ends the attempt.
 * - `upgrade.bytesNotSent`: what becomes of a unit that counts image bytes as received that were never sent to it.
 * - `proof.images`: how running versions are read that the image list does not tell; `proof.demand`: an image that nothing proves to run
 *   is a failure (PROOF_MISSING) in place of a good outcome with indirect proof.
 * - `capture`: whether the HCI capture of an attempt is kept: with failures and anomalies of order, always, or never.
 * - `security: just-works` encrypts each link before anything is asked of the device; with `none` it is encrypted when the device wants it.
 * - `bond`: `none` pairs afresh on each link and leaves nothing behind; `keep` bonds for good; `remove-after` bonds for the attempt and
 *   has the device forget it at its end (Bond Management Service).
 * - `lostBond`: what happens to a bonded device that has lost its key.
 * - `hardware`: the board or SoC as the build names it (`nrf5340dk`, `omi`); a package that names another one is refused.
 * - `firmware.encrypted: allow` accepts encrypted images, whose hash and signature cannot be checked before the upload.
 * - `batteryMin` percent, asked before anything is erased; `rssiMin` dBm.
 */
const productShape = z.strictObject({
  product: z.string().min(1).max(100),
  protocol: z.enum(['smp', 'fus']),
  fus: fusSettings.optional(),
  hardware: z.string().min(1).optional(),
  firmware: z.strictObject({ encrypted: z.enum(['refuse', 'allow']) }).optional(),
  discover: z.strictObject({ service: uuid.optional(), namePrefix: z.string().min(1).optional() }).prefault({}),
  identity: z
    .strictObject({
      from: z.enum(['name', 'address', 'manufacturer-data', 'dis-serial']),
      pattern: regularExpression.optional(),
      newAddress: z.enum(['proven', 'allow', 'refuse']).default('proven'),
      secondSource: z.enum(['auto', 'none']).default('auto'),
    })
    .prefault({ from: 'address' }),
  label: z
    .strictObject({
      gtin: z
        .string()
        .regex(/^(\d{8}|\d{12,14})$/, 'a GTIN of 8, 12, 13 or 14 digits')
        .refine(checkDigitHolds, 'the check digit of this GTIN is wrong')
        .transform((digits) => digits.padStart(14, '0'))
        .optional(),
      pattern: regularExpression.optional(),
      require: z.boolean().default(false),
    })
    .superRefine(({ gtin, require }, context) => {
      if (require && gtin === undefined)
        context.addIssue({ code: 'custom', path: ['require'], message: 'demands the GTIN that gtin names: add it' });
    })
    .prefault({}),
  security: z.enum(['none', 'just-works']).default('none'),
  bond: z.enum(['none', 'keep', 'remove-after']).default('none'),
  lostBond: z.enum(['pair-again', 'refuse']).default('pair-again'),
  link: z
    .strictObject({
      intervalMs: z.union([z.literal('auto'), z.number().min(7.5).max(4000).multipleOf(1.25)]).default('auto'),
      phy: z.enum(['auto', '1M']).default('auto'),
    })
    .prefault({}),
  upgrade: z
    .strictObject({
      mode: z.enum(['test-and-confirm', 'confirm', 'upload-only']).default('test-and-confirm'),
      window: z.union([z.literal('auto'), z.int().min(1).max(16)]).default('auto'),
      allowDowngrade: z.boolean().default(false),
      swapTimeoutS: z.number().min(1).max(600).default(60),
      frames: z.enum(['auto', 'one-write']).default('auto'),
      applicationImage: imageIndex.default(0),
      unknownVersion: z.enum(['refuse', 'allow']).default('refuse'),
      leastBytesPerMinute: z.int().min(1).max(10_000_000).default(6000),
      bytesNotSent: z.enum(['fail', 'flag']).default('fail'),
    })
    .prefault({}),
  proof: z
    .strictObject({ images: z.array(imageProof).max(16).default([]), demand: z.boolean().default(false) })
    .prefault({}),
  capture: z.enum(['on-anomaly', 'always', 'never']).default('on-anomaly'),
  batteryMin: z.int().min(1).max(100).optional(),
  retries: z.int().min(0).max(10).default(2),
  rssiMin: z.int().min(-127).max(0).optional(),
});

/** A product profile with its defaults filled in: the service to look for is the protocol's own unless another is named. */
export const productFile = productShape
  .superRefine((profile, context) => {
    if (profile.protocol === 'smp' && profile.fus) {
      context.addIssue({ code: 'custom', path: ['fus'], message: 'belongs to protocol: fus' });
    }
    const conflict = profile.fus && fusConflict(profile.fus);
    if (conflict) context.addIssue({ code: 'custom', ...conflict });
  })
  .transform((profile) => {
    const fus = profile.protocol === 'fus' ? withoutChecksum(profile.fus ?? fusSettings.parse({})) : undefined;
    const service = profile.discover.service ?? fus?.service ?? SMP_SERVICE_UUID;
    return { ...profile, discover: { ...profile.discover, service }, ...(fus ? { fus } : {}) };
  });

/** Where nothing says how long a frame is, there is no place for a checksum. */
function withoutChecksum(fus: FusSettings): FusSettings {
  return fus.header === 'none' ? { ...fus, checksum: 'none' } : fus;
}

/** A product profile after validation, defaults filled in. */
export type ProductProfile = z.infer<typeof productFile>;
