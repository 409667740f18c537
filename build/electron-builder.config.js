/**
 * The packages: AppImage and deb, NSIS, dmg. `npm run package` builds those of the machine it runs on.
 * Native modules stay outside the archive, sources and tests outside the package, and Electron's fuses are set so that the program can
 * be nothing but this program.
 */
export default {
  appId: 'io.dfu-station.app',
  productName: 'DFU Station',
  copyright: 'MIT licence',
  directories: { output: 'dist/package', buildResources: 'build/icons' },
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the packager's own placeholders
  artifactName: 'dfu-station-${version}-${os}-${arch}.${ext}',
  files: [
    'dist/program/**',
    'dist/renderer/**',
    'package.json',
    'LICENSE',
    // The desktop program has Node inside; these are for the command line of a checkout.
    '!node_modules/node-linux-*/**',
    '!node_modules/node-win-*/**',
    '!**/*.{ts,mts,cts,map,md,markdown,c,cc,cpp,h,gyp,gypi,o,obj}',
    '!**/{test,tests,__tests__,examples,docs,.github}/**',
    '!**/node_modules/*/deps/**',
    '!**/vitest.config.*',
  ],
  asar: true,
  asarUnpack: [
    '**/*.node',
    'node_modules/better-sqlite3/**',
    'node_modules/@stoprocent/**',
    'node_modules/@serialport/bindings-cpp/**',
  ],
  npmRebuild: false,
  electronFuses: {
    runAsNode: false,
    enableCookieEncryption: true,
    enableNodeOptionsEnvironmentVariable: false,
    enableNodeCliInspectArguments: false,
    enableEmbeddedAsarIntegrityValidation: true,
    onlyLoadAppFromAsar: true,
    loadBrowserProcessSpecificV8Snapshot: false,
    grantFileProtocolExtraPrivileges: false,
  },
  fileAssociations: [
    {
      ext: 'dfujob',
      name: 'DFU job',
      description: 'DFU Station job file',
      mimeType: 'application/x-dfu-job',
      role: 'Viewer',
    },
  ],
  linux: {
    target: ['AppImage', 'deb'],
    icon: 'icon.png',
    category: 'Utility',
    executableName: 'dfu-station',
    maintainer: 'DFU Station <dfu-station@localhost>',
    synopsis: 'Upgrades trays of BLE devices and keeps the record',
  },
  win: { target: ['nsis'], icon: 'icon.png' },
  nsis: {
    oneClick: false,
    perMachine: true,
    allowToChangeInstallationDirectory: true,
    deleteAppDataOnUninstall: false,
  },
  mac: {
    target: ['dmg'],
    icon: 'icon.png',
    category: 'public.app-category.developer-tools',
    hardenedRuntime: true,
    extendInfo: { NSBluetoothAlwaysUsageDescription: 'The station upgrades devices by Bluetooth.' },
  },
};
