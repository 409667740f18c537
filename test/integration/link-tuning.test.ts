import { afterEach, describe, expect, test } from 'vitest';
import type { LinkFacts } from '../../src/contract/records.ts';
import { unpackCapture } from '../../src/diagnostics/capture-file.ts';
import { outcomes, type TestRun, VirtualStation } from '../support/virtual-station.ts';

let station: VirtualStation;
afterEach(() => station.stop());

type Tray = Parameters<typeof VirtualStation.start>[0];

async function upgrade(
  tray: Tray,
  profile: NonNullable<TestRun['profile']> = {},
): Promise<{ outcome: string | undefined; facts: LinkFacts | null | undefined }> {
  station = await VirtualStation.start({ units: 1, ...tray });
  const outcome = outcomes(await station.run({ units: 1, profile })).SN0001;
  const reader = station.reader();
  const { link } = reader.show('SN0001');
  reader.close();
  return { outcome, facts: link?.facts };
}

const ATT_CHANNEL = 4;
const SIGNALLING_CHANNEL = 5;
const READ_BY_TYPE_REQUEST = 0x08;
const CHARACTERISTIC_DECLARATION = 0x2803;

/** PDUs of an L2CAP channel that the station sent. */
function sent(channel: number): Buffer[] {
  const reader = station.reader();
  const packets = unpackCapture(reader.capture(reader.show('SN0001').id));
  reader.close();
  return packets
    .filter(({ packet, received }) => packet[0] === 2 && !received && packet.readUInt16LE(7) === channel)
    .map(({ packet }) => packet.subarray(9));
}

describe('a link', () => {
  test('is given full packets and 2M without the device asking, which is on record', async () => {
    const { outcome, facts } = await upgrade({ device: { slotKiB: 256, bootMs: 500 } });
    expect(outcome).toBe('pass');
    expect(facts).toMatchObject({ mtu: 498, dataLength: 251, phy: '2M', intervalMs: 30, intervalChanges: [] });
  });

  test.each([
    [{ phy: '1M' as const }, { phy: '1M', dataLength: 251 }],
    [{ dataLength: 27 }, { phy: '2M', dataLength: 27 }],
    [
      { dataLength: 123, mtu: 247 },
      { dataLength: 123, mtu: 247 },
    ],
    [
      { mtu: 23, dataLength: 27, phy: '1M' as const },
      { mtu: 23, dataLength: 27, phy: '1M' },
    ],
  ])('to a device that can only %o is upgraded at what it can', async (device, reached) => {
    const { outcome, facts } = await upgrade({ device: { slotKiB: 256, bootMs: 500, ...device } });
    expect(outcome).toBe('pass');
    expect(facts).toMatchObject(reached);
  });

  test('is on 1M, and of the interval, that the profile asks for', async () => {
    const { facts } = await upgrade({ device: { bootMs: 500 } }, { link: { phy: '1M', intervalMs: 30 } });
    expect(facts).toMatchObject({ phy: '1M', intervalMs: 30 });
  });

  test.each([
    [10, '130102000000'],
    [400, '130102000100'],
  ])(
    'whose device asks for an interval of %i ms is answered, and an unknown signalling command is rejected',
    async (wantsIntervalMs, answer) => {
      const { outcome } = await upgrade(
        { device: { bootMs: 500, wantsIntervalMs } },
        { capture: 'always', link: { intervalMs: 10 } },
      );
      expect(outcome).toBe('pass');
      const signalled = sent(SIGNALLING_CHANNEL).map((pdu) => pdu.toString('hex'));
      expect(signalled.slice(0, 2)).toEqual([answer, '010202000000']);
    },
  );

  test('whose controller applies what the device asks for, whatever it is told, is upgraded: what was applied is on record', async () => {
    // As recorded of Zephyr's: asked for 6 to 9 and 420 ms, told otherwise, applied 9 and 420 ms.
    const device = {
      bootMs: 500,
      wantsIntervalMs: [7.5, 11.25] as [number, number],
      wantsSupervisionMs: 420,
      wantsAfterMs: 200,
      wantsBy: 'link-layer' as const,
    };
    const { outcome, facts } = await upgrade({ device, controller: { ownParameters: true } });
    expect(outcome).toBe('pass');
    expect(facts?.intervalChanges.length).toBeGreaterThan(0);
  });

  test('costs no round trip for a search whose range can hold no characteristic', async () => {
    const { outcome } = await upgrade({ device: { bootMs: 500 } }, { capture: 'always' });
    expect(outcome).toBe('pass');
    const searches = sent(ATT_CHANNEL)
      .filter((pdu) => pdu[0] === READ_BY_TYPE_REQUEST && pdu.readUInt16LE(5) === CHARACTERISTIC_DECLARATION)
      .map((pdu) => [pdu.readUInt16LE(1), pdu.readUInt16LE(3)]);
    expect(searches.length).toBeGreaterThan(0);
    expect(searches.filter(([first, last]) => first! >= last!)).toEqual([]);
  });

  test('survives a sudden change of its interval, which is on record', async () => {
    const faults = [{ unit: 1, at: { bytes: 20_000 }, do: 'change-interval' as const, times: 1 }];
    station = await VirtualStation.start({ units: 1, device: { bootMs: 500 }, faults });
    expect(outcomes(await station.run({ units: 1, profile: { upgrade: { mode: 'upload-only' } } }))).toEqual({
      SN0001: 'staged',
    });
    const reader = station.reader();
    const facts = reader.show('SN0001').link?.facts;
    reader.close();
    expect(facts).toMatchObject({ intervalMs: 100, intervalChanges: [[expect.any(Number), 100]] });
  });
});
