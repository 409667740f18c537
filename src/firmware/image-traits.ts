import type { McubootImage } from './mcuboot-image.ts';

/** What a person wants to know of an image's kind, as short terms: hash, signatures or `unsigned`, `encrypted`, `compressed`. */
export function imageTraits(image: McubootImage): string[] {
  const signatures = image.signatures.length > 0 ? image.signatures : ['unsigned'];
  return [
    image.hashAlgorithm,
    ...signatures,
    ...(image.pure ? ['pure'] : []),
    ...(image.encrypted ? ['encrypted'] : []),
    ...(image.compressed ? ['compressed'] : []),
  ];
}
