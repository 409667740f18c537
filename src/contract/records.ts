import type { Attachment } from './comparison.ts';
import type { ErrorCode } from './errors.ts';
import type { Finding } from './findings.ts';
import type { ImageSummary } from './job-events.ts';

/** The steps of an attempt, in the order of a full upgrade. */
export const stepNames = [
  'find',
  'connect',
  'check-unit',
  'read-state',
  'clear-pending',
  'upload',
  'verify-upload',
  'activate',
  'reset',
  'reconnect',
  'verify-running',
  'confirm',
  'verify-confirmed',
  'remove-bond',
] as const;
export type StepName = (typeof stepNames)[number];

/** How an attempt ended. `fail`: device or image did not meet what was asked; `error`: station, radio or link could not finish. */
export const outcomes = ['pass', 'fail', 'error', 'skipped', 'staged', 'aborted'] as const;
export type Outcome = (typeof outcomes)[number];

/** Outcomes that leave nothing to be done with a unit; those of them by which it was upgraded here; those after which it runs the image. */
export const goodOutcomes = ['pass', 'skipped', 'staged'] as const satisfies readonly Outcome[];
export const upgradedOutcomes = ['pass', 'staged'] as const satisfies readonly Outcome[];
const runningOutcomes: readonly Outcome[] = ['pass', 'skipped'];

/** Whether a unit ended as it should. */
export function endedWell(outcome: Outcome | null): boolean {
  return outcome !== null && (goodOutcomes as readonly Outcome[]).includes(outcome);
}

/** How it is known that a unit runs what it was given: each image was read back, or not each of them can be. */
export const proofs = ['read-back', 'indirect'] as const;
export type Proof = (typeof proofs)[number];

/**
 * The proof of an attempt, by its images: the one place that says so, for records of every age. Null where the outcome does not say that
 * the images run, and where none are on record.
 */
export function proofOf(outcome: Outcome | null, images: readonly Pick<ImageSummary, 'verified'>[]): Proof | null {
  if (outcome === null || !runningOutcomes.includes(outcome) || images.length === 0) return null;
  return images.every(({ verified }) => verified === 'read-back') ? 'read-back' : 'indirect';
}

const failCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'WRONG_PRODUCT',
  'NOT_ON_JOB',
  'DUPLICATE_IDENTITY',
  'IDENTITY_UNREADABLE',
  'IDENTITY_CHANGED',
  'ADDRESS_NOT_PROVEN',
  'UNIT_QUARANTINED',
  'BATTERY_LOW',
  'BATTERY_UNREADABLE',
  'SIGNAL_WEAK',
  'DOWNGRADE_REFUSED',
  'SERVICE_NOT_FOUND',
  'ENCRYPTION_REQUIRED',
  'PAIRING_FAILED',
  'PAIRING_NEEDS_MITM',
  'PAIRING_NONSENSE',
  'PAIRING_CONFIRM_WRONG',
  'BOND_LOST',
  'BOND_LEFT',
  'DEVICE_REJECTED_IMAGE',
  'DEVICE_ERROR',
  'DEVICE_BUSY',
  'DEVICE_FLASH_ERROR',
  'DEVICE_NOT_READY',
  'DEVICE_NONSENSE',
  'FRAME_ORDER',
  'IMAGE_TOO_LARGE',
  'IMAGE_SLOT_UNKNOWN',
  'IMAGE_HASH_MISMATCH',
  'MODE_REFUSED',
  'RESET_FAILED',
  'NOT_BACK_AFTER_RESET',
  'SWAP_REVERTED',
  'BOOTLOADER_REJECTED',
  'NOT_CONFIRMED',
  'WRONG_IMAGE_RUNNING',
  'PROOF_MISSING',
  'UPLOAD_NOT_SENT',
  'VERSION_UNKNOWN',
]);

/** The outcome that an error code stands for. */
export function outcomeOf(code: ErrorCode): 'fail' | 'error' | 'aborted' {
  if (code === 'STOPPED' || code === 'STATION_INTERRUPTED') return 'aborted';
  return failCodes.has(code) ? 'fail' : 'error';
}

/**
 * How a link's device was known to be the unit: by what it advertises (the first link), by its address of before, by a bond that resolves
 * its address, by the serial that the device itself reports, or by the profile's leave.
 */
export const identityProofs = ['advertised', 'address', 'bond', 'reported', 'allowed'] as const;
export type IdentityProof = (typeof identityProofs)[number];

/** Who was at the other end of one link of an attempt. What a device says is kept as it says it: show it by `visible`. */
export interface LinkIdentity {
  /** Counted from 1. */
  readonly link: number;
  readonly atMs: number;
  readonly address: string;
  /** The name that it advertised; null when it advertised none. */
  readonly name: string | null;
  /** The serial in what it advertised; null when it advertises none. */
  readonly advertised: string | null;
  /** The serial number of its Device Information Service; null when it has none, or was not asked. */
  readonly reported: string | null;
  /** Null when it was not known to be the unit: nothing was written on this link. */
  readonly proof: IdentityProof | null;
  readonly code: ErrorCode | null;
  readonly detail: string | null;
}

/** What security a link has reached. */
export interface LinkSecurity {
  /** `just-works`: encrypted with an unauthenticated key (security mode 1 level 2). */
  readonly level: 'none' | 'just-works';
  /** How the key came about; null while there is none. */
  readonly pairing: 'secure-connections' | 'legacy' | null;
  readonly keyBits: number | null;
  /** Both sides keep the key. */
  readonly bonded: boolean;
  /** There was a bond, and the device had lost its key. */
  readonly keyLost: boolean;
  /** A stand-in paired in place of a recorded device: nothing of it was verified. */
  readonly replayed?: boolean;
}

/** What a link has reached. Times in milliseconds; null where the platform does not tell. */
export interface LinkFacts {
  readonly mtu: number;
  readonly phy: '1M' | '2M' | 'coded' | null;
  /** Octets of payload in a link-layer PDU towards the device. */
  readonly dataLength: number | null;
  readonly intervalMs: number | null;
  readonly supervisionTimeoutMs: number | null;
  /** Null where the platform does not tell. */
  readonly security: LinkSecurity | null;
  /** Connection intervals that the link was given after its first: milliseconds since it began, and the interval. */
  readonly intervalChanges: readonly (readonly [number, number])[];
  /** Supervision timeouts, likewise; records of earlier versions have none. */
  readonly supervisionChanges?: readonly (readonly [number, number])[];
}

/** How the order of a frame's parts was broken (docs/protocols/fus.md). */
export const orderShapes = [
  'end-before-data',
  'data-before-start',
  'missing-start',
  'missing-end',
  'interleaved',
  'duplicate',
] as const;
export type OrderShape = (typeof orderShapes)[number];

/** One departure from the order 1, Data…, 0. */
export interface OrderAnomaly {
  readonly shape: OrderShape;
  /** The frame, counted from 0 since the link began. */
  readonly frame: number;
  /** Milliseconds; of the attempt where it is on record. */
  readonly atMs: number;
  /** The number of the value that showed it, counted from 0 since the link began. */
  readonly token: number;
}

/** Who broke the order, as far as the evidence says. */
export interface OrderVerdict {
  readonly verdict: 'peripheral' | 'host' | 'undecided';
  readonly reason: Finding;
  /** Numbers, from 1, of the packets that it rests on in the file that `trace` writes. */
  readonly packets: readonly number[];
}

/** How the link of an attempt did. */
export interface LinkRecord {
  readonly facts: LinkFacts | null;
  readonly rssi: number | null;
  readonly window: number | null;
  readonly resends: number;
  readonly reconnects: number;
  readonly bytes: number;
  readonly bytesPerSecond: number | null;
}

/** One slot of a device as it was seen; `flags` of active, confirmed, pending, permanent. */
export interface SlotRecord {
  readonly image: number;
  readonly slot: number;
  readonly version: string;
  readonly hash: string;
  readonly flags: string;
}

/** One attempt in a list. */
export interface AttemptRow {
  readonly sequence: number;
  readonly id: string;
  readonly serial: string;
  readonly product: string;
  readonly job: string;
  readonly slot: string | null;
  readonly number: number;
  /** Null while the attempt runs. */
  readonly outcome: Outcome | null;
  readonly proof: Proof | null;
  readonly code: ErrorCode | null;
  readonly operator: string | null;
  readonly startedAt: string;
  readonly durationMs: number | null;
  readonly practice: boolean;
}

/** One attempt, whole. */
export interface AttemptDetail extends AttemptRow {
  readonly repeats: string | null;
  readonly detail: string | null;
  readonly address: string | null;
  readonly radio: string | null;
  readonly radioAddress: string | null;
  readonly station: string;
  readonly appVersion: string;
  readonly endedAt: string | null;
  readonly firmware: { readonly sha256: string; readonly fileName: string; readonly signature: string };
  readonly profile: { readonly sha256: string; readonly content: unknown };
  readonly images: readonly ImageSummary[];
  readonly link: LinkRecord | null;
  readonly resumedFrom: number | null;
  readonly bytes: number | null;
  readonly uploadMs: number | null;
  readonly steps: readonly {
    readonly name: StepName;
    readonly startedMs: number;
    readonly durationMs: number;
    readonly code: ErrorCode | null;
    readonly detail: string | null;
  }[];
  readonly slots: readonly (SlotRecord & { readonly seen: string })[];
  /** What there was to say beside steps and outcome, with the milliseconds since the attempt began. */
  readonly remarks: readonly (Finding & { readonly atMs: number })[];
  /** Who was at the other end of each link; none for what was recorded before this was kept. */
  readonly identities: readonly LinkIdentity[];
  readonly channels: readonly string[];
  readonly frameCount: number;
  readonly anomalies: readonly OrderAnomaly[];
  /** Null when the order was kept. */
  readonly verdict: OrderVerdict | null;
  /** The HCI capture, if one was kept: its packets, those that had to be left out of the middle, and its digest. */
  readonly capture: { readonly packets: number; readonly leftOut: number; readonly sha256: string } | null;
  /** What was laid beside it afterwards. */
  readonly attachments: readonly Attachment[];
  /** Signal strength over time: milliseconds since the attempt began, dBm. */
  readonly signal: readonly (readonly [number, number])[];
}

/** Which attempts to list, the newest first; `before` is the sequence of the last row of the page before. */
export interface ListFilter {
  /** A serial, or its beginning. */
  readonly serial?: string | undefined;
  readonly job?: string | undefined;
  readonly outcome?: Outcome | undefined;
  /** An image's hash or its beginning. */
  readonly hash?: string | undefined;
  /** Days, `YYYY-MM-DD`, both inclusive, UTC. */
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly before?: number | undefined;
  readonly limit?: number | undefined;
}

/** One frame as the unit view shows it. */
export interface FrameRow {
  readonly number: number;
  readonly direction: 'to-device' | 'from-device';
  readonly channel: number;
  readonly timeUs: number;
  readonly length: number;
  /** The kept bytes, hexadecimal. */
  readonly bytes: string;
  readonly image: { readonly index: number; readonly offset: number } | null;
}

/** Figures over a range of days. Skipped and aborted attempts count in none but their own column. */
export interface Statistics {
  readonly days: readonly {
    readonly day: string;
    /** Units whose first attempt on a work order ended PASS or STAGED, and all units with a first attempt that counts. */
    readonly firstPass: number;
    readonly firsts: number;
    /** Units whose last attempt of the day ended PASS or STAGED, and all that had one. */
    readonly passed: number;
    readonly units: number;
    /** Those that passed by indirect proof alone; they are among the passed. */
    readonly indirect: number;
  }[];
  /** Failures by code, the most frequent first. */
  readonly failures: readonly { readonly code: ErrorCode; readonly count: number }[];
  /** Attempts that passed by their duration, in buckets of `bucketMs`. */
  readonly cycle: { readonly bucketMs: number; readonly counts: readonly number[]; readonly medianMs: number | null };
  readonly radios: readonly { readonly radio: string; readonly attempts: number; readonly bytesPerSecond: number }[];
}
