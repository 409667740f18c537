/** One record of a capture file, as the file has it. */
export interface CaptureFrame {
  /** Its number in the file, from 0, as Wireshark counts from 1. */
  readonly number: number;
  /** Link type as tcpdump numbers them (tcpdump.org/linktypes); formats that are no pcap are given the one that says the same. */
  readonly linkType: number;
  /** Which interface it came from: frames of one interface are one conversation. */
  readonly source: string;
  /** Microseconds since 1970. */
  readonly timeUs: number;
  readonly bytes: Buffer;
}

/** What a reader made of a file. */
export interface CaptureFrames {
  readonly frames: CaptureFrame[];
  /** Whether the file ends in the middle of a record; what is whole before it has been read. */
  readonly cut: boolean;
  /** Packets that whoever captured says are missing, and packets that it kept only the beginning of. */
  readonly missing: number;
}

/**
 * LINKTYPE_BLUETOOTH_HCI_H4, the same with a pseudo-header that tells the direction, and BlueZ's monitor (tcpdump.org/linktypes; Wireshark's
 * wiretap/pcap-common.c).
 */
export const LINKTYPE_H4 = 187;
export const LINKTYPE_H4_WITH_DIRECTION = 201;
export const LINKTYPE_LINUX_MONITOR = 254;

/** H4 packet types (Core 5.4, Vol 4 Part A, 2). */
export const H4_COMMAND = 0x01;
export const H4_ACL = 0x02;
export const H4_SCO = 0x03;
export const H4_EVENT = 0x04;
export const H4_ISO = 0x05;

/** An H4 packet as a frame of link type 201: a direction (0 sent, 1 received), then the packet. */
export function directedH4(type: number, received: boolean, packet: Buffer): Buffer {
  return Buffer.concat([Buffer.of(0, 0, 0, received ? 1 : 0, type), packet]);
}
