/**
 * PDUs of the Security Manager as a peripheral knows them. Sources: Core 5.4, Vol 3 Part H, 3.3 to 3.6 (tables 3.3 to 3.8); Zephyr's
 * `subsys/bluetooth/host/smp.h` (`BT_SMP_CMD_*`, `BT_SMP_ERR_*`, `BT_SMP_AUTH_*`, `BT_SMP_DIST_*`).
 */
export const PDU = {
  pairingRequest: 0x01,
  pairingResponse: 0x02,
  pairingConfirm: 0x03,
  pairingRandom: 0x04,
  pairingFailed: 0x05,
  encryptionInformation: 0x06,
  centralIdentification: 0x07,
  identityInformation: 0x08,
  identityAddress: 0x09,
  signingInformation: 0x0a,
  securityRequest: 0x0b,
  publicKey: 0x0c,
  dhKeyCheck: 0x0d,
  keypress: 0x0e,
} as const;

/** Why pairing fails. */
export const FAILURE = {
  authenticationRequirements: 0x03,
  confirmValueFailed: 0x04,
  pairingNotSupported: 0x05,
  unspecifiedReason: 0x08,
  invalidParameters: 0x0a,
  dhKeyCheckFailed: 0x0b,
} as const;

/** Bits of AuthReq. */
export const WANTS = { bonding: 0x01, secureConnections: 0x08 } as const;
/** Bits of the keys that are given out. */
export const GIVES = { encryptionKey: 0x01, identityKey: 0x02 } as const;

/** Octets of each PDU by its code, the code counted. */
const OCTETS = [0, 7, 7, 17, 17, 2, 17, 11, 17, 8, 17, 2, 65, 17, 2];

/** Whether a PDU has a known code and that code's length. */
export function isWhole(pdu: Buffer): boolean {
  return pdu.length > 0 && OCTETS[pdu[0]!] === pdu.length;
}

/** A PDU of a code and values, each most significant octet first; on the air the least significant goes first. */
export function securityPdu(code: number, ...values: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.of(code), ...values.map(backwards)]);
}

/** The value behind the code, most significant octet first. */
export function carriedValue(pdu: Buffer): Buffer {
  return backwards(pdu.subarray(1));
}

/** The octets from the last to the first. */
export function backwards(bytes: Buffer): Buffer {
  return Buffer.from(bytes).reverse();
}
