import type { IpcMain, IpcMainEvent, WebContents } from 'electron';
import { MAX_MESSAGE_LENGTH, type Port } from '../src/contract/channel.ts';
import { isOwnAddress } from './security.ts';

/** The names of the two messages that cross between a window and the station. */
export const CONNECT = 'station:connect';
export const MESSAGE = 'station:message';
export const CLOSED = 'station:closed';

/**
 * Hands each window that connects to `accept` as a port. Every message is checked: it comes from the main frame of a window on one of
 * our own addresses, is a string, and is no longer than a station takes.
 */
export function acceptWindows(ipc: Pick<IpcMain, 'on' | 'removeListener'>, accept: (port: Port) => void): () => void {
  const ports = new Map<WebContents, IpcPort>();
  const onConnect = (event: IpcMainEvent) => {
    if (!isTrusted(event)) return;
    ports.get(event.sender)?.end();
    const port = new IpcPort(event.sender);
    ports.set(event.sender, port);
    const gone = () => {
      port.end();
      if (ports.get(event.sender) === port) ports.delete(event.sender);
    };
    event.sender.once('destroyed', gone);
    event.sender.once('render-process-gone', gone);
    accept(port);
  };
  const onMessage = (event: IpcMainEvent, message: unknown) => {
    if (!isTrusted(event) || typeof message !== 'string' || message.length > MAX_MESSAGE_LENGTH) return;
    ports.get(event.sender)?.receive(message);
  };
  ipc.on(CONNECT, onConnect);
  ipc.on(MESSAGE, onMessage);
  return () => {
    ipc.removeListener(CONNECT, onConnect);
    ipc.removeListener(MESSAGE, onMessage);
    for (const port of ports.values()) port.end();
  };
}

function isTrusted({ sender, senderFrame }: IpcMainEvent): boolean {
  return senderFrame !== null && senderFrame === sender.mainFrame && isOwnAddress(senderFrame.url);
}

class IpcPort implements Port {
  readonly #contents: WebContents;
  #onMessage: (message: string) => void = () => undefined;
  #onClose: () => void = () => undefined;
  #open = true;

  constructor(contents: WebContents) {
    this.#contents = contents;
  }

  send(message: string): void {
    if (this.#open && !this.#contents.isDestroyed()) this.#contents.send(MESSAGE, message);
  }

  backlog(): number {
    return 0;
  }

  onMessage(handler: (message: string) => void): void {
    this.#onMessage = handler;
  }

  onClose(handler: () => void): void {
    this.#onClose = handler;
  }

  close(): void {
    if (this.#open && !this.#contents.isDestroyed()) this.#contents.send(CLOSED);
    this.end();
  }

  receive(message: string): void {
    if (this.#open) this.#onMessage(message);
  }

  /** The window is gone, or has connected anew. */
  end(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#onClose();
  }
}
