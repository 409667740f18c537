import { BlobWriter, TextReader, Uint8ArrayReader, ZipWriter } from '@zip.js/zip.js';

/** A zip archive of files by path. */
export async function zip(files: Readonly<Record<string, Buffer | string>>): Promise<Buffer> {
  const writer = new ZipWriter(new BlobWriter());
  for (const [name, content] of Object.entries(files)) {
    await writer.add(name, typeof content === 'string' ? new TextReader(content) : new Uint8ArrayReader(content));
  }
  return Buffer.from(await (await writer.close()).arrayBuffer());
}
