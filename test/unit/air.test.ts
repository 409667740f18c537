import { describe, expect, test } from 'vitest';
import { perfectSenderBytesPerSecond, smpUploadShape } from '../../src/radio/perfect-sender.ts';
import { intervalFor } from '../../src/scheduler/link-plan.ts';
import { exchangeUs, pduUs } from '../../src/virtual/air-time.ts';

// Worked out by hand from Core 5.4, Vol 6 Part B, 2.1: on 2M an octet takes 4 µs, on 1M 8 µs; a PDU is preamble (2 or 1 octets), access
// address (4), header (2), payload, CRC (3).
describe('the virtual air', () => {
  test('holds a full PDU for 1048 µs on 2M and 2088 µs on 1M', () => {
    expect(pduUs(251, 2)).toBe((2 + 4 + 2 + 251 + 3) * 4);
    expect(pduUs(251, 2)).toBe(1048);
    expect(pduUs(251, 1)).toBe(2088);
  });

  test('holds an empty PDU for 44 µs on 2M and 80 µs on 1M', () => {
    expect(pduUs(0, 2)).toBe(44);
    expect(pduUs(0, 1)).toBe(80);
  });

  test('spends 150 µs after each PDU: 1392 µs for a full one and its empty answer on 2M', () => {
    expect(exchangeUs(251, 0, 2)).toBe(1048 + 150 + 44 + 150);
    expect(exchangeUs(27, 0, 1)).toBe(296 + 150 + 80 + 150);
  });
});

describe('the perfect sender', () => {
  const conditions = { phy: '2M' as const, dataLength: 251, mtu: 498, encrypted: false, links: 1, intervalMs: 15 };
  const shape = smpUploadShape(2475, 498);

  test('packs a request of 2475 bytes into ten full packets', () => {
    expect(shape.imageBytes).toBe(2448);
    expect(shape.writes).toEqual([495, 495, 495, 495, 494]);
  });

  test('fits ten packets of 1392 µs into 15 ms: one request an interval', () => {
    expect(perfectSenderBytesPerSecond(conditions, shape)).toBeCloseTo(2448 / 0.015, 6);
  });

  test('fits five packets into 7.5 ms and reaches the same', () => {
    expect(perfectSenderBytesPerSecond({ ...conditions, intervalMs: 7.5 }, shape)).toBeCloseTo(2448 / 0.015, 6);
  });

  test('fits four packets into an eighth of 50 ms: two requests in five intervals on each of eight links', () => {
    const rate = perfectSenderBytesPerSecond({ ...conditions, links: 8, intervalMs: 50 }, shape);
    expect(rate).toBeCloseTo((8 * 2 * 2448) / 0.25, 6);
  });

  test('sends 173.3 kB/s of 244-byte packets on 2M without an end, encrypted, as 1408 µs a packet say', () => {
    const packets = { imageBytes: 244, writes: [244], notifications: [] };
    const endless = { ...conditions, encrypted: true, intervalMs: 100, mtu: 247 };
    expect(perfectSenderBytesPerSecond(endless, packets) / 1000).toBeCloseTo(244 / 1.408, 0);
  });

  const real = { buffers: 7, anchorsApartMs: 4.81, roundTripMs: 0 };

  test('knows where a controller puts the events of four links: three, three, three and eleven packets in 30 ms', () => {
    const packets = { imageBytes: 244, writes: [244], notifications: [] };
    const four = { ...conditions, links: 4, intervalMs: 30, mtu: 247, controller: real };
    expect(perfectSenderBytesPerSecond(four, packets)).toBeCloseTo(((3 + 3 + 3 + 11) * 244) / 0.03, 6);
  });

  test('has no more than seven packets on their way there and back', () => {
    const packets = { imageBytes: 244, writes: [244], notifications: [] };
    const far = { ...conditions, intervalMs: 30, mtu: 247, controller: { ...real, roundTripMs: 20 } };
    expect(perfectSenderBytesPerSecond(far, packets)).toBeCloseTo((7 * 244 * 1000) / (20 + 1.392), 6);
  });
});

describe('the connection interval', () => {
  const controller = { aclOctets: 251, encryption: true, dataLength: true, phy2M: true };

  test('has room for one event of each link and no more, so that no link has less than another', () => {
    expect([1, 2, 3, 4].map((links) => intervalFor(links))).toEqual([30, 10, 15, 20]);
    expect([8, 16, 20].map((links) => intervalFor(links))).toEqual([40, 80, 100]);
  });

  test('is as short as the buffers are back where few of them cannot keep an event going', () => {
    expect(intervalFor(1, { ...controller, aclBuffers: 7, roundTripMs: 1 })).toBe(30);
    expect(intervalFor(1, { ...controller, aclBuffers: 7, roundTripMs: 8 })).toBe(11.25);
    expect(intervalFor(1, { ...controller, aclBuffers: 16, roundTripMs: 8 })).toBe(30);
    expect(intervalFor(8, { ...controller, aclBuffers: 7, roundTripMs: 20 })).toBe(40);
  });
});
