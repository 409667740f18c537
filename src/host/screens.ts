import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { StationError } from '../contract/errors.ts';

/** Where the built screens are: beside the built program, or in the build's output when the sources run as they are. */
export function screensDirectory(): string {
  const relative = import.meta.url.endsWith('.ts') ? '../../dist/renderer/' : '../renderer/';
  const directory = fileURLToPath(new URL(relative, import.meta.url));
  if (!existsSync(`${directory}index.html`)) throw new StationError('SCREENS_MISSING', directory);
  return directory;
}
