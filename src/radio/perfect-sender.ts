/** What the air and the protocol allow: the link of a sender that never waits. */
export interface PerfectSenderConditions {
  readonly phy: '1M' | '2M';
  readonly intervalMs: number;
  /** Links that share the interval in equal slots. */
  readonly links: number;
  /** Octets of payload in a link-layer PDU. */
  readonly dataLength: number;
  readonly mtu: number;
  readonly encrypted: boolean;
}

/** The frames of a protocol as they load the air. */
export interface FrameShape {
  /** Image bytes that one frame carries. */
  readonly imageBytes: number;
  /** The values written for one frame, in octets. */
  readonly writes: readonly number[];
  /** The values notified for one frame, in octets. */
  readonly notifications: readonly number[];
}

const INTER_FRAME_SPACE_US = 150;
const L2CAP_HEADER = 4;
const ATT_HEADER = 3;
const MIC = 4;
const SLOTS_COUNTED = 2000;

/**
 * Image bytes a second that all links of one radio carry together at most: exactly the protocol's frames and answers, whole PDU exchanges
 * in each link's slot, nothing carried over to the next. Answers ride in the exchanges of the frame after. Source: Core 5.4, Vol 6 Part B,
 * 2.1, 2.4, 4.1.1, 4.5.1. Kept apart from the virtual ether, which is measured against it.
 */
export function perfectSenderBytesPerSecond(conditions: PerfectSenderConditions, frame: FrameShape): number {
  const { phy, intervalMs, links, dataLength, encrypted } = conditions;
  const packets = (values: readonly number[]) =>
    values.flatMap((octets) => split(octets + ATT_HEADER + L2CAP_HEADER, dataLength));
  const airUs = (octets: number) => {
    const withMic = octets > 0 && encrypted ? octets + MIC : octets;
    return phy === '2M' ? (2 + 4 + 2 + withMic + 3) * 4 : (1 + 4 + 2 + withMic + 3) * 8;
  };
  const down = packets(frame.writes);
  const up = packets(frame.notifications);
  const exchanges = down.map((octets, i) => airUs(octets) + airUs(up[i] ?? 0) + 2 * INTER_FRAME_SPACE_US);
  const slotUs = (intervalMs * 1000) / links;
  let sent = 0;
  for (let slot = 0; slot < SLOTS_COUNTED; slot++) {
    for (let leftUs = slotUs; ; sent++) {
      leftUs -= exchanges[sent % exchanges.length]!;
      if (leftUs < 0) break;
    }
  }
  const imageBytes = (sent / exchanges.length) * frame.imageBytes;
  return (links * imageBytes * 1000) / (SLOTS_COUNTED * intervalMs);
}

/** An SMP upload request that fills `frameBytes`, and its answer (SMP specification, group 1 command 1). */
export function smpUploadShape(frameBytes: number, mtu: number): FrameShape {
  const header = 8;
  // {"off": uint32, "data": bytes}: one octet for the map, then key and value of each (RFC 8949).
  const cbor = 1 + (4 + 5) + (5 + 3);
  const imageBytes = Math.floor((frameBytes - header - cbor) / 4) * 4;
  const answer = header + 1 + (4 + 5);
  return { imageBytes, writes: split(header + cbor + imageBytes, mtu - ATT_HEADER), notifications: [answer] };
}

/** A FUS DATA frame of at most `frameBytes` with its markers, and the answer with its own (docs/protocols/fus.md). */
export function fusDataShape(imageBytes: number, mtu: number): FrameShape {
  const overhead = 4 + 4 + 2;
  const answer = 4 + 5 + 2;
  return {
    imageBytes,
    writes: [1, ...split(overhead + imageBytes, mtu - ATT_HEADER), 1],
    notifications: [1, answer, 1],
  };
}

function split(octets: number, most: number): number[] {
  const whole = Math.floor(octets / most);
  const rest = octets - whole * most;
  return [...new Array<number>(whole).fill(most), ...(rest > 0 ? [rest] : [])];
}
