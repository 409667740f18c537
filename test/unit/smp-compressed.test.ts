import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { buildImage } from '../../src/firmware/build-image.ts';
import { type FirmwarePackage, parseFirmware } from '../../src/firmware/firmware-package.ts';
import { smpDriver } from '../../src/protocols/smp/smp-driver.ts';
import { type ScriptedDevice, type ScriptedRequest, scriptedUpgrade } from '../support/scripted-smp.ts';
import { SteppedClock } from '../support/stepped-clock.ts';

const runsAs = createHash('sha256').update('decompressed').digest('hex');
const old = createHash('sha256').update('old').digest('hex');

/** A package as a compressed image is read: it runs by another hash than the one that it is listed by before. */
async function compressed(): Promise<FirmwarePackage> {
  const version = { major: 2, minor: 0, revision: 0, build: 0 };
  const firmware = await parseFirmware(buildImage({ payload: Buffer.alloc(3000, 7), version }), 'a.bin');
  const [image] = firmware.images;
  return { ...firmware, images: [{ ...image!, image: { ...image!.image, runsAs } }] };
}

/** Takes an upload, and runs by `becomes` after the restart. */
class SwapDevice implements ScriptedDevice {
  running = { hash: old, version: '1.0.0', confirmed: true };
  second: string | null = null;
  pending = false;
  received = 0;
  readonly #stored: string;
  readonly #becomes: string;
  readonly #bytes: number;

  constructor({ images }: FirmwarePackage, becomes: string) {
    this.#stored = images[0]!.image.hash;
    this.#bytes = images[0]!.bytes.length;
    this.#becomes = becomes;
  }

  answer({ group, command, write, body }: ScriptedRequest) {
    if (group === 0) return command === 5 ? {} : { rc: 8 };
    if (command === 1) return this.#take(body.data as Uint8Array);
    if (command !== 0) return { rc: 8 };
    if (write) {
      const hash = Buffer.from(body.hash as Uint8Array).toString('hex');
      if (hash === this.second) this.pending = true;
      else if (hash === this.running.hash && body.confirm === true) this.running = { ...this.running, confirmed: true };
      else return { err: { group: 1, rc: 8 } };
    }
    return this.#list();
  }

  restarted(): void {
    if (!this.pending) return;
    this.pending = false;
    this.second = this.running.hash;
    this.running = { hash: this.#becomes, version: '2.0.0', confirmed: false };
  }

  #take(data: Uint8Array) {
    this.received += data.length;
    if (this.received === this.#bytes) this.second = this.#stored;
    return { off: this.received };
  }

  #list() {
    const bytes = (hash: string) => Buffer.from(hash, 'hex');
    const { running, second, pending } = this;
    const first = { slot: 0, ...running, hash: bytes(running.hash), active: true };
    return { images: second ? [first, { slot: 1, version: '2.0.0', hash: bytes(second), pending }] : [first] };
  }
}

describe('a compressed image', () => {
  it('is staged by the hash that it was sent with, and passes by the one that it runs with', async () => {
    const firmware = await compressed();
    const device = new SwapDevice(firmware, runsAs);
    const clock = new SteppedClock();
    const { context } = scriptedUpgrade(device, firmware, clock);
    const result = await clock.resolved(smpDriver.upgrade(context), 120_000);
    expect(result).toMatchObject({ outcome: 'pass', images: [{ verified: 'read-back' }] });
    expect(device.running.confirmed).toBe(true);
    const again = scriptedUpgrade(device, firmware, clock);
    expect((await clock.resolved(smpDriver.upgrade(again.context), 120_000)).outcome).toBe('skipped');
  });

  it('that is listed as running by the hash of the compressed one is another image', async () => {
    const firmware = await compressed();
    const device = new SwapDevice(firmware, firmware.images[0]!.image.hash);
    const clock = new SteppedClock();
    const { context } = scriptedUpgrade(device, firmware, clock);
    const result = await clock.settled(smpDriver.upgrade(context), 120_000);
    expect(result).toMatchObject({ status: 'rejected', reason: { code: 'WRONG_IMAGE_RUNNING' } });
    expect(device.running.confirmed).toBe(false);
  });
});
