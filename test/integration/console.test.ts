import { request } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { type Console, serveConsole } from '../../src/server/console.ts';
import { cli, startCli } from '../support/cli.ts';
import { openTestStation, type TestStation } from '../support/open-test-station.ts';

let station: TestStation;
let served: Console;
beforeAll(async () => {
  station = await openTestStation({ units: 1 });
  served = await serveConsole(station.reception, 0);
});
afterAll(async () => {
  await served.stop();
  await station.stop();
});

function get(path: string, host = `127.0.0.1:${served.port}`) {
  return new Promise<{ status: number; headers: Record<string, unknown>; body: string }>((resolve, reject) => {
    const asked = request({ port: served.port, host: '127.0.0.1', path, headers: { host } }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
    });
    asked.on('error', reject).end();
  });
}

/** Tries to open a channel; resolves with the socket, or with the status that refused it. */
function dial(options: { origin?: string; token?: string; host?: string } = {}): Promise<WebSocket | number> {
  const address = `127.0.0.1:${served.port}`;
  const socket = new WebSocket(`ws://${address}/`, ['dfu-station', `token.${options.token ?? served.token}`], {
    origin: options.origin ?? `http://${address}`,
    headers: { host: options.host ?? address },
  });
  return new Promise((resolve) => {
    socket.on('open', () => resolve(socket));
    socket.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0));
    socket.on('error', () => undefined);
  });
}

async function opened(): Promise<WebSocket> {
  const socket = await dial();
  if (typeof socket === 'number') throw new Error(`refused with ${socket}`);
  return socket;
}

const closed = (socket: WebSocket) => new Promise<void>((resolve) => socket.on('close', () => resolve()));

describe('the local console', () => {
  test('serves the screens with a strict policy and nothing else', async () => {
    const page = await get('/');
    expect(page.status).toBe(200);
    expect(page.body).toContain('<div id="app">');
    expect(page.headers['content-security-policy']).toMatch(
      /default-src 'none'.*script-src 'self'.*frame-ancestors 'none'/,
    );
    expect(String(page.headers['content-security-policy'])).not.toMatch(/unsafe/);
    expect(page.headers['x-content-type-options']).toBe('nosniff');
    for (const path of ['/package.json', '/..%2f..%2fpackage.json', '/../../package.json', '/%00']) {
      expect((await get(path)).status, path).not.toBe(200);
    }
  });

  test('answers only under its own name: a name that was bent to this machine is refused', async () => {
    expect((await get('/', 'evil.example')).status).toBe(403);
    expect((await get('/', `localhost:${served.port}`)).status).toBe(403);
    expect(await dial({ host: 'evil.example', origin: 'http://evil.example' })).toBe(403);
  });

  test('opens no channel for a page of another origin or without the token of this launch', async () => {
    expect(await dial({ origin: 'https://evil.example' })).toBe(403);
    expect(await dial({ origin: 'null' })).toBe(403);
    expect(await dial({ token: '' })).toBe(403);
    expect(await dial({ token: 'x'.repeat(served.token.length) })).toBe(403);
  });

  test('listens on this machine alone', async () => {
    const refused = await new Promise<boolean>((resolve) => {
      const socket = connect({ host: '127.0.0.2', port: served.port });
      socket.on('connect', () => resolve(false)).on('error', () => resolve(true));
    });
    expect(refused).toBe(true);
  });

  test.each([
    ['no JSON', 'hello'],
    ['an unknown type', '{"type":"open-sesame"}'],
    ['a message with more in it', '{"type":"resync","extra":1}'],
    ['a message above the cap', JSON.stringify({ type: 'ask', id: 1, command: 'x', input: 'y'.repeat(400_000) })],
    ['a command name that is too long', JSON.stringify({ type: 'ask', id: 1, command: 'c'.repeat(100), input: {} })],
  ])('closes the channel on %s and serves the next one', async (_what, message) => {
    const socket = await opened();
    const over = closed(socket);
    socket.send(message);
    await over;
    (await opened()).terminate();
  });

  test('closes the channel on binary messages', async () => {
    const socket = await opened();
    const over = closed(socket);
    socket.send(Buffer.of(1, 2, 3));
    await over;
  });

  test('answers an unknown command and a wrong input with a code', async () => {
    const socket = await opened();
    const answers: unknown[] = [];
    const three = new Promise<void>((resolve) => {
      socket.on('message', (text) => {
        const message = JSON.parse(String(text));
        if (message.type === 'refusal') answers.push([message.id, message.code]);
        if (answers.length === 3) resolve();
      });
    });
    socket.send(JSON.stringify({ type: 'hello', ticket: null, takeOver: true }));
    socket.send(JSON.stringify({ type: 'ask', id: 1, command: 'toString', input: {} }));
    socket.send(JSON.stringify({ type: 'ask', id: 2, command: 'sign-in', input: { name: 'Olga', pin: 'abc' } }));
    socket.send(JSON.stringify({ type: 'ask', id: 3, command: 'start', input: {} }));
    await three;
    expect(answers).toEqual([
      [1, 'MESSAGE_INVALID'],
      [2, 'INPUT_INVALID'],
      [3, 'SIGN_IN_REQUIRED'],
    ]);
    socket.terminate();
  });
});

describe('serve', () => {
  test('says that a port is taken, that a directory is in use, and that a database is damaged', async () => {
    const busy = await cli('serve', '--practice', '--port', String(served.port), '--data', `${station.data}/other`);
    expect([busy.status, busy.stderr]).toEqual([2, expect.stringContaining('PORT_IN_USE')]);
    const held = await cli('serve', '--practice', '--data', station.data);
    expect([held.status, held.stderr]).toEqual([2, expect.stringContaining('DATA_DIRECTORY_IN_USE')]);
    const { mkdir, writeFile } = await import('node:fs/promises');
    await mkdir(`${station.data}/damaged/practice`, { recursive: true });
    await writeFile(`${station.data}/damaged/practice/records.sqlite`, 'this is no database at all'.repeat(100));
    const damaged = await cli('serve', '--practice', '--data', `${station.data}/damaged`);
    expect([damaged.status, damaged.stderr]).toEqual([2, expect.stringContaining('DATABASE_DAMAGED')]);
  });

  test('practises by itself where there is no radio, and says why', async () => {
    const run = startCli('serve', '--data', `${station.data}/none`);
    await run.line(/No radio was found: practice on a virtual tray/);
    await run.line(/^Open http:\/\/127\.0\.0\.1:\d+\/#token=[\w-]{43}$/);
    run.child.kill('SIGTERM');
    expect((await run.done).status).toBe(0);
  });
});
