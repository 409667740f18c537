import { StationError } from '../contract/errors.ts';
import type { McubootImage } from './mcuboot-image.ts';

/**
 * Updates of MCUboot itself under Nordic's immutable bootloader, as the build names them (nRF Connect SDK, "Output build files":
 * `signed_by_mcuboot_and_b0_s0_image_update.bin`; with sysbuild `…_b0_mcuboot.bin`).
 */
const BOOTLOADER_UPDATE = /signed_by_mcuboot_and_b0_(s[01]|mcuboot)/i;

/** Whether a file is an update of the bootloader by its name. */
export const isBootloaderUpdate = (fileName: string) => BOOTLOADER_UPDATE.test(fileName);

/**
 * Names what is no firmware of ours, but known.
 * @throws StationError FIRMWARE_IS_WEB_PAGE, PACKAGE_SUIT, PACKAGE_BOOTLOADER, FIRMWARE_UNKNOWN_FORMAT
 */
export function refuseOtherFormats(file: Buffer, fileName: string): void {
  const text = file
    .subarray(0, 512)
    .toString('latin1')
    .replace(/^\xef\xbb\xbf/, '')
    .trimStart();
  if (/^<(!doctype|html|head|\?xml|!--)/i.test(text)) throw new StationError('FIRMWARE_IS_WEB_PAGE', fileName);
  // A SUIT envelope is CBOR under tag 107 (RFC 9124 and draft-ietf-suit-manifest, "SUIT_Envelope_Tagged").
  if (file[0] === 0xd8 && file[1] === 0x6b) throw new StationError('PACKAGE_SUIT', fileName);
  if (isBootloaderUpdate(fileName)) throw new StationError('PACKAGE_BOOTLOADER', fileName);
  const known = [
    { begins: '\x7fELF', what: 'an ELF file: use the signed image of the same build' },
    { begins: 'UF2\n', what: 'a UF2 file' },
    { begins: 'version https://git-lfs', what: 'a pointer of Git LFS: fetch the file itself' },
    { begins: '\x1f\x8b', what: 'a gzip archive: unpack it first' },
    { begins: '7z\xbc\xaf', what: 'a 7z archive: unpack it first' },
    { begins: 'DfuSe', what: 'a DfuSe file' },
    { begins: 'S0', what: 'an S-record file' },
  ].find(({ begins }) => text.startsWith(begins));
  if (known) throw new StationError('FIRMWARE_UNKNOWN_FORMAT', `${fileName} is ${known.what}`);
}

/** The network core's flash of an nRF5340: 256 KiB (nRF5340 Product Specification, "Memory"; Zephyr `nrf5340_cpunet.dtsi`). */
export const NETWORK_CORE_FLASH = { from: 0x0100_0000, to: 0x0104_0000 };
/** Its RAM: 64 KiB (the same). A stack begins at the end of what is its own. */
const NETWORK_CORE_RAM = { from: 0x2100_0000, to: 0x2101_0000 };

/**
 * An image whose vector table has its stack in the network core's RAM and begins in that core's flash is no application. Nordic's fork
 * of MCUboot knows these addresses for the same reason (its sysflash header, `NETCPU_APP_SLOT_OFFSET`).
 * @throws StationError FIRMWARE_INDEX_UNKNOWN
 */
export function refuseNetworkCore(bytes: Buffer, image: McubootImage): void {
  if (image.encrypted || image.compressed || image.imageBytes < 8) return;
  const stack = bytes.readUInt32LE(image.headerBytes);
  const reset = bytes.readUInt32LE(image.headerBytes + 4);
  const stacksThere = stack > NETWORK_CORE_RAM.from && stack <= NETWORK_CORE_RAM.to;
  if (stacksThere && reset >= NETWORK_CORE_FLASH.from && reset < NETWORK_CORE_FLASH.to) {
    throw new StationError('FIRMWARE_INDEX_UNKNOWN', `it starts at 0x${reset.toString(16)}`);
  }
}
