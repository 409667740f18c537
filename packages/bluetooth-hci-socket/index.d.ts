import { EventEmitter } from 'node:events';

declare namespace BluetoothHciSocket {
  /** What stands behind one device id. Packets are whole HCI packets with their H4 type octet first. */
  interface SocketTransport {
    /** Called once by the host stack; from then on packets from the controller go to `deliver`. */
    start(deliver: (packet: Buffer) => void): void;
    stop(): void;
    write(packet: Buffer): void;
  }
  function register(id: number, transport: SocketTransport): void;
  function unregister(id: number): boolean;
}

declare class BluetoothHciSocket extends EventEmitter {
  bindRaw(id?: number): number;
  bindUser(id?: number): number;
  bindControl(): number;
  isDevUp(): boolean;
  start(): void;
  stop(): void;
  setFilter(filter: Buffer): void;
  write(packet: Buffer): void;
}

export = BluetoothHciSocket;
