/**
 * PDUs of the Security Manager Protocol (Core 5.4, Vol 3 Part H, 3.3 to 3.6), on L2CAP channel 6. Codes, reasons and bits were held against
 * Zephyr's `subsys/bluetooth/host/smp.h` and against Wireshark's dissector (`tshark -G values`, btsmp.opcode, btsmp.reason): no difference.
 * The PDUs of a Zephyr device hold the layouts in `test/unit/hci-recordings.test.ts`.
 */
export const CID_PAIRING = 0x0006;

/** Codes (table 3.3). */
export const PAIRING = {
  REQUEST: 0x01,
  RESPONSE: 0x02,
  CONFIRM: 0x03,
  RANDOM: 0x04,
  FAILED: 0x05,
  ENCRYPTION_INFORMATION: 0x06,
  CENTRAL_IDENTIFICATION: 0x07,
  IDENTITY_INFORMATION: 0x08,
  IDENTITY_ADDRESS: 0x09,
  SIGNING_INFORMATION: 0x0a,
  SECURITY_REQUEST: 0x0b,
  PUBLIC_KEY: 0x0c,
  DHKEY_CHECK: 0x0d,
  KEYPRESS: 0x0e,
} as const;

/** Reasons of Pairing Failed (table 3.7). */
export const PAIRING_FAILURE = {
  AUTHENTICATION_REQUIREMENTS: 0x03,
  CONFIRM_VALUE_FAILED: 0x04,
  NOT_SUPPORTED: 0x05,
  KEY_SIZE: 0x06,
  COMMAND_NOT_SUPPORTED: 0x07,
  UNSPECIFIED: 0x08,
  REPEATED_ATTEMPTS: 0x09,
  INVALID_PARAMETERS: 0x0a,
  DHKEY_CHECK_FAILED: 0x0b,
} as const;

/** Bits of AuthReq (figure 3.3). */
export const AUTH = { BONDING: 0x01, MITM: 0x04, SECURE_CONNECTIONS: 0x08 } as const;
/** Bits of key distribution (figure 3.11). */
export const KEYS = { ENCRYPTION: 0x01, IDENTITY: 0x02, SIGNING: 0x04 } as const;
/** IO capability (table 3.4): what makes pairing Just Works. */
export const NO_INPUT_NO_OUTPUT = 0x03;
export const MIN_KEY_OCTETS = 7;
export const MAX_KEY_OCTETS = 16;

const LENGTHS: Readonly<Record<number, number>> = {
  [PAIRING.REQUEST]: 7,
  [PAIRING.RESPONSE]: 7,
  [PAIRING.CONFIRM]: 17,
  [PAIRING.RANDOM]: 17,
  [PAIRING.FAILED]: 2,
  [PAIRING.ENCRYPTION_INFORMATION]: 17,
  [PAIRING.CENTRAL_IDENTIFICATION]: 11,
  [PAIRING.IDENTITY_INFORMATION]: 17,
  [PAIRING.IDENTITY_ADDRESS]: 8,
  [PAIRING.SIGNING_INFORMATION]: 17,
  [PAIRING.SECURITY_REQUEST]: 2,
  [PAIRING.PUBLIC_KEY]: 65,
  [PAIRING.DHKEY_CHECK]: 17,
  [PAIRING.KEYPRESS]: 2,
};

/** Whether a PDU is of a known code and of that code's length. */
export function isWellFormed(pdu: Buffer): boolean {
  return pdu.length > 0 && LENGTHS[pdu[0]!] === pdu.length;
}

/** What a Pairing Request or Response says (3.5.1, 3.5.2). */
export interface PairingFeatures {
  readonly ioCapability: number;
  readonly oob: boolean;
  readonly authReq: number;
  readonly maxKeyOctets: number;
  readonly initiatorKeys: number;
  readonly responderKeys: number;
}

/** A Pairing Request or Response. */
export function featuresPdu(code: number, features: PairingFeatures): Buffer {
  const { ioCapability, oob, authReq, maxKeyOctets, initiatorKeys, responderKeys } = features;
  return Buffer.of(code, ioCapability, oob ? 1 : 0, authReq, maxKeyOctets, initiatorKeys, responderKeys);
}

/** Reads one that is well formed. */
export function readFeatures(pdu: Buffer): PairingFeatures {
  const [, ioCapability = 0, oob = 0, authReq = 0, maxKeyOctets = 0, initiatorKeys = 0, responderKeys = 0] = pdu;
  return { ioCapability, oob: oob === 1, authReq, maxKeyOctets, initiatorKeys, responderKeys };
}

/** A PDU that carries a value: most significant octet first here, the other way round on the air. */
export function valuePdu(code: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.of(code), reversed(value)]);
}

/** The value of such a PDU, most significant octet first. */
export function pduValue(pdu: Buffer): Buffer {
  return reversed(pdu.subarray(1));
}

/** A public key: X, then Y (3.5.6). */
export function publicKeyPdu({ x, y }: { readonly x: Buffer; readonly y: Buffer }): Buffer {
  return Buffer.concat([Buffer.of(PAIRING.PUBLIC_KEY), reversed(x), reversed(y)]);
}

/** Reads a Public Key PDU that is well formed. */
export function readPublicKey(pdu: Buffer): { x: Buffer; y: Buffer } {
  return { x: reversed(pdu.subarray(1, 33)), y: reversed(pdu.subarray(33, 65)) };
}

/** The octets of a buffer the other way round. */
export function reversed(bytes: Buffer): Buffer {
  return Buffer.from(bytes).reverse();
}
