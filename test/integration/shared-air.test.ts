import { describe, expect, test } from 'vitest';
import { AclScheduler } from '../../src/radio/hci/acl-scheduler.ts';
import { addressBytes, EVENT, HCI_ACL, hciCommand, LE_EVENT, OPCODE } from '../../src/radio/hci/packets.ts';
import { Ether } from '../../src/virtual/ether.ts';
import { seededRandom } from '../../src/virtual/random.ts';

const STEP_MS = 0.05;
/** As long as each link's event of a SoftDevice Controller is by default. */
const SLOT_MS = 7.5;
/** Full packets of 1408 µs that a slot of 7.5 ms holds. */
const SLOT_PACKETS = 5;
const FRAME_PACKETS = 10;
const DEATH_MS = 5_000;
const SETTLED_MS = 8_000;
const END_MS = 25_000;

interface Conditions {
  readonly links: number;
  /** One way between host and controller, in milliseconds: at least, and how much more by chance. */
  readonly latencyMs: number;
  readonly jitterMs: number;
  /** The host does not get to run for so long, once a second. */
  readonly stallMs?: number;
  /** One link dies before what is measured begins, and is over by then. */
  readonly oneDies?: boolean;
}

/** What is due at a time. */
class Agenda {
  nowMs = 0;
  readonly #entries: { readonly atMs: number; readonly act: () => void }[] = [];

  at(atMs: number, act: () => void): void {
    const after = this.#entries.findIndex((entry) => entry.atMs > atMs);
    this.#entries.splice(after < 0 ? this.#entries.length : after, 0, { atMs, act });
  }

  run(nowMs: number): void {
    this.nowMs = nowMs;
    while (this.#entries.length > 0 && this.#entries[0]!.atMs <= nowMs) this.#entries.shift()!.act();
  }
}

/**
 * A central with 8 buffers whose links all have plenty to send, in the ether's time: the share of the air's packets that the scheduler got
 * out, once all links were there.
 */
function shareOfAir({ links, latencyMs, jitterMs, stallMs = 0, oneDies = false }: Conditions): number {
  const intervalMs = links * SLOT_MS;
  const ether = new Ether(3);
  const random = seededRandom(5);
  const agenda = new Agenda();
  const central = ether.createController('06:00:00:00:00:01', { aclBuffers: 8, slotUs: SLOT_MS * 1000 });
  const stalledUntil = (atMs: number) =>
    stallMs > 0 && atMs > SETTLED_MS && atMs % 1000 < stallMs ? atMs - (atMs % 1000) + stallMs : atMs;
  /** One direction of the transport: packets keep their order. */
  const wire = () => {
    let lastMs = 0;
    return (act: () => void) => {
      lastMs = Math.max(lastMs, stalledUntil(agenda.nowMs + latencyMs + jitterMs * random()));
      agenda.at(lastMs, act);
    };
  };
  const [toController, toHost] = [wire(), wire()];
  const scheduler = new AclScheduler(
    8,
    (packet) => toController(() => central.fromHost(packet)),
    () => ({ intervalMs, packetMs: 1.408 }),
    () => agenda.nowMs,
    () => 2 * latencyMs,
  );

  const peers = Array.from({ length: links }, (_, i) => {
    const peer = ether.createController(`02:00:00:00:00:${i.toString(16).padStart(2, '0')}`);
    const parameters = Buffer.alloc(15);
    parameters.writeUInt16LE(32, 0);
    peer.fromHost(hciCommand(OPCODE.LE_SET_ADVERTISING_PARAMETERS, parameters));
    peer.fromHost(hciCommand(OPCODE.LE_SET_ADVERTISING_ENABLE, Buffer.of(1)));
    if (oneDies && i === 1) agenda.at(DEATH_MS, () => peer.vanish());
    return peer;
  });
  const connectNext = () => {
    const peer = peers.pop();
    if (!peer) return;
    const parameters = Buffer.alloc(25);
    parameters.writeUInt16LE(16, 0);
    parameters.writeUInt16LE(16, 2);
    addressBytes(peer.address).copy(parameters, 6);
    parameters.writeUInt16LE(intervalMs / 1.25, 13);
    parameters.writeUInt16LE(intervalMs / 1.25, 15);
    parameters.writeUInt16LE(200, 19);
    central.fromHost(hciCommand(OPCODE.LE_CREATE_CONNECTION, parameters));
  };
  const sendFrame = (handle: number) => {
    const packet = Buffer.alloc(5 + 251);
    packet[0] = HCI_ACL;
    packet.writeUInt16LE(handle, 1);
    packet.writeUInt16LE(251, 3);
    scheduler.push(handle, new Array(FRAME_PACKETS).fill(packet), {
      taken: () => agenda.at(agenda.nowMs + 5, () => sendFrame(handle)),
      dropped: () => undefined,
    });
  };
  const linked = (handle: number) => {
    scheduler.add(handle);
    const speed = Buffer.of(handle, 0, 251, 0, 0x48, 0x08);
    central.fromHost(hciCommand(OPCODE.LE_SET_DATA_LENGTH, speed));
    central.fromHost(hciCommand(OPCODE.LE_SET_PHY, Buffer.of(handle, 0, 0, 2, 2, 0, 0)));
    agenda.at(agenda.nowMs + 20, connectNext);
    agenda.at(agenda.nowMs + 2000, () => {
      sendFrame(handle);
      sendFrame(handle);
    });
  };
  let completed = 0;
  central.toHost = (packet) =>
    toHost(() => {
      if (packet[1] === EVENT.LE_META && packet[3] === LE_EVENT.CONNECTION_COMPLETE) linked(packet.readUInt16LE(5));
      if (packet[1] === EVENT.DISCONNECTION_COMPLETE) scheduler.remove(packet.readUInt16LE(4));
      if (packet[1] !== EVENT.NUMBER_OF_COMPLETED_PACKETS) return;
      scheduler.completed(packet.readUInt16LE(4), packet.readUInt16LE(6));
      if (agenda.nowMs >= SETTLED_MS) completed += packet.readUInt16LE(6);
    });
  central.fromHost(hciCommand(OPCODE.SET_EVENT_MASK, Buffer.from('ffffffffffffff3f', 'hex')));
  connectNext();
  for (let nowMs = 0; nowMs < END_MS; nowMs += STEP_MS) {
    ether.advance(nowMs * 1000);
    agenda.run(nowMs);
  }
  expect(central.overflows).toBe(0);
  return completed / (((END_MS - SETTLED_MS) / intervalMs) * (oneDies ? links - 1 : links) * SLOT_PACKETS);
}

describe('links that share a controller’s buffers', () => {
  test.each([2, 3, 8, 16, 20])('fill the air, %i of them', (links) => {
    expect(shareOfAir({ links, latencyMs: 0.3, jitterMs: 0.3 })).toBeGreaterThan(0.995);
  });

  test.each([3, 8, 16])('fill the slots that are left when one of %i has died', (links) => {
    expect(shareOfAir({ links, latencyMs: 0.3, jitterMs: 0.3, oneDies: true })).toBeGreaterThan(0.99);
  });

  test.each([
    [1, 1],
    [2, 2],
  ])('fill it behind a transport that takes %i ms and up to %i more each way', (latencyMs, jitterMs) => {
    expect(shareOfAir({ links: 16, latencyMs, jitterMs })).toBeGreaterThan(0.99);
  });

  test.each([
    [16, 15, 0.3],
    [16, 30, 0.3],
    [16, 15, 1],
    [3, 15, 0.3],
  ])(
    'lose little more than the time for which the host was away: %i links, %i ms a second, latency %f ms',
    (links, stallMs, latencyMs) => {
      const lost = 1 - shareOfAir({ links, latencyMs, jitterMs: latencyMs, stallMs });
      expect(lost).toBeLessThan((stallMs / 1000) * 1.3);
    },
  );
});
