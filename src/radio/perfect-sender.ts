/** What a controller does of itself, whoever uses it. */
export interface ControllerLimits {
  /** Host buffers, of one full packet each. */
  readonly buffers: number;
  /** From the anchor of one link to that of the next one; the last link has what is left of the interval. */
  readonly anchorsApartMs: number;
  /** A packet to the controller and the report that it is done, together, without its time on the air. */
  readonly roundTripMs: number;
}

/** What the air and the protocol allow: the link of a sender that never waits. */
export interface PerfectSenderConditions {
  readonly phy: '1M' | '2M';
  readonly intervalMs: number;
  /** Links that share the interval. */
  readonly links: number;
  /** Octets of payload in a link-layer PDU. */
  readonly dataLength: number;
  readonly mtu: number;
  readonly encrypted: boolean;
  /** Left out: a controller that gives each link an equal part of the interval and has buffers without end. */
  readonly controller?: ControllerLimits;
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
const EVENTS_COUNTED = 2000;

/**
 * Image bytes a second that all links of one radio carry together at most: exactly the protocol's frames and answers, whole PDU exchanges
 * in each link's event, nothing carried over to the next. Answers ride in the exchanges of the frame after. A controller's buffers bound
 * it by what they carry there and back: each is taken from when a packet is handed over until it is heard to be done. Source: Core 5.4,
 * Vol 6 Part B, 2.1, 2.4, 4.1.1, 4.5.1; Vol 4 Part E, 4.1. Kept apart from the virtual ether, which is measured against it.
 */
export function perfectSenderBytesPerSecond(conditions: PerfectSenderConditions, frame: FrameShape): number {
  const { phy, intervalMs, links, dataLength, encrypted, controller } = conditions;
  const packets = (values: readonly number[]) =>
    values.flatMap((octets) => split(octets + ATT_HEADER + L2CAP_HEADER, dataLength));
  const airUs = (octets: number) => {
    const withMic = octets > 0 && encrypted ? octets + MIC : octets;
    return phy === '2M' ? (2 + 4 + 2 + withMic + 3) * 4 : (1 + 4 + 2 + withMic + 3) * 8;
  };
  const down = packets(frame.writes);
  const up = packets(frame.notifications);
  const exchanges = down.map((octets, i) => airUs(octets) + airUs(up[i] ?? 0) + 2 * INTER_FRAME_SPACE_US);
  const slots = slotsUs(intervalMs * 1000, links, controller);
  let sent = 0;
  for (const slotUs of slots) {
    let ofLink = 0;
    for (let event = 0; event < EVENTS_COUNTED; event++) {
      for (let leftUs = slotUs; ; ofLink++) {
        leftUs -= exchanges[ofLink % exchanges.length]!;
        if (leftUs < 0) break;
      }
    }
    sent += ofLink;
  }
  const imageBytesOfPacket = frame.imageBytes / exchanges.length;
  const byAir = (sent * imageBytesOfPacket * 1000) / (EVENTS_COUNTED * intervalMs);
  if (!controller) return byAir;
  const heldMs = controller.roundTripMs + exchanges.reduce((sum, us) => sum + us, 0) / exchanges.length / 1000;
  return Math.min(byAir, (controller.buffers * imageBytesOfPacket * 1000) / heldMs);
}

/** The time that each link's events have, in microseconds. */
function slotsUs(intervalUs: number, links: number, controller: ControllerLimits | undefined): number[] {
  const apartUs = controller ? Math.min(controller.anchorsApartMs * 1000, intervalUs / links) : intervalUs / links;
  return Array.from({ length: links }, (_, link) => (link < links - 1 ? apartUs : intervalUs - (links - 1) * apartUs));
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
