/**
 * Event masks (Core 5.4, Vol 4 Part E, 7.3.1, 7.3.69 and 7.8.1): which bit lets an event through. An event that nobody takes must not come:
 * a controller that may send LE Enhanced Connection Complete sends it in place of the one that is awaited. Bits as in Zephyr's
 * `hci_types.h` (BT_EVT_MASK_…, BT_EVT_MASK_LE_…) and in Wireshark's dissector (bthci_cmd.evt_mask_…, bthci_cmd.le_event_mask).
 */

/** Command Complete, Command Status and Number Of Completed Packets come whatever the mask says: their bits are reserved. */
const ALWAYS_SENT: ReadonlySet<number> = new Set([0x0e, 0x0f, 0x13]);
/** The first event code of the second page. */
const PAGE_2_FROM = 0x40;

function mask(bits: readonly number[]): Buffer {
  const octets = Buffer.alloc(8);
  octets.writeBigUInt64LE(bits.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n));
  return octets;
}

/** Parameters of Set Event Mask that let these event codes through and no other: bit n is event n + 1. */
export function eventMask(codes: Iterable<number>): Buffer {
  return mask([...codes].filter((code) => code < PAGE_2_FROM && !ALWAYS_SENT.has(code)).map((code) => code - 1));
}

/** Parameters of Set Event Mask Page 2: bit n is event 64 + n. */
export function eventMaskPage2(codes: Iterable<number>): Buffer {
  return mask([...codes].filter((code) => code >= PAGE_2_FROM).map((code) => code - PAGE_2_FROM));
}

/** Parameters of LE Set Event Mask, by subevent codes: bit n is subevent n + 1. */
export function leEventMask(subevents: Iterable<number>): Buffer {
  return mask([...subevents].map((code) => code - 1));
}
