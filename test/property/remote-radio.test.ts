import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StationError } from '../../src/contract/errors.ts';
import type { LinkFacts } from '../../src/contract/records.ts';
import type { Link, Radio } from '../../src/radio/radio.ts';
import { RadioServer } from '../../src/radio/remote/radio-server.ts';
import { openRemoteRadio, type RadioProcess } from '../../src/radio/remote/remote-radio.ts';
import { SteppedClock } from '../support/stepped-clock.ts';

const facts: LinkFacts = {
  mtu: 247,
  phy: '2M',
  dataLength: 251,
  intervalMs: 30,
  supervisionTimeoutMs: 2000,
  security: null,
  intervalChanges: [],
};
const characteristic = { service: '180a', uuid: '2a25', properties: ['read'] };
const options = { intervalMs: 30, supervisionTimeoutMs: 2000, timeoutMs: 3000 };

/** A link as the port has it: what it is asked is answered, refused, or waits for its end. */
class StubLink {
  readonly ended: Promise<StationError>;
  end: (reason: StationError) => void = () => undefined;
  over: StationError | null = null;

  constructor() {
    this.ended = new Promise((resolve) => {
      this.end = (reason) => {
        this.over ??= reason;
        resolve(this.over);
      };
    });
  }

  answer(how: number): Promise<unknown> {
    if (this.over) return Promise.reject(this.over);
    if (how === 0) return Promise.resolve(Buffer.from('value'));
    if (how === 1) return Promise.reject(new StationError('ATT_ERROR', 'ATT error 0x0e'));
    return this.ended.then((reason) => Promise.reject(reason));
  }
}

/** Both sides of a radio in a process of its own, in this one. */
function pair(clock: SteppedClock, how: () => number) {
  const links: StubLink[] = [];
  let settleEnded: (reason: StationError | null) => void = () => undefined;
  const ended = new Promise<StationError | null>((resolve) => {
    settleEnded = resolve;
  });
  let radioOver = false;
  const finish = (reason: StationError | null) => {
    radioOver = true;
    for (const link of links) link.end(reason ?? new StationError('LINK_CLOSED'));
    settleEnded(reason);
  };
  const radio: Radio = {
    name: 'stub',
    address: null,
    linkLimit: null,
    controller: null,
    ended,
    scan: () => () => undefined,
    connect: async () => {
      if (radioOver) throw new StationError('RADIO_LOST');
      if (how() === 1) throw new StationError('CONNECT_FAILED', '', { retryable: true });
      const link = new StubLink();
      links.push(link);
      // Some are over before anybody has heard of them.
      if (how() === 2) link.end(new StationError('LINK_LOST', 'at once'));
      const ask = () => link.answer(how());
      return {
        address: 'c0:00:00:00:00:01',
        facts: () => facts,
        evidence: {
          mark: () => undefined,
          content: async () => ({ packets: [], leftOut: 0 }),
          release: () => undefined,
        },
        queued: 0,
        ended: link.ended,
        characteristic: ask,
        read: () => {
          // A driver may throw at once, too.
          if (how() === 1) throw new StationError('SERVICE_NOT_FOUND');
          return ask();
        },
        write: ask,
        writeCommands: ask,
        subscribe: ask,
        rssi: ask,
        expectRestart: () => undefined,
        disconnect: async () => link.end(new StationError('LINK_CLOSED')),
      } as unknown as Link;
    },
    stop: async () => finish(null),
  };
  let toServer: (message: unknown) => void = () => undefined;
  let toStation: (message: unknown) => void = () => undefined;
  let alive = true;
  let settleExit: (complaint: string) => void = () => undefined;
  const exited = new Promise<string>((resolve) => {
    settleExit = resolve;
  });
  const exit = () => {
    alive = false;
    settleExit('');
  };
  const process: RadioProcess = {
    send: (message) => queueMicrotask(() => alive && toServer(structuredClone(message))),
    onMessage: (handler) => {
      toStation = handler;
    },
    kill: exit,
    ended: exited,
  };
  const server = new RadioServer(
    radio,
    {
      send: (message) => queueMicrotask(() => alive && toStation(structuredClone(message))),
      onMessage: (handler) => {
        toServer = handler;
      },
    },
    // A process that has ended does nothing more.
    {
      ...clock,
      now: () => clock.now(),
      wall: () => clock.wall(),
      after: (ms, fn) => clock.after(ms, () => alive && fn()),
    },
  );
  return {
    process,
    server,
    links,
    exit,
    lose: () => finish(new StationError('RADIO_LOST', 'pulled', { retryable: true })),
    say: (message: unknown) => alive && toServer(message),
    get alive() {
      return alive;
    },
  };
}

type Step =
  | { readonly do: 'connect' | 'lose' | 'exit' | 'stop' | 'nonsense' | 'wait' }
  | { readonly do: 'read' | 'write' | 'disconnect' | 'evidence' | 'release' | 'end' | 'rssi'; readonly link: number };

const onLink = fc.constantFrom('read', 'write', 'disconnect', 'evidence', 'release', 'end', 'rssi');
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ do: 'connect' } as const) },
  { weight: 9, arbitrary: fc.record({ do: onLink, link: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.constant({ do: 'wait' } as const) },
  { weight: 1, arbitrary: fc.constantFrom('lose', 'exit', 'stop', 'nonsense').map((name) => ({ do: name })) },
);

describe('a radio in a process of its own', () => {
  test('settles whatever is asked of it, in whichever order links, radio and process end, and leaves no process', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.infiniteStream(fc.nat(3)), async (steps, choices) => {
        const clock = new SteppedClock();
        const far = pair(clock, () => choices.next().value ?? 0);
        const radio = await clock.resolved(openRemoteRadio('stub', far.process, clock), 1000);
        const asked: Promise<unknown>[] = [];
        const ask = (answer: Promise<unknown>) => {
          asked.push(answer);
          // Looked at when all is over.
          answer.catch(() => undefined);
        };
        const links: Link[] = [];
        for (const each of steps) {
          const link = 'link' in each ? links[each.link] : undefined;
          switch (each.do) {
            case 'connect':
              ask(radio.connect('c0:00:00:00:00:01', options).then((made) => links.push(made)));
              break;
            case 'read':
              if (link) ask(link.read(characteristic));
              break;
            case 'write':
              if (link) ask(link.writeCommands([{ characteristic, value: Buffer.alloc(4) }]));
              break;
            case 'rssi':
              if (link) ask(link.rssi());
              break;
            case 'disconnect':
              if (link) ask(link.disconnect());
              break;
            case 'evidence':
              if (link?.evidence) ask(link.evidence.content());
              break;
            case 'release':
              link?.evidence?.release();
              break;
            case 'end':
              if (link) far.links[links.indexOf(link)]?.end(new StationError('LINK_LOST', 'gone', { retryable: true }));
              break;
            case 'lose':
              far.lose();
              break;
            case 'exit':
              far.exit();
              break;
            case 'stop':
              ask(radio.stop());
              break;
            case 'nonsense':
              far.say('nonsense');
              far.say([{ type: 'call', id: 9000, link: 9000, method: 'explode', args: [] }]);
              break;
            case 'wait':
              await new Promise((resolve) => setImmediate(resolve));
          }
        }
        await clock.resolved(radio.stop(), 10_000);
        await clock.resolved(Promise.allSettled(asked), 1000);
        await clock.resolved(Promise.all(links.map((link) => link.ended)), 1000);
        await clock.resolved(radio.ended, 1000);
        expect(far.alive).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  test('answers a question about a link that it does not know, and one of a kind that it does not know', async () => {
    const clock = new SteppedClock();
    const far = pair(clock, () => 0);
    const radio = await clock.resolved(openRemoteRadio('stub', far.process, clock), 1000);
    const link = await clock.resolved(radio.connect('c0:00:00:00:00:01', options), 1000);
    const forgotten = link as unknown as { read(of: unknown): Promise<unknown> };
    far.links[0]?.end(new StationError('LINK_LOST', 'gone'));
    await clock.resolved(link.ended, 1000);
    link.evidence?.release();
    expect(await clock.settled(link.evidence!.content(), 1000)).toMatchObject({ status: 'fulfilled', value: null });
    expect(await clock.settled(forgotten.read(characteristic), 1000)).toMatchObject({ reason: { code: 'LINK_LOST' } });
    expect(far.server.linksHeld).toBe(0);
    await clock.resolved(radio.stop(), 10_000);
  });

  test('ends its process when the radio is lost, without being told to', async () => {
    const clock = new SteppedClock();
    const far = pair(clock, () => 0);
    const radio = await clock.resolved(openRemoteRadio('stub', far.process, clock), 1000);
    far.lose();
    expect(await clock.resolved(radio.ended, 1000)).toMatchObject({ code: 'RADIO_LOST', detail: 'pulled' });
    expect(far.alive).toBe(false);
  });

  test('that is not ready yet is given up, with its process, when nobody wants it any more', async () => {
    const clock = new SteppedClock();
    let exit: (complaint: string) => void = () => undefined;
    const ended = new Promise<string>((resolve) => {
      exit = resolve;
    });
    const mute: RadioProcess = { send: () => undefined, onMessage: () => undefined, kill: () => exit(''), ended };
    const abort = new AbortController();
    const opening = openRemoteRadio('mute', mute, clock, abort.signal);
    abort.abort();
    expect(await clock.settled(opening, 100)).toMatchObject({ status: 'rejected', reason: { code: 'RADIO_LOST' } });
    expect(await clock.resolved(mute.ended, 100)).toBe('');
  });
});
