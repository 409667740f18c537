import type { ControllerFacts } from '../contract/board.ts';
import type { StationError } from '../contract/errors.ts';
import type { LinkFacts } from '../contract/records.ts';
import type { EncryptionKey } from './security/pairing.ts';

export type { LinkFacts };

/**
 * The radio port: all that the station knows of Bluetooth. Every promise settles: with a value, a StationError, or the link's end.
 */

/** What was last heard of a device that advertises. */
export interface Advertisement {
  /** `aa:bb:cc:dd:ee:ff`; on macOS the system's identifier in its place. */
  readonly address: string;
  readonly addressType: 'public' | 'random' | 'unknown';
  readonly name: string | null;
  /** Service UUIDs in their usual spelling, lower case. */
  readonly services: readonly string[];
  readonly manufacturerData: Buffer | null;
  /** In dBm. */
  readonly rssi: number;
}

/** A key that a device and the station keep for each other. */
export interface Bond {
  /** The address of the adapter that the device is bonded with: to the device every adapter is another central. */
  readonly ownAddress: string;
  /** The device's identity address, which it keeps under all its private ones. */
  readonly identityAddress: string;
  readonly random: boolean;
  /** Resolves its private addresses; most significant octet first. */
  readonly irk: Buffer | null;
  readonly key: EncryptionKey;
  readonly secureConnections: boolean;
  readonly keyBits: number;
}

/** Where bonds are kept. */
export interface BondStore {
  list(): readonly Bond[];
  /** In place of an earlier one of the same adapter with the same device. */
  keep(bond: Bond): void;
  forget(bond: Bond): void;
}

/** What is asked of a link's security. */
export interface SecurityPolicy {
  /** The link is encrypted before anything is asked of the device; else only when the device wants it. */
  readonly required: boolean;
  /** Without a place to keep it, no bond is made. */
  readonly bonds: BondStore | null;
  /** A device that has lost its key is paired with again; else refused by BOND_LOST. */
  readonly pairAgain: boolean;
}

/** How a connection is asked for. */
export interface ConnectOptions {
  readonly intervalMs: number;
  readonly supervisionTimeoutMs: number;
  /** The PHY to ask for; 2M unless it says otherwise. */
  readonly phy?: '1M' | '2M';
  /** Gives up after this long, waiting for other connection attempts of the same radio not counted. */
  readonly timeoutMs: number;
  /** Left out: encrypted when the device wants it, nothing kept. */
  readonly security?: SecurityPolicy;
  readonly signal?: AbortSignal;
}

/** One radio: an adapter that scans and connects. */
export interface Radio {
  /** As it was named: `virtual`, `hci:0`, `h4:tcp:localhost:9000` … */
  readonly name: string;
  /** The controller's own address, where it is known. */
  readonly address: string | null;
  /** How many links its controller carries, once it has refused one more; null before. */
  readonly linkLimit: number | null;
  /** What its controller says it can; null where the platform does not tell. */
  readonly controller: ControllerFacts | null;
  /**
   * Hears advertisements until the returned function is called: what a device repeats, about once a second. Several may listen at once.
   * `share` is how much of its links' air this may cost, 1 being all that it takes; without links it costs nothing.
   */
  scan(onAdvertisement: (advertisement: Advertisement) => void, share?: number): () => void;
  /**
   * Connects to a device that has been heard. MTU and all are settled when it resolves.
   * @throws StationError CONNECT_TIMEOUT, CONNECT_FAILED, RADIO_FULL, ALREADY_CONNECTED, UNIT_NOT_FOUND, RADIO_LOST, and where security is required
   *   PAIRING_…, BOND_LOST, ENCRYPTION_FAILED
   */
  connect(address: string, options: ConnectOptions): Promise<Link>;
  /** Resolves when the radio is gone for good, with the reason; with null after `stop`. */
  readonly ended: Promise<StationError | null>;
  /** Ends all links and lets go of the adapter. */
  stop(): Promise<void>;
}

/** A characteristic of a connected device. */
export interface Characteristic {
  readonly service: string;
  readonly uuid: string;
  readonly properties: readonly string[];
}

/** Which of a write's bytes are bytes of an image, so that a frame log need not keep them again. */
export interface ImageBytes {
  /** The image's index in the package. */
  readonly image: number;
  /** Where in the image they stand. */
  readonly offset: number;
  /** Where in the write they begin; they reach to its end. */
  readonly at: number;
}

/** One write without response, of at most MTU − 3 octets. */
export interface WriteCommand {
  readonly characteristic: Characteristic;
  readonly value: Buffer;
  readonly imageBytes?: ImageBytes | null;
}

/** One HCI packet as it crossed the transport to the controller. */
export interface CapturedPacket {
  /** Its number on this link, counted from 0, those left out included. */
  readonly number: number;
  /** Microseconds since 1970. */
  readonly timeUs: number;
  /** From the controller to the host. */
  readonly received: boolean;
  /** With its H4 type octet. */
  readonly packet: Buffer;
}

/** What a link's capture holds. */
export interface CaptureContent {
  readonly packets: readonly CapturedPacket[];
  /** Packets of the middle that had to go. */
  readonly leftOut: number;
}

/** The HCI packets of one link, where the transport is ours: the evidence for every argument about order. */
export interface LinkEvidence {
  /** An anomaly was seen: the seconds around now are kept. */
  mark(): void;
  /** Null when it is lost with the process that it was taken in. */
  content(): Promise<CaptureContent | null>;
  /** Nobody asks for it any more. Whoever made the link says so in the end; until then all of it is kept. */
  release(): void;
}

/** A connection to one device. */
export interface Link {
  readonly address: string;
  facts(): LinkFacts;
  /** Null where the transport is not ours. */
  readonly evidence: LinkEvidence | null;
  /** Packets that are not yet over the air; 0 where the platform does not tell. */
  readonly queued: number;
  /** @throws StationError SERVICE_NOT_FOUND when service or characteristic is not there */
  characteristic(service: string, uuid: string): Promise<Characteristic>;
  /**
   * What the device lets only an encrypted link do is done again once it is encrypted.
   * @throws StationError ATT_ERROR, ENCRYPTION_REQUIRED, PAIRING_…, ATT_TIMEOUT or the link's end; so do `write` and `subscribe`
   */
  read(characteristic: Characteristic): Promise<Buffer>;
  /** Write with response. */
  write(characteristic: Characteristic, value: Buffer): Promise<void>;
  /**
   * Writes without response, one after the other; settles when the controller took the last one.
   * @throws StationError WRITE_TOO_LONG, SERVICE_NOT_FOUND, and then none has been sent; or the link's end
   */
  writeCommands(commands: readonly WriteCommand[]): Promise<void>;
  /** Hears notifications and indications; `onValue` is called at once and in order of arrival. */
  subscribe(characteristic: Characteristic, onValue: (value: Buffer) => void): Promise<void>;
  /** The device is about to restart: that it is gone is to be noticed soon. */
  expectRestart(): void;
  /** Signal strength in dBm, null where the platform does not tell. */
  rssi(): Promise<number | null>;
  /** Resolves when the link is over, with the reason: LINK_LOST, LINK_CLOSED, RADIO_LOST, DEVICE_NONSENSE. */
  readonly ended: Promise<StationError>;
  /** Ends the link; resolves when it is over, whatever state it was in. */
  disconnect(): Promise<void>;
}
