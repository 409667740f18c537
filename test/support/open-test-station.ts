import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';
import { type Clock, systemClock } from '../../src/clock.ts';
import type { BoardChange } from '../../src/contract/board.ts';
import { ChannelClient, type ChannelListener, type Port } from '../../src/contract/channel.ts';
import { trayFile } from '../../src/contract/tray-file.ts';
import { forkOnNode } from '../../src/host/fork.ts';
import { openStation, type RunningStation } from '../../src/host/open-station.ts';

const cliPath = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** A station that practises on a virtual tray, in this process, with a directory of its own. */
export interface TestStation extends RunningStation {
  /** Where its data are; `practice` lies inside. */
  readonly data: string;
}

/** Opens a practising station; its devices live `speed` times as fast as the air. */
export async function openTestStation(
  tray: z.input<typeof trayFile> = {},
  clock: Clock = systemClock,
): Promise<TestStation> {
  const data = await mkdtemp(join(tmpdir(), 'dfu-desk-'));
  const station = await openStation({
    radio: [],
    practice: true,
    data,
    tray: trayFile.parse({ units: 8, speed: 8, device: { bootMs: 500 }, ...tray }),
    clock,
    fork: forkOnNode(cliPath),
  });
  return {
    ...station,
    data,
    async stop() {
      await station.stop();
      await rm(data, { recursive: true, force: true });
    },
  };
}

/** Two ports that are each other's far end, in this process.. */
export function portPair(): { near: Port; far: Port; cut(): void; backlog: number; sent: string[] } {
  const handlers = { near: (_message: string) => undefined as void, far: (_message: string) => undefined as void };
  const closers: (() => void)[] = [];
  let open = true;
  const cut = () => {
    if (!open) return;
    open = false;
    for (const close of closers) close();
  };
  const sent: string[] = [];
  const pair = {
    sent,
    backlog: 0,
    cut,
    near: port('near', 'far'),
    far: port('far', 'near'),
  };
  return pair;

  function port(own: 'near' | 'far', other: 'near' | 'far'): Port {
    return {
      send: (message) => {
        if (own === 'far') sent.push(message);
        if (open) queueMicrotask(() => handlers[other](message));
      },
      backlog: () => pair.backlog,
      onMessage: (handler) => {
        handlers[own] = handler;
      },
      onClose: (handler) => closers.push(handler),
      close: cut,
    };
  }
}

/** A window on a station, in this process: what it is told is kept. */
export class TestWindow {
  readonly client: ChannelClient;
  readonly pair = portPair();
  readonly changes: BoardChange[] = [];
  readonly heard: string[] = [];
  snapshots = 0;

  constructor(station: RunningStation, listener: Partial<ChannelListener> = {}) {
    station.reception.accept(this.pair.far);
    const note = (what: string) => () => void this.heard.push(what);
    this.client = new ChannelClient(this.pair.near, {
      welcome: note('welcome'),
      occupied: note('occupied'),
      replaced: note('replaced'),
      snapshot: () => {
        this.snapshots += 1;
      },
      change: (change) => this.changes.push(change),
      gauges: () => this.client.drawn(),
      closed: note('closed'),
      ...listener,
    });
    this.client.hello(null);
  }

  async signIn(name = 'Olga', pin = '1111'): Promise<void> {
    await this.client.ask('sign-in', { name, pin });
  }
}

/** Resolves when the board has come to a phase. */
export function phase(station: RunningStation, wanted: string): Promise<void> {
  const { board } = station.desk;
  return new Promise((resolve) => {
    const stop = board.onChange(check);
    function check(): void {
      if (board.head.phase !== wanted) return;
      queueMicrotask(stop);
      resolve();
    }
    check();
  });
}
