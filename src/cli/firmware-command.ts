import { readFile } from 'node:fs/promises';
import { StationError } from '../contract/errors.ts';
import { type FirmwareImage, type FirmwarePackage, readFirmware } from '../firmware/firmware-package.ts';
import { hardwareLabel } from '../firmware/hardware.ts';
import type { LeftOut } from '../firmware/left-out.ts';
import { formatVersion, type McubootImage } from '../firmware/mcuboot-image.ts';
import { readPublicKey } from '../firmware/signing-key.ts';

/** What is inside a firmware file, checked; with a public key the signatures too. */
export async function inspectFirmware(path: string, keyPath: string | undefined): Promise<FirmwarePackage> {
  if (!keyPath) return readFirmware(path);
  const pem = await readFile(keyPath).catch((error: unknown) => {
    throw new StationError('FILE_UNREADABLE', keyPath, { cause: error });
  });
  return readFirmware(path, readPublicKey(pem));
}

/**
 * The package as `firmware --json` prints it. `verified`: every image's hash holds. `sentBytes` are header, payload and TLVs; `leftOut`
 * is what else is in the file. `runsAs` is the hash that a device lists once the image runs.
 */
export function firmwareJson(firmware: FirmwarePackage) {
  const { fileName, format, sha256, hardware, signature, leftOut } = firmware;
  return {
    type: 'firmware',
    file: fileName,
    format,
    sha256,
    bytes: firmware.file.length,
    hardware: hardwareLabel(hardware),
    verified: firmware.images.every(({ image }) => image.hashCheck === 'valid'),
    signature,
    sentBytes: firmware.images.reduce((sum, { bytes }) => sum + bytes.length, 0),
    leftOut,
    images: firmware.images.map(({ index, slot, bytes, image }) => ({
      index,
      slot,
      version: formatVersion(image.version),
      imageSize: image.imageBytes,
      headerSize: image.headerBytes,
      bytes: bytes.length,
      hashAlgorithm: image.hashAlgorithm,
      hash: image.hash,
      hashCheck: image.hashCheck,
      runsAs: image.runsAs,
      encrypted: image.encrypted,
      compressed: image.compressed,
      keyHash: image.keyHash,
      signatures: image.signatures,
      pure: image.pure,
      securityCounter: image.securityCounter,
      dependencies: image.dependencies.map((each) => ({ image: each.image, version: formatVersion(each.version) })),
      tlvs: image.tlvs.map(({ type, value, protected: inside }) => ({
        type: `0x${type.toString(16).padStart(2, '0')}`,
        bytes: value.length,
        protected: inside,
      })),
    })),
  };
}

/** The package in words. */
export function firmwareText(firmware: FirmwarePackage): string {
  const sent = firmware.images.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const left = firmware.leftOut.reduce((sum, { bytes }) => sum + bytes, 0);
  const builtFor = hardwareLabel(firmware.hardware);
  return [
    `${firmware.fileName}: ${firmware.format}, ${firmware.file.length} bytes`,
    ...rows('  ', [
      ['SHA-256 of the file', firmware.sha256],
      ['built for', builtFor],
    ]),
    ...firmware.images.flatMap((image) => [
      `  image ${image.index}${image.slot === null ? '' : `, to run in slot ${image.slot}`}`,
      ...rows('    ', imageRows(image)),
    ]),
    ...rows('  ', [
      ['signature', signatureWords(firmware)],
      ['sent', `${sent} bytes`],
      ['left out', left === 0 ? 'nothing' : `${left} bytes`],
    ]),
    ...firmware.leftOut.map((each) => `    ${leftOutWords(each)}`),
  ].join('\n');
}

function imageRows({ bytes, image }: FirmwareImage): [string, string | null][] {
  const holds = image.hashCheck === 'valid' ? 'holds' : 'not checkable: the image is encrypted';
  return [
    ['version', formatVersion(image.version)],
    ['image size', `${image.imageBytes} bytes, sent ${bytes.length} bytes with header and TLVs`],
    [`hash (${hashNames[image.hashAlgorithm]})`, `${image.hash} (${holds})`],
    ['runs as', image.runsAs === image.hash ? null : `${image.runsAs} (decompressed)`],
    ['encrypted', image.encrypted && `yes (${image.encrypted.toUpperCase()})`],
    ['compressed', image.compressed && `yes (${image.compressed})`],
    ['key hash', image.keyHash ?? 'none'],
    ['signed with', signedWith(image)],
    ['security counter', image.securityCounter === null ? 'none' : String(image.securityCounter)],
    ['depends on', dependencyWords(image)],
  ];
}

const hashNames = { sha256: 'SHA-256', sha384: 'SHA-384', sha512: 'SHA-512' } as const;

function signedWith({ signatures, pure }: McubootImage): string {
  if (signatures.length === 0) return 'nothing';
  return signatures.join(', ') + (pure ? ', over the image itself (pure)' : '');
}

function dependencyWords({ dependencies }: McubootImage): string {
  const words = dependencies.map(({ image, version }) => `image ${image}, version ${formatVersion(version)} or newer`);
  return words.join('; ') || 'nothing';
}

function signatureWords({ signature }: FirmwarePackage): string {
  if (signature === 'valid') return 'holds for this key';
  if (signature === 'not-checkable') return 'not checkable: it is over the plain image, which is encrypted here';
  return 'not checked: no public key given (--key)';
}

const leftOutNames = {
  padding: 'padding',
  trailer: 'padding and a trailer that asks for a trial',
  'confirmed-trailer': 'padding and a trailer that says confirmed',
  data: 'other data',
} as const;

function leftOutWords({ image, at, bytes, what }: LeftOut): string {
  const where = image === null ? `at 0x${at.toString(16)}` : `behind image ${image}`;
  return `${bytes} bytes ${where}: ${leftOutNames[what]}`;
}

const WIDTH = 21;

function rows(indent: string, lines: readonly (readonly [string, string | null])[]): string[] {
  return lines.flatMap(([name, value]) =>
    value === null ? [] : `${indent}${name.padEnd(WIDTH - indent.length + 2)}${value}`,
  );
}
