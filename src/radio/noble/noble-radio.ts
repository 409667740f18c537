import { type Clock, deadline, sleep } from '../../clock.ts';
import type { ControllerFacts } from '../../contract/board.ts';
import { StationError } from '../../contract/errors.ts';
import { HciHost, type ScanDuty } from '../hci/hci-host.ts';
import { CID_ATT, HCI_ACL, OPCODE, putUint16, STATUS } from '../hci/packets.ts';
import type { HciTransport } from '../hci/transport.ts';
import { Lifetime } from '../lifetime.ts';
import type {
  Advertisement,
  Characteristic,
  ConnectOptions,
  Link,
  LinkEvidence,
  Radio,
  SecurityPolicy,
} from '../radio.ts';
import { LinkSecurityManager } from '../security/link-security.ts';
import { CID_PAIRING, reversed } from '../security/pairing-codec.ts';
import { createHciNoble, hciSockets, type Noble, type NobleBindings, type NoblePeripheral } from './noble-internals.ts';
import { type LinkBackend, NobleLink, nobleUuid, usualUuid } from './noble-link.ts';

const POWER_ON_TIMEOUT_MS = 10_000;
const MTU_TIMEOUT_MS = 30_000;
const CANCEL_TIMEOUT_MS = 2_000;
const FORGET_AFTER_MS = 30_000;
const ATT_WRITE_COMMAND = 0x52;
/** A connection attempt that took this long is followed by a while of scanning, so that others are heard meanwhile. */
const SLOW_CONNECT_MS = 500;
const SCAN_BREAK_MS = 500;
/** A controller that refuses to scan is asked again; so many times in a row, and it is of no use any more. */
const SCAN_AGAIN_MS = 1000;
const SCAN_REFUSALS = 5;
/** How a radio listens that has nothing else to do. */
const SCAN_FREELY: ScanDuty = { intervalMs: 60, windowMs: 40 };
/**
 * How long a window among links is at least: as long as most devices take from one advertisement to the next. Each window cuts an event at
 * its beginning, so that few long ones cost less than many short ones; two intervals of the links keep that cost to a quarter.
 */
const SCAN_WINDOW_MS = 100;
const SCAN_WINDOW_LINK_INTERVALS = 2;
/** The longest scan interval there is (Vol 4 Part E, 7.8.10). */
const MOST_SCAN_INTERVAL_MS = 10_240;
/** A connection attempt is for a device that was just heard: half of the air finds it soonest for what it costs. */
const CONNECT_SHARE = 0.5;

/** The link is encrypted when the device wants it, and nothing is kept of it. */
const ONLY_WHEN_WANTED: SecurityPolicy = { required: false, bonds: null, pairAgain: true };

/** Connection Limit Exceeded, and rejected for limited resources (Vol 1 Part F). */
const NO_ROOM: ReadonlySet<number> = new Set([STATUS.CONNECTION_LIMIT_EXCEEDED, STATUS.LIMITED_RESOURCES]);

/** noble knows its transports by number only. */
let nextDeviceId = 1000;

/**
 * Opens a radio over a controller whose transport is ours: noble on top, the HCI host below.
 * @throws StationError RADIO_REFUSED, RADIO_LOST
 */
export async function openNobleRadio(
  name: string,
  transport: HciTransport,
  clock: Clock,
  evidence: (handle: number) => LinkEvidence | null = () => null,
): Promise<Radio> {
  const radio = new NobleRadio(name, transport, clock, evidence);
  try {
    await radio.start();
    return radio;
  } catch (error) {
    await radio.stop();
    throw error;
  }
}

class NobleRadio implements Radio {
  readonly name: string;
  readonly ended: Promise<StationError | null>;
  readonly #clock: Clock;
  readonly #evidence: (handle: number) => LinkEvidence | null;
  readonly #host: HciHost;
  readonly #deviceId = nextDeviceId++;
  readonly #links = new Map<number, NobleLink>();
  readonly #securities = new Map<number, LinkSecurityManager>();
  /** Who listens, and how much of the links' air that may cost. */
  readonly #listeners = new Map<(advertisement: Advertisement) => void, number>();
  readonly #heardAt = new Map<string, number>();
  #linkLimit: number | null = null;
  #noble: Noble | null = null;
  #bindings: NobleBindings | null = null;
  #settleEnded: (reason: StationError | null) => void = () => undefined;
  readonly #life = new Lifetime();
  #scanning: ScanDuty | null = null;
  #scanRefusals = 0;
  #connectsWaiting = 0;
  #connectBeganMs = 0;
  #scanBreakNow = false;
  #connectTail: Promise<unknown> = Promise.resolve();
  #onConnectionComplete: ((status: number, handle: number, address: string) => void) | null = null;
  #cancelPurge: () => void = () => undefined;
  #cancelScanAgain: () => void = () => undefined;

  constructor(name: string, transport: HciTransport, clock: Clock, evidence: (handle: number) => LinkEvidence | null) {
    this.name = name;
    this.#clock = clock;
    this.#evidence = evidence;
    this.ended = new Promise((resolve) => {
      this.#settleEnded = resolve;
    });
    this.#host = new HciHost(transport, clock, {
      attError: (handle, code) => this.#links.get(handle)?.attError(code),
      nonsense: (handle, detail) => this.#threw(handle, new Error(detail)),
      disconnected: (handle, reason) => this.#linkEnded(handle, reason),
      pairingPdu: (handle, pdu) => this.#securities.get(handle)?.received(pdu),
      encryptionChanged: (handle, status, enabled) => this.#securities.get(handle)?.encryptionChanged(status, enabled),
      connectionComplete: (status, handle, address) => this.#connectionComplete(status, handle, address),
      scanAnswered: (status) => this.#scanAnswered(status),
      lost: (reason) => this.#lose(reason),
    });
  }

  get address(): string | null {
    return this.#host.address || null;
  }

  get controller(): ControllerFacts {
    return this.#host.facts;
  }

  get linkLimit(): number | null {
    return this.#linkLimit;
  }

  async start(): Promise<void> {
    await this.#host.start();
    hciSockets.register(this.#deviceId, this.#guardedSocket());
    const { noble, bindings } = createHciNoble(this.#deviceId);
    this.#noble = noble;
    this.#bindings = bindings;
    const hci = bindings._hci;
    // noble would poll once a second for ever to see whether the device is up; here a transport that is gone says so.
    hci.pollIsDevUp = () => {
      hci._isDevUp = true;
      hci.setEventMask();
      hci.setLeEventMask();
      hci.readLocalVersion();
      hci.readBdAddr();
    };
    // noble's own queue knows one credit for all links and throws for links that are over.
    hci.writeAclDataPkt = (handle, cid, data) => this.#host.fromNobleAcl(handle, cid, data);
    keepProcessHandlersOut(bindings);
    noble.on('warning', () => undefined);
    noble.on('discover', (peripheral: NoblePeripheral) => this.#discovered(peripheral));
    const poweredOn = new Promise<void>((resolve, reject) => {
      noble.on('stateChange', (state: string) => {
        if (state === 'poweredOn') resolve();
        else if (state === 'unsupported') reject(new StationError('RADIO_REFUSED', 'no Bluetooth Low Energy'));
      });
    });
    await deadline(
      this.#clock,
      POWER_ON_TIMEOUT_MS,
      poweredOn,
      () => new StationError('RADIO_REFUSED', 'did not power on'),
    );
    this.#purgeRegularly();
  }

  scan(onAdvertisement: (advertisement: Advertisement) => void, share = 1): () => void {
    this.#listeners.set(onAdvertisement, share);
    this.#steerScan();
    return () => {
      this.#listeners.delete(onAdvertisement);
      this.#steerScan();
    };
  }

  async connect(address: string, options: ConnectOptions): Promise<Link> {
    this.#connectsWaiting += 1;
    const turn = this.#connectTail.then(() => this.#connectNow(address, options));
    this.#connectTail = turn
      .catch(() => undefined)
      .then(() => (this.#clock.now() - this.#connectBeganMs > SLOW_CONNECT_MS ? this.#scanBreak() : undefined));
    let made: { link: NobleLink; handle: number };
    try {
      made = await turn;
    } finally {
      // Scanning goes on while the link settles: others want to be heard.
      this.#connectsWaiting -= 1;
      this.#steerScan();
    }
    await this.#settled(made.link, made.handle, options);
    return made.link;
  }

  async stop(): Promise<void> {
    if (!this.#life.over) {
      this.#listeners.clear();
      this.#steerScan();
      await Promise.all([...this.#links.values()].map((link) => link.disconnect()));
      this.#finish(null);
    }
    await this.#host.close();
  }

  /** noble's parser throws on some malformed packets; that costs the link they came from, not the station. */
  #guardedSocket() {
    const { socket } = this.#host;
    return {
      start: (deliver: (packet: Buffer) => void) =>
        socket.start((packet) => {
          try {
            deliver(packet);
          } catch (error) {
            if (packet[0] === HCI_ACL) this.#threw(packet.readUInt16LE(1) & 0x0fff, error);
          }
        }),
      stop: () => socket.stop(),
      write: (packet: Buffer) => socket.write(packet),
    };
  }

  /** What a device sent made its reader throw. */
  #threw(handle: number, error: unknown): void {
    const detail = error instanceof Error ? error.message : String(error);
    const link = this.#links.get(handle);
    if (!link) return;
    link.end(new StationError('DEVICE_NONSENSE', detail, { cause: error }));
    this.#host.disconnect(handle);
  }

  /** The controller is of no use any more: whoever holds the radio is told, and the transport is let go of. */
  #lose(reason: StationError): void {
    this.#finish(reason);
    void this.#host.close();
  }

  #finish(reason: StationError | null): void {
    if (this.#life.over) return;
    const why = reason ?? new StationError('LINK_CLOSED', 'the radio was stopped');
    this.#life.end(why);
    this.#cancelPurge();
    this.#cancelScanAgain();
    hciSockets.unregister(this.#deviceId);
    for (const link of this.#links.values()) link.end(why);
    this.#links.clear();
    this.#noble?.removeAllListeners();
    this.#settleEnded(reason);
  }

  #linkEnded(handle: number, reason: number): void {
    const link = this.#links.get(handle);
    if (!link) return;
    this.#links.delete(handle);
    this.#steerScan();
    const closed = reason === STATUS.LOCAL_HOST_TERMINATED;
    const detail = `HCI reason 0x${reason.toString(16).padStart(2, '0')}`;
    link.end(new StationError(closed ? 'LINK_CLOSED' : 'LINK_LOST', detail, { retryable: !closed }));
  }

  #discovered(peripheral: NoblePeripheral): void {
    this.#heardAt.set(peripheral.id, this.#clock.now());
    const { localName, serviceUuids, manufacturerData } = peripheral.advertisement;
    const advertisement: Advertisement = {
      address: peripheral.address,
      addressType: peripheral.addressType === 'random' ? 'random' : 'public',
      name: localName ?? null,
      services: (serviceUuids ?? []).map(usualUuid),
      manufacturerData: manufacturerData ?? null,
      rssi: peripheral.rssi,
    };
    for (const listener of this.#listeners.keys()) listener(advertisement);
  }

  /** Scans while somebody listens and nobody connects; duplicates are wanted, for RSSI and because noble finds nothing without. */
  #steerScan(): void {
    const free = this.#connectsWaiting === 0 || this.#scanBreakNow;
    const wanted = this.#listeners.size > 0 && free && !this.#life.over;
    const duty = wanted ? this.#duty(Math.max(...this.#listeners.values())) : null;
    const same = duty?.intervalMs === this.#scanning?.intervalMs && duty?.windowMs === this.#scanning?.windowMs;
    if (same || !this.#noble) return;
    this.#scanning = duty;
    if (!duty) return this.#noble.stopScanning();
    this.#host.setScanDuty(duty);
    this.#noble.startScanning([], true);
  }

  /** How to listen at the cost of such a share of the links' air. */
  #duty(share: number): ScanDuty {
    if (share >= 1 || this.#links.size === 0) return SCAN_FREELY;
    const longestMs = Math.max(...[...this.#links.values()].map((link) => link.facts().intervalMs ?? 0));
    const windowMs = Math.max(SCAN_WINDOW_MS, SCAN_WINDOW_LINK_INTERVALS * longestMs);
    return { windowMs, intervalMs: Math.min(MOST_SCAN_INTERVAL_MS, windowMs / share) };
  }

  /** A link that nobody asked for is ended: nobody would. */
  #connectionComplete(status: number, handle: number, address: string): void {
    if (this.#onConnectionComplete) this.#onConnectionComplete(status, handle, address);
    else if (status === STATUS.SUCCESS) this.#host.disconnect(handle);
  }

  #scanAnswered(status: number | null): void {
    if (this.#life.over) return;
    if (status === STATUS.SUCCESS) {
      this.#scanRefusals = 0;
      return;
    }
    // Some controllers cannot scan beside a link: what they carry goes on, and they are asked again.
    if (this.#links.size === 0) this.#scanRefusals += 1;
    const said = status === null ? 'no answer' : `status 0x${status.toString(16).padStart(2, '0')}`;
    if (this.#scanRefusals >= SCAN_REFUSALS) {
      return this.#lose(new StationError('RADIO_LOST', `does not scan: ${said}`, { retryable: true }));
    }
    const cancel = this.#clock.after(SCAN_AGAIN_MS, () => {
      this.#scanning = null;
      this.#steerScan();
    });
    this.#cancelScanAgain();
    this.#cancelScanAgain = cancel;
  }

  async #connectNow(address: string, options: ConnectOptions): Promise<{ link: NobleLink; handle: number }> {
    options.signal?.throwIfAborted();
    if (this.#life.over) throw this.#life.over;
    const peripheral = this.#noble?._peripherals[address.replaceAll(':', '')];
    if (!peripheral) throw new StationError('UNIT_NOT_FOUND', address, { retryable: true });
    if ([...this.#links.values()].some((link) => link.address === address)) {
      throw new StationError('ALREADY_CONNECTED', address);
    }
    this.#connectBeganMs = this.#clock.now();
    this.#steerScan();
    this.#host.setConnectDuty(this.#duty(CONNECT_SHARE));
    const interval = Math.round(options.intervalMs / 1.25);
    const complete = new Promise<{ link: NobleLink; handle: number } | number>((resolve) => {
      // The link has to exist before the next packet is looked at: that may already be its end.
      this.#onConnectionComplete = (status, handle, peer) => {
        if (status === STATUS.SUCCESS && peer === address)
          return resolve({ link: this.#newLink(peripheral, handle, options), handle });
        // Somebody else than was asked for: the request is over, and the link is nobody's.
        if (status === STATUS.SUCCESS) this.#host.disconnect(handle);
        resolve(status || STATUS.UNSPECIFIED_ERROR);
      };
    });
    peripheral.connect({
      minInterval: interval,
      maxInterval: interval,
      latency: 0,
      timeout: Math.round(options.supervisionTimeoutMs / 10),
    });
    try {
      const outcome = await deadline(
        this.#clock,
        options.timeoutMs,
        this.#life.during(complete),
        () => new StationError('CONNECT_TIMEOUT', address, { retryable: true }),
        options.signal,
      );
      if (typeof outcome !== 'number') return outcome;
      if (NO_ROOM.has(outcome)) {
        this.#linkLimit = Math.max(1, this.#links.size);
        throw new StationError('RADIO_FULL', `${this.#links.size} links`, { retryable: true });
      }
      throw new StationError('CONNECT_FAILED', `${address}: HCI status 0x${outcome.toString(16)}`, { retryable: true });
    } catch (error) {
      if (!this.#life.over) await this.#cancelConnect(peripheral, complete);
      throw error;
    } finally {
      this.#onConnectionComplete = null;
    }
  }

  /** One device that does not answer must not keep the radio from hearing the others. */
  async #scanBreak(): Promise<void> {
    if (this.#listeners.size === 0 || this.#life.over) return;
    this.#scanBreakNow = true;
    this.#steerScan();
    await this.#life.during(sleep(this.#clock, SCAN_BREAK_MS)).catch(() => undefined);
    this.#scanBreakNow = false;
  }

  /**
   * Takes a connection request back, and waits until the controller has let it go; a link that came after all is ended. A controller
   * that does not let go can connect to nothing any more: it counts as lost.
   */
  async #cancelConnect(peripheral: NoblePeripheral, complete: Promise<{ link: NobleLink } | number>): Promise<void> {
    if (peripheral.state === 'connecting') this.#host.cancelConnection();
    const stuck = new StationError('RADIO_LOST', 'does not let go of a connection request', { retryable: true });
    try {
      const outcome = await deadline(this.#clock, CANCEL_TIMEOUT_MS, this.#life.during(complete), () => stuck);
      if (typeof outcome !== 'number') await outcome.link.disconnect();
    } catch (error) {
      if (error === stuck) this.#lose(stuck);
      else if (!this.#life.over) throw error;
    }
  }

  #newLink(peripheral: NoblePeripheral, handle: number, options: ConnectOptions): NobleLink {
    const host = this.#host;
    // Kept beyond the link's end, so that a record can say what it had reached.
    const state = host.link(handle)!;
    const security = new LinkSecurityManager(
      {
        clock: this.#clock,
        own: { address: host.address, random: false },
        peer: { address: state.address, random: state.random },
        replayed: host.replayed,
        send: (pdu) => void host.send(handle, CID_PAIRING, [pdu]).catch(() => undefined),
        encrypt: async ({ rand, ediv, ltk }) => {
          const key = Buffer.concat([Buffer.of(handle & 0xff, handle >> 8), rand, Buffer.of(ediv & 0xff, ediv >> 8)]);
          await host.command(OPCODE.LE_ENABLE_ENCRYPTION, Buffer.concat([key, reversed(ltk)])).catch(notEncrypted);
        },
        disconnect: () => host.disconnect(handle),
      },
      options.security ?? ONLY_WHEN_WANTED,
    );
    this.#securities.set(handle, security);
    const valueHandles = new Map<string, Map<string, number>>();
    const valueHandle = ({ service, uuid }: Characteristic): number => {
      const known = valueHandles.get(service)?.get(uuid);
      if (known !== undefined) return known;
      const found = this.#bindings?._gatts[handle]?._characteristics[nobleUuid(service)]?.[nobleUuid(uuid)];
      if (!found) throw new StationError('SERVICE_NOT_FOUND', uuid);
      const ofService = valueHandles.get(service) ?? new Map<string, number>();
      valueHandles.set(service, ofService.set(uuid, found.valueHandle));
      return found.valueHandle;
    };
    const backend: LinkBackend = {
      facts: () => {
        const { mtu, phy, dataLength, intervalMs, supervisionTimeoutMs, intervalChanges, supervisionChanges } = state;
        return {
          mtu,
          phy,
          dataLength,
          intervalMs,
          supervisionTimeoutMs,
          intervalChanges,
          supervisionChanges,
          security: security.state,
        };
      },
      evidence: this.#evidence(handle),
      queued: () => host.queued(handle),
      // Past noble's queue, in which a write without response would wait behind any request that is out.
      writeCommands: async (commands) => {
        const pdus = commands.map(({ characteristic, value }) => {
          const pdu = Buffer.allocUnsafe(3 + value.length);
          pdu[0] = ATT_WRITE_COMMAND;
          putUint16(pdu, 1, valueHandle(characteristic));
          value.copy(pdu, 3);
          return pdu;
        });
        await host.send(handle, CID_ATT, pdus);
      },
      // Past noble, too, which looks through all characteristics for each value's name.
      listen: (characteristic, onValue) => {
        const guarded = (value: Buffer) => {
          try {
            onValue(value);
          } catch (error) {
            this.#threw(handle, error);
          }
        };
        return host.listen(handle, valueHandle(characteristic), guarded);
      },
      rssi: () => host.rssi(handle),
      expectRestart: () => host.shortenSupervision(handle),
      secure: () => security.secure(),
      disconnect: () => host.disconnect(handle),
      abandon: () => host.abandon(handle),
    };
    const link = new NobleLink(peripheral, backend, this.#clock);
    void link.ended.then((reason) => {
      security.end(reason);
      if (this.#securities.get(handle) === security) this.#securities.delete(handle);
    });
    this.#links.set(handle, link);
    host.tune(handle, options.phy ?? '2M');
    return link;
  }

  /** noble says `connected` before the MTU exchange has ended; and what is to be encrypted is encrypted before it is used. */
  async #settled(link: NobleLink, handle: number, { security, signal }: ConnectOptions): Promise<void> {
    const settled = this.#host.link(handle)?.mtuSettled ?? Promise.resolve();
    const onTimeout = () => new StationError('ATT_TIMEOUT', 'MTU exchange', { retryable: true });
    try {
      await deadline(this.#clock, MTU_TIMEOUT_MS, link.during(settled), onTimeout, signal);
      if (security?.required) await link.during(this.#securities.get(handle)?.secure() ?? Promise.resolve());
    } catch (error) {
      await link.disconnect();
      throw error;
    }
  }

  /** noble never forgets a device; a station that runs for months has to. */
  #purgeRegularly(): void {
    this.#cancelPurge = this.#clock.after(FORGET_AFTER_MS, () => {
      this.#purge();
      if (!this.#life.over) this.#purgeRegularly();
    });
  }

  #purge(): void {
    const noble = this.#noble;
    const bindings = this.#bindings;
    if (!noble || !bindings) return;
    const connected = new Set([...this.#links.values()].map((link) => link.address.replaceAll(':', '')));
    for (const [id, at] of this.#heardAt) {
      if (connected.has(id) || this.#clock.now() - at < FORGET_AFTER_MS) continue;
      const peripheral = noble._peripherals[id];
      if (peripheral && peripheral.state !== 'disconnected' && peripheral.state !== 'error') continue;
      this.#heardAt.delete(id);
      delete bindings._gap._discoveries[peripheral?.address ?? ''];
      for (const table of [
        noble._peripherals,
        noble._services,
        noble._characteristics,
        noble._descriptors,
        noble._discoveredPeripheralUUids,
        bindings._addresses,
        bindings._addresseTypes,
        bindings._connectable,
        bindings.scannable,
      ]) {
        delete table[id];
      }
    }
  }
}

/** A controller that will not encrypt fails the link, not the radio. */
function notEncrypted(error: unknown): never {
  if (!(error instanceof StationError) || error.code !== 'RADIO_REFUSED') throw error;
  throw new StationError('ENCRYPTION_FAILED', error.detail, { cause: error, retryable: true });
}

/** noble hangs a SIGINT handler that exits the process, and an exit handler, on every instance; the station ends its radios itself. */
function keepProcessHandlersOut(bindings: NobleBindings): void {
  const init = bindings.init.bind(bindings);
  bindings.init = () => {
    const before = { SIGINT: process.listeners('SIGINT'), exit: process.listeners('exit') };
    init();
    for (const listener of process.listeners('SIGINT')) {
      if (!before.SIGINT.includes(listener)) process.off('SIGINT', listener);
    }
    for (const listener of process.listeners('exit')) {
      if (!before.exit.includes(listener)) process.off('exit', listener);
    }
  };
}
