import type { Port } from '../../src/contract/channel.ts';

/** What Electron's preload offers, where there is one. */
interface PreloadPort {
  send(message: string): void;
  onMessage(handler: (message: string) => void): void;
  onClose(handler: () => void): void;
  connect(): void;
}

declare global {
  interface Window {
    readonly stationPort?: PreloadPort;
  }
}

const TOKEN_KEY = 'dfu-station.token';

/** How to reach the station from where this page runs: through Electron's preload, or by WebSocket with the token of the address. */
export function openPort(): () => Promise<Port> {
  const { stationPort } = window;
  if (stationPort) return async () => preloadPort(stationPort);
  const token = takeToken();
  return () => webSocketPort(token);
}

/** The token travels in the fragment; it is kept for reloads of this tab and removed from the address. */
function takeToken(): string {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) {
    sessionStorage.setItem(TOKEN_KEY, given);
    history.replaceState(null, '', location.pathname);
  }
  return given ?? sessionStorage.getItem(TOKEN_KEY) ?? '';
}

function preloadPort(bridge: PreloadPort): Port {
  bridge.connect();
  return {
    send: (message) => bridge.send(message),
    backlog: () => 0,
    onMessage: (handler) => bridge.onMessage(handler),
    onClose: (handler) => bridge.onClose(handler),
    close: () => undefined,
  };
}

function webSocketPort(token: string): Promise<Port> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${location.host}/`, ['dfu-station', `token.${token}`]);
    const handlers: ((message: string) => void)[] = [];
    socket.onmessage = ({ data }) => {
      for (const handler of handlers) handler(String(data));
    };
    socket.onopen = () =>
      resolve({
        send: (message) => {
          if (socket.readyState === WebSocket.OPEN) socket.send(message);
        },
        backlog: () => socket.bufferedAmount,
        onMessage: (handler) => handlers.push(handler),
        onClose: (handler) => {
          socket.onclose = handler;
        },
        close: () => socket.close(),
      });
    socket.onerror = () => reject(new Error('the station does not answer'));
  });
}
