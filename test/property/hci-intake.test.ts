import { existsSync, readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readCapture } from '../../src/diagnostics/capture-file.ts';
import { CapturingTransport } from '../../src/radio/hci/capture.ts';
import { exerciseRadio } from '../support/exercise-radio.ts';
import { recordedHost } from '../support/hci-recorder.ts';
import { ScriptedController } from '../support/scripted-controller.ts';
import { SteppedClock } from '../support/stepped-clock.ts';

const RECORDINGS = '../shared/captures';
const hex = (text: string) => Buffer.from(text, 'hex');

/** One event of each kind that a controller may send, octets as the Core Specification has them (Vol 4 Part E, 7.7). */
const samples = [
  '0405040001 0013', // Disconnection Complete
  '0408040001 0001', // Encryption Change
  '040e0401030c00', // Command Complete of Reset
  '040e0a01091000010203040506', // Command Complete of Read BD_ADDR
  '040f0400010d20', // Command Status of LE Create Connection
  '04100142', // Hardware Error
  '041305010100 0100', // Number Of Completed Packets
  '04130902010001000200 0300', // the same of two links
  '041a0101', // Data Buffer Overflow
  '0430030001 00', // Encryption Key Refresh Complete
  '043e13010001000001010000eeffc018000000c80005', // LE Connection Complete
  '043e1b020100000100000000 00c00f0201060b094446552d534e3030303107c8', // LE Advertising Report
  '043e0a03000100180000003200', // LE Connection Update Complete
  '043e0c04000100010000000000000 0', // LE Read Remote Features Complete
  '043e0d050100000000000000000000 00', // LE Long Term Key Request
  '043e0b060100060009000000 2a00', // LE Remote Connection Parameter Request
  '043e0b070100fb004808fb004808', // LE Data Length Change
  '043e1f0a0001000001010000eeffc000000000000000000000000018000000c80005', // LE Enhanced Connection Complete
  '043e060c0001000202', // LE PHY Update Complete
  '043e1a0d011300010000 00000000c0010 0ff7fc8000000000000000000 00', // LE Extended Advertising Report
].map((text) => hex(text.replaceAll(' ', '')));

const connected = hex('043e13010001000001010000eeffc018000000c80005');

/** A host with a capture, as a radio has it, that has one link. */
function linked() {
  const clock = new SteppedClock();
  let capture: CapturingTransport | null = null;
  const recorded = recordedHost(clock, (transport) => {
    capture = new CapturingTransport(transport, clock);
    return capture;
  });
  recorded.receive(connected);
  return { ...recorded, clock, capture: capture! as CapturingTransport };
}

/** An event cut short, its length told as it then is: so it passes the transport. */
function cut(event: Buffer, octets: number): Buffer {
  const short = Buffer.from(event.subarray(0, Math.min(event.length, 3 + octets)));
  if (short.length > 2) short[2] = short.length - 3;
  return short;
}

function takesEveryCut(events: readonly Buffer[]): void {
  for (const event of events) {
    for (let octets = 0; octets <= event.length - 3; octets++) {
      const { receive, host } = linked();
      const packet = cut(event, octets);
      expect(() => receive(packet), packet.toString('hex')).not.toThrow();
      // One that has no parameters changes nothing.
      if (octets === 0) expect(host.link(1)?.address, packet.toString('hex')).toBeDefined();
    }
  }
}

describe('the intake of a controller’s packets', () => {
  test('takes each event at each length that it can be cut to', () => takesEveryCut(samples));

  test('takes a Command Status that ends before its opcode', () => {
    const { receive } = linked();
    for (const packet of ['040f00', '040f0100', '040f020001', '040f0300010d']) receive(hex(packet));
  });

  const recordings = existsSync(RECORDINGS) ? readdirSync(RECORDINGS).filter((name) => name.endsWith('.btsnoop')) : [];
  test.skipIf(recordings.length === 0)(
    'takes each event of the recordings at each length that it can be cut to',
    () => {
      const kinds = new Map<string, Buffer>();
      for (const name of recordings) {
        for (const { packet, received } of readCapture(readFileSync(`${RECORDINGS}/${name}`)).packets) {
          // One of each kind: the event, its subevent or opcode, its length.
          if (received && packet[0] === 4) kinds.set(packet.subarray(1, 6).toString('hex'), packet);
        }
      }
      expect(kinds.size).toBeGreaterThan(30);
      takesEveryCut([...kinds.values()]);
    },
  );

  const spoilt = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 40 }).map((octets) => Buffer.from([0x04, ...octets])),
    fc.uint8Array({ maxLength: 40 }).map((octets) => Buffer.from([0x02, ...octets])),
    fc
      .tuple(fc.constantFrom(...samples), fc.array(fc.tuple(fc.nat(40), fc.nat(255)), { maxLength: 4 }), fc.nat(40))
      .map(([event, changes, octets]) => {
        const packet = cut(event, octets);
        for (const [at, value] of changes) if (at > 1 && at < packet.length) packet[at] = value;
        return packet;
      }),
  );

  test('takes any octets, and tells no link’s end, reason or strength that is not a number', () => {
    fc.assert(
      fc.property(fc.array(spoilt, { maxLength: 20 }), (packets) => {
        const { receive, told } = linked();
        for (const packet of packets) receive(packet);
        for (const [, ...values] of told) for (const value of values) expect(value).not.toBeUndefined();
      }),
      { numRuns: 2000 },
    );
  });

  test('a radio on a wire that loses, doubles, cuts and changes packets hangs nothing: it goes on or is lost with a reason', async () => {
    const disturbance = fc.record({
      kind: fc.constantFrom('lose', 'double', 'cut', 'change'),
      every: fc.integer({ min: 2, max: 40 }),
      from: fc.nat(60),
      octet: fc.nat(255),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(disturbance, { minLength: 1, maxLength: 3 }), async (disturbances) => {
        const clock = new SteppedClock();
        const controller = new ScriptedController(clock);
        let count = 0;
        controller.disturb = (packet) => {
          count += 1;
          let out = [packet];
          for (const { kind, every, from, octet } of disturbances) {
            if (count < from || count % every !== 0) continue;
            if (kind === 'lose') out = [];
            else if (kind === 'double') out = out.flatMap((each) => [each, each]);
            else if (kind === 'cut') out = out.map((each) => (each[0] === 4 ? cut(each, octet % each.length) : each));
            else
              out = out.map((each) => {
                const changed = Buffer.from(each);
                changed[3 + (octet % Math.max(1, each.length - 3))]! ^= octet;
                return changed;
              });
          }
          return out;
        };
        const { steps, lost, opened } = await exerciseRadio(controller, clock);
        if (!opened) expect(['RADIO_REFUSED', 'RADIO_LOST']).toContain(steps.open);
        else if (lost) expect(lost.code).toBe('RADIO_LOST');
      }),
      { numRuns: 400 },
    );
  });
});
