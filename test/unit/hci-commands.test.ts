import { describe, expect, test } from 'vitest';
import { openNobleRadio } from '../../src/radio/noble/noble-radio.ts';
import { exerciseRadio } from '../support/exercise-radio.ts';
import { type Mischief, misdeeds, ScriptedController } from '../support/scripted-controller.ts';
import { SteppedClock } from '../support/stepped-clock.ts';

const sane = new SteppedClock();
const quiet = new ScriptedController(sane);
const usual = await exerciseRadio(quiet, sane);
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

describe('a controller that goes away', () => {
  test('while it is being opened is refused with what went wrong', async () => {
    const clock = new SteppedClock();
    const controller = new ScriptedController(clock, { opcode: 0x1009, misdeed: 'out-of-step', always: true });
    expect(await clock.settled(openNobleRadio('scripted', controller, clock), 10_000)).toMatchObject({
      reason: { code: 'RADIO_LOST', detail: 'H4 stream out of step' },
    });
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
        const { steps, lost, opened } = await exerciseRadio(controller, clock).catch((error: unknown) => {
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
