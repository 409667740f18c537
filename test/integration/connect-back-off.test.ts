import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { jobFile } from '../../src/contract/job-file.ts';
import { productFile } from '../../src/contract/product-file.ts';
import { openNobleRadio } from '../../src/radio/noble/noble-radio.ts';
import { fixedShelf } from '../../src/radio/radio-shelf.ts';
import { RecordWriter } from '../../src/records/record-writer.ts';
import { Station } from '../../src/station/station.ts';
import { ScriptedController, SERVICE } from '../support/scripted-controller.ts';
import { SteppedClock } from '../support/stepped-clock.ts';
import { outcomes, testFirmware } from '../support/virtual-station.ts';

const LE_CREATE_CONNECTION = 0x200d;

test.each([
  ['in place of the link', false, 'CONNECT_FAILED'],
  ['right behind its beginning', true, 'LINK_LOST'],
])(
  'tries to connect that fail at once by 0x3e, %s, back off, and the unit is not to blame',
  async (_when, after, code) => {
    const directory = await mkdtemp(join(tmpdir(), 'dfu-back-off-'));
    const clock = new SteppedClock();
    const controller = new ScriptedController(clock);
    controller.failsToConnect = { times: 1000, after };
    const triedAtMs: number[] = [];
    const send = controller.send.bind(controller);
    controller.send = (packet) => {
      if (packet[0] === 1 && packet.readUInt16LE(1) === LE_CREATE_CONNECTION) triedAtMs.push(clock.now());
      send(packet);
    };
    const records = new RecordWriter(join(directory, 'data'), clock);
    const radio = await clock.resolved(openNobleRadio('scripted', controller, clock), 20_000);
    try {
      const parts = { radios: fixedShelf([radio]), records, clock, practice: false, appVersion: 'test' };
      const profile = productFile.parse({
        product: 'test',
        protocol: 'smp',
        discover: { service: SERVICE, namePrefix: 'D1' },
        identity: { from: 'name', pattern: '^(.+)$' },
        retries: 0,
      });
      const order = { job: jobFile.parse({ job: 'WO-1' }), profile, firmware: await testFirmware(), units: 1 };
      const running = new Station(parts).run(order, new AbortController().signal, () => undefined);
      const summary = await clock.resolved(running, 120_000);
      expect(outcomes(summary)).toEqual({ D1: `error ${code}` });
      const pausesMs = triedAtMs.slice(1).map((atMs, index) => atMs - triedAtMs[index]!);
      expect(pausesMs).toHaveLength(2);
      expect(pausesMs[0]).toBeGreaterThanOrEqual(250);
      expect(pausesMs[1]).toBeGreaterThanOrEqual(1000);
    } finally {
      await clock.resolved(radio.stop(), 10_000);
      records.close();
      await rm(directory, { recursive: true, force: true });
    }
  },
);
