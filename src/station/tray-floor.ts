import type { Clock } from '../clock.ts';
import { emptyTile, type HeardUnit, type Notice, type RadioState, slotNames, type Tile } from '../contract/board.ts';
import { asStationError, type ErrorCode, StationError } from '../contract/errors.ts';
import { visible } from '../contract/foreign-text.ts';
import type { JobEvent, JobSummary } from '../contract/job-events.ts';
import { endedWell } from '../contract/records.ts';
import { LOST_KEY, scannedText } from '../contract/scanned-text.ts';
import type { RadioShelf } from '../radio/radio-shelf.ts';
import type { RecordWriter } from '../records/record-writer.ts';
import { AirWatch, type HeardDevice } from '../scheduler/air-watch.ts';
import { identifyDevice } from '../scheduler/identify.ts';
import type { RadioLoad } from '../scheduler/radio-pool.ts';
import type { BoardStore } from './board-store.ts';
import { checkLabel } from './label-check.ts';
import type { Library, ReadyOrder } from './library.ts';
import type { Practice } from './practice.ts';
import { drivers, Station } from './station.ts';

const AIR_EVERY_MS = 1000;
/** A unit that has not been heard for this long is not in the air any more. */
const AIR_FORGET_MS = 10_000;
const RATE_EVERY_MS = 500;
const MAX_NOTICES = 20;
const MAX_AIR = 200;

/** What the floor works with. */
export interface FloorParts {
  readonly library: Library;
  readonly records: RecordWriter;
  readonly shelf: RadioShelf;
  readonly practice: Practice | null;
  readonly board: BoardStore;
  readonly clock: Clock;
  readonly appVersion: string;
  /** How long START looks for units. */
  readonly findTimeoutMs: () => number;
}

interface Upload {
  /** Bytes by image. */
  readonly images: Map<number, number>;
  lastBytes: number;
}

/**
 * The tray in front of the station: a work order is loaded, units are placed, the tray runs, results stay until the next one. What it
 * shows is on the board; what it refuses it throws.
 */
export class TrayFloor {
  readonly #parts: FloorParts;
  readonly #board: BoardStore;
  #ready: ReadyOrder | null = null;
  #watch: AirWatch | null = null;
  #stopTimers: () => void = () => undefined;
  #running: { stop: AbortController; done: Promise<void> } | null = null;
  readonly #identified = new Set<string>();
  /** The batches that labels of this tray named, by serial. */
  readonly #batches = new Map<string, string>();
  readonly #uploads = new Map<number, Upload>();
  /** What each radio carries, by its name. */
  readonly #loads = new Map<string, RadioLoad>();
  readonly #unwatchShelf: () => void;
  readonly #ended = new AbortController();

  constructor(parts: FloorParts) {
    this.#parts = parts;
    this.#board = parts.board;
    this.#unwatchShelf = parts.shelf.onChange(() => this.#shelfChanged());
    this.#showRadios();
  }

  /** Loads a work order and empties the tray. @throws StationError TRAY_BUSY, LABEL_DAMAGED, and as Library.ready */
  async load(name: string): Promise<void> {
    this.#refuseBusy();
    if (name.includes(LOST_KEY)) throw new StationError('LABEL_DAMAGED', visible(name));
    const ready = await this.#parts.library.ready(scannedText(name).text);
    this.#refuseBusy();
    this.#ready = ready;
    await this.#freshTray(1);
  }

  /** Puts the work order away. @throws StationError TRAY_BUSY */
  unload(): void {
    this.#refuseBusy();
    this.#stopWatching();
    this.#ready = null;
    this.#board.reset([], {
      phase: 'no-job',
      job: null,
      cursor: null,
      ...noResult,
      trayNumber: 0,
      air: [],
      notices: [],
    });
  }

  /**
   * A scan: the name of a slot moves the cursor there; a label places its unit in the cursor's slot, or in the slot that the work order
   * gives it.
   * @throws StationError as checkLabel, NOT_ON_JOB, SCAN_DUPLICATE, UNIT_ALREADY_PASSED, UNIT_QUARANTINED, TRAY_FULL
   */
  scan(code: string): { slot: string; serial: string } | { cursor: string } {
    const { order, profile } = this.#loading();
    const slot = scannedText(code).text.toUpperCase();
    if (this.#board.tiles.some((tile) => tile.slot === slot)) {
      this.select(slot);
      return { cursor: slot };
    }
    const { serial, batch } = checkLabel(code, profile.label, order.units);
    const listed = order.units?.find((unit) => unit.serial === serial);
    if (order.units && !listed) throw new StationError('NOT_ON_JOB', serial);
    if (batch === null) this.#batches.delete(serial);
    else this.#batches.set(serial, batch);
    const own = this.#board.tiles.find((tile) => tile.unit === serial);
    if (own?.state === 'expected' && own.slot) return this.#place(serial, own.slot);
    this.#refuseUnit(serial);
    const { cursor } = this.#board.head;
    if (listed?.slot) return this.#place(serial, listed.slot);
    if (cursor === null) throw new StationError('TRAY_FULL');
    return this.#place(serial, cursor);
  }

  /** Moves the cursor. @throws StationError SLOT_UNKNOWN */
  select(slot: string): void {
    this.#loading();
    if (!this.#board.tiles.some((tile) => tile.slot === slot)) throw new StationError('SLOT_UNKNOWN', slot);
    this.#board.setHead({ cursor: slot });
  }

  /** Takes a unit off a slot. @throws StationError SLOT_UNKNOWN */
  takeOff(slot: string): void {
    const { order } = this.#loading();
    const index = this.#board.tiles.findIndex((tile) => tile.slot === slot);
    const tile = this.#board.tiles[index];
    if (!tile) throw new StationError('SLOT_UNKNOWN', slot);
    const listed = order.units?.find((unit) => unit.slot === slot);
    this.#board.change({
      tiles: [[index, { ...emptyTile(slot), ...(listed ? { unit: listed.serial, state: 'expected' as const } : {}) }]],
      head: { cursor: slot },
    });
  }

  /** Makes a unit in the air show itself, so that it can be placed by hand. @throws StationError UNIT_NOT_FOUND, IDENTIFY_UNSUPPORTED */
  async identify(serial: string): Promise<void> {
    this.#loading();
    const [device, second] = this.#heard().filter((each) => each.serial === serial);
    if (device && second) throw new StationError('DUPLICATE_IDENTITY', `${device.address}, ${second.address}`);
    const radio = device && loudest(device);
    if (!device || !radio) throw new StationError('UNIT_NOT_FOUND', serial);
    const { profile } = this.#current();
    await identifyDevice(radio, device.address, {
      driver: drivers[profile.protocol],
      profile,
      clock: this.#parts.clock,
      signal: this.#ended.signal,
    });
    this.#identified.add(serial);
  }

  /** Places a unit that has shown itself. @throws StationError INPUT_INVALID when it has not, and as scan */
  place(serial: string, slot: string): { slot: string; serial: string } {
    const { order } = this.#loading();
    if (!this.#identified.has(serial)) throw new StationError('INPUT_INVALID', `${serial} has not shown itself`);
    if (order.units && !order.units.some((unit) => unit.serial === serial))
      throw new StationError('NOT_ON_JOB', serial);
    this.#refuseUnit(serial);
    return this.#place(serial, slot);
  }

  /** Starts the tray. Without a placed unit the units are listed by serial. @throws StationError TRAY_NOT_LOADED, NO_RADIO */
  start(operator: string): void {
    const { order } = this.#loading();
    const placed = this.#board.tiles.filter((tile) => tile.unit !== null && isToRun(tile));
    if (placed.length > 0) {
      const units = placed.map(({ unit, slot }) => ({ serial: unit ?? '', slot }));
      return this.#run(operator, units, new Map());
    }
    if (!order.units) return this.#run(operator, null, new Map());
    const passed = this.#passed();
    const open = order.units.filter(({ serial }) => !passed.has(serial));
    if (open.length === 0) throw new StationError('UNIT_ALREADY_PASSED', order.name);
    this.#run(operator, open, new Map());
  }

  /** Stops the tray: units finish their frame and stay bootable. @throws StationError TRAY_NOT_RUNNING */
  stop(): void {
    if (!this.#running) throw new StationError('TRAY_NOT_RUNNING');
    this.#board.setHead({ phase: 'stopping' });
    this.#running.stop.abort(new StationError('STOPPED'));
  }

  /** Runs the units again that did not end as they should. @throws StationError TRAY_NOT_ENDED, NOTHING_TO_RETRY */
  retryFailed(operator: string): void {
    this.#refuseBusy();
    if (!this.#ready) throw new StationError('TRAY_NOT_LOADED');
    if (this.#board.head.phase !== 'ended') throw new StationError('TRAY_NOT_ENDED');
    const failed = this.#board.tiles.filter(hasFailed);
    if (failed.length === 0) throw new StationError('NOTHING_TO_RETRY');
    const repeats = new Map(
      failed.flatMap(({ unit, attemptId, attempt }) =>
        unit && attemptId ? [[unit, { attemptId, number: attempt }] as const] : [],
      ),
    );
    const units = failed.flatMap(({ unit, slot }) => (unit ? [{ serial: unit, slot }] : []));
    this.#run(operator, units, repeats);
  }

  /** Clears the results for the next tray of the same work order. @throws StationError TRAY_BUSY, TRAY_NOT_LOADED */
  async nextTray(): Promise<void> {
    this.#refuseBusy();
    if (!this.#ready) throw new StationError('TRAY_NOT_LOADED');
    this.#ready = await this.#parts.library.ready(this.#ready.order.name);
    this.#refuseBusy();
    await this.#parts.practice?.nextTray();
    await this.#freshTray(this.#board.head.trayNumber + 1);
  }

  get busy(): boolean {
    return this.#running !== null;
  }

  /** Stops a running tray and lets go of everything. */
  async close(): Promise<void> {
    this.#ended.abort(new StationError('STOPPED'));
    this.#unwatchShelf();
    this.#stopWatching();
    this.#running?.stop.abort(new StationError('STOPPED'));
    await this.#running?.done;
  }

  async #freshTray(trayNumber: number): Promise<void> {
    const { order, profileHash } = this.#current();
    const { name, product, firmware, rows, columns } = order;
    const passed = this.#passed();
    this.#identified.clear();
    this.#batches.clear();
    const tiles = slotNames(rows, columns).map((slot): Tile => {
      const unit = order.units?.find((each) => each.slot === slot)?.serial;
      if (unit === undefined) return emptyTile(slot);
      const over = passed.has(unit);
      return { ...emptyTile(slot), unit, state: over ? 'ended' : 'expected', outcome: over ? 'pass' : null };
    });
    const job = { name, product, profileHash, firmware, rows, columns, listed: order.units !== null };
    this.#board.reset(tiles, {
      phase: 'loading',
      job,
      cursor: tiles.find((tile) => tile.state === 'empty')?.slot ?? null,
      ...noResult,
      trayNumber,
      air: [],
      notices: [],
    });
    this.#startWatching();
  }

  #place(serial: string, slot: string): { slot: string; serial: string } {
    const { tiles } = this.#board;
    const index = tiles.findIndex((tile) => tile.slot === slot);
    const tile = tiles[index];
    if (!tile) throw new StationError('SLOT_UNKNOWN', slot);
    if (tile.unit !== null && tile.unit !== serial) throw new StationError('SLOT_TAKEN', `${slot}: ${tile.unit}`);
    const heard = this.#heard().some((device) => device.serial === serial);
    const next = [...tiles.slice(index + 1), ...tiles.slice(0, index)].find(({ state }) => state === 'empty');
    this.#board.change({
      tiles: [[index, { unit: serial, state: 'placed', heard }]],
      head: { cursor: next?.slot ?? null },
    });
    this.#showAir();
    return { slot, serial };
  }

  #refuseUnit(serial: string): void {
    const { profile } = this.#current();
    const own = this.#board.tiles.find((tile) => tile.unit === serial);
    if (own?.outcome === 'pass' || this.#passed().has(serial)) throw new StationError('UNIT_ALREADY_PASSED', serial);
    if (own && own.state !== 'expected') throw new StationError('SCAN_DUPLICATE', `${serial} stands in ${own.slot}`);
    const held = this.#parts.practice ? undefined : this.#parts.records.quarantined(profile.product).get(serial);
    if (held !== undefined) throw new StationError('UNIT_QUARANTINED', `${serial}: ${held}`);
  }

  #passed(): Set<string> {
    const { order } = this.#current();
    return this.#parts.records.passedOn(order.name, order.firmware.sha256);
  }

  #run(
    operator: string,
    units: readonly { serial: string; slot: string | null }[] | null,
    repeats: ReadonlyMap<string, { attemptId: string; number: number }>,
  ): void {
    const { order, profile, firmware } = this.#current();
    const radios = this.#parts.shelf;
    if (!radios.places().some(({ radio }) => radio)) throw new StationError('NO_RADIO');
    this.#stopWatching();
    this.#uploads.clear();
    this.#loads.clear();
    this.#begin(units);
    const stop = new AbortController();
    const { records, clock, practice, appVersion } = this.#parts;
    const station = new Station({ radios, records, clock, practice: practice !== null, appVersion });
    const stopRates = every(clock, RATE_EVERY_MS, () => this.#measureRates());
    const job = {
      job: {
        job: order.name,
        operator,
        ...(units ? { units: units.map(({ serial, slot }) => ({ serial, ...(slot ? { slot } : {}) })) } : {}),
      },
      profile,
      firmware,
      units: units?.length ?? order.rows * order.columns,
      findTimeoutMs: this.#parts.findTimeoutMs(),
      repeats,
      batches: new Map(this.#batches),
    };
    const over = () => {
      stopRates();
      this.#running = null;
    };
    const done = station
      .run(job, stop.signal, (event) => this.#onEvent(event))
      .then(
        (summary) => {
          over();
          this.#end(summary.outcome, summary.code, null, summary);
        },
        (error: unknown) => {
          over();
          const { code, detail } = asStationError(error);
          this.#end('aborted', code, { code, detail }, null);
        },
      );
    this.#running = { stop, done };
  }

  /** Every unit that takes part waits; the others stay as they are. */
  #begin(units: readonly { serial: string }[] | null): void {
    const takesPart = new Set(units?.map(({ serial }) => serial));
    const { tiles } = this.#board;
    const waiting = {
      state: 'waiting',
      outcome: null,
      proof: null,
      code: null,
      detail: null,
      step: null,
      quarantined: false,
    } as const;
    const changes = tiles.flatMap((tile, index) =>
      tile.unit && takesPart.has(tile.unit) ? [[index, waiting] as const] : [],
    );
    for (const [index] of changes) this.#board.gauge(index, { permille: 0, bytesPerSecond: 0 });
    this.#board.change({
      tiles: changes,
      head: {
        ...noResult,
        phase: 'running',
        startedAt: this.#parts.clock.wall().toISOString(),
        cursor: null,
        air: [],
        notices: [],
      },
    });
  }

  #end(
    outcome: JobSummary['outcome'],
    code: ErrorCode | null,
    notice: Notice | null,
    summary: JobSummary | null,
  ): void {
    const units = new Map(summary?.units.map((unit) => [unit.unit, unit]));
    const tiles = this.#board.tiles.flatMap((tile, index) => {
      if (tile.state === 'ended' || tile.unit === null || !['waiting', 'working', 'retrying'].includes(tile.state))
        return [];
      const unit = units.get(tile.unit);
      const ended: Partial<Tile> = {
        state: 'ended',
        outcome: unit?.outcome ?? 'aborted',
        proof: unit?.proof ?? null,
        code: unit?.code ?? code,
        detail: unit?.detail ?? null,
      };
      return [[index, ended] as const];
    });
    this.#board.change({
      tiles,
      head: { phase: 'ended', outcome, code, endedAt: this.#parts.clock.wall().toISOString() },
    });
    if (notice) this.#notice(notice);
    this.#showRadios();
  }

  #onEvent(event: JobEvent): void {
    switch (event.type) {
      case 'unit-found':
        return this.#board.tile(this.#indexOf(event.unit), { state: 'waiting', rssi: event.rssi });
      case 'unit-refused':
        return this.#notice({ code: event.code, detail: [event.unit, event.detail].filter(Boolean).join(': ') });
      case 'attempt-started':
        this.#uploads.delete(this.#indexOf(event.unit));
        return this.#board.tile(this.#indexOf(event.unit), {
          state: 'working',
          attempt: event.number,
          attemptId: event.attemptId,
          step: 'find',
          code: null,
          detail: null,
        });
      case 'linked':
        return this.#board.tile(this.#indexOf(event.unit), { radio: event.radio, rssi: event.rssi });
      case 'unlinked':
        return this.#board.tile(this.#indexOf(event.unit), { radio: null });
      case 'signal':
        return this.#board.tile(this.#indexOf(event.unit), { rssi: event.rssi });
      case 'step':
        return this.#board.tile(this.#indexOf(event.unit), { step: event.step });
      case 'progress':
        return this.#progress(event.unit, event.image, event.bytes);
      case 'attempt-ended':
        return this.#attemptEnded(event);
      case 'unit-quarantined':
        return this.#board.tile(this.#indexOf(event.unit), { quarantined: this.#parts.practice === null });
      case 'radio-load':
        this.#loads.set(event.radio, event);
        return this.#showRadios();
      case 'radio-lost':
        this.#loads.delete(event.radio);
        return this.#notice({ code: 'RADIO_LOST', detail: `${event.radio}: ${event.detail}` });
      case 'job-started':
      case 'summary':
        return;
    }
  }

  #attemptEnded(event: Extract<JobEvent, { type: 'attempt-ended' }>): void {
    const index = this.#indexOf(event.unit);
    const { outcome, proof, code, detail, attemptId, willRetry } = event;
    this.#board.gauge(index, { bytesPerSecond: 0 });
    if (willRetry) return this.#board.tile(index, { state: 'retrying', code, detail, step: null });
    if (endedWell(outcome)) this.#board.gauge(index, { permille: 1000 });
    this.#board.tile(index, {
      state: 'ended',
      outcome,
      proof,
      code,
      detail,
      step: null,
      radio: null,
      attemptId: attemptId || this.#board.tiles[index]?.attemptId || null,
    });
  }

  /** The tile of a unit; a unit that nobody has placed gets one without a slot. */
  #indexOf(unit: string): number {
    const index = this.#board.tiles.findIndex((tile) => tile.unit === unit);
    if (index >= 0) return index;
    const added = this.#board.tiles.length;
    this.#board.tile(added, { ...emptyTile(null), unit, state: 'waiting' });
    return added;
  }

  #progress(unit: string, image: number, bytes: number): void {
    const index = this.#indexOf(unit);
    let upload = this.#uploads.get(index);
    if (!upload) {
      upload = { images: new Map(), lastBytes: bytes };
      this.#uploads.set(index, upload);
    }
    upload.images.set(image, bytes);
    const total = this.#current().firmware.images.reduce((sum, each) => sum + each.bytes.length, 0);
    if (this.#board.tiles[index]?.totalBytes !== total) this.#board.tile(index, { totalBytes: total });
    this.#board.gauge(index, { permille: Math.min(1000, Math.floor((sumOf(upload) / total) * 1000)) });
  }

  #measureRates(): void {
    for (const [index, upload] of this.#uploads) {
      const bytes = sumOf(upload);
      const now = ((bytes - upload.lastBytes) * 1000) / RATE_EVERY_MS;
      upload.lastBytes = bytes;
      const before = this.#board.gauges[index]?.bytesPerSecond ?? 0;
      const working = this.#board.tiles[index]?.state === 'working';
      // Eased, so that a reader's eye can follow; nothing moves: nothing is shown.
      const shown = !working || (now <= 0 && before < 500) ? 0 : before === 0 ? now : before * 0.6 + now * 0.4;
      this.#board.gauge(index, { bytesPerSecond: Math.max(0, Math.round(shown)) });
    }
  }

  #notice(notice: Notice): void {
    const others = this.#board.head.notices.filter(
      ({ code, detail }) => code !== notice.code || detail !== notice.detail,
    );
    this.#board.setHead({ notices: [...others, notice].slice(-MAX_NOTICES) });
  }

  #startWatching(): void {
    this.#stopWatching();
    const { profile } = this.#current();
    this.#watch = new AirWatch(profile, this.#parts.clock);
    this.#watch.listen();
    for (const { radio } of this.#parts.shelf.places()) if (radio) this.#watch.add(radio);
    this.#stopTimers = every(this.#parts.clock, AIR_EVERY_MS, () => this.#showAir());
  }

  #stopWatching(): void {
    this.#stopTimers();
    this.#stopTimers = () => undefined;
    this.#watch?.stop();
    this.#watch = null;
  }

  #heard(): HeardDevice[] {
    const since = this.#parts.clock.now() - AIR_FORGET_MS;
    return (this.#watch?.devices() ?? []).filter((device) =>
      [...device.heard.values()].some(({ atMs }) => atMs >= since),
    );
  }

  /** Who is in the air: placed units are marked as heard, the others are listed. */
  #showAir(): void {
    if (!this.#watch || !this.#ready) return;
    const heard = new Map(this.#heard().flatMap((device) => (device.serial ? [[device.serial, device] as const] : [])));
    const tiles = this.#board.tiles.flatMap((tile, index) => {
      const now = tile.unit !== null && heard.has(tile.unit);
      return tile.heard === now ? [] : [[index, { heard: now }] as const];
    });
    const placed = new Set(this.#board.tiles.flatMap(({ unit }) => unit ?? []));
    const { order } = this.#ready;
    const air = [...heard]
      .filter(([serial]) => !placed.has(serial))
      .sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }))
      .slice(0, MAX_AIR)
      .map(([serial, device]): HeardUnit => {
        const foreign = order.units !== null && !order.units.some((unit) => unit.serial === serial);
        // Whole steps of 5 dB, so that the list stays still while it is read.
        const rssi = Math.round(Math.max(...[...device.heard.values()].map((each) => each.rssi)) / 5) * 5;
        return { serial, rssi, code: foreign ? 'NOT_ON_JOB' : null };
      });
    const same = JSON.stringify(air) === JSON.stringify(this.#board.head.air);
    if (!same || tiles.length > 0) this.#board.change({ tiles, ...(same ? {} : { head: { air } }) });
  }

  #shelfChanged(): void {
    this.#showRadios();
    if (!this.#watch) return;
    for (const { radio } of this.#parts.shelf.places()) if (radio) this.#watch.add(radio);
  }

  #showRadios(): void {
    const radios = this.#parts.shelf.places().map(({ name, radio, detail }): RadioState => {
      const { address = null, linkLimit = null, controller = null } = radio ?? {};
      const { links = 0, uploading = 0, failures = 0 } = this.#loads.get(name) ?? {};
      return {
        name,
        state: radio ? 'ready' : 'lost',
        address,
        links,
        uploading,
        failures,
        linkLimit,
        controller,
        detail,
      };
    });
    if (JSON.stringify(radios) !== JSON.stringify(this.#board.head.radios)) this.#board.setHead({ radios });
  }

  #refuseBusy(): void {
    if (this.#running) throw new StationError('TRAY_BUSY');
  }

  #current(): ReadyOrder {
    if (!this.#ready) throw new StationError('TRAY_NOT_LOADED');
    return this.#ready;
  }

  /** The order while units are being placed. */
  #loading(): ReadyOrder {
    this.#refuseBusy();
    const ready = this.#current();
    if (this.#board.head.phase !== 'loading') throw new StationError('TRAY_BUSY', 'clear the results with next tray');
    return ready;
  }
}

const noResult = { startedAt: null, endedAt: null, outcome: null, code: null } as const;

function isToRun({ state }: Tile): boolean {
  return state === 'placed' || state === 'expected';
}

/** Whether a tile ended other than wanted: these are tried again. */
export function hasFailed({ state, outcome }: Tile): boolean {
  return state === 'ended' && (outcome === 'fail' || outcome === 'error' || outcome === 'aborted');
}

function loudest(device: HeardDevice) {
  return [...device.heard].sort(([, a], [, b]) => b.rssi - a.rssi)[0]?.[0] ?? null;
}

const sumOf = ({ images }: Upload) => [...images.values()].reduce((sum, bytes) => sum + bytes, 0);

/** Calls `work` again and again until the returned function is called. */
function every(clock: Clock, ms: number, work: () => void): () => void {
  let cancel: () => void = () => undefined;
  const again = () => {
    work();
    cancel = clock.after(ms, again);
  };
  cancel = clock.after(ms, again);
  return () => cancel();
}
