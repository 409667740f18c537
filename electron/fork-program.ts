import type { UtilityProcess } from 'electron';
import { type ForkProgram, MOST_COMPLAINT } from '../src/host/fork.ts';

/** What is needed of Electron to start a process of its own. */
export interface UtilityFork {
  fork(
    modulePath: string,
    args?: string[],
    options?: { stdio?: ('ignore' | 'pipe')[]; serviceName?: string },
  ): UtilityProcess;
}

/** Starts virtual trays and radios as utility processes: the packaged program cannot run as Node. */
export function forkOnElectron(utilityProcess: UtilityFork, cliPath: string): ForkProgram {
  return (args) => {
    const child = utilityProcess.fork(cliPath, [...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
      serviceName: args[0] ?? 'DFU Station',
    });
    let complaint = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString('utf8')).slice(-MOST_COMPLAINT);
    });
    return {
      onMessage: (handler) => void child.on('message', handler),
      send: (message) => child.postMessage(message),
      release: () => void child.kill(),
      kill: () => void child.kill(),
      ended: new Promise((resolve) => child.once('exit', () => resolve(complaint.trim()))),
    };
  };
}
