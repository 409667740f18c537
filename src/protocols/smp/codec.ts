import { decode, encode } from 'cborg';
import { StationError } from '../../contract/errors.ts';

/**
 * SMP frames: an 8-octet header and a CBOR map. Sources: Zephyr Project documentation, "SMP Protocol Specification"
 * (`doc/services/device_mgmt/smp_protocol.rst`); Apache Mynewt mcumgr, `mgmt/include/mgmt/mgmt.h` (`struct mgmt_hdr`). The tests hold it
 * to what a real server sent and to the regression bytes of the Python library `smp`.
 */
export const SMP_HEADER_BYTES = 8;

/** Operations: requests are even, answers odd. Sources: Zephyr `mgmt_defines.h` (`mcumgr_op_t`); Apache Mynewt `mgmt.h` (`MGMT_OP_…`). */
export const OP = { READ: 0, READ_RESPONSE: 1, WRITE: 2, WRITE_RESPONSE: 3 } as const;
/** Management groups. Sources: Zephyr `mgmt_defines.h` (`mcumgr_group_t`); Apache Mynewt `mgmt.h` (`MGMT_GROUP_ID_…`). */
export const GROUP = { OS: 0, IMAGE: 1, SHELL: 9 } as const;
/**
 * Commands of the OS group. Sources: Zephyr `os_mgmt.h` (`OS_MGMT_ID_…`) and "Default/OS Management Group"; the Rust crate
 * `mcumgr-toolkit`, `commands/os.rs`.
 */
export const OS = { ECHO: 0, RESET: 5, PARAMS: 6, INFO: 7, BOOTLOADER_INFO: 8 } as const;
/**
 * Commands of the image group. Sources: Zephyr `img_mgmt.h` (`IMG_MGMT_ID_…`) and "Application/software image management group";
 * Apache Mynewt `img_mgmt.h`, and for slot info, which it does not have, the Rust crate `mcumgr-toolkit`, `commands/image.rs`.
 */
export const IMAGE = { STATE: 0, UPLOAD: 1, ERASE: 5, SLOT_INFO: 6 } as const;
/** Commands of the shell group. Sources: Zephyr "Shell management"; the Python library `smp`, `shell_management.py`. */
export const SHELL = { EXECUTE: 0 } as const;

/**
 * Result codes of protocol version 1, and of any group for errors of SMP itself. Sources: Zephyr `mgmt_defines.h` (`mcumgr_err_t`); Apache
 * Mynewt `mgmt.h` (0 to 9) and the Rust crate `mcumgr-toolkit`, `smp_errors.rs`.
 */
export const RC = {
  OK: 0,
  UNKNOWN: 1,
  NO_MEMORY: 2,
  INVALID: 3,
  TIMEOUT: 4,
  NO_ENTRY: 5,
  BAD_STATE: 6,
  MESSAGE_SIZE: 7,
  NOT_SUPPORTED: 8,
  CORRUPT: 9,
  BUSY: 10,
  ACCESS_DENIED: 11,
  TOO_OLD: 12,
  TOO_NEW: 13,
} as const;

/**
 * Result codes of the image group in protocol version 2. Sources: Zephyr `img_mgmt.h` (`img_mgmt_err_code_t`); the Python library `smp`,
 * `image_management.py` (`IMG_MGMT_ERR`).
 */
export const IMAGE_RC = {
  UNKNOWN: 1,
  FLASH_CONFIG_QUERY_FAILED: 2,
  NO_IMAGE: 3,
  NO_TLVS: 4,
  INVALID_TLV: 5,
  MULTIPLE_HASHES: 6,
  INVALID_TLV_SIZE: 7,
  HASH_NOT_FOUND: 8,
  NO_FREE_SLOT: 9,
  FLASH_OPEN_FAILED: 10,
  FLASH_READ_FAILED: 11,
  FLASH_WRITE_FAILED: 12,
  FLASH_ERASE_FAILED: 13,
  INVALID_SLOT: 14,
  NO_FREE_MEMORY: 15,
  FLASH_CONTEXT_ALREADY_SET: 16,
  FLASH_CONTEXT_NOT_SET: 17,
  FLASH_AREA_DEVICE_NULL: 18,
  INVALID_PAGE_OFFSET: 19,
  INVALID_OFFSET: 20,
  INVALID_LENGTH: 21,
  INVALID_IMAGE_HEADER: 22,
  INVALID_IMAGE_HEADER_MAGIC: 23,
  INVALID_HASH: 24,
  INVALID_FLASH_ADDRESS: 25,
  VERSION_GET_FAILED: 26,
  CURRENT_VERSION_IS_NEWER: 27,
  IMAGE_ALREADY_PENDING: 28,
  INVALID_VECTOR_TABLE: 29,
  IMAGE_TOO_LARGE: 30,
  DATA_OVERRUN: 31,
  CONFIRMATION_DENIED: 32,
  SETTING_TEST_TO_ACTIVE_DENIED: 33,
  ACTIVE_SLOT_UNKNOWN: 34,
} as const;

/**
 * How the bootloader starts images, as it answers "bootloader information" for `mode`. Sources: Zephyr documentation, "Bootloader
 * information: MCUboot"; MCUboot `boot/bootutil/include/bootutil/boot_status.h` (`mcuboot_mode`).
 */
export const BOOT_MODE = { OVERWRITE_ONLY: 2, DIRECT_XIP: 4 } as const;

/** What a frame is about. `version` is 0 for protocol version 1 and 1 for version 2, as on the wire. */
export interface SmpHeader {
  readonly op: number;
  readonly version: number;
  readonly group: number;
  readonly sequence: number;
  readonly command: number;
}

/** A frame: header and body. */
export interface SmpFrame extends SmpHeader {
  readonly body: Readonly<Record<string, unknown>>;
}

/** The bytes of a frame. */
export function encodeSmpFrame(frame: SmpFrame): Buffer {
  const body = encode(frame.body);
  const bytes = Buffer.allocUnsafe(SMP_HEADER_BYTES + body.length);
  bytes[0] = (frame.version << 3) | frame.op;
  bytes[1] = 0;
  bytes.writeUInt16BE(body.length, 2);
  bytes.writeUInt16BE(frame.group, 4);
  bytes[6] = frame.sequence;
  bytes[7] = frame.command;
  bytes.set(body, SMP_HEADER_BYTES);
  return bytes;
}

/**
 * Reads one whole frame.
 * @throws StationError DEVICE_NONSENSE when the length or the CBOR does not hold
 */
export function decodeSmpFrame(bytes: Buffer): SmpFrame {
  if (bytes.length < SMP_HEADER_BYTES || bytes.readUInt16BE(2) !== bytes.length - SMP_HEADER_BYTES) {
    throw new StationError('DEVICE_NONSENSE', `SMP frame of ${bytes.length} bytes with a wrong length`);
  }
  let body: unknown;
  try {
    body =
      bytes.length === SMP_HEADER_BYTES
        ? {}
        : decode(bytes.subarray(SMP_HEADER_BYTES), { rejectDuplicateMapKeys: true });
  } catch (error) {
    throw new StationError('DEVICE_NONSENSE', error instanceof Error ? error.message : 'CBOR', { cause: error });
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body) || body instanceof Uint8Array) {
    throw new StationError('DEVICE_NONSENSE', 'the body of an SMP frame is no CBOR map');
  }
  return {
    op: bytes[0]! & 0b111,
    version: (bytes[0]! >> 3) & 0b11,
    group: bytes.readUInt16BE(4),
    sequence: bytes[6]!,
    command: bytes[7]!,
    body: body as Record<string, unknown>,
  };
}

/** Joins the parts of frames, as writes or notifications carry them, by the length in the header. */
export class SmpReassembler {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;

  constructor(maxBytes = 65_543) {
    this.#maxBytes = maxBytes;
  }

  /** Octets of a frame that has begun. */
  get pendingBytes(): number {
    return this.#bytes;
  }

  /**
   * Takes a part; returns the frame it completes, or null. A part that runs over the end of its frame spoils both.
   * @throws StationError DEVICE_NONSENSE for a frame longer than `maxBytes` or a part that runs over; the assembly starts afresh
   */
  push(part: Buffer): Buffer | null {
    this.#parts.push(part);
    this.#bytes += part.length;
    if (this.#bytes < SMP_HEADER_BYTES) return null;
    if (this.#parts[0]!.length < SMP_HEADER_BYTES) this.#parts = [Buffer.concat(this.#parts)];
    const frameBytes = SMP_HEADER_BYTES + this.#parts[0]!.readUInt16BE(2);
    if (frameBytes > this.#maxBytes || this.#bytes > frameBytes) {
      const seen = this.#bytes;
      this.reset();
      throw new StationError('DEVICE_NONSENSE', `SMP frame of ${frameBytes} bytes, ${seen} received`);
    }
    if (this.#bytes < frameBytes) return null;
    const frame = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
    this.reset();
    return frame;
  }

  /** Forgets a frame that has begun. */
  reset(): void {
    this.#parts = [];
    this.#bytes = 0;
  }
}
