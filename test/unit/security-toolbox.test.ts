import { createECDH } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { aesCmac, ah, c1, f4, f5, f6, resolves, s1 } from '../../src/radio/security/toolbox.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const KEY_A = '20b003d2f297be2c5e2c83a7e9f9a5b9eff49111acf4fddbcc0301480e359de6';
const KEY_B = '55188b3d32f6bb9a900afcfbeed4e72a59cb9ac2f19d7cfb6b4fdd49f47fc5fd';
const NONCE_1 = hex('d5cb8454d177733effffb2ec712baeab');
const NONCE_2 = hex('a6e8e7cc25a75f6e216583f7ff3dc4cf');
const ADDRESS_1 = { random: false, octets: hex('56123737bfce') };
const ADDRESS_2 = { random: false, octets: hex('a713702dcfc1') };

/** Sample data: Core 5.4, Vol 3 Part H, 2.2 and Appendix D; Vol 2 Part G, 7.1.2; RFC 4493. */
describe("the specification's sample data", () => {
  test.each([
    ['', 'bb1d6929e95937287fa37d129b756746'],
    ['6bc1bee22e409f96e93d7e117393172a', '070a16b46b4d4144f79bdd9dd04a287c'],
    [
      '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411',
      'dfa66747de9ae63030ca32611497c827',
    ],
  ])('AES-CMAC of %s', (message, mac) => {
    expect(aesCmac(hex('2b7e151628aed2a6abf7158809cf4f3c'), hex(message)).toString('hex')).toBe(mac);
  });

  test('f4', () => {
    expect(f4(hex(KEY_A), hex(KEY_B), NONCE_1, 0).toString('hex')).toBe('f2c916f107a9bd1cf1eda1bea974872d');
  });

  test('f5', () => {
    const secret = hex('ec0234a357c8ad05341010a60a397d9b99796b13b4f866f1868d34f373bfa698');
    const { macKey, ltk } = f5(secret, NONCE_1, NONCE_2, ADDRESS_1, ADDRESS_2);
    expect(macKey.toString('hex')).toBe('2965f176a1084a02fd3f6a20ce636e20');
    expect(ltk.toString('hex')).toBe('6986791169d7cd23980522b594750a38');
  });

  test('f6', () => {
    const check = f6(
      hex('2965f176a1084a02fd3f6a20ce636e20'),
      NONCE_1,
      NONCE_2,
      hex('12a3343bb453bb5408da42d20c2d0fc8'),
      hex('010102'),
      ADDRESS_1,
      ADDRESS_2,
    );
    expect(check.toString('hex')).toBe('e3c473989cd0e8c5d26c0b09da958f61');
  });

  test('c1', () => {
    const confirm = c1(
      Buffer.alloc(16),
      hex('5783d52156ad6f0e6388274ec6702ee0'),
      hex('07071000000101'),
      hex('05000800000302'),
      { random: true, octets: hex('a1a2a3a4a5a6') },
      { random: false, octets: hex('b1b2b3b4b5b6') },
    );
    expect(confirm.toString('hex')).toBe('1e1e3fef878988ead2a74dc5bef13b86');
  });

  test('s1', () => {
    const key = s1(Buffer.alloc(16), hex('000f0e0d0c0b0a091122334455667788'), hex('010203040506070899aabbccddeeff00'));
    expect(key.toString('hex')).toBe('9a1fe1f0e8b0f49b5b4216ae796da062');
  });

  test('ah, and the address that it resolves', () => {
    const irk = hex('ec0234a357c8ad05341010a60a397d9b');
    expect(ah(irk, hex('708194')).toString('hex')).toBe('0dfbaa');
    expect(resolves(irk, '70:81:94:0d:fb:aa')).toBe(true);
    expect(resolves(irk, '70:81:94:0d:fb:ab')).toBe(false);
    expect(resolves(irk, 'f0:81:94:0d:fb:aa')).toBe(false);
  });

  test('the shared secret of P-256', () => {
    const own = createECDH('prime256v1');
    own.setPrivateKey(hex('3f49f6d4a3c55f3874c9b3e3d2103f504aff607beb40b7995899b8a6cd3c1abd'));
    expect(own.getPublicKey().subarray(1, 33).toString('hex')).toBe(KEY_A);
    const peer = hex(
      '041ea1f0f01faf1d9609592284f19e4c0047b58afd8615a69f559077b22faaa1904c55f33e429dad377356703a9ab85160472d1130e28e36765f89aff915b1214a',
    );
    expect(own.computeSecret(peer).toString('hex')).toBe(
      'ec0234a357c8ad05341010a60a397d9b99796b13b4f866f1868d34f373bfa698',
    );
  });
});
