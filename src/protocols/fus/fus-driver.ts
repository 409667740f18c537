import { createHash } from 'node:crypto';
import { StationError } from '../../contract/errors.ts';
import type { FusSettings } from '../../contract/product-file.ts';
import type { FirmwareImage } from '../../firmware/firmware-package.ts';
import { compareVersions, formatVersion } from '../../firmware/mcuboot-image.ts';
import { answerMayBeLost, Connection } from '../connection.ts';
import {
  type DfuDriver,
  type ImageResult,
  SHOW_MS,
  type SlotState,
  type UpgradeContext,
  type UpgradeResult,
} from '../driver.ts';
import { LeastProgress } from '../least-progress.ts';
import { decodeHello, FUS, FUS_VERSION, type FusHello, type FusImage } from './codec.ts';
import { FusClient } from './fus-client.ts';
import { uploadFusImage } from './fus-upload.ts';

const TEST = 0;
const PERMANENT = 1;

/** The in-house upgrade service that a profile's `fus:` block describes. Source of the procedure: docs/protocols/fus.md. */
export const fusDriver: DfuDriver = {
  protocol: 'fus',
  upgrade: (context) => new FusUpgrade(context).run(),
  async identify(link, profile, clock, signal) {
    const { fus } = profile;
    if (!fus) throw new StationError('INTERNAL', 'the profile has no fus block');
    const client = await FusClient.open(link, { clock, settings: fus, onAnomaly: () => undefined });
    await client.request(FUS.IDENTIFY, Buffer.of(SHOW_MS / 1000), { signal });
  },
};

class FusUpgrade {
  readonly #context: UpgradeContext;
  readonly #settings: FusSettings;
  /** The network core before the application core, each with the SHA-256 over what is sent of it. */
  readonly #images: readonly { readonly image: FirmwareImage; readonly hash: string }[];
  readonly #connection: Connection<FusClient>;

  constructor(context: UpgradeContext) {
    this.#context = context;
    const { fus } = context.profile;
    if (!fus) throw new StationError('INTERNAL', 'the profile has no fus block');
    this.#settings = fus;
    const { clock, anomaly } = context;
    this.#connection = new Connection(context, (link) =>
      FusClient.open(link, { clock, settings: fus, onAnomaly: anomaly }),
    );
    this.#images = context.firmware.images
      .toSorted((a, b) => b.index - a.index)
      .map((image) => ({ image, hash: createHash('sha256').update(image.bytes).digest('hex') }));
  }

  async run(): Promise<UpgradeResult> {
    const context = this.#context;
    const { mode } = context.profile.upgrade;
    await this.#connection.connect('connect');
    let hello = await context.step('read-state', () => this.#connection.surviving(() => this.#hello()));
    context.slots('before', slotStates(hello));
    this.#refuseUnknown(hello);
    if (this.#images.every(({ image, hash }) => runs(hello, image.index, hash, true))) {
      this.#refuseOtherPending(hello);
      return this.#result('skipped');
    }
    for (const { image, hash } of this.#images) {
      if (runs(hello, image.index, hash, true)) continue;
      if (!runs(hello, image.index, hash, false)) {
        this.#refuseDowngrade(hello, image);
        await context.step('upload', () => this.#upload(image, hash, hello));
        if (mode === 'upload-only') continue;
        await this.#activate(image, mode === 'confirm' ? PERMANENT : TEST);
        hello = await context.step('verify-running', () => this.#verifyRunning(image, hash, hello));
      } else if (mode === 'upload-only') continue;
      if (!runs(hello, image.index, hash, true)) {
        await context.step('confirm', () => this.#confirm(image));
        hello = await context.step('verify-confirmed', () => this.#verifyConfirmed(image, hash));
      }
    }
    context.slots('final', slotStates(hello));
    if (mode === 'upload-only') return this.#result('staged');
    // What was verified first may have changed with what came after it.
    for (const { image, hash } of this.#images) {
      if (!runs(hello, image.index, hash, true)) throw new StationError('WRONG_IMAGE_RUNNING', `image ${image.index}`);
    }
    this.#refuseOtherPending(hello);
    return this.#result('pass');
  }

  get #fus(): FusClient {
    return this.#connection.client;
  }

  async #hello(): Promise<FusHello> {
    const body = await this.#fus.request(FUS.HELLO, Buffer.of(FUS_VERSION), { signal: this.#context.signal });
    try {
      return decodeHello(body);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new StationError('DEVICE_NONSENSE', error.message, { cause: error });
    }
  }

  #refuseUnknown({ images, protocolVersion }: FusHello): void {
    if (protocolVersion !== FUS_VERSION)
      throw new StationError('DEVICE_NONSENSE', `protocol version ${protocolVersion}`);
    const twice = images.find(
      (each, at) => each.running && images.findIndex(({ index, running }) => running && index === each.index) !== at,
    );
    if (twice) throw new StationError('DEVICE_NONSENSE', `two running images of index ${twice.index}`);
    const missing = this.#images.find(({ image }) => !images.some(({ index }) => index === image.index));
    if (missing) throw new StationError('IMAGE_SLOT_UNKNOWN', `image ${missing.image.index}`);
  }

  /** What is pending starts at the next power-up, whatever runs now; FUS has no way to take it back. */
  #refuseOtherPending({ images }: FusHello): void {
    const other = images.find(({ pending, running }) => pending && !running);
    if (!other) return;
    const version = formatVersion(other.version);
    this.#context.remark({ code: 'STAYS_PENDING', values: { image: other.index, version } });
    throw new StationError('DEVICE_BUSY', `image ${other.index} ${version} is pending`, { retryable: true });
  }

  #refuseDowngrade(hello: FusHello, { index, image }: FirmwareImage): void {
    if (this.#context.profile.upgrade.allowDowngrade) return;
    const running = runningImage(hello, index)?.version;
    if (!running) {
      this.#context.remark({ code: 'VERSION_UNJUDGED', values: { image: index, said: 'it is not listed' } });
      return;
    }
    if (compareVersions(image.version, running) >= 0) return;
    const detail = `image ${index}: ${formatVersion(running)} runs, ${formatVersion(image.version)} offered`;
    throw new StationError('DOWNGRADE_REFUSED', detail);
  }

  async #upload(image: FirmwareImage, hash: string, first: FusHello): Promise<void> {
    const context = this.#context;
    const { upgrade } = context.profile;
    const leastProgress = new LeastProgress(context.clock, upgrade.leastBytesPerMinute);
    let unsentBytes = 0;
    let hello: FusHello | null = first;
    await this.#connection.progressing(async (progressed) => {
      const known: FusHello = hello ?? (await this.#hello());
      hello = null;
      await uploadFusImage(this.#fus, image, hash, this.#settings, {
        hello: known,
        clock: context.clock,
        signal: context.signal,
        window: upgrade.window,
        leastProgress,
        onProgress: (bytes) => {
          progressed(bytes);
          context.progress(image.index, bytes, image.bytes.length);
        },
        onEnd: (figures) => {
          unsentBytes += figures.unsentBytes;
          context.uploaded(figures);
        },
      });
    });
    if (unsentBytes === 0) return;
    context.remark({ code: 'BYTES_NOT_SENT', values: { image: image.index, bytes: unsentBytes } });
    if (upgrade.bytesNotSent === 'flag') return;
    throw new StationError('UPLOAD_NOT_SENT', `image ${image.index}: ${unsentBytes} bytes`);
  }

  /** The device reboots after it has answered; the answer is often lost with the link. */
  async #activate({ index }: FirmwareImage, mode: number): Promise<void> {
    const { signal, step } = this.#context;
    await step('activate', () =>
      answerMayBeLost(() => this.#fus.request(FUS.ACTIVATE, Buffer.of(index, mode), { signal })),
    );
    const restartMs = await this.#connection.restarted();
    this.#context.learn('', { restartMs });
  }

  async #verifyRunning({ index }: FirmwareImage, hash: string, before: FusHello): Promise<FusHello> {
    const hello = await this.#connection.surviving(() => this.#hello());
    this.#context.slots('after-boot', slotStates(hello));
    const running = runningImage(hello, index);
    if (running?.hash === hash) return hello;
    if (running && running.hash !== runningImage(before, index)?.hash) {
      throw new StationError('WRONG_IMAGE_RUNNING', `image ${index}: ${running.hash.slice(0, 16)}`);
    }
    const kept = hello.images.some((image) => image.index === index && image.hash === hash);
    throw new StationError(kept ? 'SWAP_REVERTED' : 'BOOTLOADER_REJECTED', `image ${index} runs as before`);
  }

  async #confirm({ index }: FirmwareImage): Promise<void> {
    // What the device made of it is read back next.
    await answerMayBeLost(() => this.#fus.request(FUS.CONFIRM, Buffer.of(index), { signal: this.#context.signal }));
  }

  async #verifyConfirmed({ index }: FirmwareImage, hash: string): Promise<FusHello> {
    const hello = await this.#connection.surviving(() => this.#hello());
    if (!runs(hello, index, hash, false)) throw new StationError('SWAP_REVERTED', `image ${index} fell back`);
    if (!runs(hello, index, hash, true)) throw new StationError('NOT_CONFIRMED', '', { retryable: true });
    return hello;
  }

  #result(outcome: UpgradeResult['outcome']): UpgradeResult {
    const images = this.#images
      .map(
        ({ image, hash }): ImageResult => ({
          index: image.index,
          hash,
          version: formatVersion(image.image.version),
          verified: outcome === 'staged' ? 'no' : 'read-back',
        }),
      )
      .sort((a, b) => a.index - b.index);
    return { outcome, images };
  }
}

function runningImage({ images }: FusHello, index: number): FusImage | null {
  return images.find((image) => image.index === index && image.running) ?? null;
}

function runs(hello: FusHello, index: number, hash: string, confirmed: boolean): boolean {
  const running = runningImage(hello, index);
  return running?.hash === hash && (!confirmed || running.confirmed);
}

function slotStates({ images }: FusHello): SlotState[] {
  return images.map(({ index, running, confirmed, pending, version, hash }) => ({
    image: index,
    slot: running ? 0 : 1,
    version: formatVersion(version),
    hash,
    pending,
    confirmed,
    active: running,
    permanent: false,
  }));
}
