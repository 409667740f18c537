import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * Where records are kept: what --data names, or the platform's place for application data. Practice has a directory of its own inside
 * it, so that a trial never stands among real records.
 */
export function dataDirectory(options: { data?: string | undefined; practice?: boolean | undefined }): string {
  const base = options.data ?? platformDirectory();
  return options.practice ? join(base, 'practice') : base;
}

function platformDirectory(): string {
  const { platform, env } = process;
  if (platform === 'win32') return join(env.LOCALAPPDATA ?? join(homedir(), 'AppData', 'Local'), 'dfu-station');
  if (platform === 'darwin') return join(homedir(), 'Library', 'Application Support', 'dfu-station');
  return join(env.XDG_DATA_HOME ?? join(homedir(), '.local', 'share'), 'dfu-station');
}
