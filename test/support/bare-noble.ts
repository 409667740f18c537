import type { HciTransport } from '../../src/radio/hci/transport.ts';
import {
  createHciNoble,
  hciSockets,
  type Noble,
  type NobleBindings,
  type NoblePeripheral,
} from '../../src/radio/noble/noble-internals.ts';
import { until } from './until.ts';

let nextId = 5000;

/** noble as it comes, over a transport, with nothing of the station's in between. */
export interface BareNoble {
  readonly noble: Noble;
  readonly bindings: NobleBindings;
  readonly id: number;
  discover(address: string): Promise<NoblePeripheral>;
  connect(address: string, supervisionMs?: number): Promise<NoblePeripheral>;
  dispose(): void;
}

/** Starts noble bare; `dispose` does what noble has no call for. */
export async function bareNoble(transport: HciTransport): Promise<BareNoble> {
  const id = nextId++;
  const listeners = { SIGINT: process.listeners('SIGINT'), exit: process.listeners('exit') };
  hciSockets.register(id, {
    start: (deliver) => transport.onPacket(deliver),
    stop: () => undefined,
    write: (packet) => transport.send(packet),
  });
  const { noble, bindings } = createHciNoble(id);
  noble.on('warning', () => undefined);
  let state = '';
  noble.on('stateChange', (now: string) => {
    state = now;
  });
  await until(() => state === 'poweredOn');
  const discover = async (address: string): Promise<NoblePeripheral> => {
    noble.startScanning([], true);
    await until(() => noble._peripherals[address.replaceAll(':', '')] !== undefined);
    noble.stopScanning();
    return noble._peripherals[address.replaceAll(':', '')]!;
  };
  return {
    noble,
    bindings,
    id,
    discover,
    async connect(address, supervisionMs = 10_000) {
      const peripheral = await discover(address);
      peripheral.connect({ minInterval: 12, maxInterval: 12, latency: 0, timeout: supervisionMs / 10 });
      await until(() => peripheral.state === 'connected' && peripheral.mtu !== null);
      return peripheral;
    },
    dispose() {
      bindings._hci.pollIsDevUp = () => undefined;
      hciSockets.unregister(id);
      for (const listener of process.listeners('SIGINT')) {
        if (!listeners.SIGINT.includes(listener)) process.off('SIGINT', listener);
      }
      for (const listener of process.listeners('exit')) {
        if (!listeners.exit.includes(listener)) process.off('exit', listener);
      }
    },
  };
}
