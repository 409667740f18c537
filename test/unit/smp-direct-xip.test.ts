import { describe, expect, it } from 'vitest';
import { buildImage } from '../../src/firmware/build-image.ts';
import { type FirmwareImage, type FirmwarePackage, parseFirmware } from '../../src/firmware/firmware-package.ts';
import { parseVersion } from '../../src/firmware/mcuboot-image.ts';
import { smpDriver } from '../../src/protocols/smp/smp-driver.ts';
import { type ScriptedDevice, type ScriptedRequest, scriptedUpgrade } from '../support/scripted-smp.ts';
import { SteppedClock } from '../support/stepped-clock.ts';

/** An image that was built to run in one slot only. */
async function imageFor(slot: number, version: string): Promise<FirmwareImage> {
  const payload = Buffer.alloc(4000, `${slot} ${version}`);
  const [image] = (await parseFirmware(buildImage({ payload, version: parseVersion(version)! }), 'a.bin')).images;
  return { ...image!, slot };
}

/** A package as builds make it for direct-XIP: one image, a file for each slot. */
async function directXip(version: string): Promise<FirmwarePackage> {
  const first = await imageFor(0, version);
  const second = await imageFor(1, version);
  return { ...(await parseFirmware(first.bytes, 'a.bin')), images: [first, second] };
}

/**
 * A device whose bootloader runs images where they lie, the newest one; `revert` knows a trial. Sources: MCUboot `docs/design.md`, "Direct-XIP";
 * Zephyr `img_mgmt_state.c` (what is listed as pending, and that there is no command to test where nothing can be reverted).
 */
class DirectXipDevice implements ScriptedDevice {
  readonly slots: (FirmwareImage | null)[];
  running = 0;
  readonly uploadedTo: FirmwareImage[] = [];
  readonly #known: readonly FirmwareImage[];
  #received = Buffer.alloc(0);

  constructor(slots: (FirmwareImage | null)[], running: number, known: readonly FirmwareImage[]) {
    this.slots = slots;
    this.running = running;
    this.#known = known;
  }

  answer({ group, command, write, body }: ScriptedRequest) {
    if (group === 0 && command === 8) return { mode: 4 };
    if (group === 0 && command === 5) return {};
    if (group === 1 && command === 0) return write ? { rc: 8 } : this.#list();
    if (group === 1 && command === 1) return this.#take(Number(body.off), body.data as Uint8Array);
    return { rc: 8 };
  }

  restarted(): void {
    const build = (slot: number) => Number(this.slots[slot]?.image.version.major ?? -1);
    this.running = build(1) > build(0) ? 1 : 0;
  }

  #list() {
    const images = this.slots.flatMap((image, slot) => {
      if (!image) return [];
      const { major, minor, revision } = image.image.version;
      const active = slot === this.running;
      const newer = !active && major > (this.slots[this.running]?.image.version.major ?? -1);
      const entry = { slot, version: `${major}.${minor}.${revision}`, hash: Buffer.from(image.image.hash, 'hex') };
      return [{ ...entry, active, pending: newer, permanent: newer }];
    });
    return { images };
  }

  #take(offset: number, data: Uint8Array) {
    if (offset === 0) this.#received = Buffer.alloc(0);
    if (offset === this.#received.length) this.#received = Buffer.concat([this.#received, data]);
    const whole = this.#known.find(({ bytes }) => bytes.equals(this.#received));
    if (whole) {
      this.slots[1 - this.running] = whole;
      this.uploadedTo.push(whole);
    }
    return { off: this.#received.length };
  }
}

describe('direct-XIP', () => {
  it.each([0, 1])(
    'while slot %i runs, the file for the other slot is sent, and runs there after the restart',
    async (running) => {
      const firmware = await directXip('2.0.0');
      const old = await imageFor(running, '1.0.0');
      const device = new DirectXipDevice(running === 0 ? [old, null] : [null, old], running, firmware.images);
      const clock = new SteppedClock();
      const { context, remarks } = scriptedUpgrade(device, firmware, clock);
      const result = await clock.resolved(smpDriver.upgrade(context), 120_000);
      const sent = firmware.images[1 - running]!;
      expect(result.outcome).toBe('pass');
      expect(result.images).toEqual([{ index: 0, hash: sent.image.hash, version: '2.0.0', verified: 'read-back' }]);
      expect(device.uploadedTo).toEqual([sent]);
      expect(device.running).toBe(1 - running);
      expect(remarks).toContainEqual({ code: 'SLOT_CHOSEN', values: { image: 0, running, slot: 1 - running } });
    },
  );

  it.each([0, 1])('a unit that runs the package’s file in slot %i is skipped', async (running) => {
    const firmware = await directXip('2.0.0');
    const slots: (FirmwareImage | null)[] = [null, null];
    slots[running] = firmware.images[running]!;
    const device = new DirectXipDevice(slots, running, firmware.images);
    const clock = new SteppedClock();
    const { context } = scriptedUpgrade(device, firmware, clock);
    expect((await clock.resolved(smpDriver.upgrade(context), 120_000)).outcome).toBe('skipped');
    expect(device.uploadedTo).toEqual([]);
  });

  it('a unit that does not say which slot runs is sent nothing', async () => {
    const firmware = await directXip('2.0.0');
    const device = new DirectXipDevice([null, null], 0, firmware.images);
    const clock = new SteppedClock();
    const { context } = scriptedUpgrade(device, firmware, clock);
    const result = await clock.settled(smpDriver.upgrade(context), 120_000);
    expect(result).toMatchObject({ status: 'rejected', reason: { code: 'IMAGE_SLOT_UNKNOWN' } });
    expect(device.uploadedTo).toEqual([]);
  });
});
