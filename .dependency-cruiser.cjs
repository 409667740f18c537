// Imports point one way; see docs/architecture.md.
const only = (from, may) => ({
  name: `${from}-imports-only`,
  severity: 'error',
  comment: `src/${from} may import only ${may.join(', ') || 'itself'}`,
  from: { path: `^src/${from}/` },
  to: {
    path: '^(src|electron|renderer)/',
    pathNot: [`^src/${from}/`, '^src/clock\\.ts$', ...may.map((each) => `^src/${each}/`)],
  },
});
const onlyIn = (name, module, folder) => ({
  name,
  severity: 'error',
  from: { path: '^src/', pathNot: `^src/${folder}/` },
  to: { path: module },
});

/** What a transport and a captured packet are: shapes, which a simulator may share. */
const PORTS = ['^src/radio/hci/transport\\.ts$', '^src/radio/radio\\.ts$'];

module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    only('contract', []),
    only('firmware', ['contract']),
    only('radio', ['contract']),
    only('records', ['contract', 'firmware', 'radio']),
    only('protocols', ['contract', 'firmware', 'radio']),
    only('diagnostics', ['contract', 'radio', 'protocols']),
    only('scheduler', ['contract', 'firmware', 'radio', 'records', 'protocols', 'diagnostics']),
    {
      name: 'simulator-shares-nothing',
      comment:
        'what simulator and station have from one place can be wrong in both: no constant and no codec is shared',
      severity: 'error',
      from: { path: '^src/virtual/' },
      to: {
        path: '^(src|electron|renderer)/',
        pathNot: ['^src/virtual/', '^src/clock\\.ts$', '^src/contract/(tray-file|errors)\\.ts$', ...PORTS],
      },
    },
    {
      name: 'simulator-knows-ports-by-their-types',
      severity: 'error',
      from: { path: '^src/virtual/' },
      to: { path: PORTS, dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'tray-file-imports-nothing',
      severity: 'error',
      from: { path: '^src/contract/tray-file\\.ts$' },
      to: { path: '^src/' },
    },
    only('station', ['contract', 'firmware', 'radio', 'records', 'protocols', 'diagnostics', 'scheduler']),
    only('qualification', [
      'contract',
      'firmware',
      'radio',
      'records',
      'protocols',
      'diagnostics',
      'scheduler',
      'station',
    ]),
    only('server', ['contract', 'station', 'host']),
    only('host', [
      'contract',
      'firmware',
      'radio',
      'records',
      'protocols',
      'diagnostics',
      'scheduler',
      'station',
      'virtual',
    ]),
    {
      name: 'renderer-imports-contract-only',
      severity: 'error',
      from: { path: '^renderer/' },
      to: { path: '^(src|electron)/', pathNot: '^src/contract/' },
    },
    {
      name: 'renderer-checks-nothing-itself',
      comment: 'input is validated on the trusted side; the renderer gets types only',
      severity: 'error',
      from: { path: '^renderer/' },
      to: {
        path: 'node_modules/zod|^src/contract/(commands|product-file|tray-file|job-file)',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'electron-knows-nothing-of-dfu',
      severity: 'error',
      from: { path: '^electron/' },
      to: { path: '^src/', pathNot: '^src/(clock\\.ts$|contract/|host/|station/)' },
    },
    {
      name: 'nothing-imports-the-shell',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(electron|renderer)/' },
    },
    {
      name: 'clock-imports-nothing',
      severity: 'error',
      from: { path: '^src/clock\\.ts$' },
      to: { path: '^src/' },
    },
    {
      name: 'virtual-only-for-hosts',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(virtual|cli|host)/' },
      to: { path: '^src/virtual/' },
    },
    onlyIn(
      'noble-in-one-folder',
      '(@abandonware/noble|@abandonware/bluetooth-hci-socket|packages/bluetooth-hci-socket)',
      'radio/noble',
    ),
    onlyIn('sqlite-in-one-folder', 'better-sqlite3', 'records'),
    onlyIn('electron-not-in-src', '^electron$', 'none'),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'require', 'node', 'default'] },
  },
};
