import { deadline } from '../clock.ts';
import { StationError } from '../contract/errors.ts';
import type { Link } from '../radio/radio.ts';
import type { UpgradeContext } from './driver.ts';

/** How long the link may outlive the answer to a reset; servers wait about 250 ms, supervision adds its own. */
const RESET_LINK_END_MS = 8000;
/** Link losses without any upload progress in between, after which the attempt ends. */
const LOSSES_WITHOUT_PROGRESS = 2;
/** Link losses that are forgiven while a command that may be repeated is under way. */
const FORGIVEN_LOSSES = 2;

/** A driver's way to its device: one link at a time, with the protocol's client on it, and what is done when the link is lost. */
export class Connection<Client extends { readonly link: Link }> {
  readonly #context: UpgradeContext;
  readonly #open: (link: Link) => Promise<Client>;
  #client: Client | null = null;

  constructor(context: UpgradeContext, open: (link: Link) => Promise<Client>) {
    this.#context = context;
    this.#open = open;
  }

  get client(): Client {
    if (!this.#client) throw new StationError('INTERNAL', 'no link');
    return this.#client;
  }

  /** A new link; the one there was is let go. @throws StationError as UpgradeContext.connect */
  async connect(step: 'connect' | 'reconnect', withinMs?: number): Promise<void> {
    await this.#context.step(step, async () => {
      await this.#client?.link.disconnect();
      this.#client = null;
      const link = await this.#context.connect(withinMs);
      try {
        this.#client = await this.#open(link);
      } catch (error) {
        await link.disconnect();
        throw error;
      }
    });
  }

  /** Runs something that may be repeated, on a new link when the one it had is lost. */
  async surviving<T>(work: () => Promise<T>): Promise<T> {
    for (let losses = 0; ; losses++) {
      try {
        return await work();
      } catch (error) {
        if (!isLinkLoss(error) || losses >= FORGIVEN_LOSSES) throw error;
        await this.connect('reconnect');
      }
    }
  }

  /** Runs something that goes on where it was, on new links as often as there is progress between losses. */
  async progressing(work: (progressed: (bytes: number) => void) => Promise<void>): Promise<void> {
    let losses = 0;
    let furthest = 0;
    const progressed = (bytes: number) => {
      // What the device had before is no progress of this link.
      if (bytes > furthest) losses = 0;
      furthest = Math.max(furthest, bytes);
    };
    for (;;) {
      try {
        return await work(progressed);
      } catch (error) {
        losses += 1;
        if (!isLinkLoss(error) || losses > LOSSES_WITHOUT_PROGRESS) throw error;
        await this.connect('reconnect');
      }
    }
  }

  /**
   * Waits until the device lets go of the link, after it was asked to restart if it does not do so by itself, and until it is back.
   * Returns how long that took, in milliseconds.
   * @throws StationError RESET_FAILED, NOT_BACK_AFTER_RESET
   */
  async restarted(ask: () => Promise<unknown> = async () => undefined): Promise<number> {
    const { clock, signal, profile, step } = this.#context;
    const askedMs = clock.now();
    await step('reset', async () => {
      const { link } = this.client;
      link.expectRestart();
      await answerMayBeLost(ask);
      const stays = () =>
        new StationError('RESET_FAILED', `the link stayed up for ${RESET_LINK_END_MS} ms`, { retryable: true });
      try {
        await deadline(clock, RESET_LINK_END_MS, link.ended, stays, signal);
      } finally {
        await link.disconnect();
      }
    });
    const withinMs = profile.upgrade.swapTimeoutS * 1000;
    try {
      await this.connect('reconnect', withinMs);
      return clock.now() - askedMs;
    } catch (error) {
      if (!(error instanceof StationError) || error.code !== 'UNIT_NOT_FOUND') throw error;
      throw new StationError('NOT_BACK_AFTER_RESET', `not heard for ${withinMs / 1000} s`, { cause: error });
    }
  }
}

/** Runs a command whose answer may be lost with the link, and whose effect is looked at afterwards. */
export async function answerMayBeLost(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isLinkLoss(error) && !(error instanceof StationError && error.code === 'DEVICE_SILENT')) throw error;
  }
}

function isLinkLoss(error: unknown): boolean {
  return error instanceof StationError && ['LINK_LOST', 'ATT_TIMEOUT', 'RADIO_LOST'].includes(error.code);
}
