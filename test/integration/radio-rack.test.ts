import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Clock, systemClock } from '../../src/clock.ts';
import { trayFile } from '../../src/contract/tray-file.ts';
import { RadioRack } from '../../src/host/radio-rack.ts';
import { openRadio } from '../../src/radio/open-radio.ts';
import { listenVirtualTray, type VirtualTray } from '../../src/virtual/virtual-tray.ts';
import { Wire } from '../support/wire.ts';

let directory: string;
let tray: VirtualTray;
let wire: Wire;
let rack: RadioRack;
/** Ten times as fast: a lost radio is tried again soon. */
const clock: Clock = { ...systemClock, after: (ms, fn) => systemClock.after(ms / 10, fn) };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'dfu-rack-'));
  const ether = join(directory, 'ether');
  tray = await listenVirtualTray(trayFile.parse({ units: 1 }), ether);
  wire = new Wire(ether, join(directory, 'wire'));
  rack = new RadioRack(
    [{ name: 'dongle', open: () => openRadio({ kind: 'h4', name: 'dongle', path: wire.path }, systemClock) }],
    clock,
  );
});
afterEach(async () => {
  await rack.stop();
  wire.pull();
  await tray.stop();
  await rm(directory, { recursive: true, force: true });
});

const state = () => (rack.places()[0]?.radio ? 'ready' : 'lost');
/** Resolves when the rack says that its radio stands so. */
const comesTo = (wanted: string) =>
  new Promise<void>((resolve) => {
    const check = () => {
      if (state() !== wanted) return;
      stop();
      resolve();
    };
    const stop = rack.onChange(check);
    check();
  });

describe('the radios of a station that runs for long', () => {
  test('a dongle that is pulled is lost and said why, and comes back when it is plugged in again', async () => {
    await wire.plug();
    await rack.start();
    expect(state()).toBe('ready');
    wire.pull();
    await comesTo('lost');
    expect(rack.places()[0]?.detail).not.toBe('');
    await wire.plug();
    await comesTo('ready');
    expect(rack.places()[0]?.detail).toBeNull();
  });

  test('one that is not there at the start is waited for', async () => {
    await rack.start();
    expect(state()).toBe('lost');
    await wire.plug();
    await comesTo('ready');
  });

  test('one that comes back after the station has stopped is let go of', async () => {
    await rack.start();
    await rack.stop();
    await wire.plug();
    expect(state()).toBe('lost');
  });
});
