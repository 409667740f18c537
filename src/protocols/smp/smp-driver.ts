import { deadline } from '../../clock.ts';
import { StationError } from '../../contract/errors.ts';
import type { FirmwareImage } from '../../firmware/firmware-package.ts';
import { compareVersions, formatVersion, parseVersion } from '../../firmware/mcuboot-image.ts';
import type { DfuDriver, ImageResult, SlotState, UpgradeContext, UpgradeResult, Verification } from '../driver.ts';
import { alertImmediately } from '../immediate-alert.ts';
import { GROUP, IMAGE, OP, OS } from './codec.ts';
import { readImageList } from './image-list.ts';
import { SmpClient } from './smp-client.ts';
import { notSupported } from './smp-error.ts';
import { type ServerBuffers, uploadImage } from './smp-upload.ts';

/** How long the link may outlive the answer to a reset; servers wait about 250 ms, supervision adds its own. */
const RESET_LINK_END_MS = 8000;
/** Link losses without any upload progress in between, after which the attempt ends. */
const LOSSES_WITHOUT_PROGRESS = 2;
/** Restarts that may be spent on getting rid of what an earlier upgrade left pending. */
const CLEARING_RESTARTS = 2;
/** Link losses that are forgiven while a command that may be repeated is under way. */
const FORGIVEN_LOSSES = 2;
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
  #client: SmpClient | null = null;

  constructor(context: UpgradeContext) {
    this.#context = context;
    // The network core before the application core: once the application restarts, both have to be in place.
    this.#images = context.firmware.images.toSorted((a, b) => b.index - a.index);
  }

  async run(): Promise<UpgradeResult> {
    const context = this.#context;
    const mode = context.profile.upgrade.mode;
    try {
      await this.#connect('connect');
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
    } finally {
      await this.#client?.link.disconnect();
    }
  }

  get #smp(): SmpClient {
    if (!this.#client) throw new StationError('INTERNAL', 'no link');
    return this.#client;
  }

  async #connect(step: 'connect' | 'reconnect', withinMs?: number): Promise<void> {
    await this.#context.step(step, async () => {
      await this.#client?.link.disconnect();
      this.#client = null;
      const link = await this.#context.connect(withinMs);
      try {
        this.#client = await SmpClient.open(link, this.#context.clock);
      } catch (error) {
        await link.disconnect();
        throw error;
      }
    });
  }

  /** Runs something that may be repeated, on a new link when the one it had is lost. */
  async #surviving<T>(work: () => Promise<T>): Promise<T> {
    for (let losses = 0; ; losses++) {
      try {
        return await work();
      } catch (error) {
        if (!isLinkLoss(error) || losses >= FORGIVEN_LOSSES) throw error;
        await this.#connect('reconnect');
      }
    }
  }

  #request(op: number, group: number, command: number, body: Record<string, unknown> = {}, options = {}) {
    const { signal } = this.#context;
    return this.#smp.request({ op, group, command, body }, { signal, ...options });
  }

  async #slots(): Promise<SlotState[]> {
    return readImageList(await this.#request(OP.READ, GROUP.IMAGE, IMAGE.STATE));
  }

  async #readState(): Promise<{ slots: SlotState[]; buffers: ServerBuffers }> {
    return this.#surviving(async () => {
      const buffers = await this.#readBuffers();
      const slots = await this.#slots();
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
        return this.#surviving(() => this.#slots());
      });
    }
  }

  async #uploadAll(slots: readonly SlotState[], buffers: ServerBuffers): Promise<readonly SlotState[]> {
    for (const image of this.#images) {
      if (this.#staged(slots, image) || activeSlot(slots, image.index)?.hash === image.image.hash) continue;
      await this.#context.step('upload', () => this.#upload(image, buffers));
    }
    return this.#context.step('verify-upload', async () => {
      const after = await this.#surviving(() => this.#slots());
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

  /** Uploads one image, on new links as often as there is progress between losses. */
  async #upload(image: FirmwareImage, buffers: ServerBuffers): Promise<void> {
    const context = this.#context;
    let losses = 0;
    let furthest = 0;
    for (;;) {
      try {
        await uploadImage(this.#smp, image, {
          buffers,
          window: context.profile.upgrade.window,
          clock: context.clock,
          signal: context.signal,
          isComplete: async () => this.#staged(await this.#slots(), image),
          onProgress: (bytes) => {
            // What the device had before is no progress of this link.
            if (bytes > furthest) losses = 0;
            furthest = Math.max(furthest, bytes);
            context.progress(image.index, bytes, image.bytes.length);
          },
          onEnd: (figures) => context.uploaded(figures),
        });
        return;
      } catch (error) {
        losses += 1;
        if (!isLinkLoss(error) || losses > LOSSES_WITHOUT_PROGRESS) throw error;
        await this.#connect('reconnect');
      }
    }
  }

  async #activate(slots: readonly SlotState[], permanent: boolean): Promise<void> {
    for (const image of this.#images) {
      if (!this.#staged(slots, image)) continue;
      const hash = Buffer.from(image.image.hash, 'hex');
      await this.#surviving(() => this.#request(OP.WRITE, GROUP.IMAGE, IMAGE.STATE, { hash, confirm: permanent }));
    }
  }

  /** Restarts the device and waits until it is back. */
  async #restart(): Promise<void> {
    const context = this.#context;
    await context.step('reset', () => this.#reset());
    const withinMs = context.profile.upgrade.swapTimeoutS * 1000;
    try {
      await this.#connect('reconnect', withinMs);
    } catch (error) {
      if (!(error instanceof StationError) || error.code !== 'UNIT_NOT_FOUND') throw error;
      throw new StationError('NOT_BACK_AFTER_RESET', `not heard for ${withinMs / 1000} s`, { cause: error });
    }
  }

  async #reset(): Promise<void> {
    const { link } = this.#smp;
    try {
      await this.#request(OP.WRITE, GROUP.OS, OS.RESET);
    } catch (error) {
      // The answer is often lost with the link; whether the device restarted shows below.
      if (!isLinkLoss(error) && !isSilence(error)) throw error;
    }
    const { clock, signal } = this.#context;
    try {
      const stays = () =>
        new StationError('RESET_FAILED', `the link stayed up for ${RESET_LINK_END_MS} ms`, { retryable: true });
      await deadline(clock, RESET_LINK_END_MS, link.ended, stays, signal);
    } finally {
      await link.disconnect();
    }
  }

  /** After the restart: the package's image runs, or it is said why not. */
  async #verifyRunning(before: readonly SlotState[]): Promise<SlotState[]> {
    const slots = await this.#surviving(() => this.#slots());
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
      try {
        await this.#request(OP.WRITE, GROUP.IMAGE, IMAGE.STATE, { hash, confirm: true });
      } catch (error) {
        if (!isLinkLoss(error) && !isSilence(error)) throw error;
        // What the device made of it is read back next.
      }
    }
  }

  async #verifyConfirmed(before: readonly SlotState[]): Promise<SlotState[]> {
    const slots = await this.#surviving(() => this.#slots());
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

function isLinkLoss(error: unknown): boolean {
  return error instanceof StationError && ['LINK_LOST', 'ATT_TIMEOUT', 'RADIO_LOST'].includes(error.code);
}

function isSilence(error: unknown): boolean {
  return error instanceof StationError && error.code === 'DEVICE_SILENT';
}

const short = (hash: string) => hash.slice(0, 16);
