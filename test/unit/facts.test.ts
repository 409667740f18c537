import { describe, expect, it } from 'vitest';
import { SMP_SERVICE_UUID } from '../../src/contract/product-file.ts';
import { SMP_CHARACTERISTIC_UUID } from '../../src/protocols/smp/smp-client.ts';

/**
 * Values from outside, written down a second time from sources of their own, so that a slip in either place shows. What both sides of
 * a test share proves nothing.
 */
describe('what comes from outside is as its sources say', () => {
  it('finds SMP servers under the UUIDs of Zephyr (smp_bt.c) and Apache Mynewt (Newtmgr Over BLE)', () => {
    expect(SMP_SERVICE_UUID.toUpperCase()).toBe('8D53DC1D-1DB7-4CD3-868B-8A527460AA84');
    expect(SMP_CHARACTERISTIC_UUID.toUpperCase()).toBe('DA2E7828-FBCE-4E01-AE9E-261174997C48');
  });
});
