import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import sirv from 'sirv';
import { type WebSocket, WebSocketServer } from 'ws';
import { MAX_MESSAGE_LENGTH, type Port } from '../contract/channel.ts';
import { StationError } from '../contract/errors.ts';
import { securityHeaders } from '../host/content-security.ts';
import { screensDirectory } from '../host/screens.ts';
import type { Reception } from '../station/reception.ts';

const HOST = '127.0.0.1';
/** The page offers this protocol and one that carries the token; the station accepts this one, so that the token is not echoed. */
const PROTOCOL = 'dfu-station';
const TOKEN_PREFIX = 'token.';
const TOKEN_BYTES = 32;

/** The console while it is served. */
export interface Console {
  /** The address to open, token included. */
  readonly address: string;
  readonly port: number;
  readonly token: string;
  stop(): Promise<void>;
}

/**
 * Serves the screens and their channel on this machine only. Whoever asks must name this host (no rebinding), come from this very page,
 * and know the token of this launch, which travels in the address's fragment and so in no request.
 * @throws StationError PORT_IN_USE, SCREENS_MISSING
 */
export async function serveConsole(reception: Pick<Reception, 'accept'>, port: number): Promise<Console> {
  const token = randomBytes(TOKEN_BYTES).toString('base64url');
  const files = sirv(screensDirectory(), { etag: true, setHeaders: secure });
  const server = createServer((request, response) => {
    if (!isForUs(request, server)) return refuse(response);
    files(request, response, () => {
      secure(response);
      response.writeHead(404, { 'Content-Type': 'text/plain' }).end('There is nothing here.\n');
    });
  });
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_LENGTH * 2,
    handleProtocols: () => PROTOCOL,
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (!isForUs(request, server) || !comesFromUs(request) || !knowsToken(request, token)) {
      return socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => reception.accept(webSocketPort(webSocket)));
  });
  await listen(server, port);
  const { port: actual } = server.address() as AddressInfo;
  return {
    address: `http://${HOST}:${actual}/#token=${token}`,
    port: actual,
    token,
    async stop() {
      for (const client of sockets.clients) client.terminate();
      sockets.close();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

function secure(response: ServerResponse): void {
  for (const [name, value] of Object.entries(securityHeaders)) response.setHeader(name, value);
}

function refuse(response: ServerResponse): void {
  secure(response);
  response.writeHead(403, { 'Content-Type': 'text/plain' }).end('This address is not served here.\n');
}

function isForUs(request: IncomingMessage, server: Server): boolean {
  const address = server.address();
  if (address === null || typeof address === 'string') return false;
  return request.headers.host === `${HOST}:${address.port}`;
}

function comesFromUs({ headers }: IncomingMessage): boolean {
  return headers.origin === `http://${headers.host}`;
}

function knowsToken({ headers }: IncomingMessage, token: string): boolean {
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((each) => each.trim());
  const given = offered.find((each) => each.startsWith(TOKEN_PREFIX))?.slice(TOKEN_PREFIX.length);
  if (given === undefined || !offered.includes(PROTOCOL)) return false;
  const a = Buffer.from(given);
  const b = Buffer.from(token);
  return a.length === b.length && timingSafeEqual(a, b);
}

function webSocketPort(socket: WebSocket): Port {
  return {
    send: (message) => socket.send(message),
    backlog: () => socket.bufferedAmount,
    onMessage: (handler) => {
      socket.on('message', (data, isBinary) => {
        if (isBinary) socket.close(1003);
        else handler(data.toString());
      });
    },
    onClose: (handler) => {
      socket.on('close', handler);
      // What is too large or malformed ends the socket; 'close' follows.
      socket.on('error', () => socket.terminate());
    },
    close: () => socket.close(),
  };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const code = error.code === 'EADDRINUSE' || error.code === 'EACCES' ? 'PORT_IN_USE' : 'INTERNAL';
      reject(new StationError(code, `port ${port}`, { cause: error }));
    });
    server.listen(port, HOST, resolve);
  });
}
