import { contextBridge, ipcRenderer } from 'electron';

// Sandboxed: this file is bundled alone and may require nothing but Electron. The names are those of ipc-port.ts.
const CONNECT = 'station:connect';
const MESSAGE = 'station:message';
const CLOSED = 'station:closed';

/** All that a page has of the station: strings to and fro. */
contextBridge.exposeInMainWorld('stationPort', {
  connect: () => ipcRenderer.send(CONNECT),
  send: (message: string) => ipcRenderer.send(MESSAGE, message),
  onMessage: (handler: (message: string) => void) => {
    ipcRenderer.removeAllListeners(MESSAGE);
    ipcRenderer.on(MESSAGE, (_event, message: string) => handler(message));
  },
  onClose: (handler: () => void) => {
    ipcRenderer.removeAllListeners(CLOSED);
    ipcRenderer.on(CLOSED, () => handler());
  },
});
