import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, StationError } from '../contract/errors.ts';
import type { RecordReader } from './record-reader.ts';

/** What can be asked of the thread that reads. */
export type ReadMethod = 'list' | 'show' | 'frameRows' | 'throughput' | 'statistics' | 'learnt';

/** A question to the thread that reads. */
export interface ReadRequest {
  readonly id: number;
  readonly method: ReadMethod;
  readonly args: unknown[];
}

/** Its answer. */
export type ReadAnswer =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly code: ErrorCode; readonly detail: string };

interface Waiting {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
}

/** Reads the records in a thread of its own, so that no query stalls a tray. */
export class AsyncReader {
  /** Where the database lies. */
  readonly directory: string;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #stopped = false;

  /** The database must exist. */
  constructor(directory: string) {
    this.directory = directory;
    // Beside this file: TypeScript as it is, or what the build made of both.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    this.#worker = new Worker(new URL(`./read-worker.${extension}`, import.meta.url), { workerData: directory });
    this.#worker.on('message', (answer: ReadAnswer) => this.#settle(answer));
    this.#worker.on('error', (error) => this.#fail(new StationError('INTERNAL', error.message, { cause: error })));
    this.#worker.on('exit', () => this.#fail(new StationError('LINK_CLOSED', 'the reader has ended')));
    this.#worker.unref();
  }

  /** @throws StationError as RecordReader's method of that name */
  ask<Method extends ReadMethod>(
    method: Method,
    ...args: Parameters<RecordReader[Method]>
  ): Promise<ReturnType<RecordReader[Method]>> {
    if (this.#stopped) return Promise.reject(new StationError('LINK_CLOSED', 'the reader has ended'));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, method, args } satisfies ReadRequest);
    });
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    const exited = once(this.#worker, 'exit');
    await this.#worker.terminate();
    await exited;
  }

  #settle(answer: ReadAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ('code' in answer) waiting?.reject(new StationError(answer.code, answer.detail));
    else waiting?.resolve(answer.value as never);
  }

  #fail(error: StationError): void {
    this.#stopped = true;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
