import { z } from 'zod';
import { fusSettings } from './product-file.ts';

/** A version as MCUboot writes it: major.minor.revision[+build]. */
const version = z.string().regex(/^\d{1,3}\.\d{1,3}\.\d{1,5}(\+\d{1,10})?$/, 'a version such as 1.2.3+4');

/** What a virtual device is. Times in milliseconds unless the name says otherwise. */
const device = z.strictObject({
  protocol: z.enum(['smp', 'fus']).default('smp'),
  /** How it speaks FUS; of `order` and `graceMs` it knows nothing. */
  fus: fusSettings.prefault({}),
  fusLimits: z
    .strictObject({ maxFrame: z.int().min(64).max(65_535).default(8192), window: z.int().min(1).max(16).default(4) })
    .prefault({}),
  namePrefix: z.string().max(20).default('DFU-'),
  /** The serial; by default SN0001, SN0002 … by unit number. */
  serial: z.string().min(1).max(20).optional(),
  address: z
    .string()
    .regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i, 'a Bluetooth address')
    .optional(),
  /** What pairing it accepts: none, legacy, Secure Connections (`sc`), either (`both`); `mitm` refuses Just Works. */
  security: z.enum(['none', 'legacy', 'sc', 'both', 'mitm']).default('none'),
  /** Asks for security as soon as it is connected. */
  securityRequest: z.boolean().default(false),
  /** Lets a central delete its bond (Bond Management Service). */
  bondManagement: z.boolean().default(true),
  /** Advertises with resolvable private addresses, a new one after each boot. */
  privacy: z.boolean().default(false),
  /** Asks for this connection interval, in milliseconds, by L2CAP once it is connected. */
  wantsIntervalMs: z.number().min(7.5).max(4000).optional(),
  /** The version of the image that it runs at first. */
  image: version.default('0.0.0'),
  /** Two cores as on an nRF5340: image 1 is the network core, whose running image cannot be read back. */
  cores: z.union([z.literal(1), z.literal(2)]).default(1),
  slotKiB: z.int().min(16).max(4096).default(512),
  flash: z
    .strictObject({ writeUsPerWord: z.number().min(0).max(1000), eraseMsPerPage: z.number().min(0).max(1000) })
    .default({ writeUsPerWord: 0, eraseMsPerPage: 0 }),
  bootMs: z.number().min(0).max(120_000).default(1500),
  swapMs: z.number().min(0).max(120_000).default(0),
  /** Gets another address after each reboot. */
  newAddressAfterReboot: z.boolean().default(false),
  smp: z
    .strictObject({
      version: z.union([z.literal(1), z.literal(2)]).default(2),
      bufferBytes: z.int().min(128).max(16384).default(2475),
      bufferCount: z.int().min(1).max(16).default(4),
      /** Requests that it really holds; more vanish. */
      holds: z.int().min(1).max(16).default(2),
      /** Answers os/params; older servers do not. */
      params: z.boolean().default(true),
    })
    .prefault({}),
  mtu: z.int().min(23).max(517).default(498),
  /** Octets of a PDU's payload that its controller can. */
  dataLength: z.int().min(27).max(251).default(251),
  /** The fastest PHY of its controller. */
  phy: z.enum(['1M', '2M']).default('2M'),
  /** Asks for data length and PHY itself once it is connected. */
  asksForSpeed: z.boolean().default(false),
  advertisingMs: z.number().min(20).max(10_240).default(100),
  rssi: z.int().min(-127).max(20).default(-50),
  /** Share of connection-event exchanges that are lost and sent again, 0 to 0.9. */
  lossRate: z.number().min(0).max(0.9).default(0),
  /** Battery level in percent; absent: no battery service. */
  battery: z.int().min(0).max(100).optional(),
  /** Whether it can show itself (Immediate Alert Service). */
  alert: z.boolean().default(true),
  /** Absent: no device information service. */
  dis: z.boolean().default(true),
});

/**
 * A fault: which unit, at which step, what, how often. Steps: `connect`, `{bytes: N}` (that many image bytes received), `boot`,
 * `{pairingPdu: N}` (the N-th PDU of a pairing that the device sends), `confirm`, `always`.
 */
const fault = z.strictObject({
  unit: z.int().min(1),
  at: z
    .union([
      z.enum(['connect', 'boot', 'confirm', 'always']),
      z.strictObject({ bytes: z.int().min(0) }),
      z.strictObject({ pairingPdu: z.int().min(1) }),
    ])
    .default('always'),
  do: z.enum([
    'drop-link', // the radio goes silent until both sides' supervision timeouts
    'reject-image', // the bootloader refuses the new image and erases it
    'revert', // the new image starts and falls back
    'flip-bit', // the flash keeps one wrong bit
    'drop-answer', // every `every`-th answer is not sent
    'silent', // answers nothing from now on, keeps the link
    'nonsense', // answers bytes that are no SMP
    'no-reboot', // answers the reset and does nothing
    'never-back', // reboots and never advertises again
    'refuse-connect', // advertises, never answers a connection request
    // pairing, `at: {pairingPdu: N}`: in place of the N-th PDU that the device sends
    'pairing-stops', // nothing is sent
    'pairing-wrong-value', // its value is another
    'pairing-repeats', // it is sent twice
    'pairing-garbage', // octets of another length
    'pairing-drops-link', // the device ends the link
    'forget-bonds', // at boot: it has no keys any more
    'change-interval', // the device is given another connection interval in the middle of things
    // FUS, in the peripheral:
    'late-data', // a data notification is refused for want of buffers and sent again after the end marker
    'late-start', // the start marker comes after the data
    'two-queues', // markers and data go through work queues of their own
    'double-marker', // the start marker is sent twice
    'lose-start', // the start marker is never sent
    'lose-end', // the end marker is never sent
    // FUS, on the host's side, between its controller and its application:
    'host-late-data', // data are handed over after the end marker
    'host-queues', // a queue for each characteristic
  ]),
  every: z.int().min(1).default(1),
  times: z.int().min(1).optional(),
});

/** A virtual tray: its devices, what sets single ones apart, and what goes wrong. YAML. */
export const trayFile = z.strictObject({
  units: z.int().min(1).max(256).default(8),
  device: device.prefault({}),
  overrides: z
    .array(z.looseObject({ unit: z.int().min(1) }))
    .default([])
    .superRefine((list, context) => {
      list.forEach(({ unit, ...rest }, index) => {
        const parsed = device.partial().safeParse(rest);
        for (const issue of parsed.success ? [] : parsed.error.issues) {
          context.addIssue({ code: 'custom', message: issue.message, path: [index, ...issue.path] });
        }
      });
    }),
  faults: z.array(fault).default([]),
  /** The controller of each radio: host buffers of 251 octets. */
  controller: z
    .strictObject({
      aclBuffers: z.int().min(2).max(64).default(8),
      /** Links that it carries at a time. */
      links: z.int().min(1).max(20).default(20),
    })
    .prefault({}),
  /** How much faster than the air its time passes; figures are only meant at 1. */
  speed: z.number().min(0.1).max(100).default(1),
  seed: z.int().min(0).default(1),
});

/** A tray file after validation. */
export type TrayFile = z.infer<typeof trayFile>;
/** A virtual device's description. */
export type DeviceDescription = z.infer<typeof device>;
/** A fault of a virtual device. */
export type FaultDescription = z.infer<typeof fault>;

/** The devices of the n-th such tray (from 0), overrides applied; serials go on from tray to tray unless they are given. */
export function trayDevices(tray: TrayFile, nth = 0): DeviceDescription[] {
  return Array.from({ length: tray.units }, (_, index) => {
    const own = tray.overrides
      .filter((override) => override.unit === index + 1)
      .map(({ unit: _unit, ...rest }) => rest);
    const serial = `SN${String(nth * tray.units + index + 1).padStart(4, '0')}`;
    return device.parse(Object.assign({ serial }, tray.device, ...own));
  });
}
