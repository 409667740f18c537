import { createHash } from 'node:crypto';
import type { FirmwarePackage } from '../firmware/firmware-package.ts';

/**
 * The application's image of a package with one bit of the hash in its TLVs turned over, and nothing else changed. A bootloader that checks
 * must reject it (MCUboot, `docs/design.md`: the hash is verified before a swap); one that does not runs the code of the good image, so that
 * nothing is lost by trying. Null where that is not so: for images that are built for one slot, and where the hash does not stand in the image.
 */
export function badImage(firmware: FirmwarePackage, applicationImage: number): FirmwarePackage | null {
  const good = firmware.images.find(({ index }) => index === applicationImage);
  if (!good || good.slot !== null) return null;
  const at = good.bytes.lastIndexOf(Buffer.from(good.image.hash, 'hex'));
  // Before the TLVs it would be the code that is changed.
  if (at < good.image.headerBytes + good.image.imageBytes) return null;
  const bytes = Buffer.from(good.bytes);
  bytes[at] = bytes[at]! ^ 0x01;
  const hash = bytes.subarray(at, at + good.image.hash.length / 2).toString('hex');
  const runsAs = good.image.runsAs === good.image.hash ? hash : good.image.runsAs;
  const image = { ...good, bytes, image: { ...good.image, hash, runsAs } };
  return {
    fileName: `${firmware.fileName} with a wrong hash`,
    format: 'mcuboot',
    sha256: createHash('sha256').update(bytes).digest('hex'),
    file: bytes,
    hardware: firmware.hardware,
    images: [image],
    signature: 'not-checked',
    leftOut: [],
  };
}
