import type { StationError } from '../../contract/errors.ts';

/** A way to one controller: whole HCI packets, each with its H4 type octet. */
export interface HciTransport {
  send(packet: Buffer): void;
  /** Where packets from the controller go; set once, before anything is sent. */
  onPacket(handler: (packet: Buffer) => void): void;
  /** Called once when the controller is gone, with the reason: RADIO_LOST, or RECORDING_OVER; not after `close`. */
  onLost(handler: (reason: StationError) => void): void;
  /** It plays a recording back, in which pairing has a stand-in: what security is reached has been replayed, not verified. */
  readonly replayed?: boolean;
  close(): Promise<void>;
}
