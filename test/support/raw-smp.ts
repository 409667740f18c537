import type { RawCentral } from './raw-central.ts';

const VALUE_HANDLE = '1200';
const CONFIGURATION_HANDLE = '1300';

/** SMP to one device in bytes, one request a write unless it is longer; protocol version 2 unless it is told otherwise. */
export class RawSmp {
  readonly #central: RawCentral;
  readonly #version: 1 | 2;
  #mtu = 23;
  #sequence = 0;

  /** Agrees on an MTU and subscribes. */
  constructor(central: RawCentral, { mtu = 498, version = 2 }: { mtu?: number; version?: 1 | 2 } = {}) {
    this.#central = central;
    this.#version = version;
    const [answer = ''] = central.att(`02${hex16(mtu)}`);
    this.#mtu = Math.min(mtu, Buffer.from(answer, 'hex').readUInt16LE(1));
    central.att(`12${CONFIGURATION_HANDLE}0100`);
  }

  get mtu(): number {
    return this.#mtu;
  }

  /** Sends a request and returns the bodies of the answers that are there, as hex. */
  ask(op: 'read' | 'write', group: number, command: number, body = 'a0'): string[] {
    this.post(op, group, command, body);
    return this.answers();
  }

  /** Sends a request and looks at nothing. */
  post(op: 'read' | 'write', group: number, command: number, body = 'a0'): void {
    const content = Buffer.from(body, 'hex');
    const header = Buffer.alloc(8);
    header[0] = (this.#version === 2 ? 0x08 : 0) | (op === 'write' ? 2 : 0);
    header.writeUInt16BE(content.length, 2);
    header.writeUInt16BE(group, 4);
    header[6] = this.#sequence++ & 0xff;
    header[7] = command;
    const frame = Buffer.concat([header, content]);
    for (let at = 0; at < frame.length; at += this.#mtu - 3) {
      this.#central.send(
        4,
        Buffer.concat([Buffer.from(`52${VALUE_HANDLE}`, 'hex'), frame.subarray(at, at + this.#mtu - 3)]),
      );
    }
  }

  /** Bodies of the answers that have come since, as hex. */
  answers(): string[] {
    let bytes = Buffer.concat(
      this.#central
        .taken(4)
        .filter((pdu) => pdu.startsWith('1b'))
        .map((pdu) => Buffer.from(pdu.slice(6), 'hex')),
    );
    const bodies: string[] = [];
    while (bytes.length >= 8) {
      const end = 8 + bytes.readUInt16BE(2);
      bodies.push(bytes.subarray(8, end).toString('hex'));
      bytes = bytes.subarray(end);
    }
    return bodies;
  }

  list(): string {
    return this.ask('read', 1, 0)[0] ?? '';
  }

  reset(): string[] {
    return this.ask('write', 0, 5);
  }

  /** Test or confirm an image, by its hash. */
  setState(hash: string | null, confirm: boolean): string[] {
    const of = hash === null ? '' : `6468617368${head(2, hash.length / 2)}${hash}`;
    return this.ask('write', 1, 0, `${hash === null ? 'a1' : 'a2'}${of}67636f6e6669726d${confirm ? 'f5' : 'f4'}`);
  }

  /** One piece of an upload; the first carries length and, unless left out, a hash. */
  piece(image: Buffer, off: number, bytes: number, { index = 0, sha = true } = {}): string[] {
    const data = image.subarray(off, off + bytes);
    const entries = [`636f6666${head(0, off)}`, `6464617461${head(2, data.length)}${data.toString('hex')}`];
    if (off === 0) entries.push(`636c656e${head(0, image.length)}`);
    if (off === 0 && sha) entries.push(`637368614401020304`);
    if (index > 0) entries.push(`65696d616765${head(0, index)}`);
    return this.ask('write', 1, 1, head(5, entries.length) + entries.join(''));
  }

  /** A whole upload in pieces that fit one write; returns the last answer. */
  upload(image: Buffer, index = 0): string {
    let last = '';
    for (let off = 0; off < image.length; ) {
      const [answer] = this.piece(image, off, this.#mtu - 100, { index });
      if (answer === undefined || !answer.startsWith('bf636f6666')) return answer ?? '';
      last = answer;
      off = acknowledged(answer);
    }
    return last;
  }
}

/** The offset in `{off}` as a server spells it: `bf 63 6f6666 … ff`. */
export function acknowledged(answer: string): number {
  const bytes = Buffer.from(answer, 'hex').subarray(5);
  const wide = bytes[0]! - 23;
  return wide <= 0 ? bytes[0]! : bytes.readUIntBE(1, wide === 3 ? 4 : wide);
}

/** A text as CBOR, in hex. */
export function text(value: string): string {
  return head(3, Buffer.byteLength(value)) + Buffer.from(value).toString('hex');
}

/** The head of a CBOR item (RFC 8949, 3): major type and argument. */
function head(major: number, argument: number): string {
  const first = (major << 5).toString(16);
  const join = (info: number, digits: number) =>
    ((major << 5) | info).toString(16).padStart(2, '0') + argument.toString(16).padStart(digits, '0');
  if (argument < 24) return (Number.parseInt(first, 16) | argument).toString(16).padStart(2, '0');
  if (argument < 256) return join(24, 2);
  return argument < 65_536 ? join(25, 4) : join(26, 8);
}

function hex16(value: number): string {
  return Buffer.of(value & 0xff, value >> 8).toString('hex');
}
