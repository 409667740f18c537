import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const cliPath = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** What a command line printed and how it ended; `lines` are those of stdout that are JSON. */
export interface CliResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly lines: readonly Record<string, unknown>[];
}

/** Starts the command line as a process of its own. `line` resolves with the first line of output that matches. */
export function startCli(...args: string[]): {
  child: ChildProcess;
  done: Promise<CliResult>;
  line(match: RegExp): Promise<string>;
} {
  const child = spawn(process.execPath, [cliPath, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  const watchers = new Set<() => void>();
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    for (const watch of watchers) watch();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const done = once(child, 'close').then(([status]): CliResult => {
    const lines = stdout.split('\n').flatMap((text) => (text.startsWith('{') ? [JSON.parse(text)] : []));
    return { status: status as number | null, stdout, stderr, lines };
  });
  const line = (match: RegExp) =>
    new Promise<string>((resolve, reject) => {
      const watch = () => {
        const found = stdout.split('\n').find((text) => match.test(text));
        if (found === undefined) return;
        watchers.delete(watch);
        resolve(found);
      };
      watchers.add(watch);
      watch();
      void done.then(() => reject(new Error(`ended without ${match}: ${stderr}`)));
    });
  return { child, done, line };
}

/** Runs the command line to its end. */
export function cli(...args: string[]): Promise<CliResult> {
  return startCli(...args).done;
}
