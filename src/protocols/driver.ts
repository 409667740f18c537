import type { Clock } from '../clock.ts';
import type { Finding } from '../contract/findings.ts';
import type { LearntFacts } from '../contract/learnt.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import type { OrderAnomaly, StepName } from '../contract/records.ts';
import type { FirmwarePackage } from '../firmware/firmware-package.ts';
import type { Link } from '../radio/radio.ts';

/** How long a device is to show itself, in milliseconds. */
export const SHOW_MS = 4_000;

/** One image slot as the device reports it. */
export interface SlotState {
  readonly image: number;
  readonly slot: number;
  readonly version: string;
  /** Hexadecimal, as the device says it. */
  readonly hash: string;
  readonly pending: boolean;
  readonly confirmed: boolean;
  readonly active: boolean;
  readonly permanent: boolean;
}

/** How it is known that an image runs: read back from the device, by what is left of it, or not at all. */
export type Verification = 'read-back' | 'indirect' | 'no';

/** What became of one image. */
export interface ImageResult {
  readonly index: number;
  readonly hash: string;
  readonly version: string;
  readonly verified: Verification;
}

/** How an upgrade ended that did not throw. */
export interface UpgradeResult {
  readonly outcome: 'pass' | 'skipped' | 'staged';
  readonly images: readonly ImageResult[];
}

/** What an upload has reached. `fromOffset` is where it began: not 0 when it was resumed. */
export interface UploadFigures {
  readonly image: number;
  readonly fromOffset: number;
  readonly sentBytes: number;
  /** Bytes that the device counted as its own though they were neither sent to it nor there when the upload began. */
  readonly unsentBytes: number;
  readonly resends: number;
  readonly window: number;
  readonly durationMs: number;
}

/** What a driver is given: the unit's link, what to send, and where to say what happens. */
export interface UpgradeContext {
  readonly firmware: FirmwarePackage;
  readonly profile: ProductProfile;
  readonly clock: Clock;
  /** Aborts when the operator stops the job: the driver finishes its frame and throws the signal's reason. */
  readonly signal: AbortSignal;
  /**
   * Finds the unit by its identity and connects. After a restart `withinMs` says how long it may stay away.
   * @throws StationError as Radio.connect, UNIT_NOT_FOUND when it is not heard in time
   */
  connect(withinMs?: number): Promise<Link>;
  /** Runs a step and records when it began and how it ended. */
  step<T>(name: StepName, work: () => Promise<T>): Promise<T>;
  /** Image bytes that the device has acknowledged. */
  progress(image: number, bytes: number, totalBytes: number): void;
  /** Slots as the device reported them at a step. */
  slots(when: 'before' | 'after-upload' | 'after-boot' | 'final', slots: readonly SlotState[]): void;
  /** What is known of each image after the restart, whatever the attempt then comes to. */
  images(results: readonly ImageResult[]): void;
  /** The order of a frame's parts was broken; times are the clock's. */
  anomaly(anomaly: OrderAnomaly): void;
  /** An upload ended, whole or broken off. */
  uploaded(figures: UploadFigures): void;
  /** What earlier units taught that ran this firmware (as the driver names it: version and beginning of its hash). */
  learnt(running: string): LearntFacts;
  /** Something was learnt of it; null: what was known does not hold. */
  learn(running: string, lesson: Partial<LearntFacts>): void;
  /** Something that belongs on the record and is neither step nor failure. */
  remark(finding: Finding): void;
}

/**
 * A DFU protocol. `upgrade` reads top to bottom as the procedure it performs; it is idempotent: called again after any failure it
 * looks at the device and goes on from what it finds. The last link is left to whoever gave it. It throws a StationError for everything that is not pass, skipped or staged.
 */
export interface DfuDriver {
  readonly protocol: ProductProfile['protocol'];
  upgrade(context: UpgradeContext): Promise<UpgradeResult>;
  /** Makes the device show itself for `SHOW_MS`. @throws StationError IDENTIFY_UNSUPPORTED */
  identify(link: Link, profile: ProductProfile, clock: Clock, signal: AbortSignal): Promise<void>;
}
