import { createHash } from 'node:crypto';
import type { FirmwareLabel } from '../contract/board.ts';
import type { LibraryFirmware, LibraryProfile, LibraryState, Limits, WorkOrder } from '../contract/commands.ts';
import { limits } from '../contract/commands.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import type { FirmwarePackage } from '../firmware/firmware-package.ts';
import { GOOD } from './outcome-sets.ts';
import type { Row, WriterPort } from './record-writer.ts';

/** A work order as it is entered. */
export type NewWorkOrder = Pick<WorkOrder, 'name' | 'product' | 'rows' | 'columns' | 'units' | 'createdBy'> & {
  readonly firmware: string;
};

const PASSED = `(SELECT count(DISTINCT attempt.unit) FROM job JOIN attempt ON attempt.job = job.id WHERE job.name = work_order.name
  AND job.firmware = work_order.firmware AND attempt.outcome IN ${GOOD}) AS passed`;

/** Firmware, product profiles, work orders and settings. Who may release what is not decided here. */
export class LibraryStore {
  readonly #port: WriterPort;

  constructor(port: WriterPort) {
    this.#port = port;
  }

  firmwareList(): LibraryFirmware[] {
    return this.#port
      .all(
        'SELECT * FROM library_firmware JOIN firmware ON firmware.sha256 = library_firmware.firmware ORDER BY library_firmware.added_at DESC',
      )
      .map((row) => this.#asFirmware(row));
  }

  firmware(sha256: string): LibraryFirmware | null {
    const row = this.#port.get(
      'SELECT * FROM library_firmware JOIN firmware ON firmware.sha256 = library_firmware.firmware WHERE sha256 = ?',
      sha256,
    );
    return row ? this.#asFirmware(row) : null;
  }

  /** The file as it was added. */
  firmwareFile(sha256: string): Buffer | null {
    const row = this.#port.get('SELECT file FROM firmware WHERE sha256 = ?', sha256);
    return row && Buffer.isBuffer(row.file) ? row.file : null;
  }

  addFirmware(firmware: FirmwarePackage, product: string, author: string): void {
    this.#port.keepFirmware(firmware);
    this.#port.run(
      "INSERT INTO library_firmware (firmware, product, state, author, added_at) VALUES (?, ?, 'draft', ?, ?)",
      firmware.sha256,
      product,
      author,
      this.#port.now(),
    );
  }

  releaseFirmware(sha256: string, by: string): void {
    this.#port.run(
      "UPDATE library_firmware SET state = 'released', released_by = ?, released_at = ? WHERE firmware = ?",
      by,
      this.#port.now(),
      sha256,
    );
  }

  withdrawFirmware(sha256: string): void {
    this.#port.run("UPDATE library_firmware SET state = 'withdrawn' WHERE firmware = ?", sha256);
  }

  profiles(): LibraryProfile[] {
    return this.#port.all('SELECT * FROM library_profile ORDER BY added_at DESC, rowid DESC').map(asProfile);
  }

  profile(sha256: string): LibraryProfile | null {
    const row = this.#port.get('SELECT * FROM library_profile WHERE profile = ?', sha256);
    return row ? asProfile(row) : null;
  }

  /** Keeps a profile by its content; returns its SHA-256. */
  addProfile(profile: ProductProfile, yaml: string, author: string): string {
    const json = JSON.stringify(profile);
    const sha256 = createHash('sha256').update(json).digest('hex');
    this.#port.run('INSERT OR IGNORE INTO profile VALUES (?, ?, ?)', sha256, profile.product, json);
    this.#port.run(
      "INSERT INTO library_profile (profile, product, yaml, state, author, added_at) VALUES (?, ?, ?, 'draft', ?, ?)",
      sha256,
      profile.product,
      yaml,
      author,
      this.#port.now(),
    );
    return sha256;
  }

  releaseProfile(sha256: string, by: string): void {
    this.#port.run(
      "UPDATE library_profile SET state = 'released', released_by = ?, released_at = ? WHERE profile = ?",
      by,
      this.#port.now(),
      sha256,
    );
  }

  withdrawProfile(sha256: string): void {
    this.#port.run("UPDATE library_profile SET state = 'withdrawn' WHERE profile = ?", sha256);
  }

  workOrders(closed: boolean): WorkOrder[] {
    return this.#port
      .all(`SELECT *, ${PASSED} FROM work_order WHERE closed <= ? ORDER BY created_at DESC LIMIT 500`, closed ? 1 : 0)
      .map((row) => this.#asWorkOrder(row));
  }

  workOrder(name: string): WorkOrder | null {
    const row = this.#port.get(`SELECT *, ${PASSED} FROM work_order WHERE name = ?`, name);
    return row ? this.#asWorkOrder(row) : null;
  }

  addWorkOrder(order: NewWorkOrder): void {
    this.#port.run(
      `INSERT INTO work_order (name, product, firmware, slot_rows, slot_columns, units_json, created_by, created_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      order.name,
      order.product,
      order.firmware,
      order.rows,
      order.columns,
      order.units && JSON.stringify(order.units),
      order.createdBy,
      this.#port.now(),
    );
  }

  closeWorkOrder(name: string): void {
    this.#port.run('UPDATE work_order SET closed = 1 WHERE name = ?', name);
  }

  limits(): Limits {
    const row = this.#port.get("SELECT json FROM setting WHERE name = 'limits'");
    return limits.parse(row ? JSON.parse(String(row.json)) : {});
  }

  setLimits(value: Limits): void {
    this.#port.run("INSERT OR REPLACE INTO setting VALUES ('limits', ?)", JSON.stringify(value));
  }

  #label(sha256: string, fileName: string): FirmwareLabel {
    const images = this.#port
      .all(
        'SELECT image, version, hash, size_bytes, traits_json FROM firmware_image WHERE firmware = ? ORDER BY image, slot',
        sha256,
      )
      .map((row) => ({
        index: Number(row.image),
        version: String(row.version).replace(/\+0$/, ''),
        hash: String(row.hash),
        bytes: Number(row.size_bytes),
        traits: row.traits_json === null ? [] : (JSON.parse(String(row.traits_json)) as string[]),
      }));
    return { sha256, fileName, version: images[0]?.version ?? '', images };
  }

  #asFirmware(row: Row): LibraryFirmware {
    return {
      ...this.#label(String(row.firmware), String(row.file_name)),
      ...entry(row),
      format: String(row.format),
      hardware: row.hardware === null ? null : String(row.hardware),
    };
  }

  #asWorkOrder(row: Row): WorkOrder {
    const file = this.#port.get('SELECT file_name FROM firmware WHERE sha256 = ?', row.firmware);
    return {
      name: String(row.name),
      product: String(row.product),
      firmware: this.#label(String(row.firmware), String(file?.file_name ?? '')),
      rows: Number(row.slot_rows),
      columns: Number(row.slot_columns),
      units: row.units_json === null ? null : (JSON.parse(String(row.units_json)) as WorkOrder['units']),
      createdBy: String(row.created_by),
      createdAt: String(row.created_at),
      closed: row.closed === 1,
      passed: Number(row.passed),
    };
  }
}

function entry(row: Row) {
  return {
    product: String(row.product),
    state: row.state as LibraryState,
    author: String(row.author),
    addedAt: String(row.added_at),
    releasedBy: row.released_by === null ? null : String(row.released_by),
    releasedAt: row.released_at === null ? null : String(row.released_at),
  };
}

function asProfile(row: Row): LibraryProfile {
  return { ...entry(row), sha256: String(row.profile), yaml: String(row.yaml) };
}
