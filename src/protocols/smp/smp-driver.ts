import { StationError } from '../../contract/errors.ts';
import { quoted } from '../../contract/foreign-text.ts';
import type { FirmwareImage } from '../../firmware/firmware-package.ts';
import { compareVersions, formatVersion, parseVersion } from '../../firmware/mcuboot-image.ts';
import { BackOff } from '../back-off.ts';
import { answerMayBeLost, Connection } from '../connection.ts';
import type { DfuDriver, ImageResult, SlotState, UpgradeContext, UpgradeResult, Verification } from '../driver.ts';
import { alertImmediately } from '../immediate-alert.ts';
import { LeastProgress } from '../least-progress.ts';
import { BOOT_MODE, GROUP, IMAGE, OP, OS } from './codec.ts';
import { readImageList, readSlotSizes } from './image-list.ts';
import { type ProofReading, readProof } from './running-proof.ts';
import { SmpClient } from './smp-client.ts';
import { SmpRefusal } from './smp-error.ts';
import { type ServerBuffers, uploadImage } from './smp-upload.ts';

/** Restarts that may be spent on getting rid of what an earlier upgrade left pending. */
const CLEARING_RESTARTS = 2;
/** An erase of a whole slot on request; nothing else is done meanwhile. */
const ERASE_TIMEOUT_MS = 60_000;
/** A server that says less has no buffer that a frame could fill. */
const LEAST_BUFFER_BYTES = 64;

/** MCUmgr over SMP. Source of the procedure: Zephyr "MCUmgr" documentation; MCUboot `docs/design.md`. */
export const smpDriver: DfuDriver = {
  protocol: 'smp',
  upgrade: (context) => new SmpUpgrade(context).run(),
  // SMP has no command of its own for it.
  identify: (link) => alertImmediately(link),
};

/** What is asked of a device before anything is done. What it does not tell is unknown, and nothing more. */
interface DeviceState {
  readonly slots: readonly SlotState[];
  readonly buffers: ServerBuffers;
  /** How its bootloader starts images (`BOOT_MODE`). */
  readonly bootMode: number | null;
}

class SmpUpgrade {
  readonly #context: UpgradeContext;
  readonly #connection: Connection<SmpClient>;
  /** What is to run, the application core's image last: once the application restarts, everything has to be in place. */
  #images: readonly FirmwareImage[] = [];
  #bootMode: number | null = null;
  /** What the profile's ways of proof have read last, by image index. */
  #proofs: ReadonlyMap<number, ProofReading> = new Map();
  readonly #passed: SmpRefusal[] = [];

  constructor(context: UpgradeContext) {
    this.#context = context;
    const onPassing = (refusal: SmpRefusal) => this.#passed.push(refusal);
    this.#connection = new Connection(context, (link) => SmpClient.open(link, context.clock, onPassing));
  }

  async run(): Promise<UpgradeResult> {
    try {
      return await this.#upgrade();
    } finally {
      const last = this.#passed.at(-1);
      if (last)
        this.#context.remark({ code: 'ERRORS_PASSED', values: { count: this.#passed.length, said: last.detail } });
    }
  }

  async #upgrade(): Promise<UpgradeResult> {
    const context = this.#context;
    const { mode } = context.profile.upgrade;
    await this.#connection.connect('connect');
    const device = await context.step('read-state', () => this.#connection.surviving(() => this.#readDevice()));
    context.slots('before', device.slots);
    this.#bootMode = device.bootMode;
    const settled = await this.#settle(device.slots);
    this.#images = this.#choose(settled);
    this.#proofs = await this.#connection.surviving(() => this.#readProofs(settled));

    if (this.#runs(settled) && this.#confirmed(settled)) {
      const came = !this.#runs(device.slots);
      if (came) context.slots('final', settled);
      return this.#result(came && mode !== 'upload-only' ? 'pass' : 'skipped', settled);
    }
    let slots = settled;
    if (!this.#runs(settled)) {
      if (mode === 'test-and-confirm') this.#refuseImpossibleTest();
      await this.#refuseDowngrade(settled);
      slots = await this.#uploadAll(settled, device);
      context.slots('after-upload', slots);
      if (mode === 'upload-only') {
        this.#refusePending(slots);
        return this.#result('staged', slots);
      }
      await context.step('activate', () => this.#activate(slots, mode === 'confirm'));
      await this.#restart(slots);
      const staged = slots;
      slots = await context.step('verify-running', () => this.#verifyRunning(settled, staged));
    } else if (mode === 'upload-only') {
      return this.#result('staged', settled);
    }
    if (!this.#confirmed(slots)) {
      const refusal = await context.step('confirm', () => this.#confirm(slots));
      slots = await context.step('verify-confirmed', () => this.#verifyConfirmed(settled, refusal));
    }
    context.slots('final', slots);
    this.#refusePending(slots);
    return this.#result('pass', slots);
  }

  /** What the next power-up would start is not what was asked for. @throws StationError DEVICE_BUSY */
  #refusePending(slots: readonly SlotState[]): void {
    const pending = slots.find((slot) => slot.pending && !slot.active);
    if (!pending) return;
    this.#remarkPending([pending]);
    throw new StationError('DEVICE_BUSY', `image ${pending.image} ${pending.version} is pending`, { retryable: true });
  }

  get #smp(): SmpClient {
    return this.#connection.client;
  }

  #request(op: number, group: number, command: number, body: Record<string, unknown> = {}, options = {}) {
    const { signal } = this.#context;
    return this.#smp.request({ op, group, command, body }, { signal, ...options });
  }

  #ask(group: number, command: number, body: Record<string, unknown> = {}) {
    return this.#smp.ask({ op: OP.READ, group, command, body }, this.#context.signal);
  }

  async #slots(): Promise<SlotState[]> {
    return readImageList(await this.#request(OP.READ, GROUP.IMAGE, IMAGE.STATE));
  }

  /** One question after the other until it is known that the server holds two: from four buffers on every one seen does. */
  async #readDevice(): Promise<DeviceState> {
    const buffers = this.#buffersIn(await this.#ask(GROUP.OS, OS.PARAMS));
    const askMode = () => this.#ask(GROUP.OS, OS.BOOTLOADER_INFO, { query: 'mode' });
    const holdsTwo = buffers.count !== null && buffers.count >= 4;
    const [slots, info] = holdsTwo
      ? await Promise.all([this.#slots(), askMode()])
      : [await this.#slots(), await askMode()];
    return { slots, buffers, bootMode: typeof info?.mode === 'number' ? info.mode : null };
  }

  /** Older servers do not say what they can take: then a frame is one write. */
  #buffersIn(body: Readonly<Record<string, unknown>> | null): ServerBuffers {
    const { buf_size: size, buf_count: count } = body ?? {};
    if (typeof size !== 'number' || size < LEAST_BUFFER_BYTES) return { frameBytes: this.#smp.writeBytes, count: null };
    return { frameBytes: Math.min(size, 65_535), count: typeof count === 'number' && count > 0 ? count : null };
  }

  /** The image for each index. Of direct-XIP images it is the one for the slot that does not run, unless the other one runs already. */
  #choose(slots: readonly SlotState[]): readonly FirmwareImage[] {
    const { firmware, profile, remark } = this.#context;
    const indexes = [...new Set(firmware.images.map(({ index }) => index))];
    const chosen = indexes.map((index) => {
      const choice = firmware.images.filter((image) => image.index === index);
      const active = activeSlot(slots, index);
      const running = choice.find((image) => active?.hash === runsAs(image));
      const image = running ?? choice.find(({ slot }) => slot === null || (active !== null && slot !== active.slot));
      if (!image)
        throw new StationError('IMAGE_SLOT_UNKNOWN', `no file for the slot of image ${index} that does not run`);
      if (!running && active && image.slot !== null) {
        remark({ code: 'SLOT_CHOSEN', values: { image: index, running: active.slot, slot: image.slot } });
      }
      return image;
    });
    const { applicationImage } = profile.upgrade;
    const last = ({ index }: FirmwareImage) => (index === applicationImage ? 1 : 0);
    return chosen.toSorted((a, b) => last(a) - last(b) || b.index - a.index);
  }

  /**
   * What is pending or on trial from before is settled first: only then does what the device lists say what it will go on running. A slot
   * that holds the package's own image may stay pending: that is the way it is going anyhow.
   */
  async #settle(before: readonly SlotState[]): Promise<readonly SlotState[]> {
    const { step, remark } = this.#context;
    let slots = before;
    for (let restarts = 0; ; restarts++) {
      const trial = slots.some((slot) =>
        slot.active ? !this.#isConfirmed(slot) && !this.#isOwn(slot) : isHiddenTrial(slots, slot.image),
      );
      let pending = this.#foreignPending(slots);
      if (!trial && pending.length === 0) return slots;
      const first = pending;
      if (!trial) {
        const erased = await step('clear-pending', () => this.#connection.surviving(() => this.#erase(pending)));
        slots = erased;
        pending = this.#foreignPending(slots);
      }
      if (trial || pending.length > 0) {
        if (restarts >= CLEARING_RESTARTS) throw new StationError('DEVICE_BUSY', 'an upgrade stays pending');
        slots = await step('clear-pending', async () => {
          await this.#restart([]);
          return this.#connection.surviving(() => this.#slots());
        });
      }
      if (trial) remark({ code: 'TRIAL_ENDED' });
      for (const { image, version } of first) {
        remark({ code: 'PENDING_CLEARED', values: { image, version: quoted(version) } });
      }
    }
  }

  /** Slots that would be started at the next restart, and are not the package's, or are so though it runs already. */
  #foreignPending(slots: readonly SlotState[]): SlotState[] {
    return slots.filter((slot) => {
      if (!slot.pending || slot.active) return false;
      const active = activeSlot(slots, slot.image);
      return !this.#isOwn(slot) || (active !== null && this.#isOwn(active));
    });
  }

  /** Whether a slot holds an image of the package. */
  #isOwn(slot: SlotState): boolean {
    return this.#context.firmware.images.some(
      (image) => image.index === slot.image && slot.hash === (slot.active ? runsAs(image) : image.image.hash),
    );
  }

  /** Where the bootloader knows no trial there is nothing to confirm. */
  #isConfirmed(slot: SlotState): boolean {
    return slot.confirmed || this.#bootMode === BOOT_MODE.DIRECT_XIP;
  }

  /** Erases slots that do not run, as far as the server lets that be done: many refuse it of what is pending. */
  async #erase(slots: readonly SlotState[]): Promise<SlotState[]> {
    for (const { image, slot } of slots) {
      // Numbered through all images; the one that servers take without a number is left without one.
      const number = 2 * image + slot;
      try {
        const options = { timeoutMs: ERASE_TIMEOUT_MS, tries: 1 };
        await this.#request(OP.WRITE, GROUP.IMAGE, IMAGE.ERASE, number === 1 ? {} : { slot: number }, options);
      } catch (error) {
        const silent = error instanceof StationError && error.code === 'DEVICE_SILENT';
        if (!(error instanceof SmpRefusal) && !silent) throw error;
      }
    }
    return this.#slots();
  }

  /** Overwrite-only bootloaders cannot try an image out; better said before an upload than after it. */
  #refuseImpossibleTest(): void {
    if (this.#bootMode === BOOT_MODE.OVERWRITE_ONLY) {
      throw new StationError('MODE_REFUSED', 'the bootloader only overwrites');
    }
  }

  /** Whether every image of the package is known to run: read back by its hash, or where it is not listed, by the profile's proof. */
  #runs(slots: readonly SlotState[]): boolean {
    const images = this.#images.length > 0 ? this.#images : this.#choose(slots);
    return images.every((image) => {
      const active = activeSlot(slots, image.index);
      const proof = this.#proofs.get(image.index);
      return active ? active.hash === runsAs(image) && !this.#contradicted(image.index) : proof?.holds === true;
    });
  }

  /** Whether what the profile names as proof says that another image runs. */
  #contradicted(index: number): boolean {
    const proof = this.#proofs.get(index);
    return proof !== undefined && proof.said !== null && !proof.holds;
  }

  /** Whether everything of the package that is listed as running would be so after the next restart, too. */
  #confirmed(slots: readonly SlotState[]): boolean {
    return this.#images.every(({ index }) => {
      const active = activeSlot(slots, index);
      return active === null ? !isHiddenTrial(slots, index) : this.#isConfirmed(active);
    });
  }

  async #refuseDowngrade(slots: readonly SlotState[]): Promise<void> {
    const { upgrade } = this.#context.profile;
    if (upgrade.allowDowngrade) return;
    for (const image of this.#images) {
      const listed = activeSlot(slots, image.index)?.version ?? null;
      const running = this.#proofs.get(image.index)?.version ?? (listed === null ? null : parseVersion(listed));
      if (running && compareVersions(image.image.version, running) >= 0) continue;
      if (running) {
        await this.#dropPending(slots);
        const detail = `image ${image.index}: ${formatVersion(running)} runs, ${formatVersion(image.image.version)} offered`;
        throw new StationError('DOWNGRADE_REFUSED', detail);
      }
      // What is not listed at all never had a version that could be compared; what is listed with one that makes no sense has.
      const said = listed === null ? 'it is not listed' : quoted(listed);
      if (listed !== null && upgrade.unknownVersion === 'refuse') {
        await this.#dropPending(slots);
        throw new StationError('VERSION_UNKNOWN', `image ${image.index}: ${said}`);
      }
      this.#context.remark({ code: 'VERSION_UNJUDGED', values: { image: image.index, said } });
    }
  }

  /** What is not to be installed must not be started by the next power-up either. */
  async #dropPending(slots: readonly SlotState[]): Promise<void> {
    const pending = slots.filter((slot) => slot.pending && !slot.active);
    if (pending.length === 0) return;
    const after = await this.#context.step('clear-pending', () =>
      this.#connection.surviving(() => this.#erase(pending)),
    );
    this.#remarkPending(after.filter((slot) => slot.pending && !slot.active));
  }

  #remarkPending(slots: readonly Pick<SlotState, 'image' | 'version'>[]): void {
    for (const { image, version } of slots) {
      this.#context.remark({ code: 'STAYS_PENDING', values: { image, version: quoted(version) } });
    }
  }

  async #uploadAll(slots: readonly SlotState[], device: DeviceState): Promise<readonly SlotState[]> {
    const { step, remark } = this.#context;
    const missing = this.#images.filter((image) => {
      if (activeSlot(slots, image.index)?.hash === runsAs(image)) return false;
      if (!isStaged(slots, image)) return true;
      remark({ code: 'NO_UPLOAD_NEEDED', values: { image: image.index } });
      return false;
    });
    if (missing.length > 0) await this.#refuseTooLarge(missing);
    for (const image of missing) await step('upload', () => this.#upload(image, slots, device));
    return step('verify-upload', async () => {
      const after = await this.#connection.surviving(() => this.#slots());
      for (const image of this.#images) {
        if (isStaged(after, image) || activeSlot(after, image.index)?.hash === runsAs(image)) continue;
        const listed = after.find((slot) => slot.image === image.index && !slot.active);
        const detail = `image ${image.index}: sent ${short(image.image.hash)}, device lists ${short(listed?.hash ?? 'none')}`;
        throw new StationError('IMAGE_HASH_MISMATCH', detail, { retryable: true });
      }
      return after;
    });
  }

  /** An image is too large when it exceeds a size that the device tells; before anything is erased. */
  async #refuseTooLarge(images: readonly FirmwareImage[]): Promise<void> {
    const answer = await this.#connection.surviving(() => this.#ask(GROUP.IMAGE, IMAGE.SLOT_INFO));
    const slotBytes = readSlotSizes(answer ?? {});
    if (slotBytes.size === 0) return;
    for (const { index, bytes } of images) {
      const most = slotBytes.get(index);
      if (most === undefined) throw new StationError('IMAGE_SLOT_UNKNOWN', `image ${index}`);
      if (bytes.length > most)
        throw new StationError('IMAGE_TOO_LARGE', `${bytes.length} bytes, the slot takes ${most}`);
    }
  }

  async #upload(image: FirmwareImage, slots: readonly SlotState[], device: DeviceState): Promise<void> {
    const context = this.#context;
    const { upgrade } = context.profile;
    const running = this.#running(slots);
    const learnt = context.learnt(running);
    const leastProgress = new LeastProgress(context.clock, upgrade.leastBytesPerMinute);
    let unsentBytes = 0;
    let window: number | null = null;
    let again = false;
    try {
      await this.#connection.progressing(async (progressed) => {
        // Its last answer may have been lost with the link.
        if (again && isStaged(await this.#slots(), image)) return;
        again = true;
        await uploadImage(this.#smp, image, {
          buffers: device.buffers,
          window: upgrade.window,
          frames: learnt.frames === 'one-write' ? 'one-write' : upgrade.frames,
          longestFrame: learnt.longestFrame,
          startWindow: learnt.window,
          eraseMs: learnt.eraseMs,
          clock: context.clock,
          signal: context.signal,
          leastProgress,
          isComplete: async () => isStaged(await this.#slots(), image),
          onProgress: (bytes) => {
            progressed(bytes);
            context.progress(image.index, bytes, image.bytes.length);
          },
          onEnd: (figures) => {
            unsentBytes += figures.unsentBytes;
            window = figures.window;
            context.uploaded(figures);
          },
          onLearnt: (lesson) => {
            context.learn(running, lesson);
            if (lesson.frames === 'one-write' && learnt.frames !== 'one-write')
              context.remark({ code: 'SERVER_JOINS_NOTHING' });
          },
        });
      });
    } catch (error) {
      // Whatever was wrong: what was believed of the server was there when it happened.
      context.learn(running, { frames: null, longestFrame: null, window: null });
      throw error;
    }
    context.learn(running, { window });
    if (unsentBytes > 0) await this.#notSent(image, unsentBytes);
  }

  /** The device counts bytes that it was never sent. Left where they are, they would pass for staged the next time. */
  async #notSent({ index }: FirmwareImage, bytes: number): Promise<void> {
    this.#context.remark({ code: 'BYTES_NOT_SENT', values: { image: index, bytes } });
    if (this.#context.profile.upgrade.bytesNotSent === 'flag') return;
    const slots = await this.#connection.surviving(() => this.#slots());
    await this.#connection.surviving(() => this.#erase(slots.filter((slot) => slot.image === index && !slot.active)));
    throw new StationError('UPLOAD_NOT_SENT', `image ${index}: ${bytes} bytes`);
  }

  /** The firmware whose server answers: its behaviour is what is learnt. */
  #running(slots: readonly SlotState[]): string {
    const active = activeSlot(slots, this.#context.profile.upgrade.applicationImage);
    return active ? `${active.version} ${active.hash.slice(0, 8)}` : '';
  }

  async #activate(slots: readonly SlotState[], permanent: boolean): Promise<void> {
    // Direct-XIP starts the newest image by itself, and its servers have no such command.
    if (this.#bootMode === BOOT_MODE.DIRECT_XIP) return;
    for (const image of this.#images) {
      const slot = slots.find((each) => each.image === image.index && !each.active && each.hash === image.image.hash);
      if (!slot || slot.pending) continue;
      const hash = Buffer.from(image.image.hash, 'hex');
      await this.#connection.surviving(() =>
        this.#request(OP.WRITE, GROUP.IMAGE, IMAGE.STATE, { hash, confirm: permanent }),
      );
    }
  }

  /** Restarts the device and waits until it is back. Whether it restarted shows by the link's end. */
  async #restart(staged: readonly SlotState[]): Promise<void> {
    try {
      const restartMs = await this.#connection.restarted(() => this.#askForReset());
      if (staged.length > 0) this.#context.learn(this.#running(staged), { restartMs });
    } catch (error) {
      if (error instanceof StationError && error.code === 'RESET_FAILED') {
        this.#remarkPending(staged.filter((slot) => !slot.active && this.#isOwn(slot)));
      }
      throw error;
    }
  }

  /** A refusal is asked again, whatever it says: an application may finish something first. @throws StationError RESET_FAILED */
  async #askForReset(): Promise<void> {
    const { clock, signal } = this.#context;
    const backOff = new BackOff(clock, signal);
    for (;;) {
      try {
        await this.#request(OP.WRITE, GROUP.OS, OS.RESET, {}, { patient: false });
        return;
      } catch (error) {
        if (!(error instanceof SmpRefusal)) throw error;
        this.#passed.push(error);
        await backOff.after(
          new StationError('RESET_FAILED', `refused: ${error.detail}`, { retryable: true, cause: error }),
        );
      }
    }
  }

  /** After the restart: the package's images run, or it is said why not. */
  async #verifyRunning(settled: readonly SlotState[], staged: readonly SlotState[]): Promise<SlotState[]> {
    let slots = await this.#connection.surviving(() => this.#slots());
    if (slots.some((slot) => slot.pending && !slot.active && this.#isOwn(slot))) {
      // A bootloader that has seen it leaves nothing pending: the link was lost before the device was told to restart.
      await this.#restart(staged);
      slots = await this.#connection.surviving(() => this.#slots());
    }
    this.#context.slots('after-boot', slots);
    // What was read before the restart says nothing of what runs now.
    const before = this.#proofs;
    this.#proofs = new Map();
    const findings = new Map(this.#images.map((image) => [image.index, this.#notRunning(image, slots, settled)]));
    const tell = () => this.#context.images(this.#results(slots, (index) => Boolean(findings.get(index))));
    tell();
    for (const finding of findings.values()) if (finding) throw finding;
    this.#proofs = await this.#connection.surviving(() => this.#readProofs(slots));
    tell();
    this.#refuseContradiction(slots, before);
    return slots;
  }

  /**
   * Blames nobody without evidence: an image that is not listed as running may run all the same where it was never listed so. That it is
   * gone from the second slot says nothing: a bootloader that rejects an image erases it as one that has taken it over does.
   */
  #notRunning(image: FirmwareImage, slots: readonly SlotState[], before: readonly SlotState[]): StationError | null {
    const { index } = image;
    const active = activeSlot(slots, index);
    if (active?.hash === runsAs(image)) return null;
    const left = slots.find((slot) => slot.image === index && !slot.active && slot.hash === image.image.hash);
    const was = activeSlot(before, index);
    if (!active) {
      if (left) return new StationError('BOOTLOADER_REJECTED', `image ${index} still lies in the second slot`);
      if (was || index === this.#context.profile.upgrade.applicationImage) {
        return new StationError('PROOF_MISSING', `image ${index} is not listed as running`);
      }
      return null;
    }
    if (active.hash === '') return new StationError('PROOF_MISSING', `image ${index} is listed without a hash`);
    if (active.hash !== was?.hash) {
      return new StationError('WRONG_IMAGE_RUNNING', `image ${index}: ${short(active.hash)}`);
    }
    const tried = left !== undefined && !left.pending;
    return new StationError(
      tried ? 'SWAP_REVERTED' : 'BOOTLOADER_REJECTED',
      `image ${index}: ${short(active.hash)} runs, as before`,
    );
  }

  async #readProofs(slots: readonly SlotState[]): Promise<ReadonlyMap<number, ProofReading>> {
    const { profile, signal } = this.#context;
    const readings = new Map<number, ProofReading>();
    for (const proof of profile.proof.images) {
      const image = this.#images.find(({ index }) => index === proof.image);
      if (image) readings.set(proof.image, await readProof(this.#smp, proof, image, slots, signal));
    }
    return readings;
  }

  /** What the profile names as proof must not contradict. */
  #refuseContradiction(slots: readonly SlotState[], before: ReadonlyMap<number, ProofReading>): void {
    for (const { image, said, holds, why, expected } of this.#proofs.values()) {
      if (said === null) {
        this.#context.remark({ code: 'PROOF_UNREAD', values: { image, said: why } });
      } else if (holds) {
        this.#context.remark({ code: 'PROOF_READ', values: { image, said: quoted(said) } });
      } else {
        const detail = `image ${image}: the device reports ${quoted(said)}, expected ${quoted(expected)}`;
        const asBefore = before.get(image)?.said === said && activeSlot(slots, image) === null;
        throw new StationError(asBefore ? 'BOOTLOADER_REJECTED' : 'WRONG_IMAGE_RUNNING', detail);
      }
    }
  }

  /** Returns the server's refusal, if there was one: what the device made of it is read back next. */
  async #confirm(slots: readonly SlotState[]): Promise<SmpRefusal | null> {
    let refusal: SmpRefusal | null = null;
    for (const image of this.#images) {
      const active = activeSlot(slots, image.index);
      if (active ? this.#isConfirmed(active) : !isHiddenTrial(slots, image.index)) continue;
      const hash = Buffer.from(runsAs(image), 'hex');
      try {
        await answerMayBeLost(() => this.#request(OP.WRITE, GROUP.IMAGE, IMAGE.STATE, { hash, confirm: true }));
      } catch (error) {
        if (!(error instanceof SmpRefusal)) throw error;
        refusal = error;
      }
    }
    return refusal;
  }

  async #verifyConfirmed(before: readonly SlotState[], refusal: SmpRefusal | null, again = true): Promise<SlotState[]> {
    const slots = await this.#connection.surviving(() => this.#slots());
    for (const image of this.#images) {
      const finding = this.#notRunning(image, slots, before);
      if (finding) throw finding;
    }
    if (this.#confirmed(slots)) return slots;
    // Neither refused nor done: the request may have been lost with its link. Of what runs, and only of that, it is asked again.
    if (again && !refusal) return this.#verifyConfirmed(before, await this.#confirm(slots), false);
    throw new StationError('NOT_CONFIRMED', refusal?.detail ?? '', { retryable: true });
  }

  /** Each image's own result; `refuted` says of which it is known that it does not run. */
  #results(slots: readonly SlotState[], refuted: (index: number) => boolean): ImageResult[] {
    return this.#images
      .toSorted((a, b) => a.index - b.index)
      .map((image) => {
        const { index } = image;
        const active = activeSlot(slots, index);
        const proven = active?.hash === runsAs(image) || (active === null && this.#proofs.get(index)?.holds === true);
        const wrong = refuted(index) || this.#contradicted(index);
        const verified: Verification = proven && !this.#contradicted(index) ? 'read-back' : wrong ? 'no' : 'indirect';
        return { index, hash: image.image.hash, version: formatVersion(image.image.version), verified };
      });
  }

  /** @throws StationError PROOF_MISSING where the profile demands proof that there is not */
  #result(outcome: UpgradeResult['outcome'], slots: readonly SlotState[]): UpgradeResult {
    const images = this.#results(slots, () => outcome === 'staged');
    const open = images.find(({ verified }) => verified === 'indirect');
    if (open && this.#context.profile.proof.demand) {
      const why = this.#proofs.get(open.index)?.why;
      throw new StationError('PROOF_MISSING', `image ${open.index}${why ? `: ${why}` : ''}`);
    }
    return { outcome, images };
  }
}

/** What the device lists as the hash of an image that it runs. */
function runsAs({ image }: FirmwareImage): string {
  return image.runsAs;
}

function isStaged(slots: readonly SlotState[], image: FirmwareImage): boolean {
  return slots.some((slot) => slot.image === image.index && !slot.active && slot.hash === image.image.hash);
}

/**
 * Whether an image that is not listed as running is on trial: its second slot then holds what a restart goes back to, and is listed as
 * confirmed (Zephyr `img_mgmt_state.c`: of two slots the one that the next boot reverts to).
 */
function isHiddenTrial(slots: readonly SlotState[], image: number): boolean {
  return activeSlot(slots, image) === null && slots.some((slot) => slot.image === image && slot.confirmed);
}

function activeSlot(slots: readonly SlotState[], image: number): SlotState | null {
  return slots.find((slot) => slot.image === image && slot.active) ?? null;
}

const short = (hash: string) => hash.slice(0, 16);
