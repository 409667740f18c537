import type { Clock } from '../clock.ts';
import type { DeviceDescription, SmpAnswer } from '../contract/tray-file.ts';
import type { CborMap, CborValue } from './cbor.ts';
import type { Faults } from './faults.ts';
import type { ImageSlots } from './image-slots.ts';
import { beginsAsImage, IMAGE_HEADER_BYTES, type SlotImage } from './mcuboot.ts';
import { answerFrame, ERR, IMG_ERR, type Request, type RequestHeader, readBody } from './smp-frame.ts';
import { SmpIntake } from './smp-intake.ts';
import type { SmpScript } from './smp-script.ts';

const PAGE_BYTES = 4096;
/** The longest `sha` that servers take (`IMG_MGMT_DATA_SHA_LEN`); a shorter one is as good. */
const MAX_SHA_BYTES = 32;
const RESTART_AFTER_MS = 250;
const IMAGE_GROUP = 1;
/** Modes of `enum mcuboot_mode` (`bootutil/boot_status.h`; "OS management group", MCUboot information). */
const MODE_SWAP_USING_MOVE = 3;
const MODE_OVERWRITE = 2;
/** What Zephyr's shell returns for a command that it does not know: -ENOEXEC. */
const NO_SUCH_COMMAND = -8;

/** What the server needs of the device around it. */
export interface SmpServerHost {
  readonly description: DeviceDescription;
  readonly images: readonly ImageSlots[];
  readonly faults: Faults;
  readonly script: SmpScript;
  readonly clock: Clock;
  /** Puts what the device runs in place of `{version.N}` and `{hash.N}`. */
  tell(text: string): string;
  /** An image file that the tray file names. */
  imageFile(path: string): Buffer;
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

/** What a command comes to: the answer's body (none: silence), the time it takes, and what happens once it is sent. */
interface Outcome {
  readonly body: CborMap | null;
  readonly busyMs?: number;
  readonly afterwards?: () => void;
}

/**
 * An SMP server as Zephyr's and older ones are: it holds few requests and loses the rest without a word, ignores frames beyond its buffer,
 * does not check data against `sha`, and works on one request at a time. What the tray file says of it, it does instead. Sources: Zephyr's
 * documentation, "OS management group", "Application/software image management group" and "Shell management group";
 * `subsys/mgmt/mcumgr/grp/{os_mgmt,img_mgmt,shell_mgmt}`; the recorded answers of Zephyr servers.
 */
export class SmpServer {
  readonly #host: SmpServerHost;
  readonly #smp: DeviceDescription['smp'];
  readonly #intake: SmpIntake;
  #queue: { readonly header: RequestHeader; readonly body: Buffer }[] = [];
  #working = false;
  #upload: Upload | null = null;
  #uploadedBytes = 0;
  #silent = false;
  #stopped = false;

  constructor(host: SmpServerHost) {
    this.#host = host;
    this.#smp = host.description.smp;
    this.#intake = new SmpIntake(this.#smp);
  }

  /** A write to the SMP characteristic. */
  write(part: Buffer): void {
    const taken = this.#intake.push(part);
    switch (taken.kind) {
      case 'frame':
        this.#queue.push(taken);
        if (!this.#working) this.#next();
        return;
      case 'corrupt':
        this.#host.log('smp: frame is not whole');
        if (this.#smp.reassembly === 'rc-9') this.#answer(taken.header, { rc: ERR.CORRUPT });
        return;
      case 'no-room':
        if (this.#smp.whenFull === 'rc-2') this.#answer(taken.header, { rc: ERR.NO_MEMORY });
        return;
      default:
        return;
    }
  }

  /** A link ended: what had only partly arrived is gone. */
  linkEnded(): void {
    this.#intake.reset();
  }

  /** The device restarts or loses power. */
  stop(): void {
    this.#stopped = true;
  }

  #next(): void {
    const taken = this.#queue.shift();
    this.#working = taken !== undefined;
    if (!taken) return;
    const { header } = taken;
    const { body, busyMs = 0, afterwards } = this.#outcome(header, taken.body);
    const finish = () => {
      if (this.#stopped) return;
      if (body) this.#answer(header, body);
      afterwards?.();
      const release = () => {
        this.#intake.release();
      };
      if (this.#smp.releaseMs > 0) this.#host.clock.after(this.#smp.releaseMs, release);
      else release();
      this.#next();
    };
    const takesMs = busyMs + this.#smp.answerMs;
    if (takesMs > 0) this.#host.clock.after(takesMs, finish);
    else finish();
  }

  #outcome(header: RequestHeader, bytes: Buffer): Outcome {
    let body: CborMap;
    try {
      body = readBody(bytes);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#host.log(`smp: bad frame: ${error.message}`);
      return { body: { rc: ERR.INVALID } };
    }
    const request = { ...header, body };
    const scripted = this.#host.script.next(request);
    if (!scripted) return this.#handle(request);
    const done: Outcome = scripted.carriedOut ? this.#handle(request) : { body: null };
    if (scripted.forgetsUpload) this.#upload = null;
    return { ...done, body: scriptedBody(scripted.with) };
  }

  #answer(request: RequestHeader, body: CborMap): void {
    const { faults } = this.#host;
    if (faults.happens('silent', 'always')) this.#silent = true;
    if (this.#silent) return;
    if (faults.happens('drop-answer', 'always')) return;
    if (faults.happens('nonsense', 'always')) {
      this.#host.notify(Buffer.from('01ffa0ff4e4f4e53454e5345', 'hex'));
      return;
    }
    const version = this.#smp.version === 2 ? Math.min(1, request.version) : 0;
    this.#host.notify(answerFrame(request, version, body, this.#smp.cbor === 'definite'));
  }

  /** An error of the image group: as version 2 says it, or the code that stands for it in version 1 (`img_mgmt_translate_error_code`). */
  #refuse(request: Request, imageError: number, rc: number): Outcome {
    const inGroup = this.#smp.version === 2 && request.version === 1;
    return { body: inGroup ? { err: { group: IMAGE_GROUP, rc: imageError } } : { rc } };
  }

  #handle(request: Request): Outcome {
    if (!request.known) return { body: { rc: ERR.NOT_SUPPORTED } };
    if (request.version > 1) return { body: { rc: ERR.TOO_NEW } };
    const outcome = this.#command(request, `${request.group}/${request.command}/${request.write ? 'write' : 'read'}`);
    return outcome ?? { body: { rc: ERR.NOT_SUPPORTED } };
  }

  /** Group, command and operation; null for what there is not. */
  #command(request: Request, key: string): Outcome | null {
    const { description, tell } = this.#host;
    const { smp } = description;
    switch (key) {
      case '0/0/write':
      case '0/0/read':
        return { body: { r: request.body.d ?? '' } };
      case '0/5/write':
        this.#host.log('os: reset');
        return { body: {}, afterwards: () => this.#host.restart(RESTART_AFTER_MS) };
      case '0/6/read':
        return smp.params ? { body: { buf_size: smp.bufferBytes, buf_count: smp.bufferCount } } : null;
      case '0/7/read':
        return smp.applicationInfo === undefined ? null : { body: { output: tell(smp.applicationInfo) } };
      case '0/8/read':
        return smp.bootloaderInfo ? this.#bootloaderInfo(request) : null;
      case '1/0/read':
        return { body: this.#list() };
      case '1/0/write':
        return this.#setState(request);
      case '1/1/write':
        return this.#receive(request);
      case '1/5/write':
        return this.#erase(request);
      case '1/6/read':
        return smp.slotInfo ? { body: this.#slotInfo() } : null;
      case '9/0/write':
        return smp.shell ? this.#shell(request, smp.shell) : null;
      default:
        return null;
    }
  }

  #bootloaderInfo(request: Request): Outcome {
    const { query } = request.body;
    if (query === undefined) return { body: { bootloader: 'MCUboot' } };
    const overwrites = this.#host.images.every(({ kind }) => kind.mode === 'overwrite');
    return query === 'mode'
      ? { body: { mode: overwrites ? MODE_OVERWRITE : MODE_SWAP_USING_MOVE } }
      : { body: { rc: ERR.NO_ENTRY } };
  }

  #shell(request: Request, commands: Readonly<Record<string, string>>): Outcome {
    const { argv } = request.body;
    const words = Array.isArray(argv) ? argv.join(' ') : '';
    const output = commands[words];
    if (output !== undefined) return { body: { o: this.#host.tell(output), ret: 0 } };
    return { body: { o: `${words.split(' ')[0]}: command not found\n`, ret: NO_SUCH_COMMAND } };
  }

  #list(): CborMap {
    const { images } = this.#host;
    const { frugal, version, twoActive } = this.#smp.list;
    const entries = images.flatMap((slots, image) => {
      const entry = (slot: number, found: SlotImage | null, state: Record<string, boolean>): CborMap[] => {
        if (!found) return [];
        const flags = Object.entries({ bootable: true, ...state }).filter(([, on]) => on || !frugal);
        const index: Record<string, CborValue> = images.length > 1 ? { image } : {};
        return [{ ...index, slot, version: version ?? found.version, hash: found.hash, ...Object.fromEntries(flags) }];
      };
      const { pending, confirmed, onTrial } = slots;
      const running = slots.kind.readBack ? slots.running : null;
      return [
        ...entry(0, running, { pending: false, confirmed, active: true, permanent: false }),
        ...entry(1, slots.waiting, {
          pending: pending !== 'none',
          confirmed: onTrial,
          active: twoActive,
          permanent: pending === 'permanent',
        }),
      ];
    });
    return frugal ? { images: entries } : { images: entries, splitStatus: 0 };
  }

  #slotInfo(): CborMap {
    const { maxImageBytes } = this.#smp;
    const images = this.#host.images.map(({ slotBytes }, image): CborMap => {
      const slots = [0, 1].map((slot): CborMap => ({ slot, size: slotBytes }));
      return maxImageBytes === undefined ? { image, slots } : { image, slots, max_image_size: maxImageBytes };
    });
    return { images };
  }

  #setState(request: Request): Outcome {
    const { images, faults } = this.#host;
    const hash = Buffer.isBuffer(request.body.hash) ? request.body.hash : null;
    const confirm = request.body.confirm === true;
    const is = (image: SlotImage | null) => hash !== null && image?.hash.equals(hash) === true;
    const active = images.find((slots, index) => (hash ? slots.kind.readBack && is(slots.running) : index === 0));
    const target = images.find((slots) => is(slots.waiting));
    if (confirm && active) {
      if (faults.happens('revert', 'confirm')) return { body: this.#list(), afterwards: () => this.#host.restart(0) };
      if (active.pending !== 'none' && !hash) {
        return this.#refuse(request, IMG_ERR.IMAGE_ALREADY_PENDING, ERR.BAD_STATE);
      }
      if (active.kind.confirms) active.confirmed = true;
      this.#host.log('image: confirmed');
      return { body: this.#list() };
    }
    if (!target) {
      return active && hash
        ? this.#refuse(request, IMG_ERR.IMAGE_SETTING_TEST_TO_ACTIVE_DENIED, ERR.BAD_STATE)
        : this.#refuse(request, IMG_ERR.INVALID_HASH, ERR.INVALID);
    }
    if (target.onTrial) return this.#refuse(request, IMG_ERR.IMAGE_ALREADY_PENDING, ERR.BAD_STATE);
    if (!confirm && target.kind.mode === 'overwrite') {
      return this.#refuse(request, IMG_ERR.IMAGE_CONFIRMATION_DENIED, ERR.BAD_STATE);
    }
    target.pending = confirm ? 'permanent' : 'test';
    this.#host.log(`image: pending (${target.pending})`);
    return { body: this.#list() };
  }

  #receive(request: Request): Outcome {
    const { off, data } = request.body;
    if (typeof off !== 'number' || !Buffer.isBuffer(data)) {
      return this.#refuse(request, IMG_ERR.INVALID_OFFSET, ERR.INVALID);
    }
    if (off === 0) return this.#begin(request, data);
    const upload = this.#upload;
    // As Zephyr does: data for any other offset is dropped and the expected one answered, 0 when there is no upload.
    if (!upload || off !== upload.offset) return { body: this.#accepted(upload?.offset ?? 0) };
    if (off + data.length > upload.bytes.length) {
      this.#upload = null;
      return this.#refuse(request, IMG_ERR.INVALID_IMAGE_DATA_OVERRUN, ERR.UNKNOWN);
    }
    return this.#store(upload, data, 0);
  }

  #begin(request: Request, data: Buffer): Outcome {
    const { len, sha, image } = request.body;
    const index = typeof image === 'number' ? image : 0;
    const slots = this.#host.images[index];
    if (!slots) return this.#refuse(request, IMG_ERR.INVALID_SLOT, ERR.INVALID);
    if (data.length < IMAGE_HEADER_BYTES) return this.#refuse(request, IMG_ERR.INVALID_IMAGE_HEADER, ERR.INVALID);
    if (typeof len !== 'number') return this.#refuse(request, IMG_ERR.INVALID_LENGTH, ERR.INVALID);
    if (!beginsAsImage(data)) return this.#refuse(request, IMG_ERR.INVALID_IMAGE_HEADER_MAGIC, ERR.UNKNOWN);
    const digest = Buffer.isBuffer(sha) ? sha : Buffer.alloc(0);
    if (digest.length > MAX_SHA_BYTES) return this.#refuse(request, IMG_ERR.INVALID_HASH, ERR.INVALID);
    const known = this.#upload;
    if (known && digest.length > 0 && known.image === index && known.sha.equals(digest)) {
      return { body: this.#accepted(known.offset) };
    }
    if (slots.pending !== 'none' || slots.onTrial) {
      return this.#refuse(request, IMG_ERR.NO_FREE_SLOT, this.#smp.version === 1 ? ERR.NO_ENTRY : ERR.BAD_STATE);
    }
    if (len > Math.min(slots.slotBytes, this.#smp.maxImageBytes ?? slots.slotBytes)) {
      return this.#refuse(request, IMG_ERR.INVALID_IMAGE_TOO_LARGE, ERR.NO_MEMORY);
    }
    if (request.body.upgrade === true && !isNewer(data, slots.running)) {
      return this.#refuse(request, IMG_ERR.CURRENT_VERSION_IS_NEWER, ERR.BAD_STATE);
    }
    slots.secondary = null;
    this.#upload = { image: index, sha: Buffer.from(digest), bytes: Buffer.alloc(len, 0xff), offset: 0 };
    this.#host.log(`image: upload of ${len} bytes to image ${index}`);
    return this.#store(this.#upload, data, Math.ceil(len / PAGE_BYTES) * this.#host.description.flash.eraseMsPerPage);
  }

  #store(upload: Upload, sent: Buffer, eraseMs: number): Outcome {
    const { faults, images, description } = this.#host;
    const { bytesPerAnswer = sent.length, pretends } = this.#smp;
    // The header is demanded whole in the first piece, and taken so.
    const most = upload.offset === 0 ? Math.max(bytesPerAnswer, IMAGE_HEADER_BYTES) : bytesPerAnswer;
    const data = sent.subarray(0, most);
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
    this.#uploadedBytes += data.length;
    const busyMs = eraseMs + ((data.length / 4) * description.flash.writeUsPerWord) / 1000;
    const slots = images[upload.image]!;
    const complete = (bytes: Buffer) => {
      slots.secondary = bytes;
      this.#upload = null;
      this.#host.log('image: upload complete');
    };
    if (pretends && this.#uploadedBytes >= pretends.afterBytes) {
      complete(this.#host.imageFile(pretends.file));
      return { body: this.#accepted(upload.bytes.length), busyMs };
    }
    const body = this.#accepted(upload.offset);
    if (upload.offset === upload.bytes.length) complete(upload.bytes);
    return { body, busyMs };
  }

  /** Success: version 1 servers say `rc: 0`, version 2 servers leave it out. */
  #accepted(off: number): CborMap {
    return this.#smp.version === 1 ? { rc: 0, off } : { off };
  }

  /** Slots are counted through: 1 and 3 are the second ones of images 0 and 1. */
  #erase(request: Request): Outcome {
    const { slot } = request.body;
    const number = typeof slot === 'number' ? slot : 1;
    const slots = this.#host.images[number >> 1];
    if (!slots || number % 2 === 0) return this.#refuse(request, IMG_ERR.INVALID_SLOT, ERR.INVALID);
    if (slots.pending !== 'none' || slots.onTrial) {
      return this.#refuse(request, IMG_ERR.NO_FREE_SLOT, ERR.BAD_STATE);
    }
    slots.secondary = null;
    this.#upload = null;
    const busyMs = (slots.slotBytes / PAGE_BYTES) * this.#host.description.flash.eraseMsPerPage;
    return { body: this.#smp.version === 1 ? { rc: 0 } : {}, busyMs };
  }
}

function scriptedBody(answer: SmpAnswer['with']): CborMap | null {
  if (answer === 'silence') return null;
  if ('body' in answer) return answer.body as CborMap;
  const reason: CborMap = answer.rsn === undefined ? {} : { rsn: answer.rsn };
  return 'err' in answer ? { err: answer.err, ...reason } : { rc: answer.rc, ...reason };
}

/** Whether the image that begins so has a higher major, minor or revision than the one that runs. */
function isNewer(start: Buffer, running: SlotImage | null): boolean {
  const key = (octets: Buffer) => (octets[0]! << 24) + (octets[1]! << 16) + octets.readUInt16LE(2);
  return !running || key(start.subarray(20, 24)) >>> 0 > key(running.versionOctets) >>> 0;
}
