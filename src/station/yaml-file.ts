import { readFile, stat } from 'node:fs/promises';
import { isMap, isScalar, LineCounter, type Node, parseDocument } from 'yaml';
import type { z } from 'zod';
import { StationError } from '../contract/errors.ts';

const MAX_BYTES = 1024 * 1024;

/**
 * Reads a YAML file and validates it. Errors name file, line and key.
 * @throws StationError FILE_NOT_FOUND, FILE_UNREADABLE, FILE_SYNTAX, FILE_INVALID
 */
export async function readYamlFile<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  return parseYaml(await readText(path), path, schema);
}

/** The same for text at hand; `name` is what errors call it. */
export function parseYaml<T>(text: string, name: string, schema: z.ZodType<T>): T {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const [syntax] = document.errors;
  if (syntax) {
    const line = lines.linePos(syntax.pos[0]).line;
    throw new StationError('FILE_SYNTAX', `${name}, line ${line}: ${syntax.message.split('\n')[0]}`);
  }
  let content: unknown;
  try {
    content = document.toJS({ maxAliasCount: 100 }) ?? {};
  } catch (error) {
    throw new StationError('FILE_SYNTAX', `${name}: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
  const parsed = schema.safeParse(content);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const unknownKey = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  const keys = [...issue.path, ...(unknownKey === undefined ? [] : [unknownKey])].map(String);
  const line = lineOf(document.contents, keys, lines);
  const problem = unknownKey === undefined ? issue.message : 'this key is not known';
  throw new StationError('FILE_INVALID', `${name}, line ${line}, ${keys.join('.') || 'file'}: ${problem}`);
}

/** The line of the deepest key on the path that the file has. */
function lineOf(root: Node | null, keys: readonly string[], lines: LineCounter): number {
  let node: Node | null = root;
  let offset = root?.range?.[0] ?? 0;
  for (const key of keys) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === key);
      if (!pair) break;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value as Node | null;
    } else if (node && 'items' in node && Array.isArray(node.items)) {
      node = (node.items[Number(key)] as Node | undefined) ?? null;
      if (!node) break;
      offset = node.range?.[0] ?? offset;
    } else break;
  }
  return lines.linePos(offset).line;
}

async function readText(path: string): Promise<string> {
  try {
    const info = await stat(path);
    if (!info.isFile() || info.size > MAX_BYTES) throw new StationError('FILE_UNREADABLE', path);
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof StationError) throw error;
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw new StationError(missing ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE', path, { cause: error });
  }
}
