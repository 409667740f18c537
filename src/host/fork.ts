import { fork } from 'node:child_process';

/** Characters of a process's complaints that are kept. */
export const MOST_COMPLAINT = 8192;

/** A process of this program's own, as the one that started it sees it. */
export interface ProgramProcess {
  /** Hears what it says. Messages are structured clones, in order. */
  onMessage(handler: (message: unknown) => void): void;
  send(message: unknown): void;
  /** Lets it end by itself. */
  release(): void;
  /** Ends it at once, whatever it is doing. */
  kill(): void;
  /** Resolves when it has ended, with what it complained of. */
  readonly ended: Promise<string>;
}

/** Starts the command line with these arguments as a process of its own that ends with this one. */
export type ForkProgram = (args: readonly string[]) => ProgramProcess;

/** How a host that runs on Node starts it; `cliPath` is the command line's entry. */
export function forkOnNode(cliPath: string): ForkProgram {
  return (args) => {
    const child = fork(cliPath, [...args], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'advanced',
      detached: false,
    });
    let complaint = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      // What matters is what it said last; one that warns for months must not fill the station's memory.
      complaint = (complaint + text).slice(-MOST_COMPLAINT);
    });
    const { promise: ended, resolve } = Promise.withResolvers<string>();
    child.once('exit', () => resolve(complaint.trim()));
    child.on('error', ({ message }) => {
      // What is sent to a process that has just ended goes nowhere; one that never started has no exit.
      if (child.pid === undefined) resolve(message);
    });
    return {
      onMessage: (handler) => void child.on('message', handler),
      send: (message) => {
        if (child.connected) child.send(message as object);
      },
      release: () => {
        if (child.connected) child.disconnect();
      },
      kill: () => void child.kill('SIGKILL'),
      ended,
    };
  };
}

/** Electron's utility processes have a port to their parent where Node's children have `send`. */
interface ParentedProcess {
  readonly send?: (message: unknown) => void;
  on(event: 'message', handler: (message: unknown) => void): void;
  readonly parentPort?: {
    on(event: 'message', handler: (event: { readonly data: unknown }) => void): void;
    postMessage(message: unknown): void;
  };
}

/** The way of such a process to the one that started it. */
export function parentChannel(): {
  send(message: unknown): void;
  onMessage(handler: (message: unknown) => void): void;
} {
  const own = process as unknown as ParentedProcess;
  const { parentPort } = own;
  if (parentPort) {
    return {
      send: (message) => parentPort.postMessage(message),
      onMessage: (handler) => parentPort.on('message', ({ data }) => handler(data)),
    };
  }
  return { send: (message) => own.send?.(message), onMessage: (handler) => own.on('message', handler) };
}
