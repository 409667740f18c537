import { once } from 'node:events';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { StationError } from '../../contract/errors.ts';
import { H4Deframer } from './h4.ts';
import type { HciTransport } from './transport.ts';

const nextJob = Promise.resolve();
/** Octets that are read at a time. */
const READ_BYTES = 65_536;

/**
 * H4 over any byte stream. Packets written in one turn of the event loop leave as one write. `onBytes` says how the stream's bytes are
 * had, if not as a stream has them.
 */
export function h4Transport(
  stream: Duplex,
  onBytes: (handler: (bytes: Buffer) => void) => void = (handler) => stream.on('data', handler),
): HciTransport {
  const deframer = new H4Deframer();
  let closing = false;
  let onPacket: (packet: Buffer) => void = () => undefined;
  let onLost: (reason: StationError) => void = () => undefined;
  const lost = (reason: string) => {
    if (closing) return;
    closing = true;
    stream.destroy();
    onLost(new StationError('RADIO_LOST', reason, { retryable: true }));
  };
  onBytes((chunk) => {
    let packets: Buffer[];
    try {
      packets = deframer.push(chunk);
    } catch (error) {
      lost(error instanceof Error ? error.message : String(error));
      return;
    }
    for (const packet of packets) onPacket(packet);
  });
  stream.on('error', (error) => lost(error.message));
  stream.on('close', () => lost('the connection to the controller was closed'));
  let waiting: Buffer[] = [];
  const flush = () => {
    const packets = waiting;
    waiting = [];
    if (!closing) stream.write(packets.length === 1 ? packets[0] : Buffer.concat(packets));
  };
  return {
    send(packet) {
      if (closing) return;
      waiting.push(packet);
      // A promise's job costs a third of queueMicrotask's, which is felt at one packet a millisecond.
      if (waiting.length === 1) void nextJob.then(flush);
    },
    onPacket(handler) {
      onPacket = handler;
    },
    onLost(handler) {
      onLost = handler;
    },
    async close() {
      if (closing) return;
      closing = true;
      const closed = once(stream, 'close');
      stream.end();
      stream.destroy();
      await closed;
    },
  };
}

/** Where a controller can be reached by stream. */
export type H4Address = { path: string } | { host: string; port: number };

/** Connects to a controller's socket. @throws StationError RADIO_UNREACHABLE */
export async function connectH4(address: H4Address): Promise<HciTransport> {
  // Past the stream's reading side: what that does for each chunk, a tick among it, is felt at a packet a millisecond.
  let onBytes: (bytes: Buffer) => void = () => undefined;
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  const callback = (length: number) => {
    const bytes = Buffer.allocUnsafe(length);
    buffer.copy(bytes, 0, 0, length);
    onBytes(bytes);
    return true;
  };
  const onread = { buffer, callback };
  const socket = connect('path' in address ? { ...address, onread } : { ...address, noDelay: true, onread });
  try {
    await once(socket, 'connect');
  } catch (error) {
    socket.destroy();
    throw new StationError('RADIO_UNREACHABLE', error instanceof Error ? error.message : '', { cause: error });
  }
  return h4Transport(socket, (handler) => {
    onBytes = handler;
  });
}

/** Opens a controller on a serial port (hardware flow control, as H4 demands). @throws StationError RADIO_UNREACHABLE, RADIO_PERMISSION */
export async function openSerial(path: string, baudRate: number): Promise<HciTransport> {
  const { SerialPort } = await import('serialport');
  const port = new SerialPort({ path, baudRate, rtscts: true, autoOpen: false });
  await new Promise<void>((resolve, reject) => {
    port.open((error) => {
      if (!error) return resolve();
      const code = /permission|access denied/i.test(error.message) ? 'RADIO_PERMISSION' : 'RADIO_UNREACHABLE';
      reject(new StationError(code, error.message, { cause: error }));
    });
  });
  return h4Transport(port);
}
