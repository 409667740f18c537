import { createHash } from 'node:crypto';
import type { Clock } from '../clock.ts';
import type { DeviceDescription } from '../contract/tray-file.ts';
import type { Faults } from './faults.ts';
import {
  FusIntake,
  type FusRequest,
  type FusTaken,
  fusAnswer,
  helloBody,
  type ListedImage,
  REQUEST,
  readBegin,
  STATE,
  STATUS,
  u32,
} from './fus-frame.ts';
import type { ImageSlots } from './image-slots.ts';
import { readImage } from './mcuboot.ts';

const PAGE_BYTES = 4096;
const RESTART_AFTER_MS = 250;
const HARDWARE = 0x5340;
/** How long a second work queue may be behind the first. */
const QUEUE_DELAY_MS = 40;

/** One value that the device sends: a marker on Response, or a part on Data Out. */
export interface FusValue {
  readonly kind: 'marker' | 'data';
  readonly value: Buffer;
}

/** What the server needs of the device around it. */
export interface FusServerHost {
  readonly description: DeviceDescription;
  readonly images: readonly ImageSlots[];
  readonly faults: Faults;
  readonly clock: Clock;
  readonly mtu: () => number;
  /** Numbers from 0 to 1, the same in every run. */
  readonly random: () => number;
  /** Sends a value by notification or indication, as the profile of the service says. */
  send(value: FusValue): void;
  log(line: string): void;
  restart(afterMs: number): void;
  dropLink(): void;
  changeInterval(): void;
}

interface Upload {
  readonly image: number;
  readonly sha256: Buffer;
  readonly bytes: Buffer;
  offset: number;
}

/** What a frame comes to: the answer's body, the time it takes, what happens once it is sent. */
interface Outcome {
  readonly body: Buffer;
  readonly busyMs?: number;
  readonly afterwards?: () => void;
}

/** The firmware upgrade service of a virtual device, and every way in which it can break the order of its own frames. */
export class FusServer {
  readonly #host: FusServerHost;
  readonly #intake: FusIntake;
  #queue: FusRequest[] = [];
  #working = false;
  #upload: Upload | null = null;
  #state: number = STATE.idle;
  #seq = 0;
  #silent = false;
  #stopped = false;

  constructor(host: FusServerHost) {
    this.#host = host;
    this.#intake = new FusIntake(host.description.fus, host.description.fusLimits.maxFrame);
    if (host.images.some(({ confirmed }) => !confirmed)) this.#state = STATE.testing;
  }

  /** A write to Control. */
  control(value: Buffer): void {
    const { markers } = this.#host.description.fus;
    this.#take(this.#intake.marker(value[0] === markers.open));
  }

  /** A write to Data In. */
  data(value: Buffer): void {
    this.#take(this.#intake.data(value));
  }

  /** A link ended: what had only partly arrived is gone. */
  linkEnded(): void {
    this.#intake.reset();
    this.#queue = [];
  }

  /** The device restarts or loses power. */
  stop(): void {
    this.#stopped = true;
  }

  #take(frame: FusTaken): void {
    if (!frame) return;
    if ('malformed' in frame) {
      this.#host.log(`fus: bad frame: ${frame.malformed}`);
      return this.#answer(0, Buffer.of(STATUS.badFrame));
    }
    if (this.#queue.length >= this.#host.description.fusLimits.window)
      return this.#answer(frame.type, Buffer.of(STATUS.busy));
    this.#queue.push(frame);
    if (!this.#working) this.#next();
  }

  #next(): void {
    const frame = this.#queue.shift();
    this.#working = frame !== undefined;
    if (!frame) return;
    const { body, busyMs, afterwards } = this.#handle(frame);
    const finish = () => {
      if (this.#stopped) return;
      this.#answer(frame.type, body);
      afterwards?.();
      this.#next();
    };
    if (busyMs) this.#host.clock.after(busyMs, finish);
    else finish();
  }

  #handle({ type, body }: FusRequest): Outcome {
    switch (type) {
      case REQUEST.hello:
        return { body: Buffer.concat([Buffer.of(STATUS.ok), this.#hello()]) };
      case REQUEST.begin:
        return this.#begin(body);
      case REQUEST.data:
        return this.#receive(body);
      case REQUEST.finish:
        return this.#finish();
      case REQUEST.activate:
        return this.#activate(body);
      case REQUEST.status:
        return { body: Buffer.concat([Buffer.of(STATUS.ok, this.#state), u32(this.#upload?.offset ?? 0)]) };
      case REQUEST.abort:
        this.#upload = null;
        this.#state = STATE.idle;
        return { body: Buffer.of(STATUS.ok) };
      case REQUEST.confirm:
        return this.#confirm(body);
      case REQUEST.identify:
        this.#host.log(`fus: identify for ${body[0]} s`);
        return { body: Buffer.of(STATUS.ok) };
      default:
        return { body: Buffer.of(STATUS.badFrame) };
    }
  }

  #hello(): Buffer {
    const images = this.#host.images.flatMap((slots, index): ListedImage[] => {
      const image = (bytes: Buffer, running: boolean): ListedImage => ({
        index,
        running,
        confirmed: running && slots.confirmed,
        pending: !running && slots.pending !== 'none',
        version: readImage(bytes)?.versionOctets ?? Buffer.alloc(8),
        sha256: createHash('sha256').update(bytes).digest(),
      });
      return [image(slots.primary, true), ...(slots.secondary ? [image(slots.secondary, false)] : [])];
    });
    return helloBody(this.#host.description.fusLimits, HARDWARE, images);
  }

  #begin(body: Buffer): Outcome {
    const begin = readBegin(body);
    const slots = begin && this.#host.images[begin.image];
    if (!begin || !slots) return { body: Buffer.of(STATUS.badState) };
    if (begin.bytes > slots.slotBytes) return { body: Buffer.of(STATUS.tooLarge) };
    if (slots.pending !== 'none' || !slots.confirmed) return { body: Buffer.of(STATUS.busy) };
    const known = this.#upload;
    if (
      known &&
      known.image === begin.image &&
      known.sha256.equals(begin.sha256) &&
      known.bytes.length === begin.bytes
    ) {
      return { body: Buffer.concat([Buffer.of(STATUS.ok), u32(known.offset)]) };
    }
    slots.secondary = null;
    this.#upload = {
      image: begin.image,
      sha256: Buffer.from(begin.sha256),
      bytes: Buffer.alloc(begin.bytes, 0xff),
      offset: 0,
    };
    this.#state = STATE.receiving;
    this.#host.log(`fus: begin image ${begin.image}, ${begin.bytes} bytes`);
    const pages = Math.ceil(begin.bytes / PAGE_BYTES);
    return {
      body: Buffer.concat([Buffer.of(STATUS.ok), u32(0)]),
      busyMs: pages * this.#host.description.flash.eraseMsPerPage,
    };
  }

  #receive(body: Buffer): Outcome {
    const upload = this.#upload;
    if (!upload || body.length < 5) return { body: Buffer.of(STATUS.badState) };
    const offset = body.readUInt32LE(0);
    const data = body.subarray(4);
    if (offset !== upload.offset || offset + data.length > upload.bytes.length)
      return { body: Buffer.of(STATUS.badOffset) };
    const { faults, description } = this.#host;
    const end = offset + data.length;
    const happens = (act: 'drop-link' | 'flip-bit' | 'silent' | 'change-interval') =>
      faults.happensBetween(act, offset, end);
    if (happens('change-interval')) this.#host.changeInterval();
    if (happens('drop-link')) {
      this.#host.log('radio: link dropped');
      this.#host.dropLink();
      this.#silent = false;
      return { body: Buffer.of(STATUS.busy) };
    }
    if (happens('silent')) this.#silent = true;
    data.copy(upload.bytes, offset);
    if (happens('flip-bit')) upload.bytes[offset]! ^= 0x10;
    upload.offset = end;
    const busyMs = ((data.length / 4) * description.flash.writeUsPerWord) / 1000;
    return { body: Buffer.concat([Buffer.of(STATUS.ok), u32(end)]), busyMs };
  }

  #finish(): Outcome {
    const upload = this.#upload;
    if (!upload || upload.offset < upload.bytes.length) return { body: Buffer.of(STATUS.badState) };
    const hash = createHash('sha256').update(upload.bytes).digest();
    this.#upload = null;
    if (!hash.equals(upload.sha256)) {
      this.#state = STATE.idle;
      return { body: Buffer.of(STATUS.hashMismatch) };
    }
    this.#host.images[upload.image]!.secondary = upload.bytes;
    this.#state = STATE.complete;
    this.#host.log('fus: complete');
    return { body: Buffer.concat([Buffer.of(STATUS.ok), hash]) };
  }

  #activate(body: Buffer): Outcome {
    const slots = this.#host.images[body[0] ?? -1];
    if (!slots?.secondary) return { body: Buffer.of(STATUS.badState) };
    slots.pending = body[1] === 1 ? 'permanent' : 'test';
    this.#state = STATE.activated;
    this.#host.log(`fus: activate image ${body[0]} (${slots.pending})`);
    return { body: Buffer.of(STATUS.ok), afterwards: () => this.#host.restart(RESTART_AFTER_MS) };
  }

  #confirm(body: Buffer): Outcome {
    const slots = this.#host.images[body[0] ?? -1];
    if (!slots) return { body: Buffer.of(STATUS.badState) };
    if (this.#host.faults.happens('revert', 'confirm')) {
      return { body: Buffer.of(STATUS.ok), afterwards: () => this.#host.restart(0) };
    }
    slots.confirmed = true;
    this.#state = STATE.idle;
    this.#host.log('fus: confirmed');
    return { body: Buffer.of(STATUS.ok) };
  }

  #answer(type: number, body: Buffer): void {
    const { faults, description, mtu } = this.#host;
    if (faults.happens('silent', 'always')) this.#silent = true;
    if (this.#silent || this.#stopped || faults.happens('drop-answer', 'always')) return;
    const frame = faults.happens('nonsense', 'always')
      ? Buffer.from('ffeeddccbbaa99887766554433221100', 'hex')
      : fusAnswer(type, this.#seq, body, description.fus);
    this.#seq = (this.#seq + 1) & 0xff;
    const { open, close } = description.fus.markers;
    const marker = (value: number): FusValue => ({ kind: 'marker', value: Buffer.of(value) });
    const parts: FusValue[] = [];
    for (let at = 0; at < frame.length; at += mtu() - 3) {
      parts.push({ kind: 'data', value: frame.subarray(at, at + mtu() - 3) });
    }
    // What its own log says is the order in which the application meant it.
    this.#host.log(`fus: Response=${open}`);
    for (const { value } of parts) this.#host.log(`fus: Data ${value.length} bytes`);
    this.#host.log(`fus: Response=${close}`);
    this.#emit(marker(open), parts, marker(close));
  }

  /** Sends a frame in order, or as one of the faults has it. */
  #emit(open: FusValue, parts: readonly FusValue[], close: FusValue): void {
    const { faults, send, clock, random } = this.#host;
    const all = (...values: readonly FusValue[]) => {
      for (const value of values) send(value);
    };
    if (faults.happens('late-data', 'always')) return all(open, close, ...parts);
    if (faults.happens('late-start', 'always')) return all(...parts, open, close);
    if (faults.happens('lose-start', 'always')) return all(...parts, close);
    if (faults.happens('lose-end', 'always')) return all(open, ...parts);
    if (faults.happens('double-marker', 'always')) return all(open, open, ...parts, close);
    if (faults.happens('two-queues', 'always')) {
      // Markers go through one work queue, data through another that is behind by a time of its own.
      all(open);
      clock.after(random() * QUEUE_DELAY_MS, () => {
        if (!this.#stopped) all(...parts);
      });
      clock.after(random() * QUEUE_DELAY_MS, () => {
        if (!this.#stopped) all(close);
      });
      return;
    }
    all(open, ...parts, close);
  }
}
