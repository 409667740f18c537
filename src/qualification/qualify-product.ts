import { stringify } from 'yaml';
import { asStationError, type ErrorCode, StationError } from '../contract/errors.ts';
import type { JobEvent } from '../contract/job-events.ts';
import { type LearntFacts, NOTHING_LEARNT } from '../contract/learnt.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import type { QualificationCheck, QualificationSection } from '../contract/qualification.ts';
import type { AttemptDetail, StepName } from '../contract/records.ts';
import type { FirmwarePackage } from '../firmware/firmware-package.ts';
import { compareVersions, formatVersion } from '../firmware/mcuboot-image.ts';
import { badImage } from './bad-image.ts';
import { check, notTried } from './check.ts';
import { type Interference, type TrialResult, type TrialSetting, UnitTrial } from './unit-trial.ts';

/** Two firmwares between which the unit is sent to and fro; it is left with `b`. */
export interface ProductFirmware {
  readonly a: FirmwarePackage;
  readonly b: FirmwarePackage;
}

/** What a qualification of a product comes to. */
export interface ProductFindings {
  readonly sections: readonly QualificationSection[];
  readonly profile: string;
  readonly left: string;
}

/** How a bootloader or server says that it has refused an image. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'BOOTLOADER_REJECTED',
  'SWAP_REVERTED',
  'DEVICE_REJECTED_IMAGE',
  'DEVICE_ERROR',
  'IMAGE_HASH_MISMATCH',
]);
/** Where in an upload links are cut and attempts stopped. */
const SHARE_UPLOADED = 0.4;
/** A restart may take so many times what the longest one took; and at least so many seconds, for the next unit is another one. */
const SWAP_MARGIN = 3;
const LEAST_SWAP_TIMEOUT_S = 10;
/** One full link-layer packet with its L2CAP and ATT headers. */
const GOOD_MTU = 247;
const FULL_PACKET = 251;
const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;

const atStep =
  (step: StepName) =>
  (event: JobEvent): boolean =>
    event.type === 'step' && event.step === step;
const inUpload = (event: JobEvent): boolean =>
  event.type === 'progress' && event.bytes >= SHARE_UPLOADED * event.totalBytes && event.bytes < event.totalBytes;
const uploadBegun = (event: JobEvent): boolean => event.type === 'progress' && event.bytes < event.totalBytes;

/**
 * Drives one unit through what a station may do to it, and what may happen meanwhile. Each expectation is held, not held, or not tried; what
 * could leave the unit without an image that runs is not done. In the end the unit is brought to `b`, whatever was found.
 */
export function qualifyProduct(setting: TrialSetting, firmware: ProductFirmware): Promise<ProductFindings> {
  return new ProductQualification(setting, firmware).run();
}

/** What to do for one check, and what it expects. */
interface Trial {
  readonly name: string;
  readonly expectation: string;
  readonly work: () => Promise<Pick<QualificationCheck, 'found' | 'verdict' | 'detail'>>;
}

class ProductQualification {
  readonly #setting: TrialSetting;
  readonly #firmware: ProductFirmware;
  readonly #trial: UnitTrial;
  readonly #bad: FirmwarePackage | null;
  /** Which of the two the unit is known to run, confirmed; null when that is not known. */
  #running: 'a' | 'b' | null = null;
  /** The upgrade that was measured. */
  #measured: TrialResult | null = null;
  /** Resets until the unit was back, in milliseconds. */
  readonly #restartsMs: number[] = [];
  readonly #records: AttemptDetail[] = [];
  #over: string | null = null;

  constructor(setting: TrialSetting, firmware: ProductFirmware) {
    this.#setting = setting;
    this.#firmware = firmware;
    this.#trial = new UnitTrial(setting);
    this.#bad = badImage(firmware.b, setting.profile.upgrade.applicationImage);
  }

  async run(): Promise<ProductFindings> {
    const upgrade = await this.#section('Upgrade', [
      this.#bringToA(),
      this.#badImage(),
      this.#upgradeToB(),
      this.#skip(),
      this.#downgrade(),
    ]);
    const cuts = await this.#section('Links that are cut', [
      this.#cut('cut after the upload', 'a', 'verify-upload'),
      this.#cut('cut while it is activated', 'b', 'activate'),
      this.#cut('cut before the restart', 'a', 'reset'),
      this.#cut('cut while it is confirmed', 'b', 'confirm'),
      this.#cutInUpload(),
    ]);
    const stops = await this.#section('Stops and falling back', [this.#stopAndGoOn(), this.#revert()]);
    const left = await this.#leave();
    const learnt = this.#learnt();
    const sections = [upgrade, cuts, stops, { title: 'Measured', checks: this.#measurements(learnt) }];
    return { sections, profile: this.#profileValues(learnt), left };
  }

  async #section(title: string, trials: readonly Trial[]): Promise<QualificationSection> {
    const checks: QualificationCheck[] = [];
    for (const { name, expectation, work } of trials) {
      try {
        if (this.#over !== null) throw new NotTried(this.#over);
        checks.push({ name, expectation, ...(await work()) });
      } catch (error) {
        const { code, message } = asStationError(error);
        const why = error instanceof NotTried ? error.message : `${code}: ${message}`;
        if (this.#setting.signal.aborted) this.#over = 'stopped by the operator';
        checks.push(notTried(name, expectation, why));
      }
    }
    return { title, checks };
  }

  /** One attempt; what the unit runs afterwards is known only when it was read back. */
  async #attempt(
    which: 'a' | 'b' | 'bad',
    options: { allowDowngrade?: boolean; retries?: number; interference?: Interference } = {},
  ): Promise<TrialResult> {
    const before = this.#running;
    this.#running = null;
    const firmware = which === 'bad' ? this.#bad : this.#firmware[which];
    if (!firmware) throw new NotTried('no bad image can be made of this firmware without changing its code');
    const result = await this.#trial.attempt(firmware, options);
    if (isThere(result) && which !== 'bad') this.#running = which;
    if (result.code === 'DOWNGRADE_REFUSED' || result.code === 'VERSION_UNKNOWN') this.#running = before;
    if (result.record) {
      this.#records.push(result.record);
      if (result.outcome === 'pass') this.#restartsMs.push(...restartsOf(result.record));
    }
    return result;
  }

  /** Brings the unit to one of the firmwares, where it is not there already. @throws NotTried */
  async #ensure(which: 'a' | 'b'): Promise<void> {
    if (this.#running === which) return;
    const { outcome, code } = await this.#attempt(which);
    if (this.#running !== which)
      throw new NotTried(`the unit could not be brought to ${which.toUpperCase()}: ${code ?? outcome}`);
  }

  /** What lies in the second slot is spoilt, so that the next upload has to send everything. */
  async #spoil(): Promise<void> {
    const running = this.#running;
    await this.#attempt('bad', { retries: 0, interference: { at: uploadBegun, do: 'stop' } });
    // An upload that was stopped at its beginning changes nothing of what runs.
    this.#running = running;
  }

  #bringToA(): Trial {
    return {
      name: 'upgrade to A',
      expectation: 'the unit is found, and runs A afterwards',
      work: async () => {
        const result = await this.#attempt('a');
        if (!isThere(result)) this.#over = `the unit could not be brought to A: ${result.code ?? result.outcome}`;
        return judged(result, isThere(result));
      },
    };
  }

  #badImage(): Trial {
    return {
      name: 'bad image',
      expectation: 'an image with one bit of its hash wrong is refused, and the unit runs on',
      work: async () => {
        await this.#ensure('a');
        const bad = await this.#attempt('bad', { retries: 0 });
        const after = await this.#attempt('a');
        if (isThere(bad)) return judged(bad, false, 'it ran an image whose hash does not hold');
        if (bad.code === null || !REFUSALS.has(bad.code)) {
          if (bad.outcome !== 'fail') throw new NotTried(`the attempt ended otherwise: ${bad.code ?? bad.outcome}`);
          return judged(bad, false);
        }
        const runsOn = after.outcome === 'skipped';
        return judged(bad, runsOn, runsOn ? `${said(bad)}; A runs on` : `${said(bad)}; then A: ${said(after)}`);
      },
    };
  }

  #upgradeToB(): Trial {
    return {
      name: 'upgrade to B',
      expectation: 'the unit takes B, and it is read back',
      work: async () => {
        await this.#ensure('a');
        const result = await this.#attempt('b');
        this.#measured = result;
        // What follows would only say the same again.
        if (!isThere(result)) this.#over = `the unit could not be brought to B: ${result.code ?? result.outcome}`;
        return judged(result, result.outcome === 'pass' && result.record?.proof === 'read-back', provenBy(result));
      },
    };
  }

  #skip(): Trial {
    return {
      name: 'B again',
      expectation: 'a unit that runs B already is skipped',
      work: async () => {
        await this.#ensure('b');
        const result = await this.#attempt('b');
        return judged(result, result.outcome === 'skipped' && result.bytes === 0);
      },
    };
  }

  #downgrade(): Trial {
    return {
      name: 'downgrade',
      expectation: 'A is refused where the profile allows no downgrade, and B runs on',
      work: async () => {
        const versions = [this.#firmware.a, this.#firmware.b].map((each) => applicationOf(each, this.#setting.profile));
        if (compareVersions(versions[0]!, versions[1]!) >= 0)
          throw new NotTried(`A (${formatVersion(versions[0]!)}) is not older than B (${formatVersion(versions[1]!)})`);
        await this.#ensure('b');
        const result = await this.#attempt('a', { allowDowngrade: false, retries: 0 });
        return judged(result, result.code === 'DOWNGRADE_REFUSED');
      },
    };
  }

  #cut(name: string, to: 'a' | 'b', step: StepName): Trial {
    return {
      name,
      expectation: 'the unit is upgraded all the same, in the same attempt',
      work: async () => {
        await this.#ensure(to === 'a' ? 'b' : 'a');
        const result = await this.#attempt(to, { interference: { at: atStep(step), do: 'cut' } });
        if (!result.interfered) throw new NotTried(`there was no such step: ${said(result)}`);
        return judged(result, result.outcome === 'pass' && result.attempts === 1, afterAttempts(result));
      },
    };
  }

  #cutInUpload(): Trial {
    return {
      name: 'cut in the upload',
      expectation: 'the upload goes on where it was',
      work: async () => {
        await this.#ensure('b');
        await this.#spoil();
        const result = await this.#attempt('a', { interference: { at: inUpload, do: 'cut' } });
        if (!result.interfered) throw new NotTried(`nothing was to be uploaded: ${said(result)}`);
        return judged(result, result.outcome === 'pass' && result.resumedFrom !== null, resumption(result));
      },
    };
  }

  #stopAndGoOn(): Trial {
    return {
      name: 'stopped in the upload',
      expectation: 'a stop leaves the unit as it is, and the next attempt goes on where it was',
      work: async () => {
        await this.#ensure('a');
        await this.#spoil();
        const stopped = await this.#attempt('b', { interference: { at: inUpload, do: 'stop' } });
        if (!stopped.interfered) throw new NotTried(`nothing was to be uploaded: ${said(stopped)}`);
        const result = await this.#attempt('b');
        const held = stopped.outcome === 'aborted' && result.outcome === 'pass' && result.resumedFrom !== null;
        return judged(result, held, `${said(stopped)}, then ${resumption(result)}`);
      },
    };
  }

  #revert(): Trial {
    return {
      name: 'falling back',
      expectation: 'an image that is not confirmed is gone after a restart, and the one before runs',
      work: async () => {
        const { protocol, upgrade } = this.#setting.profile;
        if (protocol === 'fus') throw new NotTried('FUS knows no image on trial');
        if (upgrade.mode !== 'test-and-confirm') throw new NotTried(`the profile says mode: ${upgrade.mode}`);
        await this.#ensure('b');
        const trial = await this.#attempt('a', { interference: { at: atStep('verify-running'), do: 'stop' } });
        if (!trial.interfered) throw new NotTried(`A did not come to run on trial: ${said(trial)}`);
        const result = await this.#attempt('b');
        const ended = result.record?.remarks.some(({ code }) => code === 'TRIAL_ENDED') === true;
        const fellBack = isThere(result) && ended && result.bytes === 0;
        return judged(result, fellBack, fellBack ? 'B runs again' : `it went on with A; then B: ${said(result)}`);
      },
    };
  }

  /** Brings the unit to B, whatever went before, and says how it is. */
  async #leave(): Promise<string> {
    const { serial } = this.#setting;
    const b = applicationOf(this.#firmware.b, this.#setting.profile);
    try {
      const result = await this.#attempt('b');
      if (isThere(result)) return `${serial} was left with B (${formatVersion(b)}), confirmed.`;
      return `${serial} was NOT left with B: ${said(result)}. Look at it before it is used.`;
    } catch (error) {
      return `${serial} was NOT left with B, as far as is known: ${asStationError(error).message} Look at it before it is used.`;
    }
  }

  /** What the station learnt of the product's servers while they ran either firmware. */
  #learnt(): LearntFacts {
    const { profile, reader } = this.#setting;
    const hashes = [this.#firmware.b, this.#firmware.a].flatMap(({ images }) =>
      images.map(({ image }) => image.runsAs),
    );
    const ours = reader
      .learnt(profile.product)
      .filter(({ running }) => hashes.some((hash) => running.endsWith(` ${hash.slice(0, 8)}`)));
    const known = (name: keyof LearntFacts) => ours.map(({ facts }) => facts[name]).find((value) => value !== null);
    return Object.assign(
      { ...NOTHING_LEARNT },
      ...(Object.keys(NOTHING_LEARNT) as (keyof LearntFacts)[]).map((name) => ({ [name]: known(name) ?? null })),
    );
  }

  #measurements(learnt: LearntFacts): QualificationCheck[] {
    const { profile } = this.#setting;
    const record = this.#measured?.record ?? null;
    const facts = record?.link?.facts ?? null;
    const unknown = { verdict: 'not-tried', why: 'the platform does not tell, or no upgrade was measured' } as const;
    const longest = this.#longestRestartMs();
    const oneWrite = profile.upgrade.frames === 'one-write';
    return [
      check('goodput', 'how fast B was uploaded', {
        value: this.#measured?.bytesPerSecond ?? null,
        holds: () => true,
        say: (value) => `${(value / 1000).toFixed(1)} kB/s`,
        unknown,
      }),
      check('MTU', `at least ${GOOD_MTU}`, {
        value: facts?.mtu ?? null,
        holds: (mtu) => mtu >= GOOD_MTU,
        say: String,
        unknown,
      }),
      check('data length', `packets of ${FULL_PACKET} octets`, {
        value: facts?.dataLength ?? null,
        holds: (octets) => octets >= FULL_PACKET,
        say: (octets) => `${octets} octets`,
        unknown,
      }),
      check('PHY', profile.link.phy === '1M' ? 'as the profile says: 1M' : '2M', {
        value: facts?.phy ?? null,
        holds: (phy) => phy === (profile.link.phy === '1M' ? '1M' : '2M'),
        say: String,
        unknown,
      }),
      check('connection interval', 'it keeps the interval that it was given', {
        value: facts?.intervalChanges ?? null,
        holds: (changes) => changes.length === 0,
        say: (changes) =>
          changes.length === 0
            ? `${facts?.intervalMs} ms`
            : `changed to ${changes.map(([, ms]) => `${ms} ms`).join(', ')}`,
        unknown,
      }),
      check('reassembly', oneWrite ? 'frames of one write, as the profile says' : 'it joins the writes of a frame', {
        value: learnt.frames,
        holds: (frames) => oneWrite || frames === 'joined',
        say: (frames) => (frames === 'joined' ? 'yes' : 'no: one write a frame'),
        detail:
          learnt.frames === 'one-write' && !oneWrite
            ? 'say upgrade: {frames: one-write}, or build it with CONFIG_MCUMGR_TRANSPORT_BT_REASSEMBLY'
            : null,
        unknown: {
          verdict: 'not-tried',
          why:
            profile.protocol === 'fus'
              ? 'FUS frames have parts of their own'
              : 'it names no buffers that hold more than one write',
        },
      }),
      check('window', 'requests in flight that it takes', {
        value: learnt.window ?? record?.link?.window ?? null,
        holds: (window) => window >= 1,
        say: String,
        unknown,
      }),
      check('erase', 'how long the first request of an upload takes', {
        value: learnt.eraseMs,
        holds: () => true,
        say: seconds,
        unknown,
      }),
      check('restart', `back within swapTimeoutS (${profile.upgrade.swapTimeoutS} s)`, {
        value: longest,
        holds: (ms) => ms <= profile.upgrade.swapTimeoutS * 1000,
        say: (ms) => `${seconds(ms)} at most, of ${this.#restartsMs.length}`,
        unknown,
      }),
      check('security', profile.security === 'just-works' ? 'links are encrypted' : 'what the device asks for', {
        value: facts?.security ?? null,
        holds: ({ level }) => profile.security === 'none' || level === 'just-works',
        say: ({ level, pairing, keyBits }) =>
          level === 'none' ? 'none' : `${level}, ${pairing ?? 'a key from before'}, ${keyBits ?? '?'} bits`,
        unknown,
      }),
      this.#identity(),
    ];
  }

  #identity(): QualificationCheck {
    const links = this.#records.flatMap(({ identities }) => identities);
    const proofs = [...new Set(links.map(({ proof }) => proof ?? 'not proven'))];
    return check('identity', 'each link is proven to lead to the unit', {
      value: links.length > 0 ? links : null,
      holds: (all) => all.every(({ proof }) => proof !== null),
      say: (all) => `${all.length} links: ${proofs.join(', ')}`,
      detail: links.some(({ reported }) => reported !== null) ? 'the device reports a serial of its own' : null,
      unknown: { verdict: 'not-tried', why: 'there was no link' },
    });
  }

  #longestRestartMs(): number | null {
    return this.#restartsMs.length > 0 ? Math.max(...this.#restartsMs) : null;
  }

  #profileValues(learnt: LearntFacts): string {
    const { profile } = this.#setting;
    const facts = this.#measured?.record?.link?.facts ?? null;
    const longest = this.#longestRestartMs();
    const window = learnt.window ?? this.#measured?.record?.link?.window ?? null;
    const encrypted = facts?.security?.level === 'just-works';
    const { from, pattern, newAddress } = profile.identity;
    return stringify({
      product: profile.product,
      protocol: profile.protocol,
      identity: { from, ...(pattern === undefined ? {} : { pattern }), newAddress },
      security: encrypted ? 'just-works' : profile.security,
      ...(facts?.phy === '1M' ? { link: { phy: '1M' } } : {}),
      upgrade: {
        mode: profile.upgrade.mode,
        ...(window === null ? {} : { window }),
        ...(learnt.frames === 'one-write' ? { frames: 'one-write' } : {}),
        ...(longest === null
          ? {}
          : { swapTimeoutS: Math.max(LEAST_SWAP_TIMEOUT_S, Math.ceil((SWAP_MARGIN * longest) / 1000)) }),
      },
    });
  }
}

/** Something that was not tried, and why. */
class NotTried extends Error {}

function isThere({ outcome }: TrialResult): boolean {
  return outcome === 'pass' || outcome === 'skipped';
}

function said({ outcome, code, detail }: TrialResult): string {
  return [outcome, code, detail && `(${detail})`].filter(Boolean).join(' ');
}

function judged(result: TrialResult, held: boolean, found = said(result)) {
  const attempt = result.record ? `attempt ${result.record.id}` : null;
  return { found, verdict: held ? 'held' : 'not-held', detail: attempt } as const;
}

function provenBy(result: TrialResult): string {
  return result.record?.proof ? `${said(result)}, ${result.record.proof}` : said(result);
}

function afterAttempts(result: TrialResult): string {
  return result.attempts === 1 ? said(result) : `${said(result)} after ${result.attempts} attempts`;
}

function resumption(result: TrialResult): string {
  const where = result.resumedFrom === null ? 'sent anew from the beginning' : `went on at ${result.resumedFrom}`;
  return `${said(result)}, ${where}`;
}

function applicationOf({ images }: FirmwarePackage, { upgrade }: ProductProfile) {
  const application = images.find(({ index }) => index === upgrade.applicationImage);
  if (!application) throw new StationError('ARGUMENT_INVALID', `the firmware has no image ${upgrade.applicationImage}`);
  return application.image.version;
}

/** From each reset of an attempt until the unit was connected again. */
function restartsOf({ steps }: AttemptDetail): number[] {
  return steps.flatMap((step, at) => {
    const next = steps[at + 1];
    if (step.name !== 'reset' || next?.name !== 'reconnect' || next.code !== null) return [];
    return [next.startedMs + next.durationMs - step.startedMs];
  });
}
