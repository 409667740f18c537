/** A way to one controller: whole HCI packets, each with its H4 type octet. */
export interface HciTransport {
  send(packet: Buffer): void;
  /** Where packets from the controller go; set once, before anything is sent. */
  onPacket(handler: (packet: Buffer) => void): void;
  /** Called once when the controller is gone, with the reason; not after `close`. */
  onLost(handler: (reason: string) => void): void;
  close(): Promise<void>;
}
