import { decode } from 'cborg';
import { ATT } from './hci.ts';
import { attPdus, type RecordedPeer, type RecordedSession } from './recording.ts';

/**
 * SMP characteristic DA2E7828-FBCE-4E01-AE9E-261174997C48, least significant octet first, as a declaration carries it (Zephyr `smp_bt.c`;
 * Apache Mynewt, "Newtmgr Over BLE").
 */
const SMP_CHARACTERISTIC = Buffer.from('487c997411269eae014ecefb28782eda', 'hex');
const HEADER_BYTES = 8;
const OP_WRITE = 2;
const GROUP_OS = 0;
const GROUP_IMAGE = 1;
const RESET = 5;
const STATE = 0;
const UPLOAD = 1;
/** "Not supported" (`MGMT_ERR_ENOTSUP`). */
const NOT_SUPPORTED = Buffer.from('bf62726308ff', 'hex');

interface Frame {
  readonly bytes: Buffer;
  /** Values that it took. */
  readonly values: number;
}

interface UploadRequest {
  readonly offset: number;
  readonly total: number | null;
  readonly data: Uint8Array;
  readonly image: number;
}

interface Exchange {
  readonly session: number;
  readonly key: string;
  readonly request: Buffer;
  readonly values: number;
  readonly answer: Buffer;
  readonly upload: UploadRequest | null;
  /** What an upload was answered with; null for an error. */
  readonly answeredOffset: number | null;
  /** It changes what the device answers from then on. */
  readonly changes: boolean;
  used: boolean;
}

/** What becomes of a request: an answer, the link's end, or the recording cannot tell. */
export type SmpReply =
  | { readonly kind: 'answer'; readonly frame: Buffer; readonly resets: boolean }
  | { readonly kind: 'link-lost' }
  | { readonly kind: 'not-recorded'; readonly what: string };

/**
 * The SMP server that a recording shows, across its links. Requests are known by what they ask, not by their place: a host may ask in
 * another order, again, or cut an image into other chunks. What changes the device comes in the recorded order, and what nobody asked then
 * cannot be answered now; only questions beyond the image list are answered by "not supported", as a server without the command does.
 */
export class RecordedSmp {
  readonly #exchanges: readonly Exchange[];
  readonly #sessions: readonly RecordedSession[];
  readonly valueHandle: number | null;
  /** The first exchange that has not been made. */
  #cursor = 0;
  #session = 0;
  /** Where the upload that runs goes on. */
  #next: number | null = null;
  /** An image has come whole: what was listed before is not what is listed now. */
  #uploaded = false;
  readonly #images = new Map<number, RecordedImage>();

  constructor(peer: RecordedPeer, handleOf: (uuid: Buffer) => number | null) {
    this.valueHandle = handleOf(SMP_CHARACTERISTIC);
    this.#sessions = peer.sessions;
    const { valueHandle } = this;
    this.#exchanges =
      valueHandle === null ? [] : peer.sessions.flatMap((session, at) => exchangesOf(session, at, valueHandle));
    for (const { upload } of this.#exchanges) {
      if (!upload) continue;
      const image = this.#images.get(upload.image) ?? new RecordedImage();
      this.#images.set(upload.image, image);
      image.add(upload.offset, upload.data);
    }
  }

  /** A link begins: what was recorded of those before it is over. */
  begin(session: number): void {
    this.#session = session;
    this.#next = null;
    const first = this.#exchanges.findIndex((exchange) => exchange.session >= session);
    if (first > this.#cursor) this.#cursor = first;
  }

  /** A whole request of the host's, that came in so many values. */
  ask(frame: Buffer, values: number): SmpReply {
    const upload = uploadOf(frame);
    if (upload) return this.#upload(frame, upload, values);
    const key = keyOf(frame);
    const found = this.#find(key);
    if (found !== null) return this.#answer(frame, found);
    const op = frame[0]! & 7;
    if (op === OP_WRITE || (frame.readUInt16BE(4) === GROUP_IMAGE && frame[7] === STATE)) {
      return {
        kind: 'not-recorded',
        what: `SMP ${op === OP_WRITE ? 'write' : 'read'}, group ${frame.readUInt16BE(4)}, command ${frame[7]}`,
      };
    }
    return {
      kind: 'answer',
      frame: answerTo(frame, Buffer.concat([frame.subarray(0, HEADER_BYTES), NOT_SUPPORTED])),
      resets: false,
    };
  }

  /** The exchange of this request that comes next, or came since the device last changed: an upload that is not whole changes no list. */
  #find(key: string): number | null {
    for (let at = this.#cursor; at < this.#exchanges.length; at++) {
      const exchange = this.#exchanges[at]!;
      if (exchange.key === key) return at;
      if (exchange.changes && !exchange.used) break;
    }
    for (let at = Math.min(this.#cursor, this.#exchanges.length) - 1; at >= 0; at--) {
      const exchange = this.#exchanges[at]!;
      if (exchange.key === key && !exchange.changes) return at;
      if (exchange.changes && (!exchange.upload || this.#uploaded)) break;
    }
    return null;
  }

  #answer(frame: Buffer, at: number): SmpReply {
    const exchange = this.#exchanges[at]!;
    exchange.used = true;
    if (exchange.changes) this.#cursor = Math.max(this.#cursor, at + 1);
    const resets = exchange.changes && frame.readUInt16BE(4) === GROUP_OS;
    return { kind: 'answer', frame: answerTo(frame, exchange.answer), resets };
  }

  #upload(frame: Buffer, asked: UploadRequest, values: number): SmpReply {
    const here = this.#exchanges.filter(
      ({ session, upload }) => session === this.#session && upload?.image === asked.image,
    );
    const sameShape = here.filter((exchange) => exchange.values > 1 === values > 1);
    const refused = sameShape.find(
      ({ answeredOffset, upload, used }) => answeredOffset === null && !used && upload!.offset === asked.offset,
    );
    if (refused) {
      refused.used = true;
      return { kind: 'answer', frame: answerTo(frame, refused.answer), resets: false };
    }
    const taken = here.filter(({ answeredOffset }) => answeredOffset !== null);
    const last = Math.max(-1, ...taken.map(({ answeredOffset }) => answeredOffset!));
    if (taken.length === 0)
      return { kind: 'not-recorded', what: `an upload in frames of ${values} ${values === 1 ? 'write' : 'writes'}` };
    if (this.#images.get(asked.image)?.contradicts(asked.offset, asked.data)) {
      return { kind: 'not-recorded', what: 'an upload of other firmware than the one recorded' };
    }
    const end = asked.offset + asked.data.length;
    if (asked.total !== null) {
      const first = taken.find(({ upload }) => upload!.total !== null);
      const resumed = first && first.answeredOffset! > first.upload!.offset + first.upload!.data.length;
      this.#next = resumed ? first.answeredOffset : Math.max(this.#next ?? 0, end);
    } else if (this.#next === null || asked.offset === this.#next) this.#next = end;
    const total = Math.max(
      0,
      ...this.#exchanges.map(({ upload }) => (upload?.image === asked.image ? (upload.total ?? 0) : 0)),
    );
    if (this.#next! >= total && last >= total) {
      this.#uploaded = true;
      this.#cursor = this.#exchanges.lastIndexOf(here.at(-1)!) + 1;
    } else if (this.#next! > last && last < total) {
      return this.#breaksOff()
        ? { kind: 'link-lost' }
        : { kind: 'not-recorded', what: `an upload beyond ${last} bytes` };
    }
    const body = Buffer.concat([Buffer.from('bf636f6666', 'hex'), unsigned(this.#next!), Buffer.of(0xff)]);
    return {
      kind: 'answer',
      frame: answerTo(frame, Buffer.concat([frame.subarray(0, HEADER_BYTES), body])),
      resets: false,
    };
  }

  /** The link of this session ended in the middle of its upload, and not by the host. */
  #breaksOff(): boolean {
    const reason = this.#sessions[this.#session]?.endReason ?? null;
    return reason !== null && reason !== 0x16;
  }
}

/** What of an image's bytes has been recorded. */
class RecordedImage {
  readonly #parts: { readonly offset: number; readonly data: Uint8Array }[] = [];

  add(offset: number, data: Uint8Array): void {
    this.#parts.push({ offset, data });
  }

  /** Whether these are other bytes than those recorded. */
  contradicts(offset: number, data: Uint8Array): boolean {
    return this.#parts.some((part) => {
      const from = Math.max(offset, part.offset);
      const to = Math.min(offset + data.length, part.offset + part.data.length);
      if (from >= to) return false;
      const recorded = Buffer.from(part.data).subarray(from - part.offset, to - part.offset);
      return !recorded.equals(Buffer.from(data).subarray(from - offset, to - offset));
    });
  }
}

/** Cuts the values of one direction into frames by the length in their header. */
export class FrameJoiner {
  #bytes = Buffer.alloc(0);
  #values = 0;

  push(value: Buffer): Frame | null {
    this.#bytes = Buffer.concat([this.#bytes, value]);
    this.#values += 1;
    if (this.#bytes.length < HEADER_BYTES || this.#bytes.length < HEADER_BYTES + this.#bytes.readUInt16BE(2))
      return null;
    const frame = { bytes: this.#bytes, values: this.#values };
    this.#bytes = Buffer.alloc(0);
    this.#values = 0;
    return frame;
  }
}

function exchangesOf(session: RecordedSession, at: number, valueHandle: number): Exchange[] {
  const joiners = [new FrameJoiner(), new FrameJoiner()];
  const asked: Frame[] = [];
  const exchanges: (Exchange | null)[] = [];
  const places: number[] = [];
  for (const { received, payload } of attPdus(session)) {
    const carries = received
      ? payload[0] === ATT.NOTIFICATION || payload[0] === ATT.INDICATION
      : payload[0] === ATT.WRITE_COMMAND || payload[0] === ATT.WRITE;
    if (!carries || payload.length < 3 || payload.readUInt16LE(1) !== valueHandle) continue;
    const frame = joiners[received ? 1 : 0]!.push(payload.subarray(3));
    if (!frame) continue;
    if (!received) {
      asked.push(frame);
      places.push(exchanges.length);
      exchanges.push(null);
      continue;
    }
    const index = asked.findIndex(
      ({ bytes }) =>
        bytes[6] === frame.bytes[6] &&
        bytes.readUInt16BE(4) === frame.bytes.readUInt16BE(4) &&
        bytes[7] === frame.bytes[7],
    );
    if (index < 0) continue;
    const [request] = asked.splice(index, 1);
    const [place] = places.splice(index, 1);
    exchanges[place!] = exchange(request!, frame.bytes, at);
  }
  return exchanges.filter((each) => each !== null);
}

function exchange(request: Frame, answer: Buffer, session: number): Exchange {
  const { bytes, values } = request;
  const upload = uploadOf(bytes);
  const group = bytes.readUInt16BE(4);
  const writes = (bytes[0]! & 7) === OP_WRITE;
  return {
    session,
    key: keyOf(bytes),
    request: bytes,
    values,
    answer,
    upload,
    answeredOffset: upload ? offsetIn(answer) : null,
    changes: writes && (group === GROUP_IMAGE || (group === GROUP_OS && bytes[7] === RESET)),
    used: false,
  };
}

/** What a request asks: all of it but its version and sequence number. */
function keyOf(frame: Buffer): string {
  return `${frame[0]! & 7}/${frame.readUInt16BE(4)}/${frame[7]}/${frame.subarray(HEADER_BYTES).toString('hex')}`;
}

/** The answer for this request: as recorded, under its sequence number, group and command. */
function answerTo(request: Buffer, recorded: Buffer): Buffer {
  const answer = Buffer.from(recorded);
  answer[0] = ((recorded[0]! & ~7) | ((request[0]! & 7) + 1)) & 0xff;
  answer.writeUInt16BE(answer.length - HEADER_BYTES, 2);
  request.copy(answer, 4, 4, HEADER_BYTES);
  return answer;
}

function uploadOf(frame: Buffer): UploadRequest | null {
  if ((frame[0]! & 7) !== OP_WRITE || frame.readUInt16BE(4) !== GROUP_IMAGE || frame[7] !== UPLOAD) return null;
  const body = bodyOf(frame);
  const { off, len, data, image = 0 } = body;
  if (typeof off !== 'number' || !(data instanceof Uint8Array) || typeof image !== 'number') return null;
  return { offset: off, total: typeof len === 'number' ? len : null, data, image };
}

function offsetIn(answer: Buffer): number | null {
  const { off, rc, err } = bodyOf(answer);
  return typeof off === 'number' && (rc === undefined || rc === 0) && err === undefined ? off : null;
}

function bodyOf(frame: Buffer): Record<string, unknown> {
  try {
    const body: unknown = decode(frame.subarray(HEADER_BYTES));
    return typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  } catch (error) {
    // What makes no sense says nothing; the host of that day found out itself.
    if (error instanceof Error) return {};
    throw error;
  }
}

/** An unsigned integer in CBOR (RFC 8949, 3). */
function unsigned(value: number): Buffer {
  if (value < 24) return Buffer.of(value);
  if (value < 0x100) return Buffer.of(0x18, value);
  const bytes = Buffer.alloc(value < 0x10000 ? 3 : 5);
  bytes[0] = value < 0x10000 ? 0x19 : 0x1a;
  bytes.writeUIntBE(value, 1, bytes.length - 1);
  return bytes;
}
