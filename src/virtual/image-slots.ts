import { createHash } from 'node:crypto';
import type { DeviceDescription, DeviceImage } from '../contract/tray-file.ts';
import { type HashKind, isSound, readImage, type SlotImage } from './mcuboot.ts';

/** Why a device started what it started. */
export type BootResult = 'same' | 'swapped' | 'reverted' | 'rejected';

/** What a bootloader is to do wrong. */
export interface BootFault {
  /** Refuses the new image whatever it holds. */
  readonly rejects?: boolean;
  /** What it starts is listed by another hash. */
  readonly otherHash?: boolean;
}

const SWAPPED: DeviceImage = { mode: 'swap', readBack: true, confirms: true };
const NETWORK_CORE_SET: readonly DeviceImage[] = [
  { mode: 'overwrite', readBack: true, confirms: true },
  { mode: 'overwrite', readBack: false, confirms: true },
];

/** The images of a device, one at least. */
export function deviceImages({ images, cores }: DeviceDescription): readonly DeviceImage[] {
  return images ?? (cores === 1 ? [SWAPPED] : NETWORK_CORE_SET);
}

/**
 * The two slots of one MCUboot image and what the bootloader does with them. Swap mode keeps the old image for a revert; overwriting
 * consumes the second slot, and so does a refusal. Source: MCUboot `docs/design.md`, "Image swapping" and "Boot swap types".
 */
export class ImageSlots {
  readonly slotBytes: number;
  readonly kind: DeviceImage;
  readonly #hash: HashKind | 'any';
  primary: Buffer;
  secondary: Buffer | null = null;
  pending: 'none' | 'test' | 'permanent' = 'none';
  confirmed = true;
  /** The hash that what runs is listed by, where it is not the one that was sent. */
  #runsAs: Buffer | null = null;

  constructor(slotBytes: number, kind: DeviceImage, hash: HashKind | 'any', initial: Buffer) {
    this.slotBytes = slotBytes;
    this.kind = kind;
    this.#hash = hash;
    this.primary = initial;
  }

  /** Whether a restart would bring the old image back. */
  get onTrial(): boolean {
    return !this.confirmed && this.secondary !== null;
  }

  /** The running image as a server reads it. */
  get running(): SlotImage | null {
    const image = readImage(this.primary, this.#hash);
    return image && { ...image, hash: this.#runsAs ?? image.hash };
  }

  /** The image in the second slot as a server reads it: unchecked, because that is what servers do. */
  get waiting(): SlotImage | null {
    return this.secondary && readImage(this.secondary, this.#hash);
  }

  /** Whether the running image is what its hash says. */
  get intact(): boolean {
    const image = readImage(this.primary, this.#hash);
    return image !== null && isSound(image);
  }

  /** What a restart would start. */
  get next(): SlotImage | null {
    const waiting = this.pending !== 'none' || this.onTrial ? this.waiting : null;
    return waiting && isSound(waiting) ? waiting : this.running;
  }

  /** What the bootloader does at a restart. */
  boot({ rejects = false, otherHash = false }: BootFault): BootResult {
    if (this.pending !== 'none' && this.secondary) {
      const permanent = this.pending === 'permanent';
      const image = this.waiting;
      this.pending = 'none';
      if (rejects || !image || !isSound(image)) {
        this.secondary = null;
        return 'rejected';
      }
      const overwrites = this.kind.mode === 'overwrite';
      const old = this.primary;
      this.primary = this.secondary;
      this.secondary = overwrites ? null : old;
      this.confirmed = permanent || overwrites;
      this.#runsAs = image.compressed ? image.decompressedHash : null;
      if (otherHash) this.#runsAs = createHash(image.kind).update(image.hash).digest();
      return 'swapped';
    }
    if (!this.confirmed && this.secondary) {
      [this.primary, this.secondary] = [this.secondary, this.primary];
      this.confirmed = true;
      this.#runsAs = null;
      return 'reverted';
    }
    return 'same';
  }
}
