import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { firmwareJson, firmwareText } from '../../src/cli/firmware-command.ts';
import { productFile } from '../../src/contract/product-file.ts';
import { type FirmwarePackage, parseFirmware, readFirmware } from '../../src/firmware/firmware-package.ts';
import { hardwareMatches } from '../../src/firmware/hardware.ts';
import { readPublicKey } from '../../src/firmware/signing-key.ts';
import { checkOrder } from '../../src/station/station.ts';
import { HEX_END, hexRecord, hexRecords } from '../support/intel-hex.ts';
import { padded, protectedTlv, signedImage } from '../support/signed-image.ts';
import { zip } from '../support/zip.ts';

const code = (expected: string, detail?: string) =>
  expect.objectContaining({
    code: expected,
    ...(detail === undefined ? {} : { detail: expect.stringContaining(detail) }),
  });
const read = (file: Buffer | string, name = 'app_update.bin', key?: KeyObject) =>
  parseFirmware(Buffer.isBuffer(file) ? file : Buffer.from(file, 'latin1'), name, key);
const only = ({ images }: FirmwarePackage) => {
  expect(images).toHaveLength(1);
  return images[0]!;
};
/** The hash over header, payload and protected TLVs, taken apart from station and builder. */
const hashOver = (algorithm: string, image: Buffer) =>
  createHash(algorithm)
    .update(image.subarray(0, image.readUInt16LE(8) + image.readUInt16LE(10) + image.readUInt32LE(12)))
    .digest('hex');

const ec = (namedCurve: string) => () => generateKeyPairSync('ec', { namedCurve });
const rsa = (modulusLength: number) => () => generateKeyPairSync('rsa', { modulusLength });
const ed25519 = () => generateKeyPairSync('ed25519');

describe('the hash and the signature of an image', () => {
  test.each([
    ['SHA-256 and RSA-2048', 'sha256', 'rsa-2048', rsa(2048), {}],
    ['SHA-256 and RSA-3072', 'sha256', 'rsa-3072', rsa(3072), {}],
    ['SHA-256 and ECDSA P-224', 'sha256', 'ecdsa-p224', ec('secp224r1'), {}],
    ['SHA-256 and ECDSA P-256', 'sha256', 'ecdsa-p256', ec('prime256v1'), {}],
    ['SHA-512 and ECDSA P-256', 'sha512', 'ecdsa-p256', ec('prime256v1'), {}],
    ['SHA-384 and ECDSA P-384', 'sha384', 'ecdsa-p384', ec('secp384r1'), {}],
    ['SHA-256 and Ed25519', 'sha256', 'ed25519', ed25519, {}],
    ['SHA-512 and Ed25519', 'sha512', 'ed25519', ed25519, {}],
    ['SHA-512 and Ed25519 over the image itself', 'sha512', 'ed25519', ed25519, { pure: true }],
    ['SHA-512, Ed25519 and the whole key', 'sha512', 'ed25519', ed25519, { wholeKey: true }],
  ] as const)('%s are read and hold for the right key alone', async (_, hash, kind, generate, more) => {
    const [own, other] = [generate(), generate()];
    const bytes = signedImage({ hashes: [hash], keys: [own.privateKey], ...more });
    const firmware = await read(bytes, 'a.bin', own.publicKey);
    expect(firmware.signature).toBe('valid');
    const { image } = only(firmware);
    expect(image).toMatchObject({ hashAlgorithm: hash, signatures: [kind], hashCheck: 'valid', pure: 'pure' in more });
    expect(image.hash).toBe(hashOver(hash, bytes));
    expect(image.runsAs).toBe(image.hash);
    await expect(read(bytes, 'a.bin', other.publicKey)).rejects.toEqual(code('IMAGE_KEY_MISMATCH'));
    const forged = Buffer.from(bytes);
    forged[forged.length - 12]! ^= 1;
    await expect(read(forged, 'a.bin', own.publicKey)).rejects.toEqual(code('IMAGE_SIGNATURE_INVALID'));
  });

  test('of an image with two signatures are checked with the one that is of the key', async () => {
    const [first, second] = [ed25519(), ed25519()];
    const bytes = signedImage({ keys: [first.privateKey, second.privateKey] });
    expect((await read(bytes, 'a.bin', second.publicKey)).signature).toBe('valid');
    expect((await read(bytes, 'a.bin', first.publicKey)).signature).toBe('valid');
  });

  test('an image without a hash, or with two, is refused', async () => {
    await expect(read(signedImage({ hashes: [] }))).rejects.toEqual(code('IMAGE_HASH_MISSING'));
    await expect(read(signedImage({ hashes: ['sha256', 'sha512'] }))).rejects.toEqual(code('IMAGE_HASH_TWICE'));
  });

  test('security counter and dependencies are read from the protected TLVs', async () => {
    const tlvs = [protectedTlv.securityCounter(7), protectedTlv.dependency(1, [2, 1, 513, 70_000])];
    expect(only(await read(signedImage({ protectedTlvs: tlvs }))).image).toMatchObject({
      securityCounter: 7,
      dependencies: [{ image: 1, version: { major: 2, minor: 1, revision: 513, build: 70_000 } }],
    });
  });
});

describe('an encrypted image', () => {
  const own = ed25519();
  const profile = (more: object) => productFile.parse({ product: 'p', protocol: 'smp', ...more });

  test.each([
    ['AES-128 and RSA', 0x04, 0x30, 'aes128'],
    ['AES-128 and AES-KW', 0x04, 0x31, 'aes128'],
    ['AES-256 and ECIES-P256', 0x08, 0x32, 'aes256'],
    ['AES-256 and ECIES-X25519', 0x08, 0x33, 'aes256'],
    ['AES-256 and ECIES-X25519 with SHA-512', 0x08, 0x34, 'aes256'],
  ] as const)('(%s) is no damaged one: hash and signature are not checkable', async (_, flag, tlv, encrypted) => {
    const firmware = await read(
      signedImage({ encrypt: { flag, tlv }, keys: [own.privateKey] }),
      'a.bin',
      own.publicKey,
    );
    expect(firmware.signature).toBe('not-checkable');
    expect(only(firmware).image).toMatchObject({ encrypted, hashCheck: 'not-checkable' });
    expect(only(firmware).image.hash).toBe(hashOver('sha256', signedImage({ flags: flag })));
  });

  test('is accepted only where the profile allows it', async () => {
    const firmware = await read(signedImage({ encrypt: { flag: 0x08, tlv: 0x33 } }));
    for (const more of [{}, { firmware: { encrypted: 'refuse' } }]) {
      expect(() => checkOrder(profile(more), firmware)).toThrow(code('FIRMWARE_ENCRYPTED'));
    }
    checkOrder(profile({ firmware: { encrypted: 'allow' } }), firmware);
  });

  test('that names another key is refused, checkable or not', async () => {
    const bytes = signedImage({ encrypt: { flag: 0x08, tlv: 0x33 }, keys: [own.privateKey] });
    await expect(read(bytes, 'a.bin', ed25519().publicKey)).rejects.toEqual(code('IMAGE_KEY_MISMATCH'));
  });

  test('that is not encrypted after all, or lacks its key, is refused', async () => {
    const clear = signedImage({ encrypt: { flag: 0x08, tlv: 0x33, clear: true } });
    await expect(read(clear)).rejects.toEqual(code('IMAGE_ENCRYPTED_IN_CLEAR'));
    await expect(read(signedImage({ flags: 0x04 }))).rejects.toEqual(code('IMAGE_TLV_INVALID'));
  });
});

describe('a compressed image', () => {
  const plain = signedImage({ hashes: ['sha512'], payload: Buffer.alloc(5000, 'plain') });
  const runsAs = Buffer.from(hashOver('sha512', plain), 'hex');

  test.each([
    ['LZMA1', 0x200, 'lzma1'],
    ['LZMA2', 0x400, 'lzma2'],
    ['LZMA2 with the ARM filter', 0xc00, 'lzma2-arm-thumb'],
  ] as const)('(%s) runs under the hash of what it is decompressed to', async (_, flags, compressed) => {
    const tlvs = [protectedTlv.decompressedSize(5000), protectedTlv.decompressedHash(runsAs)];
    const bytes = signedImage({ hashes: ['sha512'], flags, protectedTlvs: tlvs });
    const { image } = only(await read(bytes));
    expect(image).toMatchObject({ compressed, hash: hashOver('sha512', bytes), runsAs: runsAs.toString('hex') });
    expect(image.runsAs).not.toBe(image.hash);
  });

  test('that does not say what it runs under, or in another length, is refused', async () => {
    for (const tlvs of [[], [protectedTlv.decompressedHash(runsAs.subarray(0, 32))]]) {
      const bytes = signedImage({ hashes: ['sha512'], flags: 0x400, protectedTlvs: tlvs });
      await expect(read(bytes)).rejects.toEqual(code('IMAGE_DECOMPRESSED_HASH_MISSING'));
    }
  });
});

describe('what lies behind an image is never sent', () => {
  const image = signedImage({ payload: Buffer.alloc(3001, 7) });

  test.each([
    ['erased flash', () => padded(image, 16_384, false).subarray(0, 9000), 'padding'],
    ['padding and a trailer', () => padded(image, 16_384, false), 'trailer'],
    ['a trailer that says confirmed', () => padded(image, 16_384, true), 'confirmed-trailer'],
    ['the same at an alignment of 16', () => padded(image, 16_384, true, 16), 'confirmed-trailer'],
    ['the same at an alignment of 32', () => padded(image, 16_384, true, 32), 'confirmed-trailer'],
    ['a trailer at an alignment of 32', () => padded(image, 16_384, false, 32), 'trailer'],
    ['anything', () => Buffer.concat([image, Buffer.from('made by hand')]), 'data'],
  ])('%s is left out, counted and named', async (_, make, what) => {
    const file = make();
    const firmware = await read(file);
    expect(only(firmware).bytes.equals(image)).toBe(true);
    expect(firmware.leftOut).toEqual([{ image: 0, at: image.length, bytes: file.length - image.length, what }]);
  });

  test.each([
    ['behind the first', () => Buffer.concat([image, signedImage({ version: [9, 8, 7, 0] })])],
    [
      'in the second slot of a dump',
      () => Buffer.concat([padded(image, 8192, false), signedImage({ version: [9, 8, 7, 0] })]),
    ],
    ['cut short', () => Buffer.concat([image, signedImage({ version: [9, 8, 7, 0] }).subarray(0, 40)])],
  ])('a second image %s is refused, and both are named', async (_, make) => {
    const failure = read(make());
    await expect(failure).rejects.toEqual(code('FIRMWARE_SEVERAL_IMAGES', '1.2.3+4 at 0x0'));
    await expect(failure).rejects.toEqual(code('FIRMWARE_SEVERAL_IMAGES', '9.8.7 at 0x'));
  });

  test('a dump of a flash that begins with something else is named', async () => {
    const dump = Buffer.concat([Buffer.alloc(0xc000, 0x5a), padded(image, 16_384, true)]);
    await expect(read(dump)).rejects.toEqual(code('FIRMWARE_IS_FLASH_DUMP', '0xc000'));
  });
});

describe('an Intel HEX file', () => {
  const image = signedImage({ payload: Buffer.alloc(3001, 7) });
  const hex = (...lines: (string | readonly string[])[]) => [...lines.flat(), HEX_END].join('\r\n');
  const plain = hex(hexRecords(image, 0xc000));

  test.each([
    ['with a byte-order mark', () => `\xef\xbb\xbf${plain}`],
    ['with empty lines', () => plain.replaceAll('\r\n', '\n\n')],
    ['with blanks around its lines', () => plain.replaceAll('\r\n', ' \n\t')],
    ['with ^Z at its end', () => `${plain}\r\n\x1a`],
    ['with CR alone', () => plain.replaceAll('\r\n', '\r')],
    ['in small letters', () => plain.toLowerCase()],
    [
      'with start addresses (types 03 and 05)',
      () =>
        hex(
          hexRecord(3, 0, Buffer.alloc(4)),
          hexRecord(5, 0, Buffer.from('0000c1f1', 'hex')),
          hexRecords(image, 0xc000),
        ),
    ],
    [
      'with segment addresses (type 02)',
      () => hex(hexRecord(2, 0, Buffer.from('0c00', 'hex')), hexRecords(image, 0).slice(1)),
    ],
    ['with an address in its end record', () => plain.replace(HEX_END, hexRecord(1, 0xc1f1, Buffer.alloc(0)))],
    ['above 2 GiB', () => hex(hexRecords(image, 0x9000_0000))],
    [
      'with its records out of order',
      () => {
        const [upper, ...data] = hexRecords(image, 0xc000);
        return hex(upper!, data.toReversed());
      },
    ],
  ])('%s is read', async (_, make) => {
    const firmware = await read(make(), 'zephyr.signed.hex');
    expect(firmware.format).toBe('intel-hex');
    expect(only(firmware).bytes.equals(image)).toBe(true);
    expect(firmware.leftOut).toEqual([]);
  });

  test('holds the image at its header, whatever lies beside it', async () => {
    const magicInCode = Buffer.concat([Buffer.alloc(400, 1), Buffer.from('3db8f396', 'hex'), Buffer.alloc(400, 2)]);
    const bootloader = { at: 0xc000 - 1000 - magicInCode.length, bytes: magicInCode };
    const uicr = Buffer.from('00f00700ffffffff', 'hex');
    const behind = Buffer.alloc(64, 3);
    const text = hex(
      hexRecords(bootloader.bytes, bootloader.at),
      hexRecords(image, 0xc000),
      hexRecords(behind, 0xc000 + image.length + 3),
      hexRecords(uicr, 0x1000_1014),
    );
    const firmware = await read(text, 'merged.hex');
    expect(only(firmware).bytes.equals(image)).toBe(true);
    expect(firmware.leftOut.map(({ at, bytes }) => [at, bytes])).toEqual([
      [bootloader.at, magicInCode.length + 1000],
      [0xc000 + image.length, 3 + behind.length],
      [0x1000_1014, uicr.length],
    ]);
  });

  test('with padding and a trailer at the end of its slot sends neither', async () => {
    const slot = padded(image, 16_384, true);
    const firmware = await read(
      hex(hexRecords(image, 0xc000), hexRecords(slot.subarray(-40), 0xc000 + 16_384 - 40)),
      'a.hex',
    );
    expect(only(firmware).bytes.equals(image)).toBe(true);
    expect(firmware.leftOut).toMatchObject([{ image: null, what: 'confirmed-trailer' }]);
  });

  test('of two cores is said to be two images', async () => {
    const network = signedImage({ version: [0, 9, 0, 0] });
    const text = hex(hexRecords(image, 0xc000), hexRecords(network, 0x0100_8800));
    await expect(read(text, 'merged_domains.hex')).rejects.toEqual(
      code('FIRMWARE_SEVERAL_IMAGES', '1.2.3+4 at 0xc000, application core; 0.9.0 at 0x1008800, network core'),
    );
  });

  test.each([
    [
      'whose image is damaged',
      () => hex(hexRecords(Object.assign(Buffer.from(image), { 900: 8 }), 0xc000)),
      'IMAGE_HASH_INVALID',
    ],
    [
      'of two cores, one of them damaged,',
      () => hex(hexRecords(Object.assign(Buffer.from(image), { 900: 8 }), 0xc000), hexRecords(image, 0x0100_8800)),
      'IMAGE_HASH_INVALID',
    ],
    ['of the network core alone', () => hex(hexRecords(image, 0x0100_8800)), 'FIRMWARE_INDEX_UNKNOWN'],
    ['that writes a place twice', () => hex(hexRecords(image, 0xc000), hexRecords(image, 0xc000)), 'HEX_INVALID'],
    ['without its end', () => hexRecords(image, 0xc000).join('\n'), 'HEX_INVALID'],
    ['with a line that is no record', () => hex(hexRecords(image, 0xc000), 'hello'), 'HEX_INVALID'],
    ['of an unsigned build', () => hex(hexRecords(Buffer.alloc(64, 5), 0)), 'IMAGE_BAD_MAGIC'],
  ])('%s is refused with its own code', async (_, make, expected) => {
    await expect(read(make(), 'a.hex')).rejects.toEqual(code(expected));
  });
});

describe("a build's manifest", () => {
  const app = signedImage({ payload: Buffer.alloc(900, 1) });
  const net = signedImage({ payload: Buffer.alloc(500, 2), version: [0, 1, 0, 0] });
  const pack = (
    json: unknown,
    files: Record<string, Buffer | string> = { 'app.bin': app, 'net.bin': net },
    folder = '',
  ) =>
    zip({
      ...files,
      [`${folder}manifest.json`]: typeof json === 'string' ? json : JSON.stringify(json),
    });
  const indexes = ({ images }: FirmwarePackage) => images.map(({ index, bytes }) => [index, bytes.length]);
  const both = [
    [0, app.length],
    [1, net.length],
  ];

  test.each([
    ['image_index as text', { image_index: '0' }, { image_index: '1' }],
    ['image_index as number', { image_index: 0 }, { image_index: 1 }],
    ['image', { image: 0 }, { image: 1 }],
    ['partition', { partition: '0' }, { partition: '1' }],
    [
      'slot_index_primary',
      { slot_index_primary: '1', slot_index_secondary: '2' },
      { slot_index_primary: '3', slot_index_secondary: '4' },
    ],
    [
      'all of them',
      { image_index: '0', slot_index_primary: '1' },
      { image_index: '1', image: 1, slot_index_primary: '3' },
    ],
  ])('says by %s which file is for which image', async (_, first, second) => {
    for (const format of [0, 1, '1', undefined]) {
      const files = [
        { file: 'net.bin', type: 'application', ...second },
        { file: 'app.bin', type: 'application', ...first },
      ];
      expect(indexes(await read(await pack({ 'format-version': format, files })))).toEqual(both);
    }
  });

  test('as nRF Connect SDK writes it for two cores is read', async () => {
    const files = [
      {
        type: 'application',
        board: 'omi',
        soc: 'nrf5340',
        load_address: 66_048,
        image_index: '0',
        slot_index_primary: '1',
        slot_index_secondary: '2',
        version_MCUBOOT: '1.2.3+4',
        size: app.length,
        file: 'app.bin',
        modtime: 1_786_861_789,
      },
      {
        type: 'application',
        board: 'omi/nrf5340/cpunet',
        soc: 'nrf5340',
        load_address: 16_812_032,
        image_index: '1',
        slot_index_primary: '3',
        slot_index_secondary: '4',
        version: '1',
        version_MCUBOOT: null,
        size: net.length,
        file: 'net.bin',
        modtime: 1_786_861_789,
      },
    ];
    const firmware = await read(
      await pack({ 'format-version': 1, time: 1, files, name: 'omi' }),
      'dfu_application.zip',
    );
    expect(indexes(firmware)).toEqual(both);
    expect(firmware.hardware).toEqual([
      { image: 0, board: 'omi', soc: 'nrf5340' },
      { image: 1, board: 'omi/nrf5340/cpunet', soc: 'nrf5340' },
    ]);
  });

  test.each([
    ['in a folder, with a byte-order mark', '\ufeff', 'build/'],
    ['beside what macOS adds', '', 'dfu/'],
  ])('%s is read', async (_, mark, folder) => {
    const json = `${mark}${JSON.stringify({ files: [{ file: 'app.bin', image_index: '0', board: null }] })}`;
    const files = { [`${folder}app.bin`]: app, [`__MACOSX/${folder}manifest.json`]: 'no JSON' };
    const firmware = await read(await pack(json, files, folder));
    expect(indexes(firmware)).toEqual([[0, app.length]]);
    expect(firmware.hardware).toEqual([]);
  });

  test.each([['application', 'bin', undefined]])('names its files as %s, %s or not at all', async (...types) => {
    for (const type of types) {
      expect(indexes(await read(await pack({ files: [{ file: 'app.bin', type }] })))).toEqual([[0, app.length]]);
    }
  });

  test.each<[string, object[], string]>([
    ['a number that is none', [{ image_index: 'one' }], 'MANIFEST_INDEX_UNKNOWN'],
    ['a negative number', [{ image_index: -1 }], 'MANIFEST_INDEX_UNKNOWN'],
    ['a key that is not known', [{ core: 1 }], 'MANIFEST_INDEX_UNKNOWN'],
    ['a word under a key that is not known', [{ core: 'network' }], 'MANIFEST_INDEX_UNKNOWN'],
    ['another spelling', [{ imageIndex: '1' }], 'MANIFEST_INDEX_UNKNOWN'],
    ['another spelling beside the right one', [{ image_index: '0', 'image-index': '1' }], 'MANIFEST_INDEX_UNKNOWN'],
    ['a slot alone', [{ slot: '1' }], 'MANIFEST_INDEX_UNKNOWN'],
    ['two keys that differ', [{ image_index: '0', image: 1 }], 'MANIFEST_INDEX_UNKNOWN'],
    ['nothing, for two files', [{}, { file: 'net.bin' }], 'MANIFEST_INDEX_UNKNOWN'],
    ['one index twice', [{ image_index: 0 }, { file: 'net.bin', image_index: 0 }], 'MANIFEST_INVALID'],
    [
      'one index and slot twice',
      [
        { image: 0, slot: 1 },
        { file: 'net.bin', image: 0, slot: 1 },
      ],
      'MANIFEST_INVALID',
    ],
  ])('that says the index by %s is refused: it is never guessed', async (_, files, expected) => {
    const json = { 'format-version': 1, files: files.map((each) => ({ file: 'app.bin', ...each })) };
    await expect(read(await pack(json))).rejects.toEqual(code(expected));
  });

  test.each<[string, object, string]>([
    ['another size', { size: app.length + 1 }, 'MANIFEST_CONTRADICTS'],
    ['another size as text', { size: '17' }, 'MANIFEST_CONTRADICTS'],
    ['another version', { version_MCUBOOT: '1.2.4' }, 'MANIFEST_CONTRADICTS'],
    ['another build', { version_MCUBOOT: '1.2.3+5' }, 'MANIFEST_CONTRADICTS'],
    ['another version for direct-XIP', { 'version_MCUBOOT+XIP': '2.0.0+0' }, 'MANIFEST_CONTRADICTS'],
    ['a kind that is not known', { type: 'modem' }, 'MANIFEST_KIND_UNKNOWN'],
  ])('that says %s is refused', async (_, more, expected) => {
    await expect(read(await pack({ files: [{ file: 'app.bin', ...more }] }))).rejects.toEqual(code(expected));
  });

  test('of an unknown format is refused', async () => {
    const json = { 'format-version': 2, files: [{ file: 'app.bin' }] };
    await expect(read(await pack(json))).rejects.toEqual(code('MANIFEST_VERSION_UNKNOWN', '2'));
  });

  test('may leave the build number out, and versions that it does not know', async () => {
    for (const version of ['1.2.3', '1.2.3+4', null, '', 'v7']) {
      const firmware = await read(await pack({ files: [{ file: 'app.bin', version_MCUBOOT: version }] }));
      expect(indexes(firmware)).toEqual([[0, app.length]]);
    }
  });

  test('of a direct-XIP build yields the images of both slots', async () => {
    const files = [
      { file: 'net.bin', image_index: '0', slot: '1', 'version_MCUBOOT+XIP': '0.1.0+0' },
      { file: 'app.bin', image_index: '0', slot: '0', 'version_MCUBOOT+XIP': '1.2.3+4' },
    ];
    const { images } = await read(await pack({ 'format-version': 1, files }));
    expect(images.map(({ index, slot, bytes }) => [index, slot, bytes.length])).toEqual([
      [0, 0, app.length],
      [0, 1, net.length],
    ]);
  });

  test("of other people's packages is named for what it is", async () => {
    const suit = {
      'format-version': 1,
      files: [
        { type: 'suit-envelope', file: 'root.suit', size: 1 },
        { type: 'cache', file: 'cache.bin', partition: '0' },
      ],
    };
    const mcuboot = {
      'format-version': 1,
      files: [
        { type: 'mcuboot', file: 's0.bin' },
        { type: 'mcuboot', file: 's1.bin' },
      ],
    };
    const byName = { files: [{ type: 'application', file: 'signed_by_mcuboot_and_b0_s0_image_update.bin' }] };
    const secure = { manifest: { application: { bin_file: 'app.bin', dat_file: 'app.dat' } } };
    const legacy = { manifest: { application: { bin_file: 'app.bin', init_packet_data: {} }, dfu_version: 0.5 } };
    const bootloader = { manifest: { softdevice_bootloader: { bin_file: 'sd_bl.bin', dat_file: 'sd_bl.dat' } } };
    for (const [json, expected] of [
      [suit, 'PACKAGE_SUIT'],
      [mcuboot, 'PACKAGE_BOOTLOADER'],
      [byName, 'PACKAGE_BOOTLOADER'],
      [secure, 'PACKAGE_NORDIC_DFU'],
      [legacy, 'PACKAGE_NORDIC_DFU'],
      [bootloader, 'PACKAGE_NORDIC_DFU'],
    ] as const) {
      await expect(read(await pack(json))).rejects.toEqual(code(expected));
    }
    await expect(read(await zip({ 'root.suit': 'x' }))).rejects.toEqual(code('PACKAGE_SUIT'));
  });
});

describe('a file that is no firmware of ours', () => {
  test.each([
    ['an empty file', 'app.bin', '', 'FIRMWARE_EMPTY'],
    ['a raw binary', 'zephyr.bin', Buffer.alloc(3000, 0x20), 'IMAGE_BAD_MAGIC'],
    ['a web page', 'zephyr.signed.bin', '\n<!DOCTYPE html><html><body>Sign in</body></html>', 'FIRMWARE_IS_WEB_PAGE'],
    ['a SUIT envelope', 'root.suit', Buffer.from('d86ba2025827815824822f5820', 'hex'), 'PACKAGE_SUIT'],
    ['a program with symbols', 'zephyr.elf', '\x7fELF\x01\x01', 'FIRMWARE_UNKNOWN_FORMAT'],
    ['a pointer of Git LFS', 'app.bin', 'version https://git-lfs.github.com/spec/v1\n', 'FIRMWARE_UNKNOWN_FORMAT'],
    ['a bootloader update', 'signed_by_mcuboot_and_b0_s1_image_update.bin', signedImage(), 'PACKAGE_BOOTLOADER'],
  ])('(%s) is refused by a sentence of its own', async (_, name, file, expected) => {
    await expect(read(file, name)).rejects.toEqual(code(expected));
  });

  test("an nRF5340 network core's image is not taken for the application's", async () => {
    const payload = Buffer.alloc(600);
    payload.writeUInt32LE(0x2100_4000, 0);
    payload.writeUInt32LE(0x0100_9a31, 4);
    const bytes = signedImage({ payload });
    await expect(read(bytes)).rejects.toEqual(code('FIRMWARE_INDEX_UNKNOWN', '0x1009a31'));
    const manifest = JSON.stringify({ files: [{ file: 'net.bin', image_index: '1' }] });
    expect((await read(await zip({ 'manifest.json': manifest, 'net.bin': bytes }))).images[0]).toMatchObject({
      index: 1,
    });
  });
});

describe('the hardware that a profile names', () => {
  const file = (board: string | null, soc: string | null = 'nrf5340', image = 0) => ({ image, board, soc });

  test.each([
    ['omi', file('omi')],
    ['OMI', file('omi')],
    ['omi', file('omi/nrf5340/cpuapp')],
    ['omi', file('omi@2/nrf5340/cpuapp')],
    ['omi', file('omi/nrf5340/cpunet', 'nrf5340', 1)],
    ['omi/nrf5340/cpuapp', file('omi/nrf5340/cpunet', 'nrf5340', 1)],
    ['nrf5340dk', file('nrf5340dk_nrf5340_cpuapp', 'nRF5340_CPUAPP_QKAA')],
    ['nrf5340dk_nrf5340_cpuapp', file('nrf5340dk_nrf5340_cpunet', 'nRF5340_CPUNET_QKAA', 1)],
    ['nrf5340', file('omi')],
    ['nrf5340', file(null, 'nRF5340_CPUAPP_QKAA')],
    ['omi', file(null, null)],
  ])('%s is that of %o', (wanted, found) => {
    expect(hardwareMatches(wanted, found)).toBe(true);
  });

  test.each([
    ['omi', file('omi2')],
    ['omi', file('omi2/nrf5340/cpuapp')],
    ['omi', file('omi_2/nrf5340/cpuapp')],
    ['omi', file('omi2/nrf5340/cpunet', 'nrf5340', 1)],
    ['omi2', file('omi')],
    ['omi/nrf5340/cpuapp', file('omi/nrf5340/cpunet')],
    ['nrf52840dk', file('nrf5340dk')],
    ['nrf52', file(null, 'nrf5340')],
  ])('%s is not that of %o', (wanted, found) => {
    expect(hardwareMatches(wanted, found)).toBe(false);
  });

  test('is asked of every file of a package', async () => {
    const json = {
      files: [
        { file: 'app.bin', image_index: 0, board: 'omi', soc: 'nrf5340' },
        { file: 'net.bin', image_index: 1, board: 'omi2/nrf5340/cpunet', soc: 'nrf5340' },
      ],
    };
    const firmware = await read(
      await zip({ 'manifest.json': JSON.stringify(json), 'app.bin': signedImage(), 'net.bin': signedImage() }),
    );
    const profile = productFile.parse({ product: 'p', protocol: 'smp', hardware: 'omi' });
    expect(() => checkOrder(profile, firmware)).toThrow(code('FIRMWARE_FOR_OTHER_HARDWARE', 'image 1: omi2'));
  });
});

describe('what is said of a firmware file', () => {
  test('is what the station will prove, what it sends and what it leaves out', async () => {
    const own = ed25519();
    const image = signedImage({
      hashes: ['sha512'],
      keys: [own.privateKey],
      pure: true,
      protectedTlvs: [protectedTlv.securityCounter(7), protectedTlv.dependency(1, [2, 0, 0, 0])],
    });
    const firmware = await read(padded(image, 8192, true), 'a.bin', own.publicKey);
    const text = firmwareText(firmware);
    for (const words of [
      /hash \(SHA-512\) +[0-9a-f]{128} \(holds\)/,
      /signed with +ed25519, over the image itself/,
      /security counter +7/,
      /depends on +image 1, version 2\.0\.0 or newer/,
      /signature +holds for this key/,
      new RegExp(`sent +${image.length} bytes`),
      new RegExp(`left out +${8192 - image.length} bytes`),
      /a trailer that says confirmed/,
    ]) {
      expect(text).toMatch(words);
    }
    expect(firmwareJson(firmware)).toMatchObject({
      verified: true,
      signature: 'valid',
      sentBytes: image.length,
      leftOut: [{ bytes: 8192 - image.length, what: 'confirmed-trailer' }],
      images: [{ hashAlgorithm: 'sha512', securityCounter: 7, dependencies: [{ image: 1, version: '2.0.0' }] }],
    });
  });

  test('of an encrypted one is that hash and signature cannot be checked', async () => {
    const own = ed25519();
    const bytes = signedImage({ encrypt: { flag: 0x08, tlv: 0x33 }, keys: [own.privateKey] });
    const firmware = await read(bytes, 'a.bin', own.publicKey);
    expect(firmwareText(firmware)).toMatch(/not checkable: the image is encrypted[\s\S]*signature +not checkable/);
    expect(firmwareJson(firmware)).toMatchObject({ verified: false, signature: 'not-checkable' });
  });

  test('of a compressed one is the hash that it runs under', async () => {
    const runsAs = Buffer.alloc(32, 9);
    const bytes = signedImage({ flags: 0x400, protectedTlvs: [protectedTlv.decompressedHash(runsAs)] });
    expect(firmwareText(await read(bytes))).toMatch(new RegExp(`runs as +${runsAs.toString('hex')}`));
  });
});

const shared = '../shared/firmware';
const variants = `${shared}/variants`;
describe.skipIf(!existsSync(variants))('the images of shared/firmware', () => {
  test.each([
    ['nrf52840dk-a.bin', 225_131, {}, '215144b99127acb3', 'ecdsa-p256'],
    ['nrf52840dk-b.bin', 225_130, {}, '62a8e0864e02761c', 'ecdsa-p256'],
    ['nrf52dk-a.bin', 191_252, {}, '8f13352035d7a6c8', 'rsa-2048'],
    ['nrf52dk-b.bin', 191_252, {}, '4c00e0b6d6db48e8', 'rsa-2048'],
    ['variants/ed25519-sha512.bin', 60_720, { hashAlgorithm: 'sha512', pure: false }, '20d94dd1a197510f', 'ed25519'],
    [
      'variants/ed25519-sha512-pure.bin',
      60_725,
      { hashAlgorithm: 'sha512', pure: true },
      '20d94dd1a197510f',
      'ed25519',
    ],
    [
      'variants/encrypted-x25519.bin',
      60_756,
      { encrypted: 'aes256', hashCheck: 'not-checkable' },
      '883c9682ccdd464d',
      'ed25519',
    ],
    ['variants/lzma2-armthumb.bin', 14_487, { compressed: 'lzma2-arm-thumb' }, '31a2f45428f28afe', 'ed25519'],
    ['variants/padded-confirmed.bin', 60_662, { hashAlgorithm: 'sha256' }, '9e11b36d55e1fd7a', 'ecdsa-p256'],
  ])('%s: %i bytes are sent', async (name, bytes, image, hash, signature) => {
    const firmware = await readFirmware(`${shared}/${name}`);
    const read = only(firmware);
    expect(read.bytes).toHaveLength(bytes);
    expect(read.image).toMatchObject({ ...image, signatures: [signature] });
    expect(read.image.hash.startsWith(hash)).toBe(true);
    const left = firmware.leftOut.reduce((sum, each) => sum + each.bytes, 0);
    expect(bytes + left).toBe(firmware.file.length);
  });

  test('the compressed one runs as the plain one', async () => {
    const [plain, compressed] = [`${variants}/ed25519-sha512.bin`, `${variants}/lzma2-armthumb.bin`];
    expect(only(await readFirmware(compressed)).image.runsAs).toBe(only(await readFirmware(plain)).image.hash);
  });

  test('the padded one holds a trailer that says confirmed', async () => {
    const { leftOut } = await readFirmware(`${variants}/padded-confirmed.bin`);
    expect(leftOut).toEqual([{ image: 0, at: 60_662, bytes: 201_482, what: 'confirmed-trailer' }]);
  });

  test.each([
    ['ed25519-sha512.bin', 'valid'],
    ['ed25519-sha512-pure.bin', 'valid'],
    ['lzma2-armthumb.bin', 'valid'],
    ['encrypted-x25519.bin', 'not-checkable'],
  ])('the signature of %s is %s', async (name, signature) => {
    const key = readPublicKey(readFileSync(`${variants}/ed25519-public.pem`));
    expect(await readFirmware(`${variants}/${name}`, key)).toMatchObject({ signature });
  });
});
