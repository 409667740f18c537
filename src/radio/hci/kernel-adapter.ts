import { readdir } from 'node:fs/promises';
import { StationError } from '../../contract/errors.ts';
import type { HciTransport } from './transport.ts';

/** The Bluetooth adapters that the Linux kernel knows, by number. Reads no socket, so it is safe anywhere. */
export async function kernelAdapters(): Promise<number[]> {
  const names = await readdir('/sys/class/bluetooth').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new StationError('RADIO_UNREACHABLE', error.message, { cause: error });
  });
  return names
    .flatMap((name) => /^hci(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/**
 * Opens a kernel adapter on its user channel, which the kernel's own host then leaves alone. The native module is loaded here and not
 * before: on a kernel without Bluetooth it can abort the process.
 * @throws StationError RADIO_UNREACHABLE, RADIO_PERMISSION
 */
export async function openKernelAdapter(id: number): Promise<HciTransport> {
  if (!(await kernelAdapters()).includes(id))
    throw new StationError('RADIO_UNREACHABLE', `there is no adapter hci${id}`);
  const { loadDriver } = await import('@stoprocent/bluetooth-hci-socket');
  const Socket = loadDriver('native');
  const socket = new Socket();
  try {
    socket.bindUser(id);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const code = /permi/i.test(message) ? 'RADIO_PERMISSION' : 'RADIO_UNREACHABLE';
    throw new StationError(code, `hci${id}: ${message}`, { cause: error });
  }
  let onLost: (reason: StationError) => void = () => undefined;
  let open = true;
  socket.on('error', (error) => {
    if (open) onLost(new StationError('RADIO_LOST', error.message, { retryable: true }));
    open = false;
  });
  return {
    send: (packet) => {
      if (open) socket.write(packet);
    },
    onPacket: (handler) => {
      socket.on('data', handler);
      socket.start();
    },
    onLost: (handler) => {
      onLost = handler;
    },
    close: async () => {
      open = false;
      socket.stop();
    },
  };
}
