import { type Clock, sleep } from '../clock.ts';
import { asStationError, type ErrorCode, StationError } from '../contract/errors.ts';
import type { ImageSummary, JobEvent } from '../contract/job-events.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import {
  type IdentityProof,
  type OrderAnomaly,
  type OrderVerdict,
  type Outcome,
  outcomeOf,
  type StepName,
} from '../contract/records.ts';
import { packCapture } from '../diagnostics/capture-file.ts';
import { judgeOrder, type SeenValue } from '../diagnostics/order-verdict.ts';
import type { FirmwarePackage } from '../firmware/firmware-package.ts';
import type { DfuDriver, SlotState, UpgradeContext, UploadFigures } from '../protocols/driver.ts';
import type { Bond, BondStore, CaptureContent, Link, LinkFacts, Radio, SecurityPolicy } from '../radio/radio.ts';
import { isBondWith } from '../radio/security/link-security.ts';
import { PassingBonds } from '../records/bond-store.ts';
import type { LessonStore } from '../records/lesson-store.ts';
import type { AttemptWriter } from '../records/record-writer.ts';
import type { AirWatch } from './air-watch.ts';
import { SUPERVISION_TIMEOUT_MS } from './link-plan.ts';
import type { Candidate, LinkPlace, PlannedInterval, RadioPool } from './radio-pool.ts';
import { type FrameRecord, RecordedLink } from './recorded-link.ts';
import type { RestartTimes } from './restart-times.ts';
import { type Claim, DUPLICATE_WATCH_MS, type UnitIdentity } from './unit-identity.ts';

const FIND_TIMEOUT_MS = 15_000;
const CONNECT_TIMEOUT_MS = 3_000;
/** A radio that has not heard the unit for this long is not the one to connect through. */
const HEARD_RECENTLY_MS = 10_000;
/** A unit that was last heard this long ago is listened for again before it is connected to. */
const HEARD_STALE_MS = 20_000;
/** Two devices heard within this time are two devices, not one under a new address. */
const HEARD_TOGETHER_MS = 2_000;
const CONNECT_TRIES = 3;
/** What made a try fail is rarely over at once: before the next one, and four times as long before the one after. */
const BACK_OFF_MS = 250;
const BACK_OFF_FACTOR = 4;
/** Values of one link beyond which its order is not argued about any more. */
const MAX_SEEN = 200_000;
const SIGNAL_EVERY_MS = 1000;
const DEVICE_INFORMATION = '180a';
const SERIAL_NUMBER_STRING = '2a25';
const BATTERY_SERVICE = '180f';
const BATTERY_LEVEL = '2a19';
/** Bond Management Service 1.0: delete the bond of the requesting device on LE. */
const BOND_MANAGEMENT_SERVICE = '181e';
const BOND_CONTROL_POINT = '2aa4';
const DELETE_BOND_OF_REQUESTING_DEVICE = 0x03;

/** A unit that is to be upgraded: which device it is, as far as that can be told without connecting. */
export interface Unit {
  readonly serial: string;
  readonly slot: string | null;
  /** The address of its last link, or under which it was found. */
  address: string;
  readonly identity: UnitIdentity;
  /** Its Device Information Service was asked once and has no serial, or does not answer: it is not asked again. */
  reportsNothing: boolean;
  /** When its last link ended: only what is heard of it afterwards counts. */
  heardSinceMs: number;
  /** The same, whatever led nowhere since. */
  linkEndedMs: number;
}

/** What sessions share. */
export interface SessionSetting {
  readonly firmware: FirmwarePackage;
  readonly profile: ProductProfile;
  readonly driver: DfuDriver;
  readonly clock: Clock;
  readonly watch: AirWatch;
  readonly pool: RadioPool;
  /** The connection interval that suits what the radio carries now; `questions` when only a few are to be asked. */
  readonly intervalMs: (radio: Radio, questions: boolean) => PlannedInterval;
  /** How long the job's units are gone when they restart. */
  readonly restarts: RestartTimes;
  /** Where bonds are kept for good. */
  readonly bonds: BondStore;
  /** What earlier units of the product taught. */
  readonly lessons: LessonStore;
  readonly signal: AbortSignal;
  readonly emit: (event: JobEvent) => void;
}

/** How one attempt ended. */
export interface AttemptResult {
  readonly outcome: Outcome;
  readonly code: ErrorCode | null;
  readonly detail: string | null;
  readonly retryable: boolean;
  /** The unit is held from now on. */
  readonly quarantined: boolean;
  readonly images: readonly ImageSummary[];
  readonly bytes: number;
  readonly uploadMs: number;
  readonly resumedFrom: number | null;
}

/** One attempt at one unit: it connects the driver to the radios and everything that happens to the record. */
export class UnitSession {
  readonly #unit: Unit;
  readonly #setting: SessionSetting;
  readonly #record: AttemptWriter;
  #place: LinkPlace | null = null;
  #radio: Radio | null = null;
  #link: Link | null = null;
  #recorded: RecordedLink | null = null;
  #facts: LinkFacts | null = null;
  #rssi: number | null = null;
  #connects = 0;
  /** How the device of the present link is known to be the unit. */
  #proven: { readonly proof: IdentityProof; readonly address: string; readonly atMs: number } | null = null;
  /** The unit has been found fit to be written. */
  #checked = false;
  /** The unit was told to restart: that its link ends is no failure. */
  #restarting = false;
  /** It has not been heard since it was told to. */
  #gone = false;
  /** It has restarted after its upload: what is left are questions. */
  #restarted = false;
  readonly #uploads: UploadFigures[] = [];
  /** What is known of each image, should the attempt fail. */
  #images: readonly ImageSummary[] = [];
  readonly #signal: [number, number][] = [];
  readonly #anomalies: OrderAnomaly[] = [];
  readonly #channels: string[] = [];
  /** What the application saw of each link, in order, where order is watched. */
  readonly #stories: { readonly link: Link; readonly seen: SeenValue[] }[] = [];
  readonly #security: SecurityPolicy;
  /** The bonds that there are, as of the last search for the unit. */
  #knownBonds: readonly Bond[] | null = null;
  readonly #startedMs: number;
  /** Aborts when what happens can no longer be written down: then nothing more may happen. */
  readonly #unrecorded = new AbortController();

  readonly #frames: FrameRecord = {
    channel: (name) => {
      const number = this.#record.channel(name);
      this.#channels[number] = name;
      return number;
    },
    frame: (atMs, frame) => {
      this.#see(frame.channel, frame.direction, frame.bytes);
      this.#write(() => this.#record.frame(atMs, frame));
    },
  };

  constructor(unit: Unit, setting: SessionSetting, record: AttemptWriter) {
    this.#unit = unit;
    this.#startedMs = setting.clock.now();
    this.#setting = { ...setting, signal: AbortSignal.any([setting.signal, this.#unrecorded.signal]) };
    this.#record = record;
    const { security, bond, lostBond } = setting.profile;
    this.#security = {
      required: security === 'just-works',
      bonds: bond === 'keep' ? setting.bonds : bond === 'remove-after' ? new PassingBonds() : null,
      pairAgain: lostBond === 'pair-again',
    };
  }

  /**
   * Runs the attempt to its end; never rejects for anything that the unit did. The outcome is committed when it resolves. A unit that is
   * not tried again is quarantined when `blamed` says that its code is the unit's own.
   * @throws StationError when the attempt cannot be recorded
   */
  async run(blamed: (code: ErrorCode) => boolean, lastTry: boolean): Promise<AttemptResult> {
    try {
      return await this.#finish(await this.#attempt(), blamed, lastTry);
    } finally {
      for (const { link } of this.#stories) link.evidence?.release();
    }
  }

  /** Commits what the attempt came to. @throws StationError when it cannot be recorded */
  async #finish(
    ended: Omit<AttemptResult, 'quarantined'>,
    blamed: (code: ErrorCode) => boolean,
    lastTry: boolean,
  ): Promise<AttemptResult> {
    const quarantined = ended.code !== null && (lastTry || !ended.retryable) && blamed(ended.code);
    const result = { ...ended, quarantined };
    // Left open, the attempt is closed as interrupted at the next start: an outcome with gaps in its record is none.
    this.#unrecorded.signal.throwIfAborted();
    const captures = await this.#captures(result.outcome);
    const verdict = this.#verdict(captures);
    this.#keepCapture(captures);
    const { outcome, code, detail, images, bytes, uploadMs, resumedFrom } = result;
    const last = this.#uploads.at(-1);
    this.#record.finish(
      {
        outcome,
        code,
        detail,
        address: this.#unit.address,
        radio: this.#radio && { name: this.#radio.name, address: this.#radio.address },
        images,
        link: {
          facts: this.#facts,
          rssi: this.#rssi,
          window: last?.window ?? null,
          resends: this.#uploads.reduce((sum, upload) => sum + upload.resends, 0),
          reconnects: Math.max(0, this.#connects - 1),
          bytes,
          bytesPerSecond: uploadMs > 0 ? (bytes / uploadMs) * 1000 : null,
        },
        resumedFrom,
        uploadMs,
        signal: this.#signal,
        verdict,
      },
      quarantined ? code : null,
    );
    return result;
  }

  async #attempt(): Promise<Omit<AttemptResult, 'quarantined'>> {
    const figures = () => ({
      bytes: this.#uploads.reduce((sum, upload) => sum + upload.sentBytes, 0),
      uploadMs: this.#uploads.reduce((sum, upload) => sum + upload.durationMs, 0),
      resumedFrom: this.#uploads.findLast((upload) => upload.fromOffset > 0)?.fromOffset ?? null,
    });
    try {
      const { outcome, images } = await this.#setting.driver.upgrade(this.#context());
      this.#refuseDouble();
      await this.#removeBond();
      return { outcome, code: null, detail: null, retryable: false, images, ...figures() };
    } catch (thrown) {
      const error = asStationError(thrown);
      const { code, detail, retryable } = error;
      return { outcome: outcomeOf(code), code, detail: detail || null, retryable, images: this.#images, ...figures() };
    } finally {
      await this.#letGo();
    }
  }

  /**
   * A device that was taken at a new address by the profile's leave alone is not the unit when the unit is heard elsewhere meanwhile.
   * @throws StationError DUPLICATE_IDENTITY
   */
  #refuseDouble(): void {
    const proven = this.#proven;
    if (proven?.proof !== 'allowed') return;
    const others = this.#claims(this.#setting.clock.now() - proven.atMs)
      .filter(({ device }) => device.address !== proven.address)
      .filter(mayBeTheUnit);
    if (others.length > 0)
      throw new StationError(
        'DUPLICATE_IDENTITY',
        [proven, ...others.map(({ device }) => device)].map(({ address }) => address).join(', '),
      );
  }

  /** Has the device forget a bond that was for this attempt only. @throws StationError BOND_LEFT */
  async #removeBond(): Promise<void> {
    const link = this.#recorded;
    const bonds = this.#security.bonds?.list() ?? [];
    if (this.#setting.profile.bond !== 'remove-after' || !link || bonds.length === 0) return;
    await this.#step('remove-bond', async () => {
      try {
        const control = await link.characteristic(BOND_MANAGEMENT_SERVICE, BOND_CONTROL_POINT);
        await link.write(control, Buffer.of(DELETE_BOND_OF_REQUESTING_DEVICE));
      } catch (error) {
        const { message, retryable } = asStationError(error);
        throw new StationError('BOND_LEFT', message, { cause: error, retryable });
      }
      // Only the adapter that has a bond can have it deleted.
      const left = bonds.filter(({ ownAddress }) => ownAddress !== this.#radio?.address);
      if (left.length > 0)
        throw new StationError('BOND_LEFT', `with ${left.map((bond) => bond.ownAddress).join(', ')}`);
    });
  }

  #context(): UpgradeContext {
    const { firmware, profile, clock, signal, emit, lessons } = this.#setting;
    const unit = this.#unit.serial;
    return {
      firmware,
      profile,
      clock,
      signal,
      connect: (withinMs) => this.#connect(withinMs),
      step: (name, work) => this.#step(name, work),
      progress: (image, bytes, totalBytes) => {
        this.#place?.fill(true);
        emit({ type: 'progress', unit, image, bytes, totalBytes });
      },
      slots: (when, slots) => this.#write(() => this.#record.slots(when, slots.map(slotRecord))),
      anomaly: (anomaly) => {
        this.#anomalies.push(anomaly);
        this.#link?.evidence?.mark();
        this.#write(() => this.#record.anomaly(anomaly));
      },
      uploaded: (upload) => {
        this.#place?.fill(false);
        this.#uploads.push(upload);
        this.#facts = this.#link?.facts() ?? this.#facts;
      },
      images: (results) => {
        this.#images = results;
      },
      learnt: (running) => lessons.learnt(profile.product, running),
      learn: (running, lesson) => this.#write(() => lessons.learn(profile.product, running, lesson)),
      remark: (finding) => this.#write(() => this.#record.remark(finding)),
    };
  }

  /** A value from the device, for the argument about order. */
  #see(channel: number, direction: 'to-device' | 'from-device', bytes: Buffer): void {
    const { fus } = this.#setting.profile;
    const uuid = this.#channels[channel];
    const story = this.#stories.at(-1);
    if (!fus || !story || direction !== 'from-device' || uuid === undefined) return;
    if (uuid !== fus.response.uuid && uuid !== fus.dataOut.uuid) return;
    if (story.seen.length < MAX_SEEN) story.seen.push({ uuid, value: bytes });
  }

  /** What crossed HCI on each link, taken out of memory once; null where the profile wants none, or there is none. */
  async #captures(outcome: Outcome): Promise<readonly (CaptureContent | null)[]> {
    const { capture } = this.#setting.profile;
    const wrong = outcome === 'fail' || outcome === 'error' || this.#anomalies.length > 0;
    const wanted = capture === 'always' || (capture === 'on-anomaly' && wrong);
    return Promise.all(
      this.#stories.map(async ({ link }) => (wanted ? ((await link.evidence?.content()) ?? null) : null)),
    );
  }

  #verdict(captures: readonly (CaptureContent | null)[]): OrderVerdict | null {
    const { fus } = this.#setting.profile;
    if (!fus) return null;
    const links = this.#stories.map(({ seen }, index) => ({ seen, capture: captures[index] ?? null }));
    return judgeOrder(fus, this.#anomalies, links);
  }

  /** What was taken is kept with the attempt. */
  #keepCapture(captures: readonly (CaptureContent | null)[]): void {
    const contents = captures.flatMap((content) => content ?? []);
    const packets = contents.flatMap((content) => content.packets);
    const leftOut = contents.reduce((sum, content) => sum + content.leftOut, 0);
    if (packets.length > 0) this.#write(() => this.#record.capture(packCapture(packets), packets.length, leftOut));
  }

  /** Writes to the record; what fails there ends the attempt, and must not be thrown into the radio's face. */
  #write(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#unrecorded.abort(asStationError(error));
    }
  }

  async #step<T>(name: StepName, work: () => Promise<T>): Promise<T> {
    const { clock, emit } = this.#setting;
    emit({ type: 'step', unit: this.#unit.serial, step: name });
    const startedMs = clock.now();
    this.#restarting = name === 'reset';
    if (name === 'reset') this.#gone = true;
    if (name === 'reset' || name === 'upload') this.#restarted = name === 'reset';
    try {
      const value = await work();
      this.#write(() => this.#record.step(name, startedMs, null));
      return value;
    } catch (error) {
      this.#write(() => this.#record.step(name, startedMs, asStationError(error)));
      throw error;
    }
  }

  async #connect(withinMs = FIND_TIMEOUT_MS): Promise<Link> {
    await this.#letGo();
    const { clock } = this.#setting;
    const until = clock.now() + withinMs;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#connectOnce(Math.max(until - clock.now(), 0));
      } catch (error) {
        const full = error instanceof StationError && error.code === 'RADIO_FULL';
        const stranger = error instanceof StationError && error.code === 'ADDRESS_NOT_PROVEN';
        if (!full && !stranger) {
          this.#place?.failed();
          // What was heard before led nowhere: it is listened for anew.
          this.#unit.heardSinceMs = clock.now();
        }
        await this.#letGo();
        // Another device that gave itself out for the unit: the unit itself may still come.
        if (stranger && clock.now() < until) {
          attempt -= 1;
          continue;
        }
        const again =
          error instanceof StationError &&
          error.retryable &&
          error.code !== 'UNIT_NOT_FOUND' &&
          error.code !== 'DUPLICATE_IDENTITY';
        if (full) attempt -= 1;
        else if (!again || attempt >= CONNECT_TRIES || clock.now() >= until) throw error;
        else {
          const pauseMs = BACK_OFF_MS * BACK_OFF_FACTOR ** (attempt - 1);
          await sleep(clock, Math.min(pauseMs, Math.max(0, until - clock.now())), this.#setting.signal);
        }
      }
    }
  }

  async #connectOnce(withinMs: number): Promise<Link> {
    const { clock, watch, pool, profile, signal, intervalMs, emit, restarts } = this.#setting;
    this.#knownBonds = null;
    this.#proven = null;
    let claim: Claim | null;
    do {
      const absentMs = this.#gone ? restarts.absentMs : 0;
      const heard = () => (this.#candidates().length > 0 ? this.#find() : null);
      claim = await watch.until(heard, withinMs, signal, absentMs);
      if (!claim) throw this.#notFound(withinMs);
      if (this.#gone) restarts.seen(clock.now() - this.#unit.heardSinceMs);
      this.#gone = false;
      this.#place = await pool.acquire(this.#unit.serial, () => this.#candidates(), this.#connects > 0, signal);
      // No place: the radios that heard it are gone, and another has to.
    } while (!this.#place);
    const radio = this.#place.radio;
    this.#radio = radio;
    await this.#hearAgain(radio, withinMs);
    // Its address may have changed while it waited for a place.
    claim = this.#find() ?? claim;
    const { address, heard } = claim.device;
    this.#rssi = heard.get(radio)?.rssi ?? null;
    const link = await radio.connect(address, {
      intervalMs: this.#place.intervalMs(intervalMs(radio, this.#restarted)),
      supervisionTimeoutMs: SUPERVISION_TIMEOUT_MS,
      timeoutMs: CONNECT_TIMEOUT_MS,
      phy: profile.link.phy === '1M' ? '1M' : '2M',
      security: this.#security,
      signal,
    });
    this.#link = link;
    this.#connects += 1;
    const place = this.#place;
    emit({ type: 'linked', unit: this.#unit.serial, radio: radio.name, address, rssi: this.#rssi });
    const stopWatching = this.#watchSignal(link);
    void link.ended.then((reason) => {
      if (reason.code === 'LINK_LOST' && !this.#restarting) place.failed();
      stopWatching();
      if (this.#link === link) {
        this.#unit.heardSinceMs = clock.now();
        this.#unit.linkEndedMs = clock.now();
      }
      place.release();
      emit({ type: 'unlinked', unit: this.#unit.serial });
    });
    this.#stories.push({ link, seen: [] });
    const recorded = new RecordedLink(link, this.#frames, clock);
    this.#recorded = recorded;
    if (this.#checked) await this.#identify(recorded, claim);
    else await this.#step('check-unit', () => this.#checkUnit(recorded, claim));
    this.#unit.address = address;
    return recorded;
  }

  /** A unit that has waited long for its place is listened for again: it may be gone, or have another address. @throws StationError UNIT_NOT_FOUND, RADIO_LOST */
  async #hearAgain(radio: Radio, withinMs: number): Promise<void> {
    const { clock, watch, signal } = this.#setting;
    const heardLately = () => {
      const now = clock.now();
      const claim = this.#find();
      const atMs = claim?.device.heard.get(radio)?.atMs ?? Number.NEGATIVE_INFINITY;
      return now - atMs < HEARD_STALE_MS ? claim : null;
    };
    if (!(await watch.until(heardLately, withinMs, signal))) throw this.#notFound(withinMs);
  }

  /** That a unit is not heard says nothing of it when the radio that it was on is gone, or all are. */
  #notHeard(withinMs: number): StationError {
    const { radios } = this.#setting.pool;
    const lost = radios.length === 0 || (this.#radio !== null && !radios.includes(this.#radio));
    const detail = lost ? (this.#radio?.name ?? '') : `not heard for ${Math.round(withinMs / 1000)} s`;
    return new StationError(lost ? 'RADIO_LOST' : 'UNIT_NOT_FOUND', detail, { retryable: true });
  }

  /** Asks for the signal strength now and then until the link is over. */
  #watchSignal(link: Link): () => void {
    const { clock, emit } = this.#setting;
    let cancel: () => void = () => undefined;
    const ask = async () => {
      try {
        const rssi = await link.rssi();
        if (rssi !== null) {
          this.#signal.push([Math.round(clock.now() - this.#startedMs), rssi]);
          emit({ type: 'signal', unit: this.#unit.serial, rssi });
        }
        cancel = clock.after(SIGNAL_EVERY_MS, ask);
      } catch (error) {
        // Only the link's end is expected here, and that is told elsewhere.
        if (!(error instanceof StationError)) throw error;
      }
    };
    cancel = clock.after(SIGNAL_EVERY_MS, ask);
    return () => cancel();
  }

  /**
   * The unit as it is heard since its last link ended; null while nobody is, or a new address has not been watched long enough.
   * @throws StationError DUPLICATE_IDENTITY, IDENTITY_CHANGED
   */
  #find(): Claim | null {
    const now = this.#setting.clock.now();
    for (const { device, standing } of this.#claims(HEARD_TOGETHER_MS)) {
      // For a moment it may be heard under the name that another part of its firmware has.
      if (standing.kind === 'changed' && now - device.serialSinceMs >= DUPLICATE_WATCH_MS)
        throw new StationError('IDENTITY_CHANGED', standing.detail);
    }
    this.#refuseTwo(this.#claims(HEARD_TOGETHER_MS));
    const chosen = this.#chosen();
    // A new address is believed only as long as it was the only one, ever since the unit went.
    if (chosen?.standing.kind === 'new')
      this.#refuseTwo(this.#claims(Number.POSITIVE_INFINITY, this.#unit.linkEndedMs));
    return chosen;
  }

  /** Two devices of one identity: addresses that one bond resolves are one. @throws StationError DUPLICATE_IDENTITY */
  #refuseTwo(claims: readonly Claim[]): void {
    if (this.#asksMany) return;
    const able = claims.filter(mayBeTheUnit);
    const bonded = able.filter(hasBond);
    if (able.length - bonded.length + Math.min(bonded.length, 1) < 2) return;
    const addresses = able.map(({ device }) => device.address).join(', ');
    throw new StationError('DUPLICATE_IDENTITY', addresses, { retryable: true });
  }

  /** Devices that advertise no serial are all alike until they are asked. */
  get #asksMany(): boolean {
    return this.#setting.profile.identity.from === 'dis-serial';
  }

  /** The device to connect to: one that is known before one that has to be proven, the one that was heard last before others. */
  #chosen(): Claim | null {
    const now = this.#setting.clock.now();
    const listened = ({ device, standing }: Claim) =>
      standing.kind === 'known' || now - Math.max(device.firstMs, this.#unit.heardSinceMs) >= DUPLICATE_WATCH_MS;
    const of = (claims: readonly Claim[]) => {
      const able = claims.filter(mayBeTheUnit).filter(listened);
      return latest(able.filter(isKnown)) ?? latest(able);
    };
    return of(this.#claims(HEARD_RECENTLY_MS)) ?? of(this.#claims(Number.POSITIVE_INFINITY));
  }

  /** Devices that have to do with the unit and were heard within `withinMs`, and since its last link ended or led nowhere. */
  #claims(withinMs: number, sinceMs = this.#unit.heardSinceMs): Claim[] {
    const { identity, linkEndedMs } = this.#unit;
    const earliestMs = this.#setting.clock.now() - withinMs;
    return this.#setting.watch.devices().flatMap((device) => {
      const standing = identity.standing(device, () => this.#bonds(), linkEndedMs);
      const heard = [...device.heard.values()].some(({ atMs }) => atMs >= earliestMs && atMs > sinceMs);
      if (!standing || !heard) return [];
      return [{ device, standing }];
    });
  }

  /** Why the unit was not found: what was heard in its place says more than that it was not heard. */
  #notFound(withinMs: number): StationError {
    const { address, heardSinceMs } = this.#unit;
    const claims = this.#claims(Number.POSITIVE_INFINITY);
    const changed = claims.find(({ standing }) => standing.kind === 'changed')?.standing;
    if (changed?.kind === 'changed') return new StationError('IDENTITY_CHANGED', changed.detail);
    const other = this.#setting.watch.refused().find((each) => each.address === address && each.atMs > heardSinceMs);
    if (other) return new StationError('IDENTITY_CHANGED', other.detail);
    const refused = claims.flatMap(({ standing }) => (standing.kind === 'refused' ? [standing.detail] : []));
    if (refused.length > 0) return new StationError('ADDRESS_NOT_PROVEN', refused.join('; '));
    return this.#notHeard(withinMs);
  }

  /** Radios that hear the unit, those that did so lately; of a unit whose bond has to be removed, the one that can, while it is there. */
  #candidates(): Candidate[] {
    const device = this.#chosen()?.device;
    if (!device) return [];
    const now = this.#setting.clock.now();
    const heard = [...device.heard].filter(([, { atMs }]) => atMs > this.#unit.heardSinceMs);
    const recently = heard.filter(([, { atMs }]) => now - atMs < HEARD_RECENTLY_MS);
    const adapters = this.#adaptersBonded(device.address);
    const bonded = (radio: Radio) => radio.address !== null && adapters.has(radio.address);
    const candidates = (recently.length > 0 ? recently : heard).map(([radio, { rssi }]) => ({
      radio,
      rssi,
      bonded: bonded(radio),
    }));
    const { profile, pool } = this.#setting;
    if (profile.bond !== 'remove-after' || !pool.radios.some(bonded)) return candidates;
    return candidates.filter((candidate) => candidate.bonded);
  }

  /** The addresses of the adapters that the device has a bond with. */
  #adaptersBonded(address: string): ReadonlySet<string> {
    const bonds = this.#bonds().filter((bond) => isBondWith(bond, { address, random: true }));
    return new Set(bonds.map(({ ownAddress }) => ownAddress));
  }

  #bonds(): readonly Bond[] {
    this.#knownBonds ??= this.#security.bonds?.list() ?? [];
    return this.#knownBonds;
  }

  /** Before anything is written for the first time: who the device is, and its battery. */
  async #checkUnit(link: Link, claim: Claim): Promise<void> {
    const { profile } = this.#setting;
    await this.#identify(link, claim);
    if (profile.batteryMin !== undefined) {
      const value = await this.#readValue(link, BATTERY_SERVICE, BATTERY_LEVEL, 'BATTERY_UNREADABLE');
      const level = value[0];
      if (level === undefined || level > 100) throw new StationError('BATTERY_UNREADABLE', value.toString('hex'));
      if (level < profile.batteryMin)
        throw new StationError('BATTERY_LOW', `${level} %, at least ${profile.batteryMin} %`);
    }
    this.#checked = true;
  }

  /** Proves on every link, before it is given to anybody, that the device is the unit; what it rests on goes on record either way. */
  async #identify(link: Link, claim: Claim): Promise<void> {
    const { device } = claim;
    let reported: string | null = null;
    let proof: IdentityProof | null = null;
    let error: StationError | null = null;
    try {
      reported = await this.#reportedSerial(link);
      proof = this.#unit.identity.prove(claim, reported);
      this.#proven = { proof, address: device.address, atMs: this.#setting.clock.now() };
    } catch (thrown) {
      error = asStationError(thrown);
      throw error;
    } finally {
      const { address, name, serial: advertised } = device;
      const [code, detail] = [error?.code ?? null, error?.detail || null];
      const seen = { link: this.#connects, address, name, advertised, reported, proof, code, detail };
      this.#write(() => this.#record.identity({ ...seen, atMs: this.#setting.clock.now() }));
    }
  }

  /** The serial that the device itself reports. Where it is a second source only, that it has none, or refuses, is no fault. */
  async #reportedSerial(link: Link): Promise<string | null> {
    const { from, secondSource } = this.#setting.profile.identity;
    const needed = from === 'dis-serial';
    if (!needed && (secondSource === 'none' || this.#unit.reportsNothing)) return null;
    try {
      const value = await this.#readValue(link, DEVICE_INFORMATION, SERIAL_NUMBER_STRING, 'IDENTITY_UNREADABLE');
      return value.toString('utf8');
    } catch (error) {
      const { code, retryable } = asStationError(error);
      if (code === 'IDENTITY_UNREADABLE' || code === 'ATT_TIMEOUT') this.#unit.reportsNothing = true;
      if (needed || retryable) throw error;
      return null;
    }
  }

  async #readValue(link: Link, service: string, uuid: string, code: ErrorCode): Promise<Buffer> {
    try {
      return await link.read(await link.characteristic(service, uuid));
    } catch (error) {
      if (error instanceof StationError && error.retryable) throw error;
      throw new StationError(code, error instanceof Error ? error.message : '', { cause: error });
    }
  }

  async #letGo(): Promise<void> {
    await this.#link?.disconnect();
    const last = this.#link?.facts() ?? null;
    // What the upload had tells more than a short link after it; what the security came to, the last link tells.
    if (last)
      this.#facts = this.#facts && this.#uploads.length > 0 ? { ...this.#facts, security: last.security } : last;
    this.#link = null;
    this.#recorded = null;
    this.#place?.release();
    this.#place = null;
  }
}

function latest(claims: readonly Claim[]): Claim | null {
  const at = ({ device }: Claim) => Math.max(...[...device.heard.values()].map(({ atMs }) => atMs));
  return claims.toSorted((a, b) => at(b) - at(a))[0] ?? null;
}

const isKnown = ({ standing }: Claim) => standing.kind === 'known';
const mayBeTheUnit = ({ standing }: Claim) => standing.kind === 'known' || standing.kind === 'new';
const hasBond = ({ standing }: Claim) => standing.kind === 'known' && standing.proof === 'bond';

function slotRecord(state: SlotState) {
  const flags = (['active', 'confirmed', 'pending', 'permanent'] as const).filter((flag) => state[flag]).join(' ');
  return { image: state.image, slot: state.slot, version: state.version, hash: state.hash, flags };
}
