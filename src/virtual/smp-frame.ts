import { type CborMap, decodeCbor, encodeCbor } from './cbor.ts';

/**
 * SMP as a server sees it: `op and version u8 · flags u8 · length u16 · group u16 · sequence u8 · command u8`, big-endian, then one CBOR
 * map of `length` octets. Sources: Zephyr's documentation, "SMP Protocol Specification", and `struct smp_hdr` in
 * `include/zephyr/mgmt/mcumgr/smp/smp.h`; the recorded answers of Zephyr servers.
 */
export const HEADER_BYTES = 8;

/** Result codes that belong to no group (`enum mcumgr_err_t`, `mgmt_defines.h`; "SMP Protocol Specification", table of errors). */
export const ERR = {
  UNKNOWN: 1,
  NO_MEMORY: 2,
  INVALID: 3,
  NO_ENTRY: 5,
  BAD_STATE: 6,
  NOT_SUPPORTED: 8,
  CORRUPT: 9,
  TOO_NEW: 13,
} as const;

/** Result codes of the image group (`enum img_mgmt_err_code_t`, `img_mgmt.h`; "Application/software image management group"). */
export const IMG_ERR = {
  NO_FREE_SLOT: 9,
  INVALID_SLOT: 14,
  INVALID_OFFSET: 20,
  INVALID_LENGTH: 21,
  INVALID_IMAGE_HEADER: 22,
  INVALID_IMAGE_HEADER_MAGIC: 23,
  INVALID_HASH: 24,
  CURRENT_VERSION_IS_NEWER: 27,
  IMAGE_ALREADY_PENDING: 28,
  INVALID_IMAGE_TOO_LARGE: 30,
  INVALID_IMAGE_DATA_OVERRUN: 31,
  IMAGE_CONFIRMATION_DENIED: 32,
  IMAGE_SETTING_TEST_TO_ACTIVE_DENIED: 33,
} as const;

/** A request as its header says it. */
export interface RequestHeader {
  readonly write: boolean;
  /** False for an operation that is neither read nor write. */
  readonly known: boolean;
  /** 0 and 1 stand for versions 1 and 2 of the protocol. */
  readonly version: number;
  readonly bodyBytes: number;
  readonly group: number;
  readonly sequence: number;
  readonly command: number;
}

/** A request whole. */
export interface Request extends RequestHeader {
  readonly body: CborMap;
}

/** The header at the beginning of a frame or of its first write, which has `HEADER_BYTES` octets at least. */
export function readHeader(bytes: Buffer): RequestHeader {
  const op = bytes[0]! & 0x07;
  return {
    write: op === 2,
    known: op === 0 || op === 2,
    version: (bytes[0]! >> 3) & 0x03,
    bodyBytes: bytes.readUInt16BE(2),
    group: bytes.readUInt16BE(4),
    sequence: bytes[6]!,
    command: bytes[7]!,
  };
}

/**
 * The map behind a header; an empty body is an empty map.
 * @throws RangeError when it is no map
 */
export function readBody(bytes: Buffer): CborMap {
  if (bytes.length === 0) return {};
  const { value } = decodeCbor(bytes);
  if (typeof value !== 'object' || value === null || Array.isArray(value) || Buffer.isBuffer(value)) {
    throw new RangeError('no map');
  }
  return value as CborMap;
}

/** The answer to a request: its operation plus one, its group, sequence and command. */
export function answerFrame(request: RequestHeader, version: number, body: CborMap, definite: boolean): Buffer {
  const content = encodeCbor(body, definite);
  const header = Buffer.alloc(HEADER_BYTES);
  header[0] = (version << 3) | (request.write || !request.known ? 3 : 1);
  header.writeUInt16BE(content.length, 2);
  header.writeUInt16BE(request.group, 4);
  header[6] = request.sequence;
  header[7] = request.command;
  return Buffer.concat([header, content]);
}
