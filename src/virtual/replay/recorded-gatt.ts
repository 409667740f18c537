import { ATT, ATT_ATTRIBUTE_NOT_FOUND } from './hci.ts';
import { attPdus, type RecordedPeer } from './recording.ts';

const CHARACTERISTIC = 0x2803;
const CLIENT_CONFIGURATION = 0x2902;

interface Attribute {
  readonly handle: number;
  /** Last handle of a service's group. */
  readonly end: number;
  /** What stands behind the handles in an answer's entry. */
  readonly value: Buffer;
}

/**
 * The attribute server that a recording shows: each request is answered as it was when it was recorded. What was asked in other ranges than
 * now is put together from the services, characteristics and descriptors that were listed (Core 5.4, Vol 3 Part F, 3.4.3 and 3.4.4). What
 * a service that was listed does not hold is not there.
 */
export class RecordedGatt {
  readonly #byRequest = new Map<string, Buffer[]>();
  readonly #services = new Map<number, Attribute>();
  readonly #byType = new Map<number, Map<number, Attribute>>();
  readonly #descriptors = new Map<number, Attribute>();
  readonly #written = new Map<number, Buffer>();
  #mtu: Buffer | null = null;

  constructor(peer: RecordedPeer) {
    for (const session of peer.sessions) {
      let asked: Buffer | null = null;
      for (const { received, payload } of attPdus(session)) {
        const code = payload[0]!;
        if (!received) {
          if (code !== ATT.WRITE_COMMAND && code !== ATT.CONFIRMATION) asked = payload;
        } else if (asked && code !== ATT.NOTIFICATION && code !== ATT.INDICATION) {
          this.#learn(asked, payload);
          asked = null;
        }
      }
    }
  }

  /** The value handle of the characteristic of that UUID, as it stands in a declaration; null where none was listed. */
  valueHandle(uuid: Buffer): number | null {
    for (const { value } of this.#byType.get(CHARACTERISTIC)?.values() ?? []) {
      if (value.subarray(3).equals(uuid)) return value.readUInt16LE(1);
    }
    return null;
  }

  /** Whether the attribute is a client characteristic configuration: writing it subscribes and carries no value. */
  isConfiguration(handle: number): boolean {
    const descriptor = this.#descriptors.get(handle)?.value;
    const listed = descriptor?.length === 2 && descriptor.readUInt16LE(0) === CLIENT_CONFIGURATION;
    return listed || this.#byType.get(CLIENT_CONFIGURATION)?.has(handle) === true;
  }

  /** The answer to a request; null where the recording cannot tell. */
  answer(request: Buffer): Buffer | null {
    const code = request[0] ?? 0;
    if (code === ATT.MTU_REQUEST && this.#mtu) return this.#mtu;
    const recorded = this.#byRequest.get(request.toString('hex'));
    if (recorded) return recorded.length > 1 ? recorded.shift()! : recorded[0]!;
    const from = request.length >= 5 ? request.readUInt16LE(1) : 0;
    const to = request.length >= 5 ? request.readUInt16LE(3) : 0xffff;
    const type = request.length === 7 ? request.readUInt16LE(5) : 0;
    switch (code) {
      case ATT.READ_BY_GROUP_TYPE:
        if (this.#services.size === 0) return null;
        return list(request, 0x11, within(this.#services, from, to), ({ handle, end, value }) => [handle, end, value]);
      case ATT.READ_BY_TYPE:
        if (type === CHARACTERISTIC && !this.#byType.has(CHARACTERISTIC)) return null;
        return list(request, 0x09, within(this.#byType.get(type), from, to), ({ handle, value }) => [handle, value]);
      case ATT.FIND_INFORMATION: {
        const found = within(this.#descriptors, from, to);
        const format = found[0]?.value.length === 16 ? 2 : 1;
        return list(request, 0x05, found, ({ handle, value }) => [handle, value], format);
      }
      case ATT.WRITE:
        return this.#written.get(from) ?? Buffer.of(0x13);
      case ATT.FIND_BY_TYPE_VALUE:
        return notFound(request);
      default:
        return null;
    }
  }

  #learn(request: Buffer, answer: Buffer): void {
    const key = request.toString('hex');
    this.#byRequest.set(key, [...(this.#byRequest.get(key) ?? []), answer]);
    const code = answer[0]!;
    if (code === ATT.MTU_RESPONSE) this.#mtu = answer;
    if (request[0] === ATT.WRITE && request.length >= 3) this.#written.set(request.readUInt16LE(1), answer);
    if (code === 0x11) {
      for (const entry of entries(answer, answer[1] ?? 0, 2)) {
        if (entry.length < 6) continue;
        const handle = entry.readUInt16LE(0);
        this.#services.set(handle, { handle, end: entry.readUInt16LE(2), value: entry.subarray(4) });
      }
    }
    if (code === 0x09 && request.length === 7) {
      const type = request.readUInt16LE(5);
      const known = this.#byType.get(type) ?? new Map<number, Attribute>();
      this.#byType.set(type, known);
      for (const entry of entries(answer, answer[1] ?? 0, 2)) {
        if (entry.length < 2) continue;
        const handle = entry.readUInt16LE(0);
        known.set(handle, { handle, end: handle, value: entry.subarray(2) });
      }
    }
    if (code === 0x05) {
      for (const entry of entries(answer, answer[1] === 2 ? 18 : 4, 2)) {
        if (entry.length < 4) continue;
        const handle = entry.readUInt16LE(0);
        this.#descriptors.set(handle, { handle, end: handle, value: entry.subarray(2) });
      }
    }
  }
}

function entries(answer: Buffer, length: number, from: number): Buffer[] {
  if (length === 0) return [];
  const found: Buffer[] = [];
  for (let at = from; at + length <= answer.length; at += length) found.push(answer.subarray(at, at + length));
  return found;
}

function within(attributes: ReadonlyMap<number, Attribute> | undefined, from: number, to: number): Attribute[] {
  const found = [...(attributes?.values() ?? [])].filter(({ handle }) => handle >= from && handle <= to);
  return found.sort((a, b) => a.handle - b.handle);
}

/** An answer that lists attributes whose values are as long as the first one's; one entry at a time fits any MTU. */
function list(
  request: Buffer,
  code: number,
  found: readonly Attribute[],
  fields: (attribute: Attribute) => readonly (number | Buffer)[],
  format?: number,
): Buffer {
  const first = found[0];
  if (!first) return notFound(request);
  const entry = Buffer.concat(
    fields(first).map((field) => (typeof field === 'number' ? Buffer.of(field & 0xff, field >> 8) : field)),
  );
  return Buffer.concat([Buffer.of(code, format ?? entry.length), entry]);
}

function notFound(request: Buffer): Buffer {
  return Buffer.of(ATT.ERROR, request[0] ?? 0, request[1] ?? 0, request[2] ?? 0, ATT_ATTRIBUTE_NOT_FOUND);
}
