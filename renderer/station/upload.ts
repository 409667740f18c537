import type { useStation } from './station-store.ts';

/** Bytes of a piece: as base64 it stays well below the cap of a message. */
const CHUNK_BYTES = 45 * 1024;

/** Sends a file to the station, piece by piece; the answer names it. Rejects with Refusal. */
export async function uploadFile(station: ReturnType<typeof useStation>, file: File): Promise<string> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const { upload } = await station.ask('upload-begin', { fileName: file.name, bytes: bytes.length });
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    await station.ask('upload-chunk', { upload, data: base64(bytes.subarray(at, at + CHUNK_BYTES)) });
  }
  return upload;
}

function base64(bytes: Uint8Array): string {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
}
