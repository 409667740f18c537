import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { StationError } from '../../src/contract/errors.ts';
import { HciHost } from '../../src/radio/hci/hci-host.ts';
import { aclPacket } from '../../src/radio/hci/packets.ts';
import { LinkSecurityManager } from '../../src/radio/security/link-security.ts';
import { PairingChannel, pair } from '../../src/radio/security/pairing.ts';
import { PAIRING } from '../../src/radio/security/pairing-codec.ts';
import { pairingAddress } from '../../src/radio/security/toolbox.ts';

/** Time that passes at once when asked to. */
function stoppedClock() {
  const timers = new Set<() => void>();
  return {
    clock: {
      now: () => 0,
      wall: () => new Date(0),
      after: (_ms: number, fn: () => void) => {
        timers.add(fn);
        return () => timers.delete(fn);
      },
    },
    timers,
    pass() {
      for (const timer of [...timers]) {
        timers.delete(timer);
        timer();
      }
    },
  };
}

const parties = {
  own: pairingAddress('01:02:03:04:05:06', false),
  peer: pairingAddress('c1:02:03:04:05:06', true),
};
const lengths = [2, 7, 8, 11, 17, 65];
/** PDUs as a peer out of its mind sends them: any octets, and well-formed ones with any content. */
const pdu = fc.oneof(
  fc.uint8Array({ maxLength: 70 }),
  fc
    .tuple(
      fc.constantFrom(...Object.values(PAIRING)),
      fc.constantFrom(...lengths),
      fc.uint8Array({ minLength: 64, maxLength: 64 }),
    )
    .map(([code, length, content]) => Uint8Array.from([code, ...content]).subarray(0, length)),
);

describe('pairing with a peer that sends anything', () => {
  test('settles with an error of its own once the peer falls silent, and leaves no timer', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(pdu, { maxLength: 12 }), async (pdus) => {
        const time = stoppedClock();
        const channel = new PairingChannel(time.clock, () => undefined);
        const outcome = pair(channel, parties, true).then(
          () => 'paired',
          (error: unknown) => error,
        );
        for (const each of pdus) {
          channel.receive(Buffer.from(each));
          await Promise.resolve();
        }
        for (let i = 0; i < 20; i++) await Promise.resolve();
        time.pass();
        const error = await outcome;
        expect(error).toBeInstanceOf(StationError);
        expect((error as StationError).code).toMatch(/^PAIRING_/);
        expect(time.timers.size).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  test('never throws into the radio, whatever comes and whenever the link ends', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(pdu, { maxLength: 12 }), fc.boolean(), fc.nat(12), async (pdus, begins, endsAt) => {
        const time = stoppedClock();
        const manager = new LinkSecurityManager(
          {
            clock: time.clock,
            own: { address: '01:02:03:04:05:06', random: false },
            peer: { address: 'c1:02:03:04:05:06', random: true },
            send: () => undefined,
            encrypt: async () => undefined,
            disconnect: () => undefined,
          },
          { required: true, bonds: null, pairAgain: true },
        );
        const secured = begins ? manager.secure().catch((error: unknown) => error) : Promise.resolve(null);
        for (const [index, each] of pdus.entries()) {
          if (index === endsAt) manager.end(new StationError('LINK_LOST'));
          manager.received(Buffer.from(each));
          await Promise.resolve();
        }
        manager.end(new StationError('LINK_LOST'));
        const error = await secured;
        if (begins) expect(error).toBeInstanceOf(StationError);
        expect(manager.state.level).toBe('none');
      }),
      { numRuns: 300 },
    );
  });
});

describe('the HCI host', () => {
  const connected = Buffer.from('043e1301004000000101020304050618000000c8000000', 'hex');

  test('takes any packet from a controller and a peer, whole or cut, without throwing', () => {
    const packet = fc.oneof(
      fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from([4, ...bytes])),
      fc
        .tuple(fc.constantFrom(0, 1, 2, 3), fc.constantFrom(4, 5, 6, 7), fc.uint8Array({ maxLength: 80 }), fc.nat(90))
        .map(([boundary, cid, payload, length]) => {
          const pdu = Buffer.concat([Buffer.of(length, 0, cid, 0), payload]);
          return aclPacket(0x40, boundary, pdu);
        }),
      fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from([2, 0x40, 0x20, ...bytes])),
    );
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 20 }), (packets) => {
        let deliver: (bytes: Buffer) => void = () => undefined;
        const host = new HciHost(
          {
            send: () => undefined,
            onPacket: (handler) => {
              deliver = handler;
            },
            onLost: () => undefined,
            close: async () => undefined,
          },
          { ...systemClock, after: () => () => undefined },
          {
            attError: () => undefined,
            nonsense: () => undefined,
            disconnected: () => undefined,
            connectionComplete: () => undefined,
            pairingPdu: () => undefined,
            encryptionChanged: () => undefined,
            scanAnswered: () => undefined,
            lost: () => undefined,
          },
        );
        // A controller that reports a hardware error is relied upon no more.
        fc.pre(!packets.some((each) => each[0] === 4 && each[1] === 0x10));
        const seen: Buffer[] = [];
        host.socket.start((packet) => seen.push(packet));
        deliver(connected);
        for (const each of packets) deliver(each);
        // Another link, and what comes over it, are as if nothing had been.
        const other = Buffer.from(connected);
        other[5] = 0x41;
        deliver(other);
        deliver(aclPacket(0x41, 0b10, Buffer.of(1, 0, 4, 0, 0x13)));
        expect(seen.at(-1)).toEqual(aclPacket(0x41, 0b10, Buffer.of(1, 0, 4, 0, 0x13)));
      }),
      { numRuns: 500 },
    );
  });
});
