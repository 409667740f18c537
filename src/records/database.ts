import { accessSync, constants, existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { StationError } from '../contract/errors.ts';
import { migrations } from './migrations.ts';

/** The name of the database in the data directory. */
export const DATABASE_FILE = 'records.sqlite';
const LOCK_FILE = 'station.lock';

/** The one connection that writes. */
export type WritableDatabase = Database.Database & { readonly __writable: unique symbol };
/** A connection that only reads; it may exist beside the writer, in this process or another. */
export type ReadableDatabase = Database.Database;

/**
 * Opens the records of a data directory for writing, brings the schema up to date, and keeps every other writer out until `release`.
 * @throws StationError DATA_DIRECTORY_IN_USE, DATA_DIRECTORY_READ_ONLY, DISK_FULL, DATABASE_DAMAGED, DATABASE_NEWER
 */
export function openForWriting(directory: string): { database: WritableDatabase; release: () => void } {
  return translated(directory, () => {
    makeDirectory(directory);
    accessSync(directory, constants.W_OK);
    const lock = acquireLock(join(directory, LOCK_FILE));
    try {
      const database = new Database(join(directory, DATABASE_FILE)) as WritableDatabase;
      database.pragma('journal_mode = WAL');
      database.pragma('synchronous = FULL');
      database.pragma('foreign_keys = ON');
      migrate(database);
      const release = () => {
        database.close();
        lock.close();
      };
      return { database, release };
    } catch (error) {
      lock.close();
      throw error;
    }
  });
}

/** One level at a time: Node's recursive mkdir never returns where the file system answers ENOENT for a directory that exists. */
function makeDirectory(directory: string): void {
  if (existsSync(directory)) return;
  makeDirectory(dirname(directory));
  mkdirSync(directory);
}

/** Opens the records for reading, also while a station writes them. @throws StationError RECORD_NOT_FOUND when there are none */
export function openForReading(directory: string): ReadableDatabase {
  return translated(directory, () => {
    if (!existsSync(join(directory, DATABASE_FILE)))
      throw new StationError('RECORD_NOT_FOUND', `no records in ${directory}`);
    const database = new Database(join(directory, DATABASE_FILE), { readonly: true, fileMustExist: true });
    refuseNewer(database);
    return database;
  });
}

/** Runs `work` and turns what SQLite and the file system throw into the station's codes. */
export function translated<T>(directory: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw recordsError(directory, error);
  }
}

/** The lock is a database of its own with a transaction that stays open: the system lets go of it however the process ends. */
function acquireLock(path: string): Database.Database {
  const lock = new Database(path, { timeout: 0 });
  try {
    lock.exec('BEGIN EXCLUSIVE');
    return lock;
  } catch (error) {
    lock.close();
    throw error;
  }
}

function migrate(database: WritableDatabase): void {
  refuseNewer(database);
  const applied = Number(database.pragma('user_version', { simple: true }));
  for (const [index, step] of migrations.entries()) {
    if (index < applied) continue;
    database.transaction(() => {
      database.exec(step);
      database.pragma(`user_version = ${index + 1}`);
    })();
  }
}

function refuseNewer(database: ReadableDatabase): void {
  const version = Number(database.pragma('user_version', { simple: true }));
  if (version > migrations.length)
    throw new StationError('DATABASE_NEWER', `schema ${version}, known ${migrations.length}`);
}

function recordsError(directory: string, error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof StationError || !('code' in error)) return error;
  const code = String(error.code);
  const known = /^SQLITE_(BUSY|LOCKED)/.test(code)
    ? 'DATA_DIRECTORY_IN_USE'
    : /^SQLITE_READONLY/.test(code) || ['EACCES', 'EROFS', 'EPERM'].includes(code)
      ? 'DATA_DIRECTORY_READ_ONLY'
      : code === 'SQLITE_FULL' || code === 'ENOSPC'
        ? 'DISK_FULL'
        : /^SQLITE_(CORRUPT|NOTADB)/.test(code)
          ? 'DATABASE_DAMAGED'
          : code === 'SQLITE_CANTOPEN' || code === 'ENOENT' || code === 'ENOTDIR' || code === 'EEXIST'
            ? 'DATA_DIRECTORY_READ_ONLY'
            : code === 'SQLITE_IOERR' || code.startsWith('SQLITE_IOERR_WRITE')
              ? 'DISK_FULL'
              : null;
  return known ? new StationError(known, `${directory}: ${error.message}`, { cause: error }) : error;
}
