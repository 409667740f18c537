import { StationError } from '../../contract/errors.ts';
import type { FirmwareImage } from '../../firmware/firmware-package.ts';
import { compareVersions, formatVersion, parseVersion } from '../../firmware/mcuboot-image.ts';
import { answerMayBeLost, Connection } from '../connection.ts';
import type { DfuDriver, ImageResult, SlotState, UpgradeContext, UpgradeResult, Verification } from '../driver.ts';
import { alertImmediately } from '../immediate-alert.ts';
import { GROUP, IMAGE, OP, OS } from './codec.ts';
import { readImageList } from './image-list.ts';
import { SmpClient } from './smp-client.ts';
import { notSupported } from './smp-error.ts';
import { type ServerBuffers, uploadImage } from './smp-upload.ts';

/** Restarts that may be spent on getting rid of what an earlier upgrade left pending. */
const CLEARING_RESTARTS = 2;
/** MCUboot's mode in the answer to "bootloader information": overwrite only (`mcumgr_bootloader.h`). */
const MODE_OVERWRITE_ONLY = 2;

/** MCUmgr over SMP. Source of the procedure: Zephyr "MCUmgr" documentation; MCUboot `docs/design.md`. */
export const smpDriver: DfuDriver = {
  protocol: 'smp',
  upgrade: (context) => new SmpUpgrade(context).run(),
  // SMP has no command of its own for it.
  identify: (link) => alertImmediately(link),
};

class SmpUpgrade {
  readonly #context: UpgradeContext;
  readonly #images: readonly FirmwareImage[];
  readonly #connection: Connection<SmpClient>;

  constructor(context: UpgradeContext) {
    this.#context = context;
    this.#connection = new Connection(context, (link) => SmpClient.open(link, context.clock));
    // The network core before the application core: once the application restarts, both have to be in place.
    this.#images = context.firmware.images.toSorted((a, b) => b.index - a.index);
  }

  async run(): Promise<UpgradeResult> {
    const context = this.#context;
    const mode = context.profile.upgrade.mode;
    await this.#connection.connect('connect');
    const { slots: before, buffers } = await context.step('read-state', () => this.#readState());
    context.slots('before', before);

    if (this.#readsBack(before) && this.#runsConfirmed(before)) return this.#result('skipped', before);
    let slots: readonly SlotState[] = before;
    if (!this.#onTrial(before)) {
      this.#refuseDowngrade(before);
      slots = await this.#clearPending(before);
      if (!this.#onTrial(slots)) {
        slots = await this.#uploadAll(slots, buffers);
        context.slots('after-upload', slots);
        if (mode === 'upload-only') return this.#result('staged', slots);
        await context.step('activate', () => this.#activate(slots, mode === 'confirm'));
        await this.#restart();
        slots = await context.step('verify-running', () => this.#verifyRunning(before));
      }
    } else if (mode === 'upload-only') {
      return this.#result('staged', before);
    }
    if (!this.#runsConfirmed(slots)) {
      await context.step('confirm', () => this.#confirm());
      slots = await context.step('verify-confirmed', () => this.#verifyConfirmed(before));
    }
    context.slots('final', slots);
    return this.#result('pass', slots);
  }

  get #smp(): SmpClient {
    return this.#connection.client;
  }

  #request(op: number, group: number, command: number, body: Record<string, unknown> = {}, options = {}) {
    const { signal } = this.#context;
    return this.#smp.request({ op, group, command, body }, { signal, ...options });
  }

  async #slots(): Promise<SlotState[]> {
    return readImageList(await this.#request(OP.READ, GROUP.IMAGE, IMAGE.STATE));
  }

  async #readState(): Promise<{ slots: SlotState[]; buffers: ServerBuffers }> {
    return this.#connection.surviving(async () => {
      // Two at once, as in an upload: each would cost an interval of its own.
      const [buffers, slots] = await Promise.all([this.#readBuffers(), this.#slots()]);
      if (this.#context.profile.upgrade.mode === 'test-and-confirm') await this.#refuseImpossibleTest();
      return { slots, buffers };
    });
  }

  /** Older servers do not say what they can take: then a frame is one write. */
  async #readBuffers(): Promise<ServerBuffers> {
    const fallback = { frameBytes: this.#smp.link.facts().mtu - 3, count: null };
    try {
      const { buf_size: size, buf_count: count } = await this.#request(OP.READ, GROUP.OS, OS.PARAMS);
      if (typeof size !== 'number' || size < 64) return fallback;
      return { frameBytes: Math.min(size, 65_535), count: typeof count === 'number' && count > 0 ? count : null };
    } catch (error) {
      if (notSupported(error)) return fallback;
      throw error;
    }
  }

  /** Overwrite-only bootloaders cannot try an image out; better said before an upload than after it. */
  async #refuseImpossibleTest(): Promise<void> {
    try {
      const { mode } = await this.#request(OP.READ, GROUP.OS, OS.BOOTLOADER_INFO, { query: 'mode' });
      if (mode === MODE_OVERWRITE_ONLY) throw new StationError('MODE_REFUSED', 'the bootloader only overwrites');
    } catch (error) {
      if (!notSupported(error)) throw error;
    }
  }

  /** Whether every image of the package reads back as running. */
  #readsBack(slots: readonly SlotState[]): boolean {
    return this.#images.every((image) => activeSlot(slots, image.index)?.hash === image.image.hash);
  }

  /** The package runs, but would be undone by the next restart. */
  #onTrial(slots: readonly SlotState[]): boolean {
    return this.#readsBack(slots) && !this.#runsConfirmed(slots);
  }

  /** The application core's image is confirmed. */
  #runsConfirmed(slots: readonly SlotState[]): boolean {
    const application = this.#images.at(-1)!;
    const active = activeSlot(slots, application.index);
    return active?.hash === application.image.hash && active.confirmed;
  }

  #refuseDowngrade(slots: readonly SlotState[]): void {
    if (this.#context.profile.upgrade.allowDowngrade) return;
    for (const image of this.#images) {
      const running = parseVersion(activeSlot(slots, image.index)?.version ?? '');
      if (running && compareVersions(image.image.version, running) < 0) {
        const detail = `image ${image.index}: ${formatVersion(running)} runs, ${formatVersion(image.image.version)} offered`;
        throw new StationError('DOWNGRADE_REFUSED', detail);
      }
    }
  }

  /** Something else is pending or on trial: a restart settles it, and then the device is looked at again. */
  async #clearPending(slots: readonly SlotState[]): Promise<readonly SlotState[]> {
    let seen = slots;
    for (let restarts = 0; ; restarts++) {
      const settled = seen.every((slot) => !slot.pending) && seen.every((slot) => !slot.active || slot.confirmed);
      if (settled || this.#onTrial(seen)) return seen;
      if (restarts >= CLEARING_RESTARTS) throw new StationError('DEVICE_BUSY', 'an upgrade stays pending');
      seen = await this.#context.step('clear-pending', async () => {
        await this.#restart();
        return this.#connection.surviving(() => this.#slots());
      });
    }
  }

  async #uploadAll(slots: readonly SlotState[], buffers: ServerBuffers): Promise<readonly SlotState[]> {
    for (const image of this.#images) {
      if (this.#staged(slots, image) || activeSlot(slots, image.index)?.hash === image.image.hash) continue;
      await this.#context.step('upload', () => this.#upload(image, buffers));
    }
    return this.#context.step('verify-upload', async () => {
      const after = await this.#connection.surviving(() => this.#slots());
      for (const image of this.#images) {
        if (this.#staged(after, image) || activeSlot(after, image.index)?.hash === image.image.hash) continue;
        const listed = after.find((slot) => slot.image === image.index && !slot.active);
        const detail = `image ${image.index}: sent ${short(image.image.hash)}, device lists ${short(listed?.hash ?? 'none')}`;
        throw new StationError('IMAGE_HASH_MISMATCH', detail, { retryable: true });
      }
      return after;
    });
  }

  #staged(slots: readonly SlotState[], image: FirmwareImage): boolean {
    return slots.some((slot) => slot.image === image.index && !slot.active && slot.hash === image.image.hash);
  }

  async #upload(image: FirmwareImage, buffers: ServerBuffers): Promise<void> {
    const context = this.#context;
    await this.#connection.progressing((progressed) =>
      uploadImage(this.#smp, image, {
        buffers,
        window: context.profile.upgrade.window,
        clock: context.clock,
        signal: context.signal,
        isComplete: async () => this.#staged(await this.#slots(), image),
        onProgress: (bytes) => {
          progressed(bytes);
          context.progress(image.index, bytes, image.bytes.length);
        },
        onEnd: (figures) => context.uploaded(figures),
      }),
    );
  }

  async #activate(slots: readonly SlotState[], permanent: boolean): Promise<void> {
    for (const image of this.#images) {
      if (!this.#staged(slots, image)) continue;
      const hash = Buffer.from(image.image.hash, 'hex');
      await this.#connection.surviving(() =>
        this.#request(OP.WRITE, GROUP.IMAGE, IMAGE.STATE, { hash, confirm: permanent }),
      );
    }
  }

  /** Restarts the device and waits until it is back. Whether it restarted shows by the link's end. */
  async #restart(): Promise<void> {
    await this.#connection.restarted(() => this.#request(OP.WRITE, GROUP.OS, OS.RESET));
  }

  /** After the restart: the package's image runs, or it is said why not. */
  async #verifyRunning(before: readonly SlotState[]): Promise<SlotState[]> {
    const slots = await this.#connection.surviving(() => this.#slots());
    this.#context.slots('after-boot', slots);
    for (const image of this.#images) this.#mustRun(image, slots, before);
    return slots;
  }

  #mustRun(image: FirmwareImage, slots: readonly SlotState[], before: readonly SlotState[]): void {
    const { hash } = image.image;
    const active = activeSlot(slots, image.index);
    if (active?.hash === hash) return;
    const listed = slots.some((slot) => slot.image === image.index && slot.hash === hash);
    if (!active) {
      // A network core cannot be read back; its second slot must at least have been consumed.
      if (image.index > 0 && !listed) return;
      throw new StationError('BOOTLOADER_REJECTED', `image ${image.index} was not taken over`);
    }
    if (active.hash !== activeSlot(before, image.index)?.hash) {
      throw new StationError('WRONG_IMAGE_RUNNING', `image ${image.index}: ${short(active.hash)}`);
    }
    throw new StationError(listed ? 'SWAP_REVERTED' : 'BOOTLOADER_REJECTED', `${short(active.hash)} runs, as before`);
  }

  async #confirm(): Promise<void> {
    for (const image of this.#images) {
      const hash = Buffer.from(image.image.hash, 'hex');
      // What the device made of it is read back next.
      await answerMayBeLost(() => this.#request(OP.WRITE, GROUP.IMAGE, IMAGE.STATE, { hash, confirm: true }));
    }
  }

  async #verifyConfirmed(before: readonly SlotState[]): Promise<SlotState[]> {
    const slots = await this.#connection.surviving(() => this.#slots());
    for (const image of this.#images) this.#mustRun(image, slots, before);
    if (!this.#runsConfirmed(slots)) throw new StationError('NOT_CONFIRMED', '', { retryable: true });
    return slots;
  }

  #result(outcome: UpgradeResult['outcome'], slots: readonly SlotState[]): UpgradeResult {
    const images = this.#images
      .toSorted((a, b) => a.index - b.index)
      .map((image): ImageResult => {
        const readBack = activeSlot(slots, image.index)?.hash === image.image.hash;
        const verified: Verification = readBack ? 'read-back' : outcome === 'staged' ? 'no' : 'indirect';
        return { index: image.index, hash: image.image.hash, version: formatVersion(image.image.version), verified };
      });
    return { outcome, images };
  }
}

function activeSlot(slots: readonly SlotState[], image: number): SlotState | null {
  return slots.find((slot) => slot.image === image && slot.active) ?? null;
}

const short = (hash: string) => hash.slice(0, 16);
