import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { openRadioOver } from '../../src/radio/open-radio.ts';
import type { Link, Radio } from '../../src/radio/radio.ts';
import { onRadioEnded } from '../../src/radio/radio-shelf.ts';
import { RadioServer } from '../../src/radio/remote/radio-server.ts';
import { openRemoteRadio, type RadioProcess } from '../../src/radio/remote/remote-radio.ts';
import { CHARACTERISTIC, DEAF_PEER, PEER, ScriptedController, SERVICE } from '../support/scripted-controller.ts';
import { SteppedClock } from '../support/stepped-clock.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const LINKS = 24;
const options = { intervalMs: 30, supervisionTimeoutMs: 2000, timeoutMs: 3000 };

test('a radio that goes on retains nothing of the links that are over, in its process and in the station', async () => {
  const clock = new SteppedClock();
  const controller = new ScriptedController(clock);
  const inner = await clock.resolved(openRadioOver('scripted', controller, clock), 20_000);
  const retained: { readonly where: string; readonly what: WeakRef<object> }[] = [];
  const retain = (where: string, what: object) => retained.push({ where, what: new WeakRef(what) });
  // The radio in its process, with each of its links noted on its way out.
  const noted: Radio = {
    name: inner.name,
    address: inner.address,
    linkLimit: null,
    controller: inner.controller,
    ended: inner.ended,
    scan: (onAdvertisement) => inner.scan(onAdvertisement),
    connect: async (address, how) => {
      const link = await inner.connect(address, how);
      retain('link in the process', link);
      if (link.evidence) retain('capture in the process', link.evidence);
      return link;
    },
    stop: () => inner.stop(),
  };
  let toServer: (message: unknown) => void = () => undefined;
  let toStation: (message: unknown) => void = () => undefined;
  let exit: (complaint: string) => void = () => undefined;
  const process: RadioProcess = {
    send: (message) => queueMicrotask(() => toServer(structuredClone(message))),
    onMessage: (handler) => {
      toStation = handler;
    },
    kill: () => exit(''),
    ended: new Promise((resolve) => {
      exit = resolve;
    }),
  };
  const server = new RadioServer(
    noted,
    {
      send: (message) => queueMicrotask(() => toStation(structuredClone(message))),
      onMessage: (handler) => {
        toServer = handler;
      },
    },
    clock,
  );
  const radio = await clock.resolved(openRemoteRadio('scripted', process, clock), 1000);
  const heard = new Promise<void>((resolve) => {
    const stop = radio.scan(({ address }) => {
      if (address !== DEAF_PEER) return;
      stop();
      resolve();
    });
  });
  await clock.resolved(heard, 5000);

  const use = async () => {
    const link: Link = await clock.resolved(radio.connect(PEER, options), 5000);
    retain('link in the station', link);
    const characteristic = await clock.resolved(link.characteristic(SERVICE, CHARACTERISTIC), 5000);
    await clock.resolved(link.read(characteristic), 5000);
    await clock.resolved(link.writeCommands([{ characteristic, value: Buffer.alloc(200) }]), 5000);
    await clock.resolved(link.disconnect(), 10_000);
    link.evidence?.release();
  };
  for (let i = 0; i < LINKS; i++) await use();
  // Connections that fail wait for the radio, too; and so do jobs.
  await clock.settled(radio.connect(DEAF_PEER, options), 10_000);
  const job = { of: 'a job' };
  const forget = onRadioEnded(radio, () => job.of);
  forget();
  retain('job', job);
  await use();

  // What the very last use left on a stack is let go of in a turn of its own.
  for (let i = 0; i < 5; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
  }
  expect(server.linksHeld).toBe(0);
  const alive = retained.filter(({ what }) => what.deref() !== undefined).map(({ where }) => where);
  expect(retained.length).toBeGreaterThan(3 * LINKS);
  // This function still has the job.
  expect(alive.filter((where) => where !== 'job')).toEqual([]);
  await clock.resolved(radio.stop(), 10_000);
});
