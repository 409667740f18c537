import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { trayFile } from '../../src/contract/tray-file.ts';
import { AttServer } from '../../src/virtual/att-server.ts';
import { type CborValue, decodeCbor, encodeCbor } from '../../src/virtual/cbor.ts';
import { checksum, FusIntake, fusAnswer, helloBody, readBegin } from '../../src/virtual/fus-frame.ts';
import { isSound, ownImage, readImage } from '../../src/virtual/mcuboot.ts';
import { ah, c1, cmac, f4, f5, f6, s1 } from '../../src/virtual/pairing-crypto.ts';
import { PeripheralHost } from '../../src/virtual/peripheral-host.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** Core 5.4, Vol 3 Part H, 2.2 and Appendix D; RFC 4493, section 4. */
describe('what virtual devices compute in pairing, by the specification’s sample data', () => {
  const keys = [
    hex('20b003d2f297be2c5e2c83a7e9f9a5b9eff49111acf4fddbcc0301480e359de6'),
    hex('55188b3d32f6bb9a900afcfbeed4e72a59cb9ac2f19d7cfb6b4fdd49f47fc5fd'),
  ] as const;
  const nonces = [hex('d5cb8454d177733effffb2ec712baeab'), hex('a6e8e7cc25a75f6e216583f7ff3dc4cf')] as const;
  const addresses = [
    { random: false, octets: hex('56123737bfce') },
    { random: false, octets: hex('a713702dcfc1') },
  ] as const;

  test.each([
    ['', 'bb1d6929e95937287fa37d129b756746'],
    ['6bc1bee22e409f96e93d7e117393172a', '070a16b46b4d4144f79bdd9dd04a287c'],
    [
      '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411',
      'dfa66747de9ae63030ca32611497c827',
    ],
  ])('AES-CMAC of %j', (message, mac) => {
    expect(cmac(hex('2b7e151628aed2a6abf7158809cf4f3c'), hex(message)).toString('hex')).toBe(mac);
  });

  test('f4, f5, f6', () => {
    expect(f4(keys[0], keys[1], nonces[0], 0).toString('hex')).toBe('f2c916f107a9bd1cf1eda1bea974872d');
    const secret = hex('ec0234a357c8ad05341010a60a397d9b99796b13b4f866f1868d34f373bfa698');
    const { macKey, ltk } = f5(secret, nonces, addresses);
    expect(macKey.toString('hex')).toBe('2965f176a1084a02fd3f6a20ce636e20');
    expect(ltk.toString('hex')).toBe('6986791169d7cd23980522b594750a38');
    const r = hex('12a3343bb453bb5408da42d20c2d0fc8');
    expect(f6(macKey, nonces, r, hex('010102'), addresses).toString('hex')).toBe('e3c473989cd0e8c5d26c0b09da958f61');
  });

  test('c1, s1, ah', () => {
    const confirm = c1(
      Buffer.alloc(16),
      hex('5783d52156ad6f0e6388274ec6702ee0'),
      hex('07071000000101'),
      hex('05000800000302'),
      { random: true, octets: hex('a1a2a3a4a5a6') },
      { random: false, octets: hex('b1b2b3b4b5b6') },
    );
    expect(confirm.toString('hex')).toBe('1e1e3fef878988ead2a74dc5bef13b86');
    const key = s1(Buffer.alloc(16), hex('000f0e0d0c0b0a091122334455667788'), hex('010203040506070899aabbccddeeff00'));
    expect(key.toString('hex')).toBe('9a1fe1f0e8b0f49b5b4216ae796da062');
    expect(ah(hex('ec0234a357c8ad05341010a60a397d9b'), hex('708194')).toString('hex')).toBe('0dfbaa');
  });
});

describe('the CBOR of virtual devices', () => {
  /** RFC 8949, Appendix A. */
  test.each<[string, CborValue]>([
    ['00', 0],
    ['17', 23],
    ['1818', 24],
    ['1903e8', 1000],
    ['1a000f4240', 1_000_000],
    ['3863', -100],
    ['6449455446', 'IETF'],
    ['4401020304', hex('01020304')],
    ['83010203', [1, 2, 3]],
    ['a26161016162820203', { a: 1, b: [2, 3] }],
  ])('reads and writes %s', (bytes, value) => {
    expect(decodeCbor(hex(bytes))).toEqual({ value, length: hex(bytes).length });
    expect(encodeCbor(value, true).toString('hex')).toBe(bytes);
  });

  test.each([
    ['9f018202039f0405ffff', [1, [2, 3], [4, 5]]],
    ['bf61610161629f0203ffff', { a: 1, b: [2, 3] }],
    ['5f42010243030405ff', hex('0102030405')],
    ['7f657374726561646d696e67ff', 'streaming'],
  ])('reads %s, whose length is not said', (bytes, value) => {
    expect(decodeCbor(hex(bytes)).value).toEqual(value);
  });

  test('never breaks on octets that are none: a value or a RangeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (octets) => {
        try {
          decodeCbor(Buffer.from(octets));
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });
});

describe('the images of virtual devices', () => {
  const firmware = '../shared/firmware';
  test.skipIf(!existsSync(firmware)).each([
    ['nrf52840dk-a.bin', 'sha256', '215144b99127acb3', '0.0.0'],
    ['nrf52dk-b.bin', 'sha256', '4c00e0b6d6db48e8', '0.0.0'],
    ['variants/ed25519-sha512.bin', 'sha512', '20d94dd1a197510f', '1.2.3.4'],
    ['variants/ed25519-sha512-pure.bin', 'sha512', '20d94dd1a197510f', '1.2.3.4'],
    ['variants/encrypted-x25519.bin', 'sha256', '883c9682ccdd464d', '1.2.3.4'],
    ['variants/lzma2-armthumb.bin', 'sha512', '31a2f45428f28afe', '1.2.3.4'],
    ['variants/padded-confirmed.bin', 'sha256', '9e11b36d55e1fd7a', '1.2.3.4'],
  ])('are read as imgtool made them: %s', (file, kind, hash, version) => {
    const bytes = readFileSync(`${firmware}/${file}`);
    const image = readImage(bytes)!;
    expect({ kind: image.kind, hash: image.hash.toString('hex').slice(0, 16), version: image.version }).toEqual({
      kind,
      hash,
      version,
    });
    expect(isSound(image)).toBe(true);
    const damaged = Buffer.from(bytes);
    damaged[600]! ^= 1;
    expect(isSound(readImage(damaged)!)).toBe(image.encrypted);
  });

  test('of their own making carry a hash over header and payload', () => {
    const bytes = ownImage('1.2.3+4', 0, 'sha512');
    expect(bytes.subarray(0, 32).toString('hex')).toBe(
      '3db8f396 00000000 0002 0000 00200000 00000000 01020300 04000000 00000000'.replaceAll(' ', ''),
    );
    expect(bytes.subarray(8704, 8712).toString('hex')).toBe('0769480012004000');
    expect(bytes.subarray(8712)).toEqual(createHash('sha512').update(bytes.subarray(0, 8704)).digest());
  });
});

describe('FUS as virtual devices speak it', () => {
  const format = { header: 'standard', checksum: 'crc16' } as const;

  test('has the checksum of the catalogue', () => {
    expect(checksum(Buffer.from('123456789'))).toBe(0x29b1);
  });

  test('takes a frame from its parts and refuses a damaged one', () => {
    const frame = hex('01 07 0100 01');
    const whole = Buffer.concat([frame, Buffer.of(checksum(frame) & 0xff, checksum(frame) >> 8)]);
    const intake = new FusIntake(format, 8192);
    expect(intake.marker(true)).toBeNull();
    expect(intake.data(whole.subarray(0, 3))).toBeNull();
    expect(intake.data(whole.subarray(3))).toEqual({ type: 1, body: hex('01') });
    whole[4]! ^= 1;
    expect(intake.data(whole)).toEqual({ malformed: 'the checksum does not hold' });
    expect(intake.data(hex('01 00 ffff'))).toEqual({ malformed: '65541 octets announced' });
  });

  test('answers HELLO and reads BEGIN by the table of docs/protocols/fus.md', () => {
    const version = hex('01 02 0300 04000000');
    const sha256 = Buffer.alloc(32, 0xab);
    const image = { index: 1, running: true, confirmed: true, pending: false, version, sha256 };
    const body = helloBody({ maxFrame: 8192, window: 4 }, 0x5340, [image]);
    expect(body.toString('hex')).toBe(
      `01 0020 04 40530000 01 01 03 0102030004000000 ${'ab'.repeat(32)}`.replaceAll(' ', ''),
    );
    expect(fusAnswer(0x01, 9, Buffer.of(0), { header: 'none', checksum: 'none' }).toString('hex')).toBe('8100');
    expect(fusAnswer(0x03, 9, Buffer.of(0), { header: 'standard', checksum: 'none' }).toString('hex')).toBe(
      '8309010000',
    );
    expect(readBegin(Buffer.concat([hex('00 00100000'), version, sha256]))).toEqual({ image: 0, bytes: 4096, sha256 });
    expect(readBegin(Buffer.alloc(44))).toBeNull();
  });
});

describe('the attribute server of virtual devices', () => {
  test('has the database hash of AES-CMAC over its declarations, the last octet first', () => {
    const server = new AttServer([{ uuid: '1801', characteristics: [{ uuid: '2a05', properties: ['indicate'] }] }], 23);
    // Core 5.4, Vol 3 Part G, 7.3.1: handle, type and value of declarations; handle and type of the configuration.
    const listed = hex('0100 0028 0118  0200 0328 20 0300 052a  0400 0229');
    expect(server.databaseHash()).toEqual(cmac(Buffer.alloc(16), listed).reverse());
  });

  test('never breaks on a PDU: requests are answered, commands are not', () => {
    const server = new AttServer(
      [{ uuid: '1801', characteristics: [{ uuid: '2a05', properties: ['indicate'] }] }],
      247,
    );
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 12 }), (octets) => {
        const answer = server.handle(Buffer.from(octets));
        if (octets[0]! & 0x40) expect(answer).toBeNull();
      }),
    );
    expect(server.handle(hex('08'))?.toString('hex')).toBe('0108000004');
    expect(server.handle(hex('0a ff00'))?.toString('hex')).toBe('010aff0001');
    expect(server.handle(hex('10 0000 ffff 0028'))?.toString('hex')).toBe('0110000001');
    expect(server.handle(hex('16 00'))?.toString('hex')).toBe('0116000006');
  });
});

test('a peripheral host breaks on no packet of a controller', () => {
  let toHost: (packet: Buffer) => void = () => undefined;
  const sent: Buffer[] = [];
  const host = new PeripheralHost({ send: (packet) => sent.push(packet), onPacket: (handler) => (toHost = handler) });
  const setup = {
    name: 'x',
    address: 'c0:00:00:00:00:01',
    advertisedService: '1801',
    advertisingMs: 100,
    services: [],
  };
  host.start({ ...setup, mtu: 247, dataLength: 251, phy: '2M', asksForSpeed: true });
  const event = fc.tuple(fc.constantFrom(0x05, 0x08, 0x0e, 0x0f, 0x13, 0x3e), fc.uint8Array({ maxLength: 24 }));
  const connected = hex('04 3e 13 01 00 0100 01 00 010203040506 1800 0000 9001 00');
  fc.assert(
    fc.property(event, ([code, parameters]) => {
      toHost(Buffer.concat([Buffer.of(0x04, code, parameters.length), parameters]));
      toHost(connected);
      toHost(Buffer.concat([Buffer.of(0x02, 0x01, 0x20, parameters.length, 0), parameters]));
    }),
  );
  expect(host.connected).toBe(true);
  expect(sent.length).toBeGreaterThan(1);
});

test('a tray file says what is wrong with a slot', () => {
  const slots = (slot: object) =>
    trayFile.safeParse({ device: { slots: [slot] } }).error?.issues.map(({ message }) => message);
  expect(slots({ slot: 1, state: 'on-trial', version: '1.0.0' })).toEqual(['only slot 0 can be on trial']);
  expect(slots({ slot: 0, state: 'pending' })).toEqual(['only slot 1 can be pending']);
  expect(slots({ slot: 1 })).toEqual(['an image in slot 1 needs a version or a file']);
  expect(slots({ version: '1.0.0', file: 'a.bin' })).toEqual(['version or file, not both']);
  expect(slots({ version: '1.0.0' })).toBeUndefined();
});
