import type { Clock } from '../clock.ts';
import type { DeviceDescription } from '../contract/tray-file.ts';
import {
  decodeSmpFrame,
  encodeSmpFrame,
  GROUP,
  IMAGE,
  IMAGE_RC,
  OP,
  OS,
  RC,
  SMP_HEADER_BYTES,
  type SmpFrame,
} from '../protocols/smp/codec.ts';
import type { Faults } from './faults.ts';
import { type ImageSlots, listed } from './image-slots.ts';

const PAGE_BYTES = 4096;
const MODE_SWAP = 3;
const MODE_OVERWRITE_ONLY = 2;

/** What the server needs of the device around it. */
export interface SmpServerHost {
  readonly description: DeviceDescription;
  readonly images: readonly ImageSlots[];
  readonly faults: Faults;
  readonly clock: Clock;
  /** Sends an SMP frame to the central, cut into notifications. */
  notify(frame: Buffer): void;
  log(line: string): void;
  /** The device restarts, `afterMs` from now. */
  restart(afterMs: number): void;
  dropLink(): void;
  changeInterval(): void;
}

interface Upload {
  readonly image: number;
  readonly sha: Buffer;
  readonly bytes: Buffer;
  offset: number;
}

type Body = Record<string, unknown>;

/** What a command comes to: the answer's body, the time it takes, and what happens once it is sent. */
interface Outcome {
  readonly body: Body;
  readonly busyMs?: number;
  readonly afterwards?: () => void;
}

/**
 * An SMP server as found on real devices: it holds few requests and loses the rest without a word, ignores frames beyond its buffer,
 * does not check data against `sha`, and works on one request at a time.
 */
export class SmpServer {
  readonly #host: SmpServerHost;
  #parts: Buffer[] = [];
  #received = 0;
  #frameBytes = 0;
  #skipping = false;
  #held = 0;
  #queue: Buffer[] = [];
  #working = false;
  #upload: Upload | null = null;
  #silent = false;
  #stopped = false;

  constructor(host: SmpServerHost) {
    this.#host = host;
  }

  /** A write to the SMP characteristic. */
  write(part: Buffer): void {
    if (this.#received === 0) {
      if (part.length < SMP_HEADER_BYTES) return;
      this.#frameBytes = SMP_HEADER_BYTES + part.readUInt16BE(2);
      const { holds, bufferBytes } = this.#host.description.smp;
      this.#skipping = this.#held >= holds || this.#frameBytes > bufferBytes;
      if (!this.#skipping) this.#held += 1;
    }
    this.#received += part.length;
    if (!this.#skipping) this.#parts.push(Buffer.from(part));
    if (this.#received < this.#frameBytes) return;
    const frame = Buffer.concat(this.#parts);
    const skipped = this.#skipping;
    this.#forgetPartial();
    if (skipped) return;
    this.#queue.push(frame);
    if (!this.#working) this.#next();
  }

  /** A link ended: what had only partly arrived is gone. */
  linkEnded(): void {
    if (this.#received > 0 && !this.#skipping) this.#held -= 1;
    this.#forgetPartial();
  }

  /** The device restarts or loses power. */
  stop(): void {
    this.#stopped = true;
  }

  #forgetPartial(): void {
    this.#parts = [];
    this.#received = 0;
  }

  #next(): void {
    const frame = this.#queue.shift();
    this.#working = frame !== undefined;
    if (!frame) return;
    const request = this.#decode(frame);
    const outcome = request ? this.#handle(request) : { body: {} };
    const finish = () => {
      if (this.#stopped) return;
      this.#held -= 1;
      if (request) this.#answer(request, outcome.body);
      outcome.afterwards?.();
      this.#next();
    };
    if (outcome.busyMs) this.#host.clock.after(outcome.busyMs, finish);
    else finish();
  }

  #decode(frame: Buffer): SmpFrame | null {
    try {
      return decodeSmpFrame(frame);
    } catch (error) {
      this.#host.log(`smp: bad frame: ${error instanceof Error ? error.message : error}`);
      return null;
    }
  }

  #answer(request: SmpFrame, body: Body): void {
    const { faults } = this.#host;
    if (faults.happens('silent', 'always')) this.#silent = true;
    if (this.#silent) return;
    if (faults.happens('drop-answer', 'always')) return;
    if (faults.happens('nonsense', 'always')) {
      this.#host.notify(Buffer.from('01ffa0ff4e4f4e53454e5345', 'hex'));
      return;
    }
    const version = this.#host.description.smp.version === 2 ? request.version : 0;
    this.#host.notify(encodeSmpFrame({ ...request, version, op: request.op + 1, body }));
  }

  /** An error as the server's and the request's protocol version spell it. */
  #error(request: SmpFrame, rc: number, imageRc?: number): Outcome {
    const v2 = this.#host.description.smp.version === 2 && request.version === 1;
    return { body: v2 && imageRc !== undefined ? { err: { group: GROUP.IMAGE, rc: imageRc } } : { rc } };
  }

  #handle(request: SmpFrame): Outcome {
    const key = `${request.group}/${request.command}/${request.op}`;
    switch (key) {
      case `${GROUP.OS}/${OS.ECHO}/${OP.WRITE}`:
      case `${GROUP.OS}/${OS.ECHO}/${OP.READ}`:
        return { body: { r: request.body.d ?? '' } };
      case `${GROUP.OS}/${OS.PARAMS}/${OP.READ}`: {
        const { params, bufferBytes, bufferCount } = this.#host.description.smp;
        return params
          ? { body: { buf_size: bufferBytes, buf_count: bufferCount } }
          : this.#error(request, RC.NOT_SUPPORTED);
      }
      case `${GROUP.OS}/${OS.BOOTLOADER_INFO}/${OP.READ}`:
        if (request.body.query === undefined) return { body: { bootloader: 'MCUboot' } };
        return { body: { mode: this.#host.description.cores === 2 ? MODE_OVERWRITE_ONLY : MODE_SWAP } };
      case `${GROUP.OS}/${OS.RESET}/${OP.WRITE}`:
        this.#host.log('os: reset');
        return { body: {}, afterwards: () => this.#host.restart(250) };
      case `${GROUP.IMAGE}/${IMAGE.STATE}/${OP.READ}`:
        return { body: this.#state() };
      case `${GROUP.IMAGE}/${IMAGE.STATE}/${OP.WRITE}`:
        return this.#setState(request);
      case `${GROUP.IMAGE}/${IMAGE.UPLOAD}/${OP.WRITE}`:
        return this.#receive(request);
      case `${GROUP.IMAGE}/${IMAGE.ERASE}/${OP.WRITE}`:
        return this.#erase(request);
      default:
        return this.#error(request, RC.NOT_SUPPORTED);
    }
  }

  #state(): Body {
    const { images, description } = this.#host;
    const list = images.flatMap((slots, image) => {
      const entry = (slot: number, bytes: Buffer | null, flags: Body) => {
        const info = bytes && listed(bytes);
        if (!info) return [];
        const index = images.length > 1 ? { image } : {};
        return [{ ...index, slot, ...info, bootable: true, permanent: false, ...flags }];
      };
      const networkCore = description.cores === 2 && image === 1;
      const active = networkCore
        ? []
        : entry(0, slots.primary, { pending: false, confirmed: slots.confirmed, active: true });
      const pending = { pending: slots.pending !== 'none', permanent: slots.pending === 'permanent' };
      return [...active, ...entry(1, slots.secondary, { ...pending, confirmed: false, active: false })];
    });
    return { images: list, splitStatus: 0 };
  }

  #setState(request: SmpFrame): Outcome {
    const { images, faults, description } = this.#host;
    const hash = request.body.hash instanceof Uint8Array ? Buffer.from(request.body.hash) : null;
    const confirm = request.body.confirm === true;
    const matches = (bytes: Buffer | null) =>
      hash !== null && bytes !== null && listed(bytes)?.hash.equals(hash) === true;
    const active = images.find((slots, index) => (hash ? matches(slots.primary) : index === 0));
    const target = images.find((slots) => matches(slots.secondary));
    if (confirm && (active || !hash)) {
      if (faults.happens('revert', 'confirm')) return { body: this.#state(), afterwards: () => this.#host.restart(0) };
      if (active) active.confirmed = true;
      this.#host.log('image: confirmed');
      return { body: this.#state() };
    }
    if (!target) {
      return active
        ? this.#error(request, RC.BAD_STATE, IMAGE_RC.SETTING_TEST_TO_ACTIVE_DENIED)
        : this.#error(request, RC.INVALID, IMAGE_RC.INVALID_HASH);
    }
    if (!confirm && description.cores === 2) {
      return this.#error(request, RC.BAD_STATE, IMAGE_RC.CONFIRMATION_DENIED);
    }
    target.pending = confirm ? 'permanent' : 'test';
    this.#host.log(`image: pending (${target.pending})`);
    return { body: this.#state() };
  }

  #receive(request: SmpFrame): Outcome {
    const { off, data } = request.body;
    if (typeof off !== 'number' || !(data instanceof Uint8Array))
      return this.#error(request, RC.INVALID, IMAGE_RC.INVALID_OFFSET);
    if (off === 0) return this.#begin(request, Buffer.from(data));
    const upload = this.#upload;
    // As Zephyr does: data for any other offset is dropped and the expected one answered, 0 when there is no upload.
    if (!upload || off !== upload.offset) return { body: this.#accepted(upload?.offset ?? 0) };
    return this.#store(upload, Buffer.from(data), 0);
  }

  #begin(request: SmpFrame, data: Buffer): Outcome {
    const { len, sha, image } = request.body;
    const index = typeof image === 'number' ? image : 0;
    const slots = this.#host.images[index];
    if (!slots) return this.#error(request, RC.INVALID, IMAGE_RC.INVALID_SLOT);
    if (typeof len !== 'number') return this.#error(request, RC.INVALID, IMAGE_RC.INVALID_OFFSET);
    const digest = sha instanceof Uint8Array ? Buffer.from(sha) : Buffer.alloc(0);
    const known = this.#upload;
    if (known && digest.length > 0 && known.image === index && known.sha.equals(digest) && known.bytes.length === len) {
      return { body: this.#accepted(known.offset) };
    }
    if (slots.pending !== 'none' || !slots.confirmed) {
      return this.#error(request, RC.NO_ENTRY, IMAGE_RC.NO_FREE_SLOT);
    }
    if (len > slots.slotBytes) return this.#error(request, RC.NO_MEMORY, IMAGE_RC.IMAGE_TOO_LARGE);
    if (data.length < 32 || data.readUInt32LE(0) !== 0x96f3b83d) {
      return this.#error(request, RC.INVALID, IMAGE_RC.INVALID_IMAGE_HEADER_MAGIC);
    }
    slots.secondary = null;
    this.#upload = { image: index, sha: digest, bytes: Buffer.alloc(len, 0xff), offset: 0 };
    this.#host.log(`image: upload of ${len} bytes to image ${index}`);
    return this.#store(this.#upload, data, Math.ceil(len / PAGE_BYTES) * this.#host.description.flash.eraseMsPerPage);
  }

  #store(upload: Upload, data: Buffer, eraseMs: number): Outcome {
    const { faults, images, description } = this.#host;
    const end = upload.offset + data.length;
    const between = (act: 'drop-link' | 'flip-bit' | 'silent' | 'change-interval') =>
      faults.happensBetween(act, upload.offset, end);
    if (between('change-interval')) this.#host.changeInterval();
    if (between('drop-link')) {
      this.#host.log('radio: link dropped');
      return { body: {}, afterwards: () => this.#host.dropLink() };
    }
    if (between('silent')) this.#silent = true;
    const flips = between('flip-bit');
    data.copy(upload.bytes, upload.offset);
    if (flips) upload.bytes[upload.offset]! ^= 0x10;
    upload.offset = Math.min(end, upload.bytes.length);
    const busyMs = eraseMs + ((data.length / 4) * description.flash.writeUsPerWord) / 1000;
    const body = this.#accepted(upload.offset);
    if (upload.offset === upload.bytes.length) {
      images[upload.image]!.secondary = upload.bytes;
      this.#upload = null;
      this.#host.log('image: upload complete');
    }
    return { body, busyMs };
  }

  /** Success: version 1 servers say `rc: 0`, version 2 servers leave it out. */
  #accepted(off: number): Body {
    return this.#host.description.smp.version === 1 ? { rc: 0, off } : { off };
  }

  #erase(request: SmpFrame): Outcome {
    const slots = this.#host.images[0]!;
    if (slots.pending !== 'none') return this.#error(request, RC.BAD_STATE, IMAGE_RC.NO_FREE_SLOT);
    slots.secondary = null;
    this.#upload = null;
    return { body: { rc: 0 }, busyMs: (slots.slotBytes / PAGE_BYTES) * this.#host.description.flash.eraseMsPerPage };
  }
}
