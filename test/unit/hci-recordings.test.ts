import { createPublicKey } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { readCapture } from '../../src/diagnostics/capture-file.ts';
import { L2capReassembler } from '../../src/radio/hci/packets.ts';
import type { CapturedPacket } from '../../src/radio/radio.ts';
import { isWellFormed, pduValue, readFeatures, readPublicKey } from '../../src/radio/security/pairing-codec.ts';
import { f4 } from '../../src/radio/security/toolbox.ts';
import { recordedHost } from '../support/hci-recorder.ts';
import { SteppedClock } from '../support/stepped-clock.ts';

// Bytes of controllers and devices that none of the station's authors wrote; what they say is stated here, as tshark shows it.

const recording = (name: string) => `../shared/captures/${name}.btsnoop`;
const without = (name: string) => !existsSync(recording(name));
const packets = (name: string): readonly CapturedPacket[] => readCapture(readFileSync(recording(name))).packets;
const fromController = (name: string) => packets(name).flatMap(({ received, packet }) => (received ? [packet] : []));
const commandsIn = (sent: readonly Buffer[]) =>
  sent.filter((packet) => packet[0] === 1).map((packet) => packet.toString('hex'));

describe('four units on a real controller', () => {
  const name = 'controller-four-units';
  test.skipIf(without(name))(`in the recording ${name}, their links have what the controller said`, () => {
    const { host, told, sent, receive } = recordedHost(new SteppedClock());
    const events = fromController(name);
    // Up to the first link's end.
    const end = events.findIndex((packet) => packet.subarray(0, 2).toString('hex') === '0405');
    for (const packet of events.slice(0, end)) receive(packet);
    for (const unit of [0, 1, 2, 3]) {
      expect(host.link(unit)).toMatchObject({
        handle: unit,
        address: `c0:ff:ee:00:00:0${unit + 1}`,
        random: true,
        intervalMs: 30,
        phy: '2M',
        dataLength: 251,
        supervisionTimeoutMs: unit < 2 ? 500 : 2000,
      });
    }
    // Each device asked for 7.5 to 11.25 ms and 420 ms: refused by 0x3b, as the interval of 30 ms is the station's choice. And 500 ms are asked
    // away again, as this host does not expect the restart that the recorded one did.
    expect(commandsIn(sent)).toEqual([
      '0121200300003b',
      '0121200301003b',
      '0121200302003b',
      '0121200303003b',
      '0113200e0000180018000000c80000003000',
      '0113200e0100180018000000c80000003000',
    ]);
    for (const packet of events.slice(end)) receive(packet);
    const ends = told.filter(([what]) => what === 'disconnected').map(([, handle, reason]) => [handle, reason]);
    expect(ends).toEqual([
      [0, 0x08],
      [1, 0x08],
      [2, 0x08],
      [3, 0x08],
      [3, 0x16],
      [3, 0x16],
      [3, 0x16],
      [3, 0x16],
    ]);
    const made = told
      .filter(([what]) => what === 'connectionComplete')
      .map(([, status, handle, address]) => [status, handle, address]);
    expect(made.slice(4)).toEqual([
      [0, 3, 'c0:ff:ee:00:00:03'],
      [0, 3, 'c0:ff:ee:00:00:04'],
      [0, 3, 'c0:ff:ee:00:00:02'],
      [0, 3, 'c0:ff:ee:00:00:01'],
    ]);
    for (const unit of [0, 1, 2, 3]) expect(host.link(unit)).toBeUndefined();
  });

  test.skipIf(without(name))(
    `in the recording ${name}, each Number Of Completed Packets frees one buffer of its link`,
    async () => {
      const { host, sent, receive } = recordedHost(new SteppedClock());
      const events = fromController(name);
      for (const packet of events) if (packet.toString('hex').startsWith('043e1301')) receive(packet);
      const taken: number[] = [];
      // A host that has not been told better reckons with one buffer.
      for (const number of [1, 2, 3])
        void host.send(3, 4, [Buffer.of(0x52, 0, 0, number)]).then(() => taken.push(number));
      const data = () => sent.filter((packet) => packet[0] === 2).length;
      expect(data()).toBe(1);
      const reports = events.filter((packet) => packet[1] === 0x13 && packet.readUInt16LE(4) === 3);
      expect(reports[0]?.toString('hex')).toBe('0413050103000100');
      receive(reports[0]!);
      expect(data()).toBe(2);
      receive(reports[1]!);
      expect(data()).toBe(3);
      await new Promise((resolve) => setImmediate(resolve));
      expect(taken).toEqual([1, 2, 3]);
    },
  );
});

describe('one unit on a real controller', () => {
  const name = 'controller-one-unit';
  test.skipIf(without(name))(`in the recording ${name}, the timeout that the device gave itself is asked away`, () => {
    const { host, told, sent, receive } = recordedHost(new SteppedClock());
    const events = fromController(name);
    const update = events.findIndex((packet) => packet.toString('hex') === '043e0a03000000090000002a00');
    for (const packet of events.slice(0, update + 1)) receive(packet);
    const link = host.link(0);
    expect(link).toMatchObject({ intervalMs: 11.25, supervisionTimeoutMs: 420 });
    expect(link?.intervalChanges.map(([, ms]) => ms)).toEqual([11.25]);
    expect(link?.supervisionChanges.map(([, ms]) => ms)).toEqual([420]);
    // The device's request for 7.5 to 11.25 ms is granted at the link's own 10 ms and 2 s; then 2 s is asked for at what was applied.
    expect(commandsIn(sent)).toEqual(['0120200e0000080008000000c80000001000', '0113200e0000090009000000c80000001200']);
    for (const packet of events.slice(update + 1)) receive(packet);
    expect(told.filter(([what]) => what === 'disconnected').map(([, , reason]) => reason)).toEqual([0x08, 0x08, 0x16]);
  });
});

describe('a device that pairs by Secure Connections only', () => {
  const name = 'server-secure-connections';

  /** The PDUs of the security manager, in the order in which they crossed HCI. */
  function pairingPdus(): { readonly received: boolean; readonly pdu: Buffer }[] {
    const ways = { true: new L2capReassembler(), false: new L2capReassembler() };
    return packets(name).flatMap(({ received, packet }) => {
      if (packet[0] !== 2) return [];
      const pdu = ways[`${received}`].push(packet);
      return pdu?.cid === 6 ? [{ received, pdu: pdu.payload }] : [];
    });
  }

  test.skipIf(without(name))(
    `in the recording ${name}, is answered in the PDUs and the order of the specification`,
    () => {
      const pdus = pairingPdus();
      const once = [
        [false, 0x01],
        [true, 0x02],
        [false, 0x0c],
        [true, 0x0c],
        [true, 0x03],
        [false, 0x04],
        [true, 0x04],
        [false, 0x0d],
        [true, 0x0d],
      ];
      // Twice: once more after the restart.
      expect(pdus.map(({ received, pdu }) => [received, pdu[0]])).toEqual([...once, ...once]);
      for (const { pdu } of pdus) expect(isWellFormed(pdu), pdu.toString('hex')).toBe(true);
      expect(readFeatures(pdus[1]!.pdu)).toEqual({
        ioCapability: 0x03,
        oob: false,
        authReq: 0x09,
        maxKeyOctets: 16,
        initiatorKeys: 0,
        responderKeys: 0,
      });
    },
  );

  test.skipIf(without(name))(
    `in the recording ${name}, has keys on the curve, and its confirm values are f4 of both`,
    () => {
      const pdus = pairingPdus();
      for (const begins of [0, 9]) {
        const [own, peer] = [readPublicKey(pdus[begins + 2]!.pdu), readPublicKey(pdus[begins + 3]!.pdu)];
        for (const { x, y } of [own, peer]) {
          const jwk = { kty: 'EC', crv: 'P-256', x: x.toString('base64url'), y: y.toString('base64url') };
          expect(() => createPublicKey({ key: jwk, format: 'jwk' })).not.toThrow();
        }
        const confirm = pduValue(pdus[begins + 4]!.pdu);
        const nonce = pduValue(pdus[begins + 6]!.pdu);
        // Cb = f4(PKbx, PKax, Nb, 0): Core 5.4, Vol 3 Part H, 2.3.5.6.2.
        expect(f4(peer.x, own.x, nonce, 0).equals(confirm)).toBe(true);
      }
      const keys = [2, 3, 11, 12].map((at) => readPublicKey(pdus[at]!.pdu).x.toString('hex'));
      expect(new Set(keys).size).toBe(4);
    },
  );

  test.skipIf(without(name))(
    `in the recording ${name}, is on an encrypted link, which the controller says once a link`,
    () => {
      const { told, receive } = recordedHost(new SteppedClock());
      for (const packet of fromController(name)) receive(packet);
      expect(told.filter(([what]) => what === 'encryptionChanged')).toEqual([
        ['encryptionChanged', 0x2a, 0, true],
        ['encryptionChanged', 0x2a, 0, true],
      ]);
      expect(told.filter(([what]) => what === 'connectionComplete')).toEqual([
        ['connectionComplete', 0, 0x2a, '00:aa:01:00:00:42'],
        ['connectionComplete', 0, 0x2a, '00:aa:01:00:00:42'],
      ]);
    },
  );
});
