/**
 * HCI's numbers as the simulator knows them, apart from the station's own tables. Every one was compared with two public sources: Zephyr's
 * `include/zephyr/bluetooth/hci_types.h` and bumble's `bumble/hci.py` (Core 5.4, Vol 4 Part E); Read LE Host Support, which Zephyr does not
 * name, with bumble's and BlueZ's `lib/hci.h`.
 */
export const CODE = {
  // Link control, OGF 0x01
  disconnect: 0x0406,
  readRemoteVersionInformation: 0x041d,
  // Controller and baseband, OGF 0x03
  setEventMask: 0x0c01,
  reset: 0x0c03,
  setEventMaskPage2: 0x0c63,
  readLeHostSupport: 0x0c6c,
  writeLeHostSupport: 0x0c6d,
  // Informational parameters, OGF 0x04
  readLocalVersionInformation: 0x1001,
  readLocalSupportedCommands: 0x1002,
  readLocalSupportedFeatures: 0x1003,
  readBufferSize: 0x1005,
  readBdAddr: 0x1009,
  // Status parameters, OGF 0x05
  readRssi: 0x1405,
  // LE controller, OGF 0x08
  leSetEventMask: 0x2001,
  leReadBufferSize: 0x2002,
  leReadLocalSupportedFeatures: 0x2003,
  leSetRandomAddress: 0x2005,
  leSetAdvertisingParameters: 0x2006,
  leReadAdvertisingPhysicalChannelTxPower: 0x2007,
  leSetAdvertisingData: 0x2008,
  leSetScanResponseData: 0x2009,
  leSetAdvertisingEnable: 0x200a,
  leSetScanParameters: 0x200b,
  leSetScanEnable: 0x200c,
  leCreateConnection: 0x200d,
  leCreateConnectionCancel: 0x200e,
  leReadFilterAcceptListSize: 0x200f,
  leConnectionUpdate: 0x2013,
  leReadRemoteFeatures: 0x2016,
  leRand: 0x2018,
  leEnableEncryption: 0x2019,
  leLongTermKeyRequestReply: 0x201a,
  leLongTermKeyRequestNegativeReply: 0x201b,
  leReadSupportedStates: 0x201c,
  leRemoteConnectionParameterRequestReply: 0x2020,
  leRemoteConnectionParameterRequestNegativeReply: 0x2021,
  leSetDataLength: 0x2022,
  leReadSuggestedDefaultDataLength: 0x2023,
  leWriteSuggestedDefaultDataLength: 0x2024,
  leReadMaximumDataLength: 0x202f,
  leReadPhy: 0x2030,
  leSetDefaultPhy: 0x2031,
  leSetPhy: 0x2032,
} as const;

/** Event codes. Sources as for `CODE`. */
export const EVENT_CODE = {
  disconnectionComplete: 0x05,
  encryptionChange: 0x08,
  readRemoteVersionInformationComplete: 0x0c,
  commandComplete: 0x0e,
  commandStatus: 0x0f,
  hardwareError: 0x10,
  numberOfCompletedPackets: 0x13,
  dataBufferOverflow: 0x1a,
  encryptionKeyRefreshComplete: 0x30,
  leMeta: 0x3e,
} as const;

/** Sub-event codes of LE Meta. Sources as for `CODE`. */
export const SUBEVENT = {
  connectionComplete: 0x01,
  advertisingReport: 0x02,
  connectionUpdateComplete: 0x03,
  readRemoteFeaturesComplete: 0x04,
  longTermKeyRequest: 0x05,
  remoteConnectionParameterRequest: 0x06,
  dataLengthChange: 0x07,
  enhancedConnectionComplete: 0x0a,
  phyUpdateComplete: 0x0c,
} as const;

/** Status and reason codes (Vol 1 Part F). Sources as for `CODE`. */
export const REASON = {
  success: 0x00,
  unknownCommand: 0x01,
  unknownConnection: 0x02,
  hardwareFailure: 0x03,
  keyMissing: 0x06,
  connectionTimeout: 0x08,
  connectionLimitExceeded: 0x09,
  connectionAlreadyExists: 0x0b,
  commandDisallowed: 0x0c,
  invalidParameters: 0x12,
  remoteUserTerminated: 0x13,
  localHostTerminated: 0x16,
  unacceptableConnectionParameters: 0x3b,
  micFailure: 0x3d,
  failedToBeEstablished: 0x3e,
} as const;

/**
 * The bit of Set Event Mask that lets an event through: its code less one for the classic codes (Core 5.4, Vol 4 Part E, 7.3.1; Zephyr's
 * `BT_EVT_MASK_*`). Command Complete, Command Status and Number Of Completed Packets cannot be masked.
 */
export const EVENT_MASK_BIT: Readonly<Record<number, bigint>> = {
  [EVENT_CODE.disconnectionComplete]: 4n,
  [EVENT_CODE.encryptionChange]: 7n,
  [EVENT_CODE.readRemoteVersionInformationComplete]: 11n,
  [EVENT_CODE.hardwareError]: 15n,
  [EVENT_CODE.dataBufferOverflow]: 25n,
  [EVENT_CODE.encryptionKeyRefreshComplete]: 47n,
  [EVENT_CODE.leMeta]: 61n,
};

/** After a reset: every event up to bit 44, so LE Meta is off until the host asks for it (7.3.1; Zephyr's `DEFAULT_EVENT_MASK`). */
export const DEFAULT_EVENT_MASK = 0x1fff_ffff_ffffn;

/** After a reset: the first five LE events (7.8.1; Zephyr's `DEFAULT_LE_EVENT_MASK`). */
export const DEFAULT_LE_EVENT_MASK = 0x1fn;
