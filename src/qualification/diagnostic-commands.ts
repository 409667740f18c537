/**
 * Commands that only `qualify` sends: they ask and change nothing. Core 5.4, Vol 4 Part E, 7.4.1, 7.4.2, 7.8.46; the same in Zephyr's
 * `hci_types.h` (BT_HCI_OP_READ_LOCAL_VERSION_INFO 0x1001, BT_HCI_OP_READ_SUPPORTED_COMMANDS 0x1002, BT_HCI_OP_LE_READ_MAX_DATA_LEN 0x202f)
 * and in Wireshark's bthci_cmd.opcode.
 */
export const DIAGNOSTIC_OPCODE = {
  READ_LOCAL_VERSION: 0x1001,
  READ_LOCAL_SUPPORTED_COMMANDS: 0x1002,
  LE_READ_MAXIMUM_DATA_LENGTH: 0x202f,
  /** The last opcode of the LE group: no specification up to 6.0 has given it. */
  NOBODY_KNOWS: 0x23ff,
} as const;

/** LE Meta subevent of extended advertising (7.7.65.13; Wireshark's bthci_evt.le_meta_subevent 0x0d). */
export const LE_EXTENDED_ADVERTISING_REPORT = 0x0d;

/** HCI_Version by its number (Assigned Numbers, 2.1; Wireshark's bthci_evt.hci_vers_nr up to 5.3). */
export const HCI_VERSIONS: Readonly<Record<number, string>> = {
  6: '4.0',
  7: '4.1',
  8: '4.2',
  9: '5.0',
  10: '5.1',
  11: '5.2',
  12: '5.3',
  13: '5.4',
  14: '6.0',
};

/** Makers of controllers by their company identifier (Assigned Numbers, 7.1; Wireshark's bthci_evt.comp_id): those that are met as dongles. */
export const MANUFACTURERS: Readonly<Record<number, string>> = {
  2: 'Intel',
  10: 'Qualcomm (CSR)',
  13: 'Texas Instruments',
  15: 'Broadcom',
  29: 'Qualcomm',
  70: 'MediaTek',
  89: 'Nordic Semiconductor',
  93: 'Realtek',
  741: 'Espressif',
  767: 'Silicon Laboratories',
  1521: 'Linux Foundation (Zephyr)',
};

/** Bits of the LE features (Core 5.4, Vol 6 Part B, 4.6; Zephyr's BT_LE_FEAT_BIT_…, Wireshark's bthci_evt.le_features). */
export const LE_FEATURE = { ENCRYPTION: 0, DATA_LENGTH: 5, PHY_2M: 8, EXTENDED_ADVERTISING: 12 } as const;
