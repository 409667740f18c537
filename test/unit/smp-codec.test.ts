import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readCapture } from '../../src/diagnostics/capture-file.ts';
import {
  BOOT_MODE,
  decodeSmpFrame,
  encodeSmpFrame,
  GROUP,
  IMAGE,
  IMAGE_RC,
  OP,
  OS,
  RC,
  SHELL,
} from '../../src/protocols/smp/codec.ts';
import { readImageList, readSlotSizes } from '../../src/protocols/smp/image-list.ts';
import { smpError } from '../../src/protocols/smp/smp-error.ts';

/**
 * The codec against bytes that the station did not make: what a real server sent (recordings of Zephyr's, read from beside the project), what
 * the Python library `smp` keeps as its regression bytes, and a legacy answer from a report to it. All are written out here, so that both
 * directions are held by them.
 */
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const decode = (text: string) => decodeSmpFrame(hex(text));
const request = (op: number, group: number, command: number, sequence: number, body: Record<string, unknown> = {}) =>
  encodeSmpFrame({ op, version: 1, group, command, sequence, body }).toString('hex');

describe('requests, as the library `smp` sends them', () => {
  it.each<[string, string, string]>([
    ['parameters', request(OP.READ, GROUP.OS, OS.PARAMS, 0), '0800000100000006a0'],
    ['the image list', request(OP.READ, GROUP.IMAGE, IMAGE.STATE, 1), '0800000100010100a0'],
    ['a reset', request(OP.WRITE, GROUP.OS, OS.RESET, 0x62), '0a00000100006205a0'],
    ['an erase', request(OP.WRITE, GROUP.IMAGE, IMAGE.ERASE, 14), '0a00000100010e05a0'],
    [
      'an erase of a slot',
      request(OP.WRITE, GROUP.IMAGE, IMAGE.ERASE, 15, { slot: 0 }),
      '0a00000700010f05a164736c6f7400',
    ],
    ['application information', request(OP.READ, GROUP.OS, OS.INFO, 0x99), '0800000100009907a0'],
    [
      'application information in a format',
      request(OP.READ, GROUP.OS, OS.INFO, 0x9a, { format: 'snrvbmpioa' }),
      '0800001300009a07a166666f726d61746a736e7276626d70696f61',
    ],
    [
      'a shell command',
      request(OP.WRITE, GROUP.SHELL, SHELL.EXECUTE, 66, { argv: ['echo', 'Hello'] }),
      '0a00001200094200a1646172677682646563686f6548656c6c6f',
    ],
    [
      "the bootloader's mode",
      request(OP.READ, GROUP.OS, OS.BOOTLOADER_INFO, 2, { query: 'mode' }),
      '0800000c00000208a1657175657279646d6f6465',
    ],
    [
      'a test of an image, which a real server took',
      request(OP.WRITE, GROUP.IMAGE, IMAGE.STATE, 0x61, {
        hash: hex('62a8e0864e02761c8498d4380b8104370b028f7d63870833420442753f4558d0'),
        confirm: false,
      }),
      '0a00003100016100a26468617368582062a8e0864e02761c8498d4380b8104370b028f7d63870833420442753f4558d067636f6e6669726df4',
    ],
  ])('%s', (_, bytes, expected) => {
    expect(bytes).toBe(expected);
  });
});

describe('answers', () => {
  it.each<[string, string, object]>([
    [
      'parameters of a real server, in indefinite maps',
      '0900001900000006bf686275665f73697a651909ab696275665f636f756e7404ff',
      { op: 1, version: 1, group: 0, sequence: 0, command: 6, body: { buf_size: 2475, buf_count: 4 } },
    ],
    [
      'parameters in a definite map',
      '0900001600009806a2686275665f73697a6501696275665f636f756e7402',
      { op: 1, version: 1, group: 0, sequence: 152, command: 6, body: { buf_size: 1, buf_count: 2 } },
    ],
    [
      'an offset of a real server',
      '0b00000900010301bf636f66661901a8ff',
      { op: 3, version: 1, group: 1, sequence: 3, command: 1, body: { off: 424 } },
    ],
    [
      'the largest offset',
      '0b00000a00012701a1636f66661affffffff',
      { op: 3, version: 1, group: 1, sequence: 39, command: 1, body: { off: 4294967295 } },
    ],
    [
      'an offset with the verdict of a check',
      '0b00000d00011f01a2636f666600656d61746368f4',
      { op: 3, version: 1, group: 1, sequence: 31, command: 1, body: { off: 0, match: false } },
    ],
    [
      'an offset of protocol version 1, with rc 0',
      '0300000c00010201bf627263 00636f666618a5ff',
      { op: 3, version: 0, group: 1, sequence: 2, command: 1, body: { rc: 0, off: 165 } },
    ],
    [
      'nothing, from a real server that restarts',
      '0b00000200006205bfff',
      { op: 3, group: 0, sequence: 0x62, command: 5, body: {} },
    ],
    ['not supported, from a real server', '0900000600000208bf62726308ff', { command: 8, body: { rc: 8 } }],
    [
      'half a frame, from a real server that joins nothing',
      '0b00000600010301bf62726309ff',
      { command: 1, body: { rc: 9 } },
    ],
  ])('%s', (_, bytes, expected) => {
    expect(decode(bytes)).toMatchObject(expected);
  });

  it('the image list of a real server with one image', () => {
    const { body } = decode(
      '0900008600010100bf66696d616765739fbf64736c6f74006776657273696f6e65302e302e3064686173685820' +
        '215144b99127acb3c66d9ec7540ee454703c3e15db7e12a713ad0f672d63321c' +
        '68626f6f7461626c65f56770656e64696e67f469636f6e6669726d6564f566616374697665f5697065726d616e656e74f4' +
        'ffff6b73706c697453746174757300ff',
    );
    expect(readImageList(body)).toEqual([
      {
        image: 0,
        slot: 0,
        version: '0.0.0',
        hash: '215144b99127acb3c66d9ec7540ee454703c3e15db7e12a713ad0f672d63321c',
        pending: false,
        confirmed: true,
        active: true,
        permanent: false,
      },
    ]);
  });
});

describe('image lists of other servers', () => {
  const hash = Buffer.alloc(32, 0xab);
  const slot = { slot: 0, version: '1.2.3' };
  const listed = {
    image: 0,
    slot: 0,
    version: '1.2.3',
    hash: 'ab'.repeat(32),
    pending: false,
    confirmed: false,
    active: false,
    permanent: false,
  };

  it.each<[string, object, object]>([
    ['without what is false', { ...slot, hash, active: true }, { ...listed, active: true }],
    ['without a hash', slot, { ...listed, hash: '' }],
    ['with a hash of 64 octets', { ...slot, hash: Buffer.alloc(64, 1) }, { ...listed, hash: '01'.repeat(64) }],
    ['with the index of the image', { ...slot, hash, image: 2 }, { ...listed, image: 2 }],
    ['with keys of their own', { ...slot, hash, bootable: true, compressed: true, priority: 3 }, listed],
    ['with a version that cannot be printed', { ...slot, hash, version: '<???>' }, { ...listed, version: '<???>' }],
    ['without a version', { slot: 0, hash }, { ...listed, version: '' }],
  ])('%s', (_, entry, expected) => {
    expect(readImageList({ images: [entry], splitStatus: 0 })).toEqual([expected]);
  });

  it.each<[string, object]>([
    ['no list at all', { rc: 0 }],
    ['no slot', { images: [{ version: '1.0.0', hash }] }],
    ['a slot that is no number', { images: [{ ...slot, slot: '0' }] }],
    ['an entry that is no map', { images: [null] }],
    [
      'two active slots of one image',
      {
        images: [
          { ...slot, active: true },
          { ...slot, slot: 1, active: true },
        ],
      },
    ],
    ['one slot twice', { images: [slot, slot] }],
  ])('%s is nonsense', (_, body) => {
    expect(() => readImageList(body as Record<string, unknown>)).toThrow(
      expect.objectContaining({ code: 'DEVICE_NONSENSE' }),
    );
  });

  it('active slots of several images are no contradiction', () => {
    const images = [0, 1].map((image) => ({ ...slot, image, active: true }));
    expect(readImageList({ images }).map(({ image, active }) => [image, active])).toEqual([
      [0, true],
      [1, true],
    ]);
  });
});

describe('slot info', () => {
  it.each<[string, object, [number, number][]]>([
    [
      'two slots',
      {
        images: [
          {
            image: 0,
            slots: [
              { slot: 0, size: 1000 },
              { slot: 1, size: 900 },
            ],
          },
        ],
      },
      [[0, 900]],
    ],
    ['the largest image', { images: [{ image: 1, slots: [{ slot: 1, size: 900 }], max_image_size: 800 }] }, [[1, 800]]],
    ['an image index left out', { images: [{ slots: [{ slot: 1, size: 5 }] }] }, [[0, 5]]],
    ['sizes that are none', { images: [{ image: 0, slots: [{ slot: 1, size: -1 }, { slot: 0 }, 7] }] }, []],
    ['an error', { rc: 8 }, []],
  ])('%s', (_, body, expected) => {
    expect([...readSlotSizes(body as Record<string, unknown>)]).toEqual(expected);
  });
});

describe('numbers from outside, written down a second time', () => {
  it('result codes (Zephyr mgmt_defines.h; Apache Mynewt mgmt.h)', () => {
    expect(RC).toMatchObject({
      UNKNOWN: 1,
      NO_MEMORY: 2,
      INVALID: 3,
      NO_ENTRY: 5,
      BAD_STATE: 6,
      NOT_SUPPORTED: 8,
      CORRUPT: 9,
      BUSY: 10,
    });
    expect(RC).toMatchObject({ TIMEOUT: 4, MESSAGE_SIZE: 7, ACCESS_DENIED: 11, TOO_OLD: 12, TOO_NEW: 13 });
  });

  it('result codes of the image group (Zephyr img_mgmt.h; the library `smp`, image_management.py)', () => {
    expect(Object.values(IMAGE_RC)).toEqual(Array.from({ length: 34 }, (_, index) => index + 1));
    expect(IMAGE_RC).toMatchObject({
      NO_FREE_SLOT: 9,
      FLASH_WRITE_FAILED: 12,
      NO_FREE_MEMORY: 15,
      CURRENT_VERSION_IS_NEWER: 27,
    });
    expect(IMAGE_RC).toMatchObject({ IMAGE_ALREADY_PENDING: 28, IMAGE_TOO_LARGE: 30, CONFIRMATION_DENIED: 32 });
  });

  it('modes of the bootloader (Zephyr, "Bootloader information: MCUboot"; MCUboot boot_status.h)', () => {
    expect(BOOT_MODE).toEqual({ OVERWRITE_ONLY: 2, DIRECT_XIP: 4 });
  });
});

describe('errors', () => {
  const upload = { group: 1, command: 1 };
  it.each<[string, object, string, string]>([
    ['rc 1', { rc: 1 }, 'passing', 'DEVICE_NOT_READY'],
    ['rc 2', { rc: 2 }, 'passing', 'DEVICE_NOT_READY'],
    ['rc 3', { rc: 3 }, 'final', 'DEVICE_REJECTED_IMAGE'],
    ['rc 5', { rc: 5 }, 'state', 'DEVICE_BUSY'],
    ['rc 6', { rc: 6 }, 'state', 'DEVICE_BUSY'],
    ['rc 6, downgrade', { rc: 6, rsn: 'downgrade' }, 'final', 'DOWNGRADE_REFUSED'],
    ['rc 8', { rc: 8 }, 'final', 'DEVICE_ERROR'],
    ['rc 9', { rc: 9 }, 'frame', 'DEVICE_ERROR'],
    ['rc 10', { rc: 10 }, 'passing', 'DEVICE_NOT_READY'],
    ['a code of the application', { rc: 256 }, 'final', 'DEVICE_ERROR'],
    ['image group, 12', { err: { group: 1, rc: 12 } }, 'passing', 'DEVICE_FLASH_ERROR'],
    ['image group, 15', { err: { group: 1, rc: 15 } }, 'passing', 'DEVICE_NOT_READY'],
    ['image group, 27', { err: { group: 1, rc: 27 } }, 'final', 'DOWNGRADE_REFUSED'],
    ['image group, 30', { err: { group: 1, rc: 30 } }, 'final', 'IMAGE_TOO_LARGE'],
    ['OS group, 3', { err: { group: 0, rc: 3 } }, 'final', 'DEVICE_ERROR'],
    ["another group's 12", { err: { group: 64, rc: 12 } }, 'final', 'DEVICE_ERROR'],
  ])('%s', (_, body, kind, code) => {
    expect(smpError(upload, body as Record<string, unknown>)).toMatchObject({ kind, code });
  });

  it.each([{}, { rc: 0 }, { off: 5 }, { rc: 0, off: 5 }, { err: { group: 1, rc: 0 } }])('%j is none', (body) => {
    expect(smpError(upload, body)).toBeNull();
  });
});

/** What a recording has of SMP: each whole frame, with the way it went. */
function smpFrames(name: string) {
  const frames: { received: boolean; bytes: Buffer }[] = [];
  const l2cap = new Map<string, Buffer>();
  const partial = new Map<string, Buffer>();
  for (const { packet, received } of readCapture(readFileSync(`../shared/captures/${name}`)).packets) {
    if (packet[0] !== 2) continue;
    const header = packet.readUInt16LE(1);
    const key = `${header & 0x0fff} ${received}`;
    const continues = ((header >> 12) & 3) === 1;
    const pdu = Buffer.concat([continues ? (l2cap.get(key) ?? Buffer.alloc(0)) : Buffer.alloc(0), packet.subarray(5)]);
    l2cap.set(key, pdu);
    // ATT on its fixed channel: write command and handle value notification.
    if (pdu.length < 7 || pdu.length < 4 + pdu.readUInt16LE(0) || pdu.readUInt16LE(2) !== 4) continue;
    if (pdu[4] !== 0x52 && pdu[4] !== 0x1b) continue;
    const bytes = Buffer.concat([partial.get(key) ?? Buffer.alloc(0), pdu.subarray(7)]);
    const whole = bytes.length >= 8 && bytes.length >= 8 + bytes.readUInt16BE(2);
    partial.set(key, whole ? Buffer.alloc(0) : bytes);
    if (whole) frames.push({ received, bytes });
  }
  return frames;
}

describe.skipIf(!existsSync('../shared/captures'))('the recordings of real servers (../shared/captures)', () => {
  it.each([
    ['controller-one-unit-narrow-scan.btsnoop', 225_130],
    ['server-secure-connections.btsnoop', 225_130],
    ['controller-four-units.btsnoop', 225_130],
  ])('%s: every answer reads, requests encode to the same bytes, and offsets reach the end', (name, total) => {
    const frames = smpFrames(name);
    const answers = frames.filter(({ received }) => received).map(({ bytes }) => decodeSmpFrame(bytes));
    expect(answers.length).toBeGreaterThan(90);
    for (const { received, bytes } of frames) {
      const frame = decodeSmpFrame(bytes);
      expect(frame.op % 2).toBe(received ? 1 : 0);
      if (!received) expect(encodeSmpFrame(frame).equals(bytes)).toBe(true);
    }
    const offsets = answers
      .filter(({ group, command }) => group === 1 && command === 1)
      .map(({ body }) => Number(body.off));
    expect(Math.max(...offsets)).toBe(total);
    const lists = answers
      .filter(({ group, command }) => group === 1 && command === 0)
      .map(({ body }) => readImageList(body));
    const flags = lists.at(-1)!.map(({ hash, active, confirmed }) => [hash.slice(0, 8), active, confirmed]);
    expect(flags).toEqual([
      ['62a8e086', true, true],
      ['215144b9', false, false],
    ]);
  });

  it('server-no-reassembly.btsnoop: half a frame is answered by rc 9', () => {
    const [answer] = smpFrames('server-no-reassembly.btsnoop').filter(
      ({ received, bytes }) => received && bytes[7] === 1,
    );
    expect(smpError({ group: 1, command: 1 }, decodeSmpFrame(answer!.bytes).body)).toMatchObject({
      kind: 'frame',
      rc: 9,
    });
  });
});
