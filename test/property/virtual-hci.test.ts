import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { H4, L2capIntake, l2capPackets } from '../../src/virtual/hci/packet.ts';
import { PacketStream } from '../../src/virtual/hci/packet-stream.ts';
import { hasRecording, recordedPackets, recordedPdus } from '../support/recording.ts';

const NAME = 'controller-enhanced-connection-complete';

/** Cuts bytes where it is told. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
}

describe('the simulator’s HCI codec', () => {
  test.skipIf(!hasRecording(NAME))('finds a recorded adapter’s packets, however the stream is cut', () => {
    const packets = recordedPackets(NAME).map(({ packet }) => packet);
    const bytes = Buffer.concat(packets);
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 40 }), (places) => {
        const stream = new PacketStream();
        expect(cut(bytes, places).flatMap((chunk) => stream.push(chunk))).toEqual(packets);
      }),
      { numRuns: 50 },
    );
  });

  test.skipIf(!hasRecording('server-secure-connections'))(
    'joins what a real host and a real server sent into their PDUs',
    () => {
      const found: string[] = [];
      const intakes = { host: new L2capIntake(), controller: new L2capIntake() };
      for (const { fromHost, packet } of recordedPackets('server-secure-connections')) {
        if (packet[0] !== H4.acl) continue;
        const pdu = intakes[fromHost ? 'host' : 'controller'].push(packet);
        if (pdu) found.push(`${fromHost} ${pdu.channel} ${pdu.payload.toString('hex')}`);
      }
      const recorded = recordedPdus('server-secure-connections').map(
        ({ fromCentral, cid, payload }) => `${fromCentral} ${cid} ${payload.toString('hex')}`,
      );
      expect(recorded.length).toBeGreaterThan(500);
      // The other reader leaves out what came before it knew the link.
      expect(found.filter((pdu) => recorded.includes(pdu))).toEqual(recorded);
    },
  );

  test('takes out of ACL packets what it has put in, whatever the buffers hold', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 700 }), fc.integer({ min: 5, max: 300 }), (payload, most) => {
        const intake = new L2capIntake();
        const pdus = l2capPackets(0x123, 4, payload, most).map((packet) => {
          expect(packet.length).toBeLessThanOrEqual(5 + most);
          expect(packet.readUInt16LE(1) & 0x0fff).toBe(0x123);
          return intake.push(packet);
        });
        expect(pdus.pop()).toEqual({ channel: 4, payload: Buffer.from(payload) });
        expect(pdus.every((pdu) => pdu === null)).toBe(true);
      }),
    );
  });

  test('says that a stream is out of step', () => {
    expect(() => new PacketStream().push(Buffer.of(0x7f))).toThrow(RangeError);
  });
});
