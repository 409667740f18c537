import { createHash } from 'node:crypto';
import { slotNames } from '../contract/board.ts';
import type { LibraryFirmware, LibraryProfile, LibraryState, WorkOrder } from '../contract/commands.ts';
import { StationError } from '../contract/errors.ts';
import { jobFile, unitListProblems } from '../contract/job-file.ts';
import { type ProductProfile, productFile } from '../contract/product-file.ts';
import { type FirmwarePackage, parseFirmware } from '../firmware/firmware-package.ts';
import type { ChangeLog } from '../records/change-log.ts';
import type { LibraryStore, NewWorkOrder } from '../records/library-store.ts';
import { checkOrder } from './station.ts';
import { parseYaml } from './yaml-file.ts';

/** A work order with everything that it names, checked and released. */
export interface ReadyOrder {
  readonly order: WorkOrder;
  readonly profile: ProductProfile;
  readonly profileHash: string;
  readonly firmware: FirmwarePackage;
}

/** Firmware, profiles and work orders: drafts until a second person releases them. */
export class Library {
  readonly #store: LibraryStore;
  readonly #changes: ChangeLog;

  constructor(store: LibraryStore, changes: ChangeLog) {
    this.#store = store;
    this.#changes = changes;
  }

  firmwareList(): LibraryFirmware[] {
    return this.#store.firmwareList();
  }

  profiles(): LibraryProfile[] {
    return this.#store.profiles();
  }

  workOrders(closed: boolean): WorkOrder[] {
    return this.#store.workOrders(closed);
  }

  /** Takes a firmware file in as a draft; a file that is known is answered as it stands. @throws StationError as parseFirmware */
  async addFirmware(actor: string, file: Buffer, fileName: string, product: string): Promise<LibraryFirmware> {
    const firmware = await parseFirmware(file, fileName);
    const known = this.#store.firmware(firmware.sha256);
    if (known) return known;
    const { sha256 } = firmware;
    this.#changes.record({ actor, action: 'add-firmware', subject: fileName, after: { sha256, product } }, () =>
      this.#store.addFirmware(firmware, product, actor),
    );
    return this.#firmware(sha256);
  }

  /** @throws StationError FIRMWARE_UNKNOWN, SECOND_PERSON_NEEDED */
  releaseFirmware(actor: string, sha256: string): void {
    const { fileName, author, state } = this.#firmware(sha256);
    refuseOwn(actor, author);
    const change = { actor, action: 'release-firmware', subject: fileName, before: { state }, after: { sha256 } };
    this.#changes.record(change, () => this.#store.releaseFirmware(sha256, actor));
  }

  withdrawFirmware(actor: string, sha256: string, reason: string): void {
    const { fileName, state } = this.#firmware(sha256);
    const change = {
      actor,
      action: 'withdraw-firmware',
      subject: fileName,
      before: { state },
      after: { sha256 },
      reason,
    };
    this.#changes.record(change, () => this.#store.withdrawFirmware(sha256));
  }

  /** Takes a profile in as a draft. @throws StationError FILE_SYNTAX, FILE_INVALID with line and key, SECURITY_UNSUPPORTED */
  addProfile(actor: string, yaml: string): string {
    const profile = parseYaml(yaml, 'profile', productFile);
    const sha256 = createHash('sha256').update(JSON.stringify(profile)).digest('hex');
    if (this.#store.profile(sha256)) return sha256;
    return this.#changes.record(
      { actor, action: 'add-profile', subject: profile.product, after: { sha256, yaml } },
      () => this.#store.addProfile(profile, yaml, actor),
    );
  }

  /** @throws StationError PROFILE_UNKNOWN, SECOND_PERSON_NEEDED */
  releaseProfile(actor: string, sha256: string): void {
    const { product, author, state } = this.#profile(sha256);
    refuseOwn(actor, author);
    const change = { actor, action: 'release-profile', subject: product, before: { state }, after: { sha256 } };
    this.#changes.record(change, () => this.#store.releaseProfile(sha256, actor));
  }

  withdrawProfile(actor: string, sha256: string, reason: string): void {
    const { product, state } = this.#profile(sha256);
    const change = {
      actor,
      action: 'withdraw-profile',
      subject: product,
      before: { state },
      after: { sha256 },
      reason,
    };
    this.#changes.record(change, () => this.#store.withdrawProfile(sha256));
  }

  /** @throws StationError WORK_ORDER_EXISTS, SLOT_UNKNOWN, PROFILE_UNKNOWN, FIRMWARE_UNKNOWN, FIRMWARE_FOR_OTHER_PRODUCT */
  addWorkOrder(order: NewWorkOrder): void {
    const { name, product, rows, columns, units, createdBy: actor } = order;
    if (this.#store.workOrder(name)) throw new StationError('WORK_ORDER_EXISTS', name);
    const firmware = this.#firmware(order.firmware);
    if (firmware.product !== product)
      throw new StationError('FIRMWARE_FOR_OTHER_PRODUCT', `${firmware.product}, not ${product}`);
    if (!this.profiles().some((profile) => profile.product === product))
      throw new StationError('PROFILE_UNKNOWN', product);
    const slots = new Set(slotNames(rows, columns));
    const stray = units?.find(({ slot }) => slot !== null && !slots.has(slot));
    if (stray) throw new StationError('SLOT_UNKNOWN', `${stray.slot} on a tray of ${rows} × ${columns}`);
    const problem = unitListProblems(units ?? [], { rows, columns })[0];
    if (problem) throw new StationError('INPUT_INVALID', problem.message);
    const after = { product, firmware: order.firmware, rows, columns, units: units?.length ?? null };
    this.#changes.record({ actor, action: 'add-work-order', subject: name, after }, () =>
      this.#store.addWorkOrder(order),
    );
  }

  /**
   * Takes a job file in. Its `product` names a product of the library or its file, its `firmware` a file name or the beginning of a
   * SHA-256 of the library. Returns the work order's name.
   */
  importWorkOrder(actor: string, yaml: string): string {
    const job = parseYaml(yaml, 'job', jobFile);
    const product = job.product?.replace(/^.*[\\/]/, '').replace(/\.product\.ya?ml$/i, '');
    if (!product) throw new StationError('FILE_INVALID', 'job, product: is needed here');
    const wanted = job.firmware?.replace(/^.*[\\/]/, '');
    if (!wanted) throw new StationError('FILE_INVALID', 'job, firmware: is needed here');
    const firmware = this.firmwareList().find(
      (each) =>
        each.product === product &&
        (each.fileName === wanted || (wanted.length >= 8 && each.sha256.startsWith(wanted))),
    );
    if (!firmware) throw new StationError('FIRMWARE_UNKNOWN', `${wanted} for ${product}`);
    if (!job.tray) throw new StationError('FILE_INVALID', 'job, tray: is needed here');
    this.addWorkOrder({
      name: job.job,
      product,
      firmware: firmware.sha256,
      ...job.tray,
      units: job.units?.map(({ serial, slot }) => ({ serial, slot: slot ?? null })) ?? null,
      createdBy: actor,
    });
    return job.job;
  }

  closeWorkOrder(actor: string, name: string): void {
    if (!this.#store.workOrder(name)) throw new StationError('WORK_ORDER_UNKNOWN', name);
    this.#changes.record({ actor, action: 'close-work-order', subject: name }, () => this.#store.closeWorkOrder(name));
  }

  /**
   * A work order as the tray needs it: open, its profile and firmware released and unchanged since.
   * @throws StationError WORK_ORDER_UNKNOWN, WORK_ORDER_CLOSED, PROFILE_NOT_RELEASED, FIRMWARE_NOT_RELEASED, FIRMWARE_DAMAGED …
   */
  async ready(name: string): Promise<ReadyOrder> {
    const order = this.#store.workOrder(name);
    if (!order) throw new StationError('WORK_ORDER_UNKNOWN', name);
    if (order.closed) throw new StationError('WORK_ORDER_CLOSED', name);
    const profiles = this.profiles().filter(({ product }) => product === order.product);
    const released = profiles.find(({ state }) => state === 'released');
    if (!released) throw new StationError('PROFILE_NOT_RELEASED', order.product);
    const firmware = await this.#releasedFirmware(order.firmware.sha256);
    const profile = parseYaml(released.yaml, 'profile', productFile);
    checkOrder(profile, firmware);
    return { order, profile, profileHash: released.sha256, firmware };
  }

  async #releasedFirmware(sha256: string): Promise<FirmwarePackage> {
    const entry = this.#firmware(sha256);
    if (entry.state !== 'released')
      throw new StationError('FIRMWARE_NOT_RELEASED', describe(entry.fileName, entry.state));
    const file = this.#store.firmwareFile(sha256);
    const found = file && createHash('sha256').update(file).digest('hex');
    if (!file || found !== sha256) throw new StationError('FIRMWARE_DAMAGED', entry.fileName);
    return parseFirmware(file, entry.fileName);
  }

  #firmware(sha256: string): LibraryFirmware {
    const firmware = this.#store.firmware(sha256);
    if (!firmware) throw new StationError('FIRMWARE_UNKNOWN', sha256.slice(0, 16));
    return firmware;
  }

  #profile(sha256: string): LibraryProfile {
    const profile = this.#store.profile(sha256);
    if (!profile) throw new StationError('PROFILE_UNKNOWN', sha256.slice(0, 16));
    return profile;
  }
}

function refuseOwn(actor: string, author: string): void {
  if (actor.toLowerCase() === author.toLowerCase())
    throw new StationError('SECOND_PERSON_NEEDED', `written by ${author}`);
}

const describe = (name: string, state: LibraryState) => (state === 'withdrawn' ? `${name} was withdrawn` : name);
