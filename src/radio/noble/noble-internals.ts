import type { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import type BluetoothHciSocket from '@abandonware/bluetooth-hci-socket';

/**
 * The parts of noble 1.9.2-26 that the radio uses, as they are in its source. Its published types leave out the constructors, and
 * nothing else in the station may import noble.
 */
export interface NobleCharacteristic extends EventEmitter {
  readonly uuid: string;
  readonly properties: string[];
  read(): void;
  write(data: Buffer, withoutResponse: boolean): void;
  notify(enable: boolean): void;
}

/** A discovered service. */
export interface NobleService extends EventEmitter {
  readonly uuid: string;
  discoverCharacteristics(uuids: string[]): void;
}

/** A device that was heard; one object for as long as noble knows it. */
export interface NoblePeripheral extends EventEmitter {
  readonly id: string;
  readonly address: string;
  readonly addressType: string;
  readonly advertisement: {
    localName?: string;
    serviceUuids?: string[];
    manufacturerData?: Buffer;
  };
  readonly rssi: number;
  readonly mtu: number | null;
  state: string;
  connect(options?: { minInterval: number; maxInterval: number; latency: number; timeout: number }): void;
  cancelConnect(): void;
  disconnect(): void;
  updateRssi(): void;
  discoverServices(uuids: string[]): void;
}

/** noble itself; the tables with underscores are what it never purges. */
export interface Noble extends EventEmitter {
  readonly address: string;
  startScanning(uuids: string[], allowDuplicates: boolean): void;
  stopScanning(): void;
  _peripherals: Record<string, NoblePeripheral>;
  _services: Record<string, unknown>;
  _characteristics: Record<string, unknown>;
  _descriptors: Record<string, unknown>;
  _discoveredPeripheralUUids: Record<string, boolean>;
}

interface NobleHci extends EventEmitter {
  _isDevUp: boolean | null;
  pollIsDevUp(): void;
  setEventMask(): void;
  setLeEventMask(): void;
  readLocalVersion(): void;
  readBdAddr(): void;
  writeAclDataPkt(handle: number, cid: number, data: Buffer): unknown;
}

/** What discovery found of a characteristic. */
export interface NobleValueHandles {
  readonly valueHandle: number;
}

/** The GATT client of one link. */
export interface NobleGatt {
  readonly _characteristics: Record<string, Record<string, NobleValueHandles>>;
}

/** noble's HCI bindings. */
export interface NobleBindings extends EventEmitter {
  readonly _hci: NobleHci;
  readonly _gap: { _discoveries: Record<string, unknown> };
  readonly _gatts: Record<string, NobleGatt>;
  readonly _handles: Record<string, number>;
  readonly _addresses: Record<string, unknown>;
  readonly _addresseTypes: Record<string, unknown>;
  readonly _connectable: Record<string, unknown>;
  readonly scannable: Record<string, unknown>;
  init(): void;
  cancelConnect(id: string): void;
}

const require = createRequire(import.meta.url);

/** The registry of transports, in the very instance that noble itself requires. */
export const hciSockets = require('@abandonware/bluetooth-hci-socket') as typeof BluetoothHciSocket;

/** noble's HCI bindings over the transport that is registered under `deviceId`, and a noble on top. */
export function createHciNoble(deviceId: number): { noble: Noble; bindings: NobleBindings } {
  const Bindings = require('@abandonware/noble/lib/hci-socket/bindings') as new (options: {
    deviceId: number;
  }) => NobleBindings;
  const withBindings = require('@abandonware/noble/with-bindings') as (bindings: NobleBindings) => Noble;
  const bindings = new Bindings({ deviceId });
  return { noble: withBindings(bindings), bindings };
}

/** noble over the operating system's own Bluetooth stack (macOS, Windows). */
export function createSystemNoble(): Noble {
  const resolveBindings = require('@abandonware/noble/lib/resolve-bindings') as () => NobleBindings;
  const withBindings = require('@abandonware/noble/with-bindings') as (bindings: NobleBindings) => Noble;
  return withBindings(resolveBindings());
}
