import { describe, expect, test } from 'vitest';
import { StationError } from '../../src/contract/errors.ts';
import { type CommandAnswer, CommandQueue } from '../../src/radio/hci/command-queue.ts';
import { SteppedClock } from '../support/stepped-clock.ts';

/** A queue with what it sent and how each command ended, by name. */
function queue() {
  const clock = new SteppedClock();
  const sent: string[] = [];
  const ended: Record<string, string> = {};
  const silent: string[] = [];
  const commands = new CommandQueue(
    (packet) => sent.push(packet.toString('hex')),
    clock,
    (detail) => silent.push(detail),
  );
  const push = (name: string, packet: string) =>
    commands.push(Buffer.from(packet, 'hex'), (answer) => {
      ended[name] = answer instanceof StationError ? answer.detail : answer.returned.toString('hex');
    });
  /** Command Complete: credits, opcode, parameters returned. */
  const complete = (credits: number, opcode: number, returned: string) => {
    const answer: CommandAnswer = { event: Buffer.alloc(0), returned: Buffer.from(returned, 'hex') };
    return commands.answered(opcode, credits, answer);
  };
  return { clock, commands, sent, ended, silent, push, complete };
}

/** Read RSSI of a link. */
const READ_RSSI = 0x1405;
const rssiOf = (handle: number) => `01051402${handle.toString(16).padStart(2, '0')}00`;
const RESET = '01030c00';

describe('commands to a controller', () => {
  test('go one at a time, each when the one before it is answered', () => {
    const { sent, ended, push, complete } = queue();
    push('first', rssiOf(1));
    push('second', rssiOf(2));
    expect(sent).toEqual([rssiOf(1)]);
    complete(1, READ_RSSI, '000100c4');
    expect(sent).toEqual([rssiOf(1), rssiOf(2)]);
    expect(ended).toEqual({ first: '000100c4' });
  });

  test('wait for the controller’s leave, which may come with an answer to nothing', () => {
    const { sent, push, complete } = queue();
    push('first', rssiOf(1));
    push('second', rssiOf(2));
    complete(0, READ_RSSI, '000100c4');
    expect(sent).toHaveLength(1);
    expect(complete(1, 0, '')).toBe(true);
    expect(sent).toHaveLength(2);
  });

  test('that are answered too late are not taken for the next one about another link', () => {
    const { clock, ended, push, complete } = queue();
    push('first', rssiOf(1));
    push('second', rssiOf(2));
    clock.step();
    expect(ended).toEqual({ first: 'no answer to command 0x1405' });
    complete(1, READ_RSSI, '000100c4');
    expect(ended).not.toHaveProperty('second');
    complete(1, READ_RSSI, '000200d8');
    expect(ended).toMatchObject({ second: '000200d8' });
  });

  test('may be lost once; without an answer to two in a row, or leave for any, the controller is gone', () => {
    const lost = queue();
    for (const name of ['first', 'second', 'third', 'fourth']) lost.push(name, rssiOf(1));
    lost.clock.step();
    expect(lost.silent).toEqual([]);
    lost.complete(1, READ_RSSI, '000100c4');
    lost.clock.step();
    lost.clock.step();
    expect(lost.silent).toHaveLength(1);
    const mute = queue();
    mute.push('first', rssiOf(1));
    mute.push('second', rssiOf(2));
    mute.complete(0, READ_RSSI, '000100c4');
    mute.clock.step();
    expect(mute.sent).toHaveLength(2);
    mute.clock.step();
    expect(mute.silent).toEqual(['no answer to command 0x1405']);
  });

  test('are all told when it ends, those that come later at once, and nothing is left waiting', () => {
    const { clock, commands, ended, push } = queue();
    push('sent', RESET);
    push('waiting', rssiOf(1));
    commands.end(new StationError('RADIO_LOST', 'pulled'));
    push('late', rssiOf(2));
    expect(ended).toEqual({ sent: 'pulled', waiting: 'pulled', late: 'pulled' });
    expect(clock.waiting).toBe(0);
  });

  test('that nobody has sent are not answered', () => {
    const { complete } = queue();
    expect(complete(1, 0x0c03, '00')).toBe(false);
  });
});
