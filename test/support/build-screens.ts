import { fileURLToPath } from 'node:url';
import { build } from 'vite';

/** Before the tests: the screens as they are now. */
export default async function buildScreens(): Promise<void> {
  const configFile = fileURLToPath(new URL('../../build/vite.renderer.config.ts', import.meta.url));
  await build({ configFile, logLevel: 'error' });
}
