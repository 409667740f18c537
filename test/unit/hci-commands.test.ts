import { describe, expect, test } from 'vitest';
import { StationError } from '../../src/contract/errors.ts';
import { openNobleRadio } from '../../src/radio/noble/noble-radio.ts';
import type { Bond, Link, Radio } from '../../src/radio/radio.ts';
import {
  CHARACTERISTIC,
  DEAF_PEER,
  type Mischief,
  misdeeds,
  PEER,
  ScriptedController,
  SERVICE,
} from '../support/scripted-controller.ts';
import { SteppedClock } from '../support/stepped-clock.ts';

/** Nothing that is asked of a radio may take longer, whatever its controller does; in milliseconds. */
const LIMIT_MS = 90_000;
const FIND_MS = 30_000;

const bond: Bond = {
  ownAddress: '06:05:04:03:02:01',
  identityAddress: PEER,
  random: true,
  irk: null,
  key: { ltk: Buffer.alloc(16, 7), ediv: 0, rand: Buffer.alloc(8) },
  secureConnections: true,
  keyBits: 128,
};
const bonds = { list: () => [bond], keep: () => undefined, forget: () => undefined };
const options = { intervalMs: 30, supervisionTimeoutMs: 2000, timeoutMs: 3000 };

interface Outcome {
  readonly steps: Record<string, string>;
  readonly lost: StationError | null;
  readonly opened: boolean;
}

/** Asks of a radio all that the station asks of one, and says how each ended; fails when anything does not end. */
async function exercise(controller: ScriptedController, clock: SteppedClock): Promise<Outcome> {
  const steps: Record<string, string> = {};
  let lost: StationError | null = null;
  const step = async <T>(name: string, work: () => Promise<T>): Promise<T | null> => {
    const result = await clock.settled(
      Promise.resolve()
        .then(work)
        .catch((error: unknown) => {
          if (!(error instanceof StationError)) throw new Error(`${name}: no StationError`, { cause: error });
          return error;
        }),
      LIMIT_MS,
    );
    if (result.status === 'rejected') throw result.reason;
    const { value } = result;
    steps[name] = value instanceof StationError ? value.code : 'done';
    return value instanceof StationError ? null : value;
  };
  const heard = (radio: Radio) =>
    new Promise<void>((resolve) => {
      const both = new Set<string>();
      const stop = radio.scan(({ address }) => {
        both.add(address);
        if (both.size < 2) return;
        stop();
        resolve();
      });
      // A controller that says it scans and does not is for who looks for units to notice.
      clock.after(FIND_MS, () => {
        stop();
        resolve();
      });
      void radio.ended.then(() => resolve());
    });
  const useLink = async (link: Link) => {
    const characteristic = await step('discover', () => link.characteristic(SERVICE, CHARACTERISTIC));
    if (characteristic) {
      await step('read', () => link.read(characteristic));
      await step('write', () => link.writeCommands([{ characteristic, value: Buffer.alloc(20) }]));
    }
    await step('rssi', () => link.rssi());
    controller.asksForParameters(24, 40, 400);
    controller.asksForParameters(100, 200, 400);
    await step('expect-restart', async () => link.expectRestart());
    await step('disconnect', () => link.disconnect());
    await step('end', () => link.ended);
  };
  const radio = await step('open', () => openNobleRadio('scripted', controller, clock));
  if (!radio) return { steps, lost, opened: false };
  void radio.ended.then((reason) => {
    lost = reason;
  });
  await step('scan', () => heard(radio));
  const security = { required: true, pairAgain: false, bonds };
  const link = await step('connect', () => radio.connect(PEER, { ...options, security }));
  if (link) await useLink(link);
  await step('deaf', () => radio.connect(DEAF_PEER, options));
  const again = await step('again', () => radio.connect(PEER, options));
  if (again) await step('disconnect again', () => again.disconnect());
  await step('stop', () => radio.stop());
  await step('over', () => radio.ended);
  expect(controller.closes, 'the transport is let go of').toBeGreaterThan(0);
  return { steps, lost, opened: true };
}

const sane = new SteppedClock();
const quiet = new ScriptedController(sane);
const usual = await exercise(quiet, sane);
/** The opcodes that the station and noble send, as they were sent. */
const sent = quiet.opcodes;

describe('a controller that does as it is told', () => {
  test('opens, scans, connects, encrypts, carries data and is let go of', () => {
    expect(usual.lost).toBeNull();
    expect(usual.steps).toEqual({
      open: 'done',
      scan: 'done',
      connect: 'done',
      discover: 'done',
      read: 'done',
      write: 'done',
      rssi: 'done',
      'expect-restart': 'done',
      disconnect: 'done',
      end: 'LINK_CLOSED',
      deaf: 'CONNECT_TIMEOUT',
      again: 'done',
      'disconnect again': 'done',
      stop: 'done',
      over: 'done',
    });
  });

  test('is sent every command that the station has', () => {
    expect(sent.toSorted((a, b) => a - b).map((opcode) => opcode.toString(16))).toEqual([
      '406', // Disconnect
      'c01', // Set Event Mask
      'c03', // Reset
      'c63', // Set Event Mask Page 2
      '1001', // Read Local Version Information
      '1005', // Read Buffer Size
      '1009', // Read BD_ADDR
      '1405', // Read RSSI
      '2001', // LE Set Event Mask
      '2002', // LE Read Buffer Size
      '2003', // LE Read Local Supported Features
      '200b', // LE Set Scan Parameters
      '200c', // LE Set Scan Enable
      '200d', // LE Create Connection
      '200e', // LE Create Connection Cancel
      '2013', // LE Connection Update
      '2019', // LE Enable Encryption
      '2020', // LE Remote Connection Parameter Request Reply
      '2021', // LE Remote Connection Parameter Request Negative Reply
      '2022', // LE Set Data Length
      '2032', // LE Set PHY
    ]);
  });
});

describe('a controller that fails a command', () => {
  const cases: Mischief[] = sent.flatMap((opcode) =>
    misdeeds.flatMap((misdeed) => [false, true].map((always) => ({ opcode, misdeed, always }))),
  );

  test.each(sent)(
    'of opcode %i, in whichever way, hangs nothing: the radio goes on or is lost with a reason',
    async (opcode) => {
      for (const mischief of cases.filter((each) => each.opcode === opcode)) {
        const clock = new SteppedClock();
        const controller = new ScriptedController(clock, mischief);
        const name = `${mischief.misdeed}${mischief.always ? ' always' : ''}`;
        const { steps, lost, opened } = await exercise(controller, clock).catch((error: unknown) => {
          throw new Error(name, { cause: error });
        });
        if (!opened) expect(['RADIO_REFUSED', 'RADIO_LOST'], name).toContain(steps.open);
        else if (lost) {
          expect(lost, name).toMatchObject({ code: 'RADIO_LOST' });
          expect(lost.detail, name).not.toBe('');
        } else if (!mischief.always) expect(steps.again, name).toBe('done');
      }
    },
  );
});
