import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { trayFile } from '../../src/contract/tray-file.ts';
import { f4 } from '../../src/virtual/pairing-crypto.ts';
import { RawCentral } from '../support/raw-central.ts';
import { hasRecording, type RecordedPdu, recordedPdus } from '../support/recording.ts';

type Device = z.input<typeof trayFile>['device'];

const ATT = 4;
const PAIRING = 6;
const FIRMWARE = '../shared/firmware/nrf52840dk-a.bin';
const WRITE_COMMAND = '521200';
const NOTIFICATION = '1b1200';

/** As the recorded servers are: Zephyr's SMP sample, which runs this image and gives no bootloader information. */
const zephyrSample = (mtu = 498, smp: NonNullable<Device>['smp'] = {}): Device => ({
  mtu,
  slots: [{ slot: 0, file: FIRMWARE }],
  smp: { bootloaderInfo: false, holds: 4, ...smp },
});

/** A frame that the central sent: its writes, and sequence and command, by which its answer is known. */
interface Exchange {
  readonly link: number;
  readonly writes: readonly string[];
  readonly answer: string | null;
}

/** SMP requests of one unit with their answers, in order. */
function exchanges(pdus: readonly RecordedPdu[]): Exchange[] {
  const found: { link: number; writes: string[]; id: string; answer: string | null }[] = [];
  let missing = 0;
  for (const { fromCentral, link, cid, payload } of pdus) {
    if (cid !== ATT) continue;
    const hex = payload.toString('hex');
    if (fromCentral && hex.startsWith(WRITE_COMMAND)) {
      const value = payload.subarray(3);
      const last = found.at(-1);
      if (missing > 0 && last && last.link === link) {
        last.writes.push(hex);
      } else {
        missing = 8 + value.readUInt16BE(2);
        found.push({ link, writes: [hex], id: value.subarray(4, 8).toString('hex'), answer: null });
      }
      missing = Math.max(0, missing - value.length);
    }
    if (!fromCentral && hex.startsWith(NOTIFICATION)) {
      const id = payload.subarray(3 + 4, 3 + 8).toString('hex');
      const asked = found.find((each) => each.link === link && each.id === id && each.answer === null);
      if (asked) asked.answer = hex;
    }
  }
  return found;
}

/** A device in the state of the recorded one, connected and subscribed. */
function device(description: Device, mtu = 498): RawCentral {
  const central = new RawCentral(trayFile.parse({ units: 1, device: description }));
  subscribe(central.connect(), mtu);
  return central;
}

function subscribe(central: RawCentral, mtu: number): void {
  central.att(`02${Buffer.of(mtu & 0xff, mtu >> 8).toString('hex')}`);
  expect(central.att('1213000100')).toEqual(['13']);
}

/** Recordings, with the requests that the air or a full server lost: they have no answer and are not given to the virtual one either. */
const SERVERS = [
  { name: 'controller-one-unit', units: 1, unanswered: 2 },
  { name: 'controller-one-unit-narrow-scan', units: 1, unanswered: 0 },
  { name: 'controller-four-units', units: 4, unanswered: 0 },
  { name: 'server-secure-connections', units: 1, unanswered: 2 },
];

describe('recorded Zephyr servers', () => {
  test.skipIf(!hasRecording('controller-one-unit'))('have the attribute database that virtual devices have', () => {
    const bare = { alert: false, dis: false };
    const central = new RawCentral(trayFile.parse({ units: 1, device: bare })).connect();
    const recorded = recordedPdus('controller-one-unit').filter(({ cid, link }) => cid === ATT && link === 1);
    const until = recorded.findIndex(({ payload }) => payload[0] === 0x52);
    const questions = recorded.slice(0, until);
    expect(questions).toHaveLength(14);
    for (let i = 0; i < questions.length; i += 2) {
      expect(questions[i]!.fromCentral).toBe(true);
      expect(central.att(questions[i]!.payload.toString('hex'))).toEqual([questions[i + 1]!.payload.toString('hex')]);
    }
  });

  test.skipIf(!existsSync(FIRMWARE)).each(SERVERS)(
    '$name: every answer is the virtual server’s, octet for octet',
    ({ name, units, unanswered }) => {
      const pdus = recordedPdus(name);
      const peers = [...new Set(pdus.map(({ peer }) => peer))];
      expect(peers).toHaveLength(units);
      let without = 0;
      for (const peer of peers) {
        const central = device(zephyrSample());
        let link = 0;
        let restarts = false;
        for (const { link: on, writes, answer } of exchanges(pdus.filter((pdu) => pdu.peer === peer))) {
          if (link > 0 && on !== link) {
            if (restarts) central.pass();
            else central.disconnect();
            subscribe(central.connect(), 498);
          }
          link = on;
          if (answer === null) {
            without += 1;
            continue;
          }
          expect(writes.flatMap((write) => central.att(write))).toEqual([answer]);
          restarts = answer.endsWith('05bfff');
        }
      }
      expect(without).toBe(unanswered);
    },
  );

  test.skipIf(!hasRecording('server-no-reassembly') || !existsSync(FIRMWARE))(
    'server-no-reassembly: params and list, then rc 9 to the first write of a frame of two',
    () => {
      const recorded = recordedPdus('server-no-reassembly').filter(({ cid }) => cid === ATT);
      const central = device(zephyrSample(252, { reassembly: 'rc-9', bufferBytes: 384 }), 252);
      const answered = exchanges(recorded).filter(({ answer }) => answer !== null);
      expect(answered).toHaveLength(4);
      for (const { writes, answer } of answered) expect(central.att(writes[0]!)).toEqual([answer]);
    },
  );

  test.skipIf(!hasRecording('server-secure-connections'))(
    'server-secure-connections: the pairing response is the virtual device’s, and its confirm value is f4 of what it showed',
    () => {
      const [request, response, ...rest] = recordedPdus('server-secure-connections')
        .filter(({ cid, link }) => cid === PAIRING && link === 1)
        .map(({ payload }) => payload);
      const central = new RawCentral(trayFile.parse({ units: 1, device: { security: 'sc' } })).connect();
      expect(central.exchange(PAIRING, request!.toString('hex'))).toEqual([response!.toString('hex')]);
      const [ofCentral, ofDevice, confirm, , nonce] = rest;
      const x = (key: Buffer) => Buffer.from(key.subarray(1, 33)).reverse();
      const value = (pdu: Buffer) => Buffer.from(pdu.subarray(1)).reverse();
      expect(f4(x(ofDevice!), x(ofCentral!), value(nonce!), 0)).toEqual(value(confirm!));
    },
  );

  test.skipIf(!hasRecording('server-wants-mitm'))(
    'server-wants-mitm: Just Works is refused as the virtual device refuses it',
    () => {
      const [request, answer] = recordedPdus('server-wants-mitm').filter(({ cid }) => cid === PAIRING);
      const central = new RawCentral(trayFile.parse({ units: 1, device: { security: 'mitm' } })).connect();
      expect(central.exchange(PAIRING, request!.payload.toString('hex'))).toEqual([answer!.payload.toString('hex')]);
    },
  );
});
