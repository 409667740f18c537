import { z } from 'zod';

/** A version as MCUboot writes it: major.minor.revision[+build]. */
const version = z.string().regex(/^\d{1,3}\.\d{1,3}\.\d{1,5}(\+\d{1,10})?$/, 'a version such as 1.2.3+4');

const bluetoothAddress = z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i, 'a Bluetooth address');
const uuid = z
  .string()
  .regex(/^([0-9a-f]{4}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/i, 'a Bluetooth UUID')
  .transform((text) => text.toLowerCase());
const octet = z.int().min(0).max(255);
const bytes = z.int().min(0).max(0xffff_ffff);
const intervalMs = z.number().min(7.5).max(4000);

const fusUuid = (number: number) => `6f8a000${number}-3d3c-4b5e-9a1f-5a7c1e2d4b60`;
const fusOutgoing = (number: number) =>
  z
    .strictObject({ uuid: uuid.default(fusUuid(number)), mode: z.enum(['notify', 'indicate']).default('notify') })
    .prefault({});

/**
 * How a device speaks FUS, in the words of a product profile's `fus:` block, so that one can be given to both sides. What only the station
 * decides (`order`, `graceMs`) is taken and means nothing here. docs/protocols/fus.md.
 */
const fusService = z.strictObject({
  service: uuid.default(fusUuid(1)),
  control: z.strictObject({ uuid: uuid.default(fusUuid(2)), write: z.unknown().optional() }).prefault({}),
  dataIn: z.strictObject({ uuid: uuid.default(fusUuid(3)) }).prefault({}),
  response: fusOutgoing(4),
  dataOut: fusOutgoing(5),
  markers: z.strictObject({ open: octet.default(1), close: octet.default(0) }).prefault({}),
  header: z.enum(['standard', 'none']).default('standard'),
  checksum: z.enum(['crc16', 'none']).default('crc16'),
  order: z.unknown().optional(),
  graceMs: z.unknown().optional(),
});

/**
 * A request of SMP: by its name, or by group and command (and `op`, else both). `image-list` reads the state of images, `image-state`
 * writes it (test, confirm).
 */
const smpRequest = z.union([
  z.enum([
    'echo',
    'reset',
    'date-time',
    'params',
    'application-info',
    'bootloader-info',
    'image-list',
    'image-state',
    'upload',
    'erase',
    'slot-info',
    'shell',
  ]),
  z.strictObject({ group: z.int().min(0).max(0xffff), command: octet, op: z.enum(['read', 'write']).optional() }),
]);

/**
 * What an SMP server answers in place of what it would: to the `nth` such request (from 1) and to those behind it, to every `every`-th of
 * them, `times` times in all (without it for ever); restarts do not begin the count anew.
 *
 * - `to`: the request. `query` narrows `bootloader-info`, `image` and `offset` (data from this offset of the image on) narrow `upload`.
 * - `with`: `silence`; `{rc, rsn?}` as version 1 and SMP itself say it; `{err: {group, rc}, rsn?}` as groups do in version 2; or `{body}`,
 *   any map.
 * - `carriedOut`: the request is done nevertheless. `forgetsUpload`: a running upload is lost with it, as real servers lose it.
 */
const smpAnswer = z.strictObject({
  to: smpRequest,
  query: z.string().optional(),
  image: z.int().min(0).optional(),
  offset: bytes.optional(),
  nth: z.int().min(1).default(1),
  every: z.int().min(1).default(1),
  times: z.int().min(1).optional(),
  with: z.union([
    z.literal('silence'),
    z.strictObject({ rc: z.int(), rsn: z.string().optional() }),
    z.strictObject({
      err: z.strictObject({ group: z.int().min(0).max(0xffff), rc: z.int().min(0) }),
      rsn: z.string().optional(),
    }),
    z.strictObject({ body: z.record(z.string(), z.json()) }),
  ]),
  carriedOut: z.boolean().default(false),
  forgetsUpload: z.boolean().default(false),
});

/** The SMP server of a virtual device. */
const smpServer = z.strictObject({
  version: z.union([z.literal(1), z.literal(2)]).default(2),
  /** What os/params says: octets of a buffer, and how many there are. */
  bufferBytes: z.int().min(64).max(16384).default(2475),
  bufferCount: z.int().min(1).max(16).default(4),
  /** Requests that it really holds, the one that it works on among them. */
  holds: z.int().min(1).max(16).default(2),
  /** What becomes of a request more: lost without a word, or answered by rc 2 (no memory). */
  whenFull: z.enum(['lost', 'rc-2']).default('lost'),
  /** How long the buffer of a request is still held after its answer: what comes right behind it may be one too many. */
  releaseMs: z.number().min(0).max(10_000).default(0),
  /** The time that it thinks about any request. */
  answerMs: z.number().min(0).max(60_000).default(0),
  /**
   * Whether a frame may come in several writes. Where not, the first write of such a frame is answered by rc 9 (corrupt), as Zephyr does
   * without CONFIG_MCUMGR_TRANSPORT_BT_REASSEMBLY, or not at all.
   */
  reassembly: z.enum(['yes', 'rc-9', 'silence']).default('yes'),
  /** How it spells maps and lists in CBOR: zcbor's default is without a length. */
  cbor: z.enum(['indefinite', 'definite']).default('indefinite'),
  /** Answers os/params, the bootloader's mode, slot info; else rc 8 (not supported). */
  params: z.boolean().default(true),
  bootloaderInfo: z.boolean().default(true),
  slotInfo: z.boolean().default(false),
  /** What slot info gives as the largest image; left out where absent, and refused beyond. */
  maxImageBytes: bytes.optional(),
  /** What it says of itself (OS group, command 7); absent: rc 8. Knows `{version.N}` and `{hash.N}`, what image N really runs. */
  applicationInfo: z.string().optional(),
  /** Commands of its shell (group 9) and what each prints, with the same `{version.N}` and `{hash.N}`; absent: rc 8. */
  shell: z.record(z.string(), z.string()).optional(),
  /** The most octets of an upload that it takes of one request. */
  bytesPerAnswer: z.int().min(1).optional(),
  list: z
    .strictObject({
      /** Leaves out what is false, and splitStatus (Zephyr: CONFIG_MCUMGR_GRP_IMG_FRUGAL_LIST). */
      frugal: z.boolean().default(false),
      /** Lists this as every image's version, as a server does that cannot print it: `<???>`. */
      version: z.string().optional(),
      /** Lists the second slot as active too. */
      twoActive: z.boolean().default(false),
    })
    .prefault({}),
  /** Pretends to have received this image file whole, once so many octets of any upload have come; 0: at its first request. */
  pretends: z.strictObject({ file: z.string().min(1), afterBytes: bytes.default(0) }).optional(),
  answers: z.array(smpAnswer).default([]),
});

/** One image of a device: how its bootloader brings it up, and what can be seen of it. */
const deviceImage = z.strictObject({
  /** `swap` keeps the old image for a revert; `overwrite` consumes the second slot and knows no trial. */
  mode: z.enum(['swap', 'overwrite']).default('swap'),
  /** Whether the running image can be listed; a network core's cannot. */
  readBack: z.boolean().default(true),
  /** Whether a confirm changes anything; where not, it is answered as if it had. */
  confirms: z.boolean().default(true),
});

/**
 * What lies in a slot at the beginning, made for its `version` or read from an image `file`. `state` of slot 1: `pending` (on trial at the
 * next restart) or `permanent`; of slot 0: `on-trial`, running unconfirmed.
 */
const slotContent = z
  .strictObject({
    image: z.int().min(0).max(3).default(0),
    slot: z.union([z.literal(0), z.literal(1)]).default(1),
    version: version.optional(),
    file: z.string().min(1).optional(),
    state: z.enum(['settled', 'pending', 'permanent', 'on-trial']).default('settled'),
  })
  .superRefine((content, context) => {
    const issue = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
    if (content.version !== undefined && content.file !== undefined) issue('file', 'version or file, not both');
    if (content.slot === 1 && content.version === undefined && content.file === undefined) {
      issue('version', 'an image in slot 1 needs a version or a file');
    }
    if (content.slot === 1 && content.state === 'on-trial') issue('state', 'only slot 0 can be on trial');
    if (content.slot === 0 && (content.state === 'pending' || content.state === 'permanent')) {
      issue('state', 'only slot 1 can be pending');
    }
  });

/** What a virtual device is. Times in milliseconds unless the name says otherwise. */
const device = z.strictObject({
  protocol: z.enum(['smp', 'fus']).default('smp'),
  /** How it speaks FUS; of `order` and `graceMs` it knows nothing. */
  fus: fusService.prefault({}),
  fusLimits: z
    .strictObject({ maxFrame: z.int().min(64).max(65_535).default(8192), window: z.int().min(1).max(16).default(4) })
    .prefault({}),
  namePrefix: z.string().max(20).default('DFU-'),
  /** The serial; by default SN0001, SN0002 … by unit number. */
  serial: z.string().min(1).max(20).optional(),
  /** The whole name that it advertises; by default prefix and serial. */
  name: z.string().max(29).optional(),
  address: bluetoothAddress.optional(),
  /** What pairing it accepts: none, legacy, Secure Connections (`sc`), either (`both`); `mitm` refuses Just Works. */
  security: z.enum(['none', 'legacy', 'sc', 'both', 'mitm']).default('none'),
  /** Asks for security as soon as it is connected. */
  securityRequest: z.boolean().default(false),
  /** Lets a central delete its bond (Bond Management Service). */
  bondManagement: z.boolean().default(true),
  /** Advertises with resolvable private addresses, a new one after each boot. */
  privacy: z.boolean().default(false),
  /** How it refuses a link that is not encrypted: by ATT error 0x05 or 0x0f. `mitm` is refused by 0x05, encrypted or not. */
  refusesBy: z.union([z.literal(0x05), z.literal(0x0f)]).default(0x05),
  /** Asks for this connection interval in milliseconds, or one between two, once it is connected, … */
  wantsIntervalMs: z.union([intervalMs, z.tuple([intervalMs, intervalMs])]).optional(),
  /** … with this latency and supervision timeout, so long after the connection. */
  wantsLatency: z.int().min(0).max(499).default(0),
  wantsSupervisionMs: z.number().min(100).max(32_000).default(4000),
  wantsAfterMs: z.number().min(0).max(60_000).default(0),
  /** … by an L2CAP request to the central's host, or through its controller by the link layer's procedure, as Zephyr does. */
  wantsBy: z.enum(['l2cap', 'link-layer']).default('l2cap'),
  /** The version of the image that it runs at first. */
  image: version.default('0.0.0'),
  /**
   * Two cores as on an nRF5340: short for two images that are overwritten, the second of them the network core's, which cannot be read
   * back. `images` says it in full, for any number.
   */
  cores: z.union([z.literal(1), z.literal(2)]).default(1),
  images: z.array(deviceImage).min(1).max(4).optional(),
  /** What lies in its slots at the beginning, where that is more than the running image. */
  slots: z.array(slotContent).default([]),
  /** The hash that its images carry and that its server and bootloader look for; `any` knows all and makes SHA-256. */
  hash: z.enum(['any', 'sha256', 'sha384', 'sha512']).default('any'),
  slotKiB: z.int().min(16).max(4096).default(512),
  flash: z
    .strictObject({ writeUsPerWord: z.number().min(0).max(1000), eraseMsPerPage: z.number().min(0).max(1000) })
    .default({ writeUsPerWord: 0, eraseMsPerPage: 0 }),
  bootMs: z.number().min(0).max(120_000).default(1500),
  swapMs: z.number().min(0).max(120_000).default(0),
  /** Gets another address after each reboot. */
  newAddressAfterReboot: z.boolean().default(false),
  /** What else is another after its first restart: the advertised name, the address, what the device information service says. */
  afterReboot: z
    .strictObject({
      name: z.string().max(29).optional(),
      address: bluetoothAddress.optional(),
      disSerial: z.string().max(100).optional(),
    })
    .prefault({}),
  smp: smpServer.prefault({}),
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
  /** Without it there is no device information service. */
  dis: z.boolean().default(true),
  /** The serial number that the device information service gives, any octets of UTF-8; by default the serial. */
  disSerial: z.string().max(100).optional(),
  /** Further characteristics that can be read, each in its service; the text knows `{version.N}` and `{hash.N}`. */
  characteristics: z.array(z.strictObject({ service: uuid, uuid, value: z.string().max(512) })).default([]),
});

/**
 * A fault: which unit, at which step, what, how often. Steps: `connect`, `{bytes: N}` (that many image bytes received), `boot`,
 * `{pairingPdu: N}` (the N-th PDU of a pairing that the device sends), `confirm`, `always`.
 */
const fault = z.strictObject({
  unit: z.int().min(1),
  /** `reject-image` and `other-hash`: only this image; the others of the same restart come up. */
  image: z.int().min(0).optional(),
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
    'other-hash', // the new image starts and is listed by another hash, as one that the bootloader has changed
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

/** A status or reason of HCI (Core 5.4, Vol 1 Part F), other than success. */
const hciError = z.int().min(0x01).max(0x45);

/** How a command is answered otherwise than usual, `times` times (always when left out). */
const answer = z.strictObject({
  /** The command's opcode, such as 0x2022; left out: every command. */
  opcode: z.int().min(0).max(0xffff).optional(),
  /** Refuses with this status; 0x01: does not know the command. */
  status: hciError.optional(),
  /** Acts at once and answers so much later, when other events may have gone before. */
  afterMs: z.number().min(0).max(60_000).default(0),
  /** Does not answer at all. */
  silent: z.boolean().default(false),
  times: z.int().min(1).optional(),
});

/** What breaks in a controller, once, so long after its host's first command; in the n-th radio's (from 1) or in each. */
const controllerFault = z.strictObject({
  radio: z.int().min(1).optional(),
  atMs: z.number().min(0),
  do: z.enum([
    'hardware-error', // says so, and goes on
    'reset', // starts anew, as after a brown-out: every link and setting is forgotten
    'garbage', // octets that are no HCI packet
    'stuck', // answers nothing from now on
  ]),
});

/**
 * The controller of each radio. Its defaults are those of Zephyr's own controller, as recorded. What can be chosen:
 * - `aclBuffers` host buffers of 251 octets, and `links` that it carries at a time;
 * - `slotUs`, the air that each link's event has for itself, and by which the anchors of its links are apart: a PDU of 251 octets each way on
 *   1M and what it takes to begin (`ull_central.c`); `crowded`, what becomes of a link for whose slot there is no room in the interval: it
 *   shares somebody's air, or is never established (0x3e);
 * - `completed`, whether each packet is reported by an event of its own or those of a connection event together;
 * - `enhancedConnectionComplete`, sent in place of Connection Complete when the host's mask lets it through;
 * - `connectsWhileScanning`, where Zephyr's refuses (0x0c);
 * - `latencyMs` each way between host and controller, and `wireBytesPerSecond` (a UART of 1 Mbaud: 96000);
 * - `failsConnects`, so many connections that fail with 0x3e, by a status or by a disconnection;
 * - `ownParameters`, the controller applies what a peripheral asks for, whatever its host says; `answers` and `faults`.
 */
const controller = z.strictObject({
  aclBuffers: z.int().min(2).max(64).default(7),
  links: z.int().min(1).max(20).default(20),
  slotUs: z.int().min(1000).max(20_000).default(4810),
  crowded: z.enum(['share', 'fail']).default('share'),
  completed: z.enum(['each', 'event']).default('each'),
  enhancedConnectionComplete: z.boolean().default(true),
  connectsWhileScanning: z.boolean().default(false),
  latencyMs: z.number().min(0).max(1000).default(0),
  wireBytesPerSecond: z.int().min(1000).optional(),
  failsConnects: z
    .strictObject({ times: z.int().min(1), how: z.enum(['status', 'disconnection']).default('status') })
    .optional(),
  ownParameters: z.boolean().default(false),
  answers: z.array(answer).default([]),
  faults: z.array(controllerFault).default([]),
});

/** What else is on the air: `neighbours` advertisers that belong to nobody here, each advertising every `neighbourIntervalMs`. */
const air = z.strictObject({
  neighbours: z.int().min(0).max(10_000).default(0),
  neighbourIntervalMs: z.number().min(20).max(10_240).default(250),
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
  controller: controller.prefault({}),
  air: air.prefault({}),
  /** How much faster than the air its time passes; figures are only meant at 1. */
  speed: z.number().min(0.1).max(100).default(1),
  seed: z.int().min(0).default(1),
});

/** A tray file after validation. */
export type TrayFile = z.infer<typeof trayFile>;
/** A virtual device's description. */
export type DeviceDescription = z.infer<typeof device>;
/** An answer of an SMP server that differs from what it would say. */
export type SmpAnswer = DeviceDescription['smp']['answers'][number];
/** What lies in a slot at the beginning. */
export type SlotContent = z.infer<typeof slotContent>;
/** One image of a virtual device. */
export type DeviceImage = z.infer<typeof deviceImage>;
/** A virtual controller's description. */
export type ControllerDescription = z.infer<typeof controller>;
/** What a controller is when nothing else is said of it. */
export const usualController: ControllerDescription = controller.parse({});
/** A fault of a virtual device. */
export type FaultDescription = z.infer<typeof fault>;

/** The devices of the n-th such tray (from 0), overrides applied; serials go on from tray to tray unless they are given. */
export function trayDevices(tray: TrayFile, nth = 0): DeviceDescription[] {
  return Array.from({ length: tray.units }, (_, index) => {
    const own = tray.overrides
      .filter((override) => override.unit === index + 1)
      .map(({ unit: _unit, ...rest }) => rest);
    const serial = `SN${String(nth * tray.units + index + 1).padStart(4, '0')}`;
    return device.parse([tray.device, ...own].reduce(merged, { serial }));
  });
}

type Fields = Record<string, unknown>;

/** Fields of `over` in place of those of `base`; maps are merged field by field. */
function merged(base: Fields, over: Fields): Fields {
  const fields = Object.entries(over).map(([key, value]) => {
    const below = base[key];
    return [key, isMap(below) && isMap(value) ? merged(below, value) : value];
  });
  return { ...base, ...Object.fromEntries(fields) };
}

function isMap(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
