import type { CommandAnswer } from '../../src/contract/commands.ts';
import type { useStation } from './station-store.ts';

/** Bytes of a piece: as base64 it stays well below the cap of a message. */
const CHUNK_BYTES = 45 * 1024;

/** Sends a firmware file to the library, piece by piece. Rejects with Refusal. */
export async function uploadFirmware(
  station: ReturnType<typeof useStation>,
  file: File,
  product: string,
): Promise<CommandAnswer<'add-firmware'>> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const { upload } = await station.ask('upload-begin', { fileName: file.name, bytes: bytes.length });
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    await station.ask('upload-chunk', { upload, data: base64(bytes.subarray(at, at + CHUNK_BYTES)) });
  }
  return station.ask('add-firmware', { upload, product });
}

function base64(bytes: Uint8Array): string {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
}
