import type { Clock } from '../../src/clock.ts';
import { HciHost, type HciHostEvents } from '../../src/radio/hci/hci-host.ts';
import type { HciTransport } from '../../src/radio/hci/transport.ts';

/** What an HCI host made of the packets that it was given. */
export interface RecordedHost {
  readonly host: HciHost;
  /** What it sent to the controller. */
  readonly sent: Buffer[];
  /** What it handed to noble. */
  readonly toNoble: Buffer[];
  /** What it told the radio: the event's name, then its arguments. */
  readonly told: unknown[][];
  receive(packet: Buffer): void;
}

/** An HCI host over nothing, with all that comes of it written down. */
export function recordedHost(clock: Clock, wrap = (transport: HciTransport): HciTransport => transport): RecordedHost {
  const sent: Buffer[] = [];
  const toNoble: Buffer[] = [];
  const told: unknown[][] = [];
  let receive: (packet: Buffer) => void = () => undefined;
  const transport = wrap({
    send: (packet) => void sent.push(Buffer.from(packet)),
    onPacket: (handler) => {
      receive = handler;
    },
    onLost: () => undefined,
    close: async () => undefined,
  });
  const tell =
    (name: keyof HciHostEvents) =>
    (...args: unknown[]): void =>
      void told.push([name, ...args]);
  const host = new HciHost(transport, clock, {
    attError: tell('attError'),
    nonsense: tell('nonsense'),
    disconnected: tell('disconnected'),
    connectionComplete: tell('connectionComplete'),
    pairingPdu: tell('pairingPdu'),
    encryptionChanged: tell('encryptionChanged'),
    scanAnswered: tell('scanAnswered'),
    lost: tell('lost'),
  });
  host.socket.start((packet) => toNoble.push(packet));
  return { host, sent, toNoble, told, receive: (packet) => receive(packet) };
}
