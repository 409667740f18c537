import { builtinModules } from 'node:module';
import { defineConfig } from 'vite';
import packageJson from '../package.json' with { type: 'json' };

const installed = [...Object.keys(packageJson.dependencies), ...Object.keys(packageJson.optionalDependencies)];

/** The command line as one file; installed packages stay outside, because some of them are native. */
export default defineConfig({
  build: {
    ssr: 'src/cli/main.ts',
    outDir: 'dist',
    emptyOutDir: true,
    target: 'node24',
    rollupOptions: {
      external: [...builtinModules, /^node:/, ...installed.map((name) => new RegExp(`^${name}(/|$)`))],
    },
  },
});
