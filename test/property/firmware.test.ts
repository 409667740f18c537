import fc from 'fast-check';
import { describe, test } from 'vitest';
import { StationError } from '../../src/contract/errors.ts';
import { parseFirmware } from '../../src/firmware/firmware-package.ts';
import { HEX_END, hexRecords } from '../support/intel-hex.ts';
import { padded, protectedTlv, signedImage } from '../support/signed-image.ts';
import { zip } from '../support/zip.ts';

const image = signedImage({
  payload: Buffer.alloc(300, 5),
  protectedTlvs: [protectedTlv.securityCounter(1), protectedTlv.dependency(1, [1, 0, 0, 0])],
});
const names = fc.constantFrom('a.bin', 'a.hex', 'a.zip', 'a.suit', 'a');

/** Whatever is handed in, the answer is a package whose parts add up, or a StationError. */
async function readsOrRefuses(file: Buffer, name: string): Promise<void> {
  try {
    const { images } = await parseFirmware(file, name);
    for (const { bytes, image: read } of images) {
      if (bytes.length !== read.totalBytes) throw new Error(`${bytes.length} bytes of ${read.totalBytes}`);
    }
  } catch (error) {
    if (!(error instanceof StationError)) throw error;
  }
}

/** Overwrites, cuts and adds, as transfers and tools do. */
const damage = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('set' as const), at: fc.nat(), value: fc.nat(255) }),
    fc.record({ do: fc.constant('cut' as const), at: fc.nat(), value: fc.nat(64) }),
    fc.record({ do: fc.constant('add' as const), at: fc.nat(), value: fc.nat(64) }),
  ),
  { maxLength: 6 },
);

function damaged(file: Buffer, steps: readonly { do: 'set' | 'cut' | 'add'; at: number; value: number }[]): Buffer {
  let bytes: Buffer = Buffer.from(file);
  for (const step of steps) {
    const at = step.at % (bytes.length + 1);
    if (step.do === 'set') bytes[Math.min(at, bytes.length - 1)] = step.value;
    else if (step.do === 'cut') bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + step.value)]);
    else bytes = Buffer.concat([bytes.subarray(0, at), Buffer.alloc(step.value, step.at), bytes.subarray(at)]);
  }
  return bytes;
}

describe('any bytes give a firmware package or a StationError', () => {
  test('noise', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), names, (noise, name) =>
        readsOrRefuses(Buffer.from(noise), name),
      ),
      { numRuns: 500 },
    );
  });

  test('damaged images, HEX files and archives', async () => {
    const text = Buffer.from([...hexRecords(image, 0xc000), HEX_END].join('\n'));
    const archive = await zip({
      'manifest.json': JSON.stringify({ files: [{ file: 'a.bin', image_index: '0' }] }),
      'a.bin': image,
    });
    const files = [image, padded(image, 4096, true), text, archive];
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...files), damage, names, (file, steps, name) =>
        readsOrRefuses(damaged(file, steps), name),
      ),
      { numRuns: 1000 },
    );
  });

  test('manifests', async () => {
    const value = fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.integer(),
      fc.constant(null),
      fc.boolean(),
      fc.jsonValue({ maxDepth: 2 }),
    );
    const keys = [
      'image_index',
      'image',
      'slot',
      'partition',
      'slot_index_primary',
      'size',
      'type',
      'board',
      'version_MCUBOOT',
      'core',
    ];
    const entry = fc
      .dictionary(fc.constantFrom(...keys), value, { maxKeys: 4 })
      .map((more) => ({ file: 'a.bin', ...more }));
    const manifest = fc.oneof(
      fc.jsonValue({ maxDepth: 3 }),
      fc.record({ 'format-version': value, files: fc.array(entry, { maxLength: 3 }), manifest: value }),
    );
    await fc.assert(
      fc.asyncProperty(manifest, async (json) =>
        readsOrRefuses(await zip({ 'manifest.json': JSON.stringify(json), 'a.bin': image }), 'a.zip'),
      ),
      { numRuns: 300 },
    );
  });

  test('magic numbers upon magic numbers', async () => {
    await readsOrRefuses(Buffer.alloc(8 * 1024 * 1024, Buffer.from('3db8f396', 'hex')), 'a.bin');
    await readsOrRefuses(
      Buffer.concat([Buffer.of(1), Buffer.alloc(8 * 1024 * 1024, Buffer.from('3db8f396', 'hex'))]),
      'a.bin',
    );
    await readsOrRefuses(Buffer.from(`${' '.repeat(4 * 1024 * 1024)}:00000001FF`), 'a.hex');
  });
});
