import { readFile } from 'node:fs/promises';
import { StationError } from '../contract/errors.ts';
import { type FirmwarePackage, readFirmware } from '../firmware/firmware-package.ts';
import { formatVersion } from '../firmware/mcuboot-image.ts';
import { readPublicKey } from '../firmware/signing-key.ts';

/** What is inside a firmware file, checked; with a public key the signatures too. */
export async function inspectFirmware(path: string, keyPath: string | undefined): Promise<FirmwarePackage> {
  if (!keyPath) return readFirmware(path);
  const pem = await readFile(keyPath).catch((error: unknown) => {
    throw new StationError('FILE_UNREADABLE', keyPath, { cause: error });
  });
  return readFirmware(path, readPublicKey(pem));
}

/** The package as `firmware --json` prints it. */
export function firmwareJson(firmware: FirmwarePackage) {
  const { fileName, format, sha256, hardware, signature } = firmware;
  return {
    type: 'firmware',
    file: fileName,
    format,
    sha256,
    bytes: firmware.file.length,
    hardware,
    verified: true,
    signature,
    images: firmware.images.map(({ index, bytes, image }) => ({
      index,
      version: formatVersion(image.version),
      imageSize: image.imageBytes,
      headerSize: image.headerBytes,
      bytes: bytes.length,
      hash: image.hash,
      keyHash: image.keyHash,
      signatures: image.signatures,
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
  const lines = [
    `${firmware.fileName}: ${firmware.format}, ${firmware.file.length} bytes`,
    `  SHA-256 of the file  ${firmware.sha256}`,
  ];
  if (firmware.hardware) lines.push(`  built for            ${firmware.hardware}`);
  for (const { index, image } of firmware.images) {
    lines.push(
      `  image ${index}`,
      `    version            ${formatVersion(image.version)}`,
      `    image size         ${image.imageBytes} bytes`,
      `    image hash         ${image.hash} (holds)`,
      `    key hash           ${image.keyHash ?? 'none'}`,
      `    signed with        ${image.signatures.join(', ') || 'nothing'}`,
    );
  }
  const said = firmware.signature === 'valid' ? 'holds for this key' : 'not checked: no public key given (--key)';
  return [...lines, `  signature            ${said}`].join('\n');
}
