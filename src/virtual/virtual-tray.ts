import { createWriteStream, mkdirSync, type WriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { type Clock, systemClock } from '../clock.ts';
import { StationError } from '../contract/errors.ts';
import {
  type ControllerDescription,
  type DeviceDescription,
  type TrayFile,
  trayDevices,
} from '../contract/tray-file.ts';
import type { VirtualController } from './controller.ts';
import { Ether, RealTime } from './ether.ts';
import { Faults } from './faults.ts';
import { CODE } from './hci/codes.ts';
import { commandPacket } from './hci/packet.ts';
import { PacketStream } from './hci/packet-stream.ts';
import { type DeviceRadio, VirtualDevice } from './virtual-device.ts';

/** A tray of virtual devices that runs until it is stopped. */
export interface VirtualTray {
  /** Its devices in the order of their units. */
  readonly devices: readonly VirtualDevice[];
  stop(): Promise<void>;
}

/** A tray at a socket: the devices can be taken away and others put in their place. */
export interface ListeningTray extends VirtualTray {
  /** Takes the devices off the air and brings as many new ones, with serials that go on from the last. */
  next(): void;
}

/**
 * Runs an ether with the tray's devices in this process and offers it at a unix socket: whoever connects is given a controller of
 * their own, to scan and connect with, or to attach further devices.
 * @throws StationError RADIO_UNREACHABLE when the socket cannot be had
 */
export async function listenVirtualTray(tray: TrayFile, path: string, deviceLogs?: string): Promise<ListeningTray> {
  const { neighbours: count, neighbourIntervalMs: intervalMs } = tray.air;
  const ether = new Ether(tray.seed, { count, intervalMs });
  const logs = new DeviceLogs(deviceLogs);
  const time = new RealTime(ether, tray.speed);
  const hosts = new Set<ExternalHost>();
  time.onAdvanced = () => {
    for (const host of hosts) host.flush();
  };
  const taken = new Set<number>();
  /** The controllers that are given out, place by place, with the faults that are still to come. */
  const descriptions = new Map<number, ControllerDescription>();
  const server = createServer((socket) => {
    // As an adapter that is plugged in again: the same address.
    let place = 0;
    while (taken.has(place)) place++;
    taken.add(place);
    const description = descriptions.get(place) ?? radioController(tray.controller, place + 1);
    descriptions.set(place, description);
    const controller = ether.createController(`06:00:00:00:00:${hex(place & 0xff)}`, description);
    const host = new ExternalHost(socket, controller, time, () => {
      hosts.delete(host);
      taken.delete(place);
    });
    hosts.add(host);
  });
  await listen(server, path);
  let trays = 0;
  let present: PlacedDevice[] = [];
  time.sync(() => {
    present = placeDevices(tray, trays++, ether, logs);
  });
  return {
    get devices() {
      return present.map(({ device }) => device);
    },
    next() {
      time.sync(() => {
        for (const { device, controller } of present) {
          device.stop();
          controller.dispose();
        }
        present = placeDevices(tray, trays++, ether, logs);
      });
    },
    async stop() {
      time.stop();
      for (const host of hosts) host.close();
      const closed = new Promise((resolve) => server.close(resolve));
      await closed;
      await logs.close();
    },
  };
}

interface PlacedDevice {
  readonly device: VirtualDevice;
  readonly controller: VirtualController;
}

/** Puts the devices of the n-th tray (from 0) on the air. */
function placeDevices(tray: TrayFile, nth: number, ether: Ether, logs: DeviceLogs): PlacedDevice[] {
  return trayDevices(tray, nth).map((description, index) => {
    const controller = ether.createController(`02:00:00:00:${hex(nth & 0xff)}:${hex(index)}`);
    const port = {
      send: (packet: Buffer) => controller.fromHost(packet),
      onPacket: (handler: (packet: Buffer) => void) => {
        controller.toHost = handler;
      },
    };
    controller.rssi = description.rssi;
    controller.maxOctets = description.dataLength;
    controller.maxPhy = description.phy === '2M' ? 2 : 1;
    controller.lossRate = description.lossRate;
    const device = new VirtualDevice(description, {
      port,
      radio: controllerRadio(controller),
      clock: ether.clock,
      faults: new Faults(tray.faults.filter((fault) => fault.unit === index + 1)),
      log: logs.of(description, ether.clock),
    });
    device.start();
    return { device, controller };
  });
}

/**
 * Joins each of the tray's devices to a foreign controller as its HCI host, one connection a device.
 * @throws StationError RADIO_UNREACHABLE
 */
export async function attachVirtualTray(
  tray: TrayFile,
  path: string,
  deviceLogs?: string,
): Promise<VirtualTray & { readonly lost: Promise<string> }> {
  const logs = new DeviceLogs(deviceLogs);
  const sockets: Socket[] = [];
  const devices: VirtualDevice[] = [];
  const { promise: lost, resolve: reportLost } = Promise.withResolvers<string>();
  for (const [index, description] of trayDevices(tray).entries()) {
    const socket = await connectSocket(path);
    sockets.push(socket);
    socket.on('close', () => reportLost('the controller closed the connection'));
    socket.on('error', (error) => reportLost(error.message));
    const reset = () => void socket.write(commandPacket(CODE.reset));
    const stream = new PacketStream();
    const device = new VirtualDevice(description, {
      port: {
        send: (packet) => void socket.write(packet),
        onPacket: (handler) =>
          socket.on('data', (chunk: Buffer) => {
            for (const packet of stream.push(chunk)) handler(packet);
          }),
      },
      radio: { vanish: reset, silence: reset, refuseConnections: () => undefined, changeInterval: () => undefined },
      clock: systemClock,
      faults: new Faults(tray.faults.filter((fault) => fault.unit === index + 1)),
      log: logs.of(description, systemClock),
    });
    devices.push(device);
    device.start();
  }
  return {
    devices,
    lost,
    async stop() {
      for (const device of devices) device.stop();
      for (const socket of sockets) socket.destroy();
      await logs.close();
    },
  };
}

/** A host that came over the socket, and the controller it was given. */
class ExternalHost {
  readonly #socket: Socket;
  #outgoing: Buffer[] = [];

  constructor(socket: Socket, controller: VirtualController, time: RealTime, onClosed: () => void) {
    this.#socket = socket;
    const stream = new PacketStream();
    controller.toHost = (packet) => this.#outgoing.push(packet);
    socket.on('data', (chunk: Buffer) => {
      time.sync(() => {
        try {
          for (const packet of stream.push(chunk)) controller.fromHost(packet);
        } catch (error) {
          if (!(error instanceof RangeError)) throw error;
          socket.destroy(error);
        }
      });
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      time.sync(() => controller.dispose());
      onClosed();
    });
  }

  flush(): void {
    if (this.#outgoing.length === 0) return;
    this.#socket.write(Buffer.concat(this.#outgoing));
    this.#outgoing = [];
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** The n-th radio's controller: its own faults, and a list of them that can be used up. */
function radioController(description: ControllerDescription, nth: number): ControllerDescription {
  return { ...description, faults: description.faults.filter(({ radio = nth }) => radio === nth) };
}

function controllerRadio(controller: VirtualController): DeviceRadio {
  return {
    vanish: () => controller.vanish(),
    silence: () => controller.silenceLinks(),
    refuseConnections: (refuse) => {
      controller.refusesConnections = refuse;
    },
    changeInterval: (intervalMs) => controller.changeIntervals(intervalMs * 1000),
  };
}

/** What real devices print on their UART, one file a device, in Zephyr's log format. */
class DeviceLogs {
  readonly #directory: string | undefined;
  readonly #files: WriteStream[] = [];

  constructor(directory: string | undefined) {
    this.#directory = directory;
    if (directory) mkdirSync(directory, { recursive: true });
  }

  of(description: DeviceDescription, clock: Clock): (line: string) => void {
    if (!this.#directory) return () => undefined;
    const file = createWriteStream(join(this.#directory, `${description.serial}.log`), { flags: 'a' });
    this.#files.push(file);
    const start = clock.now();
    return (line) => file.write(`[${zephyrTime(clock.now() - start)}] <inf> ${line}\n`);
  }

  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => new Promise<void>((resolve) => file.end(resolve))));
  }
}

/** `00:00:12.345,678`, as Zephyr's logging prints it. */
function zephyrTime(ms: number): string {
  const us = Math.round(ms * 1000);
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0');
  const three = (value: number) => String(Math.floor(value)).padStart(3, '0');
  const seconds = us / 1e6;
  return `${two(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}.${three((us / 1000) % 1000)},${three(us % 1000)}`;
}

async function listen(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(new StationError('RADIO_UNREACHABLE', error.message, { cause: error })));
    server.listen(path, resolve);
  });
  server.on('close', () => void rm(path, { force: true }));
}

function connectSocket(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => resolve(socket));
    socket.once('error', (error) => reject(new StationError('RADIO_UNREACHABLE', error.message, { cause: error })));
  });
}

const hex = (value: number) => value.toString(16).padStart(2, '0');
