import type { SafeStorage } from 'electron';
import type { StationOptions } from '../src/host/open-station.ts';

/**
 * Keys sealed by the operating system's key store (Keychain, DPAPI, libsecret or KWallet); nothing where Electron would only pretend:
 * on Linux without a key store its `basic_text` is no secret.
 */
export function sealerOf(safeStorage: SafeStorage): StationOptions['sealer'] {
  const pretends = process.platform === 'linux' && safeStorage.getSelectedStorageBackend() === 'basic_text';
  if (!safeStorage.isEncryptionAvailable() || pretends) return undefined;
  return {
    name: 'safe-storage',
    seal: (plain) => safeStorage.encryptString(plain.toString('base64')),
    open: (sealed) => Buffer.from(safeStorage.decryptString(sealed), 'base64'),
  };
}
