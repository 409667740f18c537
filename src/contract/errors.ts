/**
 * Every way in which the station can refuse or fail, as a stable code. A code names the cause that an operator or engineer can
 * act on. Codes are never renamed or reused; the sentences beside them (one catalogue per language) may improve.
 */
export const sentences = {
  // files
  FILE_NOT_FOUND: 'The file does not exist. Check the path.',
  FILE_UNREADABLE: 'The file cannot be read. Check its permissions and that it is a file.',
  FILE_SYNTAX: 'The file is not valid YAML. Correct the line that is named.',
  FILE_INVALID: 'The file holds a value that is not allowed. Correct the key that is named.',
  ARGUMENT_INVALID: 'A command-line argument is not usable. See dfu-station --help.',

  // firmware
  FIRMWARE_UNKNOWN_FORMAT:
    'This is no firmware package the station knows (MCUboot image, dfu_application.zip, Intel HEX).',
  FIRMWARE_EMPTY: 'The firmware file is empty. Fetch it again.',
  FIRMWARE_IS_WEB_PAGE: 'This is a web page that was saved under the name of a firmware. Download the firmware itself.',
  FIRMWARE_TOO_LARGE: 'The firmware file is larger than any device could hold. Check that it is the right file.',
  FIRMWARE_SEVERAL_IMAGES:
    'The file holds more than one image, and it does not say which of them is meant. Give the one that is to be installed, or a dfu_application.zip.',
  FIRMWARE_IS_FLASH_DUMP:
    'The file holds an image, but not at its beginning: it was read out of a flash. Use the signed image of the build.',
  FIRMWARE_INDEX_UNKNOWN:
    "This is an image of an nRF5340's network core, and nothing says that it goes there. Use the dfu_application.zip of the build.",
  FIRMWARE_ENCRYPTED:
    'The firmware is encrypted: its hash and signature cannot be checked here. Where that is right, the product profile says firmware: {encrypted: allow}.',
  FIRMWARE_DIRECT_XIP:
    'The package has images that are each built to run in one slot (direct-XIP). This protocol does not tell which slot runs: it cannot be used here.',
  FIRMWARE_FOR_OTHER_HARDWARE: 'The firmware was built for other hardware than the product. Choose the right package.',
  IMAGE_TRUNCATED: 'The MCUboot image ends before its header says. Fetch the file again.',
  IMAGE_BAD_MAGIC: 'The file does not begin with an MCUboot image header. Use the signed image, not the raw binary.',
  IMAGE_TLV_INVALID: "The MCUboot image's trailer (TLV area) is damaged. Build or fetch the file again.",
  IMAGE_HASH_MISSING: 'The MCUboot image carries no hash (SHA-256, SHA-384 or SHA-512). Sign it with imgtool.',
  IMAGE_HASH_TWICE:
    'The MCUboot image carries more than one hash: which one a device would list is not known. Sign it again.',
  IMAGE_HASH_INVALID: "The image's content does not match its hash. The file is damaged: fetch it again.",
  IMAGE_ENCRYPTED_IN_CLEAR:
    'The image says that it is encrypted, but it is not (imgtool --clear): a bootloader would spoil it. Use the encrypted one for updates.',
  IMAGE_DECOMPRESSED_HASH_MISSING:
    'The image is compressed and does not say what hash it runs under: what starts could not be proven. Sign it again with imgtool.',
  IMAGE_SIGNATURE_MISSING: 'A public key was given but the image carries no signature of that kind.',
  IMAGE_SIGNATURE_INVALID:
    'The signature does not hold for this public key. The image was signed with another key or changed.',
  IMAGE_KEY_MISMATCH: 'The image names another public key (key hash) than the one given.',
  PUBLIC_KEY_INVALID:
    'The public key is not a PEM file with an RSA (2048 or 3072), ECDSA (P-224, P-256 or P-384) or Ed25519 key.',
  ZIP_DAMAGED: 'The zip archive is damaged. Fetch the file again.',
  ZIP_BAD_CRC: 'A file in the zip archive does not match its checksum. Fetch the archive again.',
  ZIP_TOO_LARGE: 'The zip archive unpacks to more than any device could hold. It is refused.',
  MANIFEST_MISSING: 'The zip archive has no manifest.json. Use the dfu_application.zip that the build made.',
  MANIFEST_INVALID: 'The manifest.json of the archive is not usable.',
  MANIFEST_VERSION_UNKNOWN: 'The manifest.json is of a format that the station does not know. Update the station.',
  MANIFEST_KIND_UNKNOWN:
    'The manifest.json names a kind of file that the station does not know. Use a dfu_application.zip.',
  MANIFEST_INDEX_UNKNOWN:
    'The manifest.json does not say in a way that is understood which image a file is for. Give each file its image_index.',
  MANIFEST_CONTRADICTS:
    'The manifest.json says something else of a file than the file itself. Build the archive again: one of them is not the right one.',
  MANIFEST_FILE_MISSING: 'The manifest names a file that is not in the archive.',
  MANIFEST_PATH_UNSAFE: 'The manifest names a path outside the archive. It is refused.',
  PACKAGE_SUIT:
    'This is a SUIT envelope. The station updates devices that start with MCUboot: use the dfu_application.zip of such a build.',
  PACKAGE_NORDIC_DFU:
    "This is a package for Nordic's Secure or Legacy DFU bootloader (nRF5 SDK). The station updates devices with an SMP server or FUS: use nrfutil for this one.",
  PACKAGE_BOOTLOADER:
    'This is an update of the bootloader (MCUboot, s0 and s1), not of the application. Use the dfu_application.zip.',
  HEX_INVALID: 'The Intel HEX file is damaged. Build or fetch it again.',

  // radio and link
  NO_RADIO: 'No radio is available. Plug in an adapter or name one with --radio; dfu-station doctor explains.',
  RADIO_SPEC_INVALID:
    'The radio is not named as virtual[:N], hci:N, h4:unix:PATH, h4:tcp:HOST:PORT, h4:serial:DEV, system or replay:CAPTURE.',
  RADIO_UNREACHABLE: 'The radio cannot be opened. Check that it is plugged in and not used by another program.',
  RADIO_PERMISSION:
    'The station may not use the Bluetooth adapter. Give it CAP_NET_ADMIN and CAP_NET_RAW, or run it as root.',
  RADIO_REFUSED: 'The radio answers, but refuses to be set up. It may not support Bluetooth Low Energy.',
  RADIO_LOST: 'The radio went away. Plug it in again.',
  RECORDING_OVER:
    'The recording that is played back does not hold what the station asks now. Nothing is known beyond this point.',
  ALREADY_CONNECTED: 'The device is already connected through this radio.',
  CONNECT_TIMEOUT: 'The device advertises but does not accept a connection. Move it closer or restart it.',
  RADIO_FULL: 'The controller carries no more links. The unit waits for a place.',
  CONNECT_FAILED: 'The connection could not be established. Move the device closer.',
  LINK_LOST: 'The link to the device broke. Move it closer or check its power.',
  LINK_CLOSED: 'The link was closed.',
  ATT_ERROR: 'The device refused a Bluetooth request.',
  ATT_TIMEOUT: 'The device did not answer a Bluetooth request within 30 s.',
  SERVICE_NOT_FOUND: 'The device does not offer the upgrade service of its product profile.',
  PAIRING_FAILED: 'The device broke pairing off. The detail has its reason; look at its log.',
  PAIRING_NEEDS_MITM:
    'The device refuses Just Works pairing: it wants a passkey or another way that nobody on a line can give. Build it to accept Just Works for the upgrade service.',
  PAIRING_NONSENSE:
    'The device answered pairing with something that the specification does not allow. See the capture.',
  PAIRING_CONFIRM_WRONG:
    'The device does not know what it committed to in pairing: its security implementation is wrong, or somebody is in between.',
  PAIRING_TIMEOUT: 'The device stopped answering half way through pairing. It is tried again on a new link.',
  BOND_LOST:
    'The device has lost the key that it was bonded with, and the product profile does not allow to pair again (lostBond).',
  BOND_LEFT:
    'The device keeps its bond with the station: it has no Bond Management Service, refused, or the adapter that it is with was lost. Clear it by hand, or use bond: none.',
  ENCRYPTION_FAILED: 'The link could not be encrypted. It is tried again on a new link.',
  ENCRYPTION_REQUIRED: "The device demands an encrypted link, which this machine's Bluetooth did not provide.",
  SECURITY_UNSUPPORTED:
    "The operating system's own Bluetooth does not tell whether a link is encrypted, so that security: just-works cannot be proven there. Use a controller of the station's own.",
  WRITE_TOO_LONG: 'A write is longer than the link can carry.',

  // who may be written
  NO_UNIT_FOUND: 'No unit was found in time. Check that the devices are powered and match the product profile.',
  UNIT_NOT_FOUND: 'The unit was not found in time. Check that it is powered and in reach.',
  UNITS_MISSING: 'Fewer units were found than the tray has slots or the job lists.',
  DUPLICATE_IDENTITY: 'Two devices claim the same identity. Neither is written: separate them and find the wrong one.',
  WRONG_PRODUCT: 'This device belongs to another product. Take it out of the tray.',
  IDENTITY_UNREADABLE: "The device's identity cannot be read as the product profile says.",
  IDENTITY_CHANGED:
    'The device reports another identity than the unit had before. Nothing more is written to it: take it out and find out which unit it is.',
  ADDRESS_NOT_PROVEN:
    "The unit's serial came back at another address, and nothing proves that it is the same unit. If this product takes a new address at each start, give it a bond or a serial in its Device Information Service, or set identity: {newAddress: allow} in its profile.",
  NOT_ON_JOB: 'The unit is not on the list of this job. Take it out of the tray.',
  UNIT_QUARANTINED: 'The unit is in quarantine until an engineer releases it.',
  BATTERY_LOW: "The device's battery is too low to upgrade safely. Charge it.",
  BATTERY_UNREADABLE: "The product profile asks for a battery minimum, but the device's battery level cannot be read.",
  SIGNAL_WEAK: "The device's signal is too weak. Move it closer.",
  DOWNGRADE_REFUSED: 'The device runs a newer version and the product profile does not allow downgrades.',

  // the floor
  WORK_ORDER_UNKNOWN: 'There is no such work order here. Check the number, or ask an engineer to enter it.',
  WORK_ORDER_CLOSED: 'This work order is closed. Ask an engineer if it should go on.',
  WORK_ORDER_EXISTS: 'There is a work order of this name already. Choose another name.',
  FIRMWARE_UNKNOWN: 'This firmware is not in the library. Add it first.',
  FIRMWARE_NOT_RELEASED: 'This firmware is not released. An engineer other than its author has to release it.',
  FIRMWARE_DAMAGED: 'The firmware in the library does not match its SHA-256 any more. Restore the backup.',
  FIRMWARE_FOR_OTHER_PRODUCT: 'This firmware belongs to another product. Choose the right one.',
  PROFILE_UNKNOWN: 'There is no such product profile here. Add it first.',
  PROFILE_NOT_RELEASED: 'This product profile is not released. An engineer other than its author has to release it.',
  SCAN_DUPLICATE: 'This unit has been scanned already: it stands in another slot.',
  LABEL_INVALID: 'This label is not a serial of this product. Scan the label of the unit.',
  LABEL_DAMAGED:
    'The scan is damaged: a key or a separator was lost, or two labels came as one. Scan again; if it stays so, give scanner and computer the same keyboard layout.',
  LABEL_AMBIGUOUS:
    'A separator may be missing in this label: where its serial ends cannot be told. Scan again; for labels like this an engineer sets label: {pattern} in the product profile.',
  LABEL_CASE_DIFFERS:
    'The label differs from what is expected only in capital and small letters. Check Caps Lock and the scanner, or correct the list or the pattern.',
  LABEL_WITHOUT_GTIN:
    'This product demands a label with its GTIN, and this one has none. Scan the GS1 label of the unit.',
  LABEL_OF_OTHER_PRODUCT: 'This label belongs to another product. Take the unit out of the tray.',
  UNIT_ALREADY_PASSED: 'This unit has passed on this work order already. Take it out of the tray.',
  SLOT_UNKNOWN: 'The tray has no such slot.',
  SLOT_TAKEN: 'There is a unit in this slot already. Take it off first.',
  TRAY_FULL: 'Every slot of the tray has a unit. Start, or take one off.',
  TRAY_BUSY: 'The tray is running. Wait until it has ended, or stop it.',
  TRAY_NOT_RUNNING: 'No tray is running.',
  TRAY_NOT_LOADED: 'No work order is loaded. Scan the work order first.',
  TRAY_NOT_ENDED: 'The tray has not run yet.',
  NOTHING_TO_RETRY: 'No unit of this tray failed: there is nothing to try again.',
  IDENTIFY_UNSUPPORTED: 'This product cannot show itself. Scan its label instead.',

  // people
  SIGN_IN_REQUIRED: 'Sign in first.',
  SIGN_IN_WRONG: 'Name and PIN do not match. Try again.',
  SIGN_IN_BLOCKED: 'Too many wrong PINs. Wait until the time named has passed.',
  BADGE_UNKNOWN: 'This badge is not known here. Sign in with your PIN, or ask an administrator.',
  RECOVERY_CODE_WRONG: 'This recovery code does not hold. Each holds once.',
  FIRST_START_DONE: 'This station has an administrator already. Sign in.',
  ROLE_INSUFFICIENT: 'Your role does not allow this. Ask an engineer or administrator.',
  WINDOW_NOT_ACTIVE: 'Another window has the station. Take it over here first.',
  SECOND_PERSON_NEEDED: 'What you wrote yourself has to be released by somebody else.',
  PERSON_EXISTS: 'There is a person of this name or badge already.',
  PERSON_UNKNOWN: 'There is no such person.',
  LAST_ADMINISTRATOR: 'This is the last administrator. Make another one first.',

  // console
  INPUT_INVALID: 'This input cannot be used. Correct what is named.',
  MESSAGE_INVALID: 'The station was sent something it does not understand. Reload the page.',
  UPLOAD_INCOMPLETE: 'The file did not arrive whole. Choose it again.',
  PORT_IN_USE: 'The port is used by another program. Choose another with --port.',
  SCREENS_MISSING: 'The screens have not been built. Run npm run build.',

  // upgrade
  DEVICE_SILENT: 'The device stopped answering. Restart it and try again.',
  FRAME_ORDER:
    "The device's frames came out of order, and the product profile asks for strict order. See the unit's order analysis.",
  DEVICE_NONSENSE: 'The device answers in a way its protocol does not allow.',
  DEVICE_REJECTED_IMAGE: 'The device refused the image. Check that it is built for this hardware.',
  DEVICE_ERROR: 'The device reported an error.',
  DEVICE_BUSY: 'The device is busy or has an upgrade pending that a restart did not clear.',
  DEVICE_FLASH_ERROR:
    "The device reported, again and again, that its flash cannot be written. If it does so in the next attempt too, replace the unit's board.",
  DEVICE_NOT_READY:
    'The device answered, again and again, with an error that usually passes (no memory, busy). Restart it and try again; the detail has its own words.',
  DEVICE_TOO_SLOW:
    'The device takes the upload more slowly than the product profile allows (upgrade.leastBytesPerMinute). Restart it and try again.',
  MTU_TOO_SMALL:
    'The link carries too little in one write (MTU) for what the device must be told first. Try another radio, or build the device with a larger MTU.',
  IMAGE_TOO_LARGE: "The image does not fit the device's slot. Check that it is the right product.",
  IMAGE_SLOT_UNKNOWN: 'The device has no slot for an image that the package holds. Check that it is the right product.',
  IMAGE_HASH_MISMATCH: 'What arrived on the device is not the image that was sent. Its flash or its link is faulty.',
  MODE_REFUSED: 'The upgrade mode is not possible for this package on this device. Use mode: confirm.',
  RESET_FAILED:
    'The device did not restart when it was told to. A new image that is pending in it starts at its next power-up: do not ship it as it is.',
  NOT_BACK_AFTER_RESET: 'The device did not come back after its restart in time. Check its power; do not ship it.',
  SWAP_REVERTED: 'The device ran the new image and fell back to the old one. The image does not work on this unit.',
  BOOTLOADER_REJECTED:
    "The device's bootloader did not start the new image. Its signature or hash does not hold on this unit.",
  NOT_CONFIRMED: 'The new image runs but could not be made permanent. It would be undone at the next restart.',
  WRONG_IMAGE_RUNNING: 'The device runs another image than it should. Set it aside.',
  PROOF_MISSING:
    'Nothing proves that the device runs the new image, and the product profile demands proof (proof.demand) or the device used to say. Do not ship it.',
  UPLOAD_NOT_SENT:
    'The device lists an image as complete that was never sent to it whole. Set it aside: what it says of itself cannot be relied on.',
  VERSION_UNKNOWN:
    'The version that the device runs cannot be read, so that it is not known whether this is a downgrade. The product profile decides: upgrade.unknownVersion.',
  RETRIES_EXHAUSTED: 'The unit failed as often as the product profile allows.',
  STOPPED: 'The operator stopped the job.',
  STATION_INTERRUPTED: 'The station was interrupted during this attempt. The unit is offered again.',
  INTERNAL: 'The station found a fault of its own. Report it with the log.',

  // evidence
  CAPTURE_MISSING: 'No HCI capture was kept for this attempt. The product profile says when one is: capture: always.',
  CAPTURE_INVALID: 'This is no capture that the station reads (btsnoop, pcap, pcapng or PacketLogger, of HCI packets).',
  CAPTURE_TRUNCATED: 'The capture ends before its first whole packet. Save it again.',
  CAPTURE_LINK_TYPE:
    'The capture holds packets of another kind. The station reads HCI UART (H4) and Linux monitor (btmon), and of the air the link types 256 and 272 (nRF Sniffer).',
  CAPTURE_ENCRYPTED:
    'The data in this capture of the air are encrypted. Take one on the device at HCI, or sniff a link without encryption.',
  CAPTURE_CHANGED: 'The capture does not match its SHA-256 any more: somebody changed it.',
  EVIDENCE_CHANGED: 'What was laid beside the attempt does not match its SHA-256 any more: somebody changed it.',
  COMPARISON_TIMEOUT: 'The logs could not be compared in time. Take a shorter piece of the log, or a simpler pattern.',
  DEVICE_LOG_UNKNOWN: 'No line of this log is understood. Name its format, or give a pattern.',

  // records
  DATA_DIRECTORY_IN_USE: 'Another station uses this data directory. Stop it or choose another with --data.',
  DATA_DIRECTORY_READ_ONLY:
    'The data directory cannot be written. Check its permissions or choose another with --data.',
  DISK_FULL: 'The disk is full. Free some space: no unit is upgraded without a record.',
  DATABASE_DAMAGED: 'The database of records is damaged. Restore the backup; do not delete it.',
  DATABASE_NEWER: 'The database was written by a newer version of the station. Update this one.',
  RECORD_NOT_FOUND: 'There is no such record.',
} as const;

/** A stable error code. */
export type ErrorCode = keyof typeof sentences;

/** An error that an operator or engineer can act on. `detail` is for engineers: what exactly was seen. */
export class StationError extends Error {
  readonly code: ErrorCode;
  /** Whether trying the same again can help without anybody changing anything. */
  readonly retryable: boolean;
  readonly detail: string;

  constructor(code: ErrorCode, detail = '', options: { retryable?: boolean; cause?: unknown } = {}) {
    super(detail ? `${sentences[code]} (${detail})` : sentences[code], { cause: options.cause });
    this.name = 'StationError';
    this.code = code;
    this.detail = detail;
    this.retryable = options.retryable ?? false;
  }
}

/** The error as a StationError: itself, or INTERNAL with the original as its cause. */
export function asStationError(error: unknown): StationError {
  if (error instanceof StationError) return error;
  const detail = error instanceof Error ? error.message : String(error);
  return new StationError('INTERNAL', detail, { cause: error });
}
