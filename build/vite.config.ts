import { builtinModules } from 'node:module';
import { defineConfig } from 'vite';
import packageJson from '../package.json' with { type: 'json' };

const installed = [...Object.keys(packageJson.dependencies), ...Object.keys(packageJson.optionalDependencies)];

/**
 * The programs: the command line, the desktop shell and the thread that reads records, side by side as in the sources. Installed packages stay outside,
 * because some of them are native.
 */
export default defineConfig({
  build: {
    ssr: true,
    outDir: 'dist/program',
    emptyOutDir: true,
    target: 'node24',
    rollupOptions: {
      input: {
        cli: 'src/cli/main.ts',
        shell: 'electron/main.ts',
        'read-worker': 'src/records/read-worker.ts',
        'comparison-worker': 'src/station/comparison-worker.ts',
      },
      output: { entryFileNames: '[name].js', chunkFileNames: '[name]-[hash].js' },
      external: ['electron', ...builtinModules, /^node:/, ...installed.map((name) => new RegExp(`^${name}(/|$)`))],
    },
  },
});
