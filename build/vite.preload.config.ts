import { defineConfig } from 'vite';

/** The preload as one CommonJS file: a sandboxed preload can load nothing else. */
export default defineConfig({
  build: {
    ssr: 'electron/preload.ts',
    outDir: 'dist/program',
    emptyOutDir: false,
    target: 'node24',
    rollupOptions: { external: ['electron'], output: { format: 'cjs', entryFileNames: 'preload.cjs' } },
  },
});
