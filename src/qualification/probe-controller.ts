import { type Clock, sleep } from '../clock.ts';
import { StationError } from '../contract/errors.ts';
import { CommandQueue } from '../radio/hci/command-queue.ts';
import { eventMask, leEventMask } from '../radio/hci/event-mask.ts';
import { EVENT, HCI_EVENT, hciCommand, LE_EVENT, OPCODE, STATUS, uint16 } from '../radio/hci/packets.ts';
import type { HciTransport } from '../radio/hci/transport.ts';
import { DIAGNOSTIC_OPCODE } from './diagnostic-commands.ts';

/** How long commands took to be answered, in milliseconds. */
export interface ProbedTimes {
  /** The shortest answer of a question, while nothing else is done. */
  readonly shortMs: readonly number[];
  /** The long answer, in turns with the short one. */
  readonly longMs: readonly number[];
  /** The short answer, while the radio listens. */
  readonly listeningMs: readonly number[];
}

/** Octets of the events that answer Read BD_ADDR and Read Local Supported Commands, with their H4 octet (Vol 4 Part E, 7.4.2 and 7.4.6). */
export const SHORT_ANSWER_OCTETS = 13;
export const LONG_ANSWER_OCTETS = 71;

const QUESTIONS = 60;
const QUESTIONS_WHILE_LISTENING = 20;
/** Shares of the time at which it listens: interval and window in units of 0.625 ms, as the station does at most, all, and little. */
const LISTENING = [
  { interval: 96, window: 96 },
  { interval: 96, window: 64 },
  { interval: 96, window: 4 },
] as const;
const ACTIVE_SCAN = 1;

/**
 * Asks a controller what it is and how fast it answers, and listens for a while: nothing is connected to and nothing changed that a reset
 * does not put back. @throws StationError RADIO_REFUSED when it does not answer or refuses a reset, RADIO_LOST
 */
export async function probeController(
  transport: HciTransport,
  clock: Clock,
  listenMs: number,
  signal: AbortSignal,
): Promise<ProbedTimes> {
  const gone = (detail: string) => commands.end(new StationError('RADIO_LOST', detail));
  const commands = new CommandQueue((packet) => transport.send(packet), clock, gone);
  transport.onLost((reason) => commands.end(reason));
  transport.onPacket((packet) => {
    if (packet[0] !== HCI_EVENT) return;
    if (packet[1] === EVENT.COMMAND_COMPLETE && packet.length >= 6)
      commands.answered(uint16(packet, 4), packet[3]!, { event: packet, returned: packet.subarray(6) });
    else if (packet[1] === EVENT.COMMAND_STATUS && packet.length >= 7)
      commands.answered(uint16(packet, 5), packet[4]!, { event: packet, returned: packet.subarray(3, 4) });
  });
  const ask = (opcode: number, parameters: Uint8Array = new Uint8Array()) => {
    signal.throwIfAborted();
    return new Promise<number | undefined>((resolve, reject) => {
      commands.push(hciCommand(opcode, parameters), (answer) => {
        if (answer instanceof StationError) reject(answer);
        else resolve(answer.returned[0]);
      });
    });
  };
  const timed = async (opcode: number) => {
    const beganMs = clock.now();
    await ask(opcode);
    return clock.now() - beganMs;
  };

  const reset = await ask(OPCODE.RESET);
  if (reset !== STATUS.SUCCESS) throw new StationError('RADIO_REFUSED', `reset: status ${reset}`);
  await ask(DIAGNOSTIC_OPCODE.READ_LOCAL_VERSION);
  await ask(OPCODE.READ_BD_ADDR);
  await ask(OPCODE.LE_READ_BUFFER_SIZE);
  await ask(OPCODE.READ_BUFFER_SIZE);
  await ask(OPCODE.LE_READ_LOCAL_FEATURES);
  await ask(DIAGNOSTIC_OPCODE.LE_READ_MAXIMUM_DATA_LENGTH);
  await ask(DIAGNOSTIC_OPCODE.NOBODY_KNOWS);
  const shortMs: number[] = [];
  const longMs: number[] = [];
  for (let i = 0; i < QUESTIONS; i++) {
    shortMs.push(await timed(OPCODE.READ_BD_ADDR));
    longMs.push(await timed(DIAGNOSTIC_OPCODE.READ_LOCAL_SUPPORTED_COMMANDS));
  }
  await ask(OPCODE.SET_EVENT_MASK, eventMask([EVENT.LE_META, EVENT.HARDWARE_ERROR]));
  await ask(
    OPCODE.LE_SET_EVENT_MASK,
    leEventMask([LE_EVENT.ADVERTISING_REPORT, LE_EVENT.ENHANCED_CONNECTION_COMPLETE]),
  );
  const listeningMs: number[] = [];
  for (const { interval, window } of LISTENING) {
    await ask(OPCODE.LE_SET_SCAN_PARAMETERS, Buffer.of(ACTIVE_SCAN, interval, 0, window, 0, 0, 0));
    await ask(OPCODE.LE_SET_SCAN_ENABLE, Buffer.of(1, 0));
    for (let i = 0; i < QUESTIONS_WHILE_LISTENING; i++) {
      await sleep(clock, listenMs / QUESTIONS_WHILE_LISTENING, signal);
      listeningMs.push(await timed(OPCODE.READ_BD_ADDR));
    }
    await ask(OPCODE.LE_SET_SCAN_ENABLE, Buffer.of(0, 0));
  }
  return { shortMs, longMs, listeningMs };
}
