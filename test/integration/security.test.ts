import { afterEach, describe, expect, test } from 'vitest';
import { unpackCapture } from '../../src/diagnostics/capture-file.ts';
import { outcomes, type TestRun, VirtualStation } from '../support/virtual-station.ts';

let station: VirtualStation;
afterEach(() => station.stop());

type Tray = Parameters<typeof VirtualStation.start>[0];
type Device = NonNullable<Tray['device']>;
const device = (security: Device['security'], more: Device = {}): Device => ({
  slotKiB: 256,
  bootMs: 500,
  security,
  ...more,
});
const profile = (more: NonNullable<TestRun['profile']> = {}): NonNullable<TestRun['profile']> => ({
  security: 'just-works',
  retries: 0,
  ...more,
});
async function upgrade(tray: Tray, more: TestRun = {}): Promise<string> {
  station = await VirtualStation.start({ units: 1, ...tray });
  return again({ profile: profile(), ...more });
}
async function again(more: TestRun = { profile: profile() }): Promise<string> {
  return outcomes(await station.run({ units: 1, ...more })).SN0001 ?? '';
}
function security() {
  const reader = station.reader();
  const { link } = reader.show('SN0001');
  reader.close();
  return link?.facts?.security;
}

describe('a device', () => {
  test.each([
    ['sc', 'secure-connections'],
    ['legacy', 'legacy'],
    ['both', 'secure-connections'],
  ] as const)('that accepts %s is paired by Just Works and upgraded, and keeps no bond', async (accepts, pairing) => {
    expect(await upgrade({ device: device(accepts) })).toBe('pass');
    expect(security()).toEqual({ level: 'just-works', pairing, keyBits: 128, bonded: false, keyLost: false });
    expect(station.bonds()).toEqual([0]);
  });

  test.each(['sc', 'legacy'] as const)(
    'that accepts %s and refuses what is not encrypted is paired with when it does, without being told by the profile',
    async (accepts) => {
      expect(await upgrade({ device: device(accepts) }, { profile: profile({ security: 'none' }) })).toBe('pass');
      expect(security()).toMatchObject({ level: 'just-works' });
    },
  );

  test('that asks for security itself is given it', async () => {
    const tray = { device: device('both', { securityRequest: true, dis: false }) };
    expect(await upgrade(tray, { profile: profile({ security: 'none' }) })).toBe('pass');
    expect(security()).toMatchObject({ level: 'just-works' });
  });

  test('that wants MITM protection is refused by name, whether the profile or the device begins', async () => {
    expect(await upgrade({ device: device('mitm') })).toBe('fail PAIRING_NEEDS_MITM');
    await station.stop();
    const whenWanted = { profile: profile({ security: 'none' }) };
    expect(await upgrade({ device: device('mitm') }, whenWanted)).toBe('fail PAIRING_NEEDS_MITM');
  });

  test('that cannot pair is refused where the profile wants it encrypted', async () => {
    expect(await upgrade({ device: device('none') })).toBe('fail PAIRING_FAILED');
  });

  test('of FUS is paired with just as well', async () => {
    const tray = { device: device('sc', { protocol: 'fus' }) };
    expect(await upgrade(tray, { profile: profile({ protocol: 'fus' }) })).toBe('pass');
    expect(security()).toMatchObject({ level: 'just-works', pairing: 'secure-connections' });
  });
});

describe('where the profile wants the link encrypted', () => {
  test('not a byte of firmware crosses HCI before it is, on the first link and after the reboot', async () => {
    expect(await upgrade({ device: device('both') }, { profile: profile({ capture: 'always' }) })).toBe('pass');
    const reader = station.reader();
    const packets = unpackCapture(reader.capture(reader.show('SN0001').id));
    reader.close();
    let encrypted = false;
    let links = 0;
    const inTheClear: string[] = [];
    for (const { packet, received } of packets) {
      if (packet[0] === 4 && packet[1] === 0x3e && [0x01, 0x0a].includes(packet[3]!)) {
        encrypted = false;
        links += 1;
      }
      if (packet[0] === 4 && packet[1] === 0x08) encrypted = packet[3] === 0 && packet[6] === 1;
      const writes = packet[0] === 2 && !received && packet.readUInt16LE(7) === 4 && [0x52, 0x12].includes(packet[9]!);
      if (writes && !encrypted) inTheClear.push(packet.toString('hex'));
    }
    expect(links).toBe(2);
    expect(encrypted).toBe(true);
    expect(inTheClear).toEqual([]);
  });
});

describe('bonds', () => {
  const keeps = { profile: profile({ bond: 'keep' }) };

  test.each(['sc', 'legacy'] as const)(
    'of a %s device with private addresses are kept where the profile says so, and found again by its identity',
    async (accepts) => {
      expect(await upgrade({ device: device(accepts, { privacy: true }) }, keeps)).toBe('pass');
      expect(station.bonds()).toEqual([1]);
      expect(security()).toMatchObject({ bonded: true, keyLost: false });
      expect(await again(keeps)).toBe('skipped');
      expect(security()).toMatchObject({ bonded: true, keyLost: false });
    },
  );

  test('that the device has lost are made again, which is on record, or refused where the profile does not allow it', async () => {
    const faults = [{ unit: 1, at: 'boot' as const, do: 'forget-bonds' as const }];
    expect(await upgrade({ device: device('both'), faults }, keeps)).toBe('pass');
    expect(security()).toMatchObject({ level: 'just-works', keyLost: true });
    await station.stop();
    const refuse = { profile: profile({ bond: 'keep', lostBond: 'refuse' }) };
    expect(await upgrade({ device: device('both'), faults }, refuse)).toBe('fail BOND_LOST');
  });

  test('for the attempt only are used after the reboot and deleted on the device at the end', async () => {
    const removes = { profile: profile({ bond: 'remove-after' }) };
    expect(await upgrade({ device: device('both') }, removes)).toBe('pass');
    expect(security()).toMatchObject({ bonded: true });
    expect(station.bonds()).toEqual([0]);
    await station.stop();
    expect(await upgrade({ device: device('both', { bondManagement: false }) }, removes)).toBe('fail BOND_LEFT');
  });

  test('for the attempt only leave nothing on any device where several radios share a tray', async () => {
    station = await VirtualStation.start({ units: 6, device: device('both') }, 3);
    const summary = await station.run({ units: 6, profile: profile({ bond: 'remove-after' }) });
    expect(new Set(Object.values(outcomes(summary)))).toEqual(new Set(['pass']));
    expect(station.bonds()).toEqual([0, 0, 0, 0, 0, 0]);
  });
});

describe('a device whose pairing goes wrong', () => {
  const cases = (['sc', 'legacy'] as const).flatMap((accepts) =>
    [1, 2, 3, 4].flatMap((pairingPdu) =>
      (
        ['pairing-stops', 'pairing-wrong-value', 'pairing-repeats', 'pairing-garbage', 'pairing-drops-link'] as const
      ).map((act) => ({ accepts, pairingPdu, act })),
    ),
  );
  const LAST: Record<string, number> = { sc: 5, legacy: 3 };
  test.each(cases.filter(({ accepts, pairingPdu }) => pairingPdu < LAST[accepts]! + 1))(
    '($accepts, $act at its PDU $pairingPdu) ends with a code of its own and hangs nothing',
    async ({ accepts, pairingPdu, act }) => {
      const faults = [{ unit: 1, at: { pairingPdu }, do: act, times: 1 }];
      const outcome = await upgrade({ device: device(accepts), faults });
      expect(outcome).toMatch(
        /^(pass|(fail|error) (PAIRING_(NONSENSE|TIMEOUT|CONFIRM_WRONG|FAILED|NEEDS_MITM)|LINK_LOST|ENCRYPTION_FAILED))$/,
      );
      // Of Secure Connections the second PDU, the public key, is followed by a third without being asked.
      const next = accepts === 'sc' && pairingPdu === 2 ? 'PAIRING_NONSENSE' : 'PAIRING_TIMEOUT';
      if (act === 'pairing-stops') expect(outcome).toContain(next);
      if (act === 'pairing-garbage') expect(outcome).toBe('fail PAIRING_NONSENSE');
      const [running] = station.truth().values();
      if (outcome !== 'pass') expect(running?.[0]?.confirmed).toBe(true);
    },
  );
});
