import { type McubootImage, parseMcubootImage } from '../firmware/mcuboot-image.ts';

/** Why a device started what it started. */
export type BootResult = 'same' | 'swapped' | 'reverted' | 'rejected';

/**
 * The two slots of one MCUboot image and what the bootloader does with them. Swap mode keeps the old image for a revert;
 * overwrite-only consumes the second slot. Source: MCUboot `docs/design.md`, "Image swapping" and "Boot swap types".
 */
export class ImageSlots {
  readonly slotBytes: number;
  readonly #overwriteOnly: boolean;
  primary: Buffer;
  secondary: Buffer | null = null;
  pending: 'none' | 'test' | 'permanent' = 'none';
  confirmed = true;

  constructor(slotBytes: number, initial: Buffer, overwriteOnly: boolean) {
    this.slotBytes = slotBytes;
    this.primary = initial;
    this.#overwriteOnly = overwriteOnly;
  }

  /** What the bootloader does at a restart. `rejects` makes it refuse the new image whatever it holds. */
  boot(rejects: boolean): BootResult {
    if (this.pending !== 'none' && this.secondary) {
      const permanent = this.pending === 'permanent';
      this.pending = 'none';
      if (rejects || !readable(this.secondary)) {
        this.secondary = null;
        return 'rejected';
      }
      const old = this.primary;
      this.primary = this.secondary;
      this.secondary = this.#overwriteOnly ? null : old;
      this.confirmed = permanent || this.#overwriteOnly;
      return 'swapped';
    }
    if (!this.confirmed && this.secondary) {
      [this.primary, this.secondary] = [this.secondary, this.primary];
      this.confirmed = true;
      return 'reverted';
    }
    return 'same';
  }
}

/** The image in a slot as the bootloader sees it; null when its header or hash does not hold. */
export function readable(bytes: Buffer): McubootImage | null {
  try {
    return parseMcubootImage(bytes);
  } catch {
    return null;
  }
}

/**
 * The image in a slot as an SMP server lists it: header and hash TLV as they stand, unchecked, because that is what servers do.
 */
export function listed(bytes: Buffer): { version: string; hash: Buffer } | null {
  if (bytes.length < 32 || bytes.readUInt32LE(0) !== 0x96f3b83d) return null;
  const headerBytes = bytes.readUInt16LE(8);
  let at = headerBytes + bytes.readUInt32LE(12);
  const protectedBytes = bytes.readUInt16LE(10);
  at += protectedBytes + 4;
  while (at + 4 <= bytes.length) {
    const length = bytes.readUInt16LE(at + 2);
    if (bytes.readUInt16LE(at) === 0x10 && at + 4 + length <= bytes.length) {
      const build = bytes.readUInt32LE(24);
      const version = `${bytes[20]}.${bytes[21]}.${bytes.readUInt16LE(22)}${build ? `.${build}` : ''}`;
      return { version, hash: bytes.subarray(at + 4, at + 4 + length) };
    }
    at += 4 + length;
  }
  return null;
}
