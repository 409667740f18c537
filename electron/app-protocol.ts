import { readFile } from 'node:fs/promises';
import { extname, join, normalize, sep } from 'node:path';
import type { Protocol } from 'electron';
import { securityHeaders } from '../src/host/content-security.ts';

/** The scheme of the screens: no file:// rights, no network. */
export const APP_SCHEME = 'app';
/** Where the screens begin. */
export const APP_ORIGIN = `${APP_SCHEME}://station`;

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

/** Call before the app is ready: the scheme is a standard and secure one, so that the screens have an origin of their own. */
export function declareAppScheme(protocol: Pick<Protocol, 'registerSchemesAsPrivileged'>): void {
  const privileges = { standard: true, secure: true, supportFetchAPI: true, codeCache: true };
  protocol.registerSchemesAsPrivileged([{ scheme: APP_SCHEME, privileges }]);
}

/** Serves the built screens, and nothing outside their directory, with the same headers as the local console. */
export function serveApp(protocol: Pick<Protocol, 'handle'>, directory: string): void {
  protocol.handle(APP_SCHEME, async (request) => {
    const { host, pathname } = new URL(request.url);
    const path = normalize(join(directory, decodeURIComponent(pathname === '/' ? '/index.html' : pathname)));
    const type = types[extname(path)];
    const inside = path.startsWith(directory.endsWith(sep) ? directory : `${directory}${sep}`);
    if (host !== 'station' || !inside || type === undefined || request.method !== 'GET')
      return answer(404, 'text/plain', '');
    try {
      return answer(200, type, await readFile(path));
    } catch {
      // Whatever cannot be read is not there: the page is told no more.
      return answer(404, 'text/plain', '');
    }
  });
}

function answer(status: number, type: string, body: string | Buffer): Response {
  const content = typeof body === 'string' ? body : new Uint8Array(body);
  return new Response(content, { status, headers: { ...securityHeaders, 'Content-Type': type } });
}
