import { generateKeyPairSync } from 'node:crypto';
import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { buildImage } from '../../src/firmware/build-image.ts';
import { parseFirmware, readFirmware } from '../../src/firmware/firmware-package.ts';
import { parseMcubootImage, verifySignature } from '../../src/firmware/mcuboot-image.ts';
import { readPublicKey } from '../../src/firmware/signing-key.ts';
import { HEX_END, hexRecords } from '../support/intel-hex.ts';
import { zip } from '../support/zip.ts';

const version = { major: 1, minor: 2, revision: 3, build: 4 };
const image = (size = 1000) => buildImage({ payload: Buffer.alloc(size, 'payload'), version });
const code = (expected: string) => expect.objectContaining({ code: expected });
const caught = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};

const manifest = (...files: object[]) => JSON.stringify({ 'format-version': 1, files });

const intelHex = (bytes: Buffer, base = 0) => [...hexRecords(bytes, base), HEX_END, ''].join('\n');

describe('an MCUboot image', () => {
  test('is read with its version, size and hash', () => {
    const parsed = parseMcubootImage(image());
    expect(parsed).toMatchObject({ version, imageBytes: 1000, headerBytes: 512, keyHash: null, signatures: [] });
    expect(parsed.hash).toMatch(/^[0-9a-f]{64}$/);
  });

  test('is read with protected TLVs, which its hash covers', () => {
    const bytes = buildImage({
      payload: Buffer.alloc(64),
      version,
      protectedTlvs: [{ type: 0x50, value: Buffer.of(1, 0, 0, 0) }],
    });
    expect(parseMcubootImage(bytes).tlvs[0]).toMatchObject({ type: 0x50, protected: true });
    bytes[512 + 64 + 8] = 2;
    expect(caught(() => parseMcubootImage(bytes))).toEqual(code('IMAGE_HASH_INVALID'));
  });

  test.each([
    ['cut short', () => image().subarray(0, 900), 'IMAGE_TRUNCATED'],
    ['cut short in its trailer', () => image().subarray(0, -3), 'IMAGE_TRUNCATED'],
    ['without the magic', () => Buffer.alloc(600, 1), 'IMAGE_BAD_MAGIC'],
    ['with a changed byte', () => Object.assign(image(), { 700: 1 }), 'IMAGE_HASH_INVALID'],
    ['with a broken trailer', () => Object.assign(image(), { 1512: 0 }), 'IMAGE_TLV_INVALID'],
    ['empty', () => Buffer.alloc(0), 'IMAGE_TRUNCATED'],
  ])('%s is refused with its own code', (_, damaged, expected) => {
    expect(caught(() => parseMcubootImage(damaged()))).toEqual(code(expected));
  });

  test.each([
    ['ECDSA P-256', () => generateKeyPairSync('ec', { namedCurve: 'prime256v1' })],
    ['RSA-2048 PSS', () => generateKeyPairSync('rsa', { modulusLength: 2048 })],
    ['RSA-3072 PSS', () => generateKeyPairSync('rsa', { modulusLength: 3072 })],
    ['Ed25519', () => generateKeyPairSync('ed25519')],
  ])('signed with %s holds for its key and for no other', (_, generate) => {
    const own = generate();
    const bytes = buildImage({ payload: Buffer.alloc(100), version, key: own.privateKey });
    const parsed = parseMcubootImage(bytes);
    verifySignature(bytes, parsed, own.publicKey);
    expect(caught(() => verifySignature(bytes, parsed, generate().publicKey))).toEqual(code('IMAGE_KEY_MISMATCH'));
    const forged = { ...parsed, tlvs: parsed.tlvs.filter(({ type }) => type !== 0x01) };
    expect(caught(() => verifySignature(bytes, forged, generate().publicKey))).toEqual(code('IMAGE_SIGNATURE_INVALID'));
  });

  test('without a signature is refused when a key is given', () => {
    const bytes = image();
    const { publicKey } = generateKeyPairSync('ed25519');
    expect(caught(() => verifySignature(bytes, parseMcubootImage(bytes), publicKey))).toEqual(
      code('IMAGE_SIGNATURE_MISSING'),
    );
  });

  test('is not verified with something that is no key', () => {
    expect(caught(() => readPublicKey('no key'))).toEqual(code('PUBLIC_KEY_INVALID'));
  });
});

describe('a dfu_application.zip', () => {
  test('is read with all its images', async () => {
    const file = await zip({
      'manifest.json': manifest(
        { file: 'app.bin', image_index: '0', board: 'nrf5340dk' },
        { file: 'net.bin', image_index: '1' },
      ),
      'app.bin': image(),
      'net.bin': image(500),
    });
    const firmware = await parseFirmware(file, 'dfu_application.zip');
    expect(firmware).toMatchObject({ format: 'ncs-zip', hardware: [{ board: 'nrf5340dk' }] });
    expect(firmware.images.map(({ index, image: { imageBytes } }) => [index, imageBytes])).toEqual([
      [0, 1000],
      [1, 500],
    ]);
  });

  test.each<[string, () => Promise<Buffer>, string]>([
    ['without a manifest', () => zip({ 'app.bin': image() }), 'MANIFEST_MISSING'],
    ['whose manifest is no JSON', () => zip({ 'manifest.json': '{' }), 'MANIFEST_INVALID'],
    ['whose manifest lists nothing', () => zip({ 'manifest.json': '{"files":[]}' }), 'MANIFEST_INVALID'],
    ['that lacks a file', () => zip({ 'manifest.json': manifest({ file: 'app.bin' }) }), 'MANIFEST_FILE_MISSING'],
    [
      'that names a path outside',
      () => zip({ 'manifest.json': manifest({ file: '../app.bin' }) }),
      'MANIFEST_PATH_UNSAFE',
    ],
    [
      'that names an absolute path',
      () => zip({ 'manifest.json': manifest({ file: '/etc/passwd' }) }),
      'MANIFEST_PATH_UNSAFE',
    ],
    [
      'with two files for one image',
      () =>
        zip({
          'manifest.json': manifest({ file: 'a.bin', image_index: 0 }, { file: 'a.bin', image_index: '0' }),
          'a.bin': image(),
        }),
      'MANIFEST_INVALID',
    ],
    ['that is a bomb', () => zip({ 'manifest.json': Buffer.alloc(64 * 1024 * 1024) }), 'ZIP_TOO_LARGE'],
    ['cut short', async () => (await zip({ 'manifest.json': '{}' })).subarray(0, 40), 'ZIP_DAMAGED'],
    [
      'with a wrong checksum',
      async () => {
        const file = await zip({ 'manifest.json': manifest({ file: 'app.bin' }), 'app.bin': image() });
        for (
          let at = file.indexOf('PK\x01\x02', 0, 'latin1');
          at >= 0;
          at = file.indexOf('PK\x01\x02', at + 4, 'latin1')
        ) {
          file[at + 16]! ^= 0xff;
        }
        return file;
      },
      'ZIP_BAD_CRC',
    ],
  ])('%s is refused with its own code', async (_, make, expected) => {
    await expect(parseFirmware(await make(), 'x.zip')).rejects.toEqual(code(expected));
  });
});

describe('an Intel HEX file', () => {
  test('is read as the image it holds, wherever it is placed', async () => {
    const bytes = image(70_000);
    const firmware = await parseFirmware(Buffer.from(intelHex(bytes, 0xc000)), 'zephyr.signed.hex');
    expect(firmware.format).toBe('intel-hex');
    expect(firmware.images[0]!.bytes.equals(bytes)).toBe(true);
  });

  test.each([
    ['with a wrong checksum', intelHex(image()).replace(/.\n/, '0\n'), 'HEX_INVALID'],
    ['without an image', intelHex(Buffer.alloc(64, 7)), 'IMAGE_BAD_MAGIC'],
    ['without data', ':00000001FF\n', 'HEX_INVALID'],
  ])('%s is refused with its own code', async (_, text, expected) => {
    await expect(parseFirmware(Buffer.from(text), 'x.hex')).rejects.toEqual(code(expected));
  });
});

test('a file of no known format, or none at all, is refused', async () => {
  await expect(parseFirmware(Buffer.from('hello'), 'x.txt')).rejects.toEqual(code('FIRMWARE_UNKNOWN_FORMAT'));
  await expect(readFirmware('does-not-exist.bin')).rejects.toEqual(code('FILE_NOT_FOUND'));
  await expect(readFirmware('.')).rejects.toEqual(code('FILE_UNREADABLE'));
});

const real = '../shared/firmware';
describe.skipIf(!existsSync(real))('real images', () => {
  test.each([
    ['nrf52840dk-a.bin', 224468, '215144b99127acb3', 'ecdsa-p256'],
    ['nrf52840dk-b.bin', 224468, '62a8e0864e02761c', 'ecdsa-p256'],
    ['nrf52dk-a.bin', 190404, '8f13352035d7a6c8', 'rsa-2048'],
    ['nrf52dk-b.bin', 190404, '4c00e0b6d6db48e8', 'rsa-2048'],
  ])('%s verifies', async (name, size, hash, signature) => {
    const { images } = await readFirmware(`${real}/${name}`);
    expect(images[0]!.image).toMatchObject({ imageBytes: size, signatures: [signature] });
    expect(images[0]!.image.hash.startsWith(hash)).toBe(true);
  });
});
