import { expect } from 'vitest';
import { StationError } from '../../src/contract/errors.ts';
import { openNobleRadio } from '../../src/radio/noble/noble-radio.ts';
import type { Bond, Link, Radio } from '../../src/radio/radio.ts';
import { CHARACTERISTIC, DEAF_PEER, PEER, type ScriptedController, SERVICE } from './scripted-controller.ts';
import type { SteppedClock } from './stepped-clock.ts';

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

/** How each step of an exercise ended: `done`, or the code of its error. */
export interface Exercised {
  readonly steps: Record<string, string>;
  readonly lost: StationError | null;
  readonly opened: boolean;
}

/** Asks of a radio all that the station asks of one, and says how each ended; fails when anything does not end. */
export async function exerciseRadio(controller: ScriptedController, clock: SteppedClock): Promise<Exercised> {
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
