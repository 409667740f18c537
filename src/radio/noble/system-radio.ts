import { type Clock, deadline } from '../../clock.ts';
import { StationError } from '../../contract/errors.ts';
import type { Advertisement, Characteristic, ConnectOptions, Link, Radio } from '../radio.ts';
import { createSystemNoble, type Noble, type NobleCharacteristic, type NoblePeripheral } from './noble-internals.ts';
import { NobleLink, nobleUuid, usualUuid } from './noble-link.ts';

const POWER_ON_TIMEOUT_MS = 10_000;

/**
 * A radio over the operating system's own Bluetooth stack (macOS, Windows), through noble's bindings. Connection parameters, MTU and
 * buffers are the system's; a write without response settles when the system has queued it.
 * @throws StationError RADIO_REFUSED, RADIO_PERMISSION
 */
export async function openSystemRadio(name: string, clock: Clock): Promise<Radio> {
  const noble = createSystemNoble();
  const ready = new Promise<void>((resolve, reject) => {
    noble.on('stateChange', (state: string) => {
      if (state === 'poweredOn') resolve();
      else if (state === 'unauthorized') reject(new StationError('RADIO_PERMISSION', 'the system denies Bluetooth'));
      else if (state === 'unsupported' || state === 'poweredOff') reject(new StationError('RADIO_REFUSED', state));
    });
  });
  await deadline(clock, POWER_ON_TIMEOUT_MS, ready, () => new StationError('RADIO_REFUSED', 'did not power on'));
  return new SystemRadio(name, noble, clock);
}

class SystemRadio implements Radio {
  readonly name: string;
  readonly address = null;
  readonly ended: Promise<StationError | null>;
  readonly #noble: Noble;
  readonly #clock: Clock;
  readonly #links = new Map<string, NobleLink>();
  readonly #heard = new Map<string, NoblePeripheral>();
  readonly #listeners = new Set<(advertisement: Advertisement) => void>();
  #settleEnded: (reason: StationError | null) => void = () => undefined;

  constructor(name: string, noble: Noble, clock: Clock) {
    this.name = name;
    this.#noble = noble;
    this.#clock = clock;
    this.ended = new Promise((resolve) => {
      this.#settleEnded = resolve;
    });
    noble.on('discover', (peripheral: NoblePeripheral) => this.#discovered(peripheral));
  }

  scan(onAdvertisement: (advertisement: Advertisement) => void): () => void {
    if (this.#listeners.size === 0) this.#noble.startScanning([], true);
    this.#listeners.add(onAdvertisement);
    return () => {
      if (this.#listeners.delete(onAdvertisement) && this.#listeners.size === 0) this.#noble.stopScanning();
    };
  }

  readonly linkLimit = null;
  readonly controller = null;

  async connect(address: string, options: ConnectOptions): Promise<Link> {
    if (options.security?.required) throw new StationError('SECURITY_UNSUPPORTED', this.name);
    const peripheral = this.#heard.get(address);
    if (!peripheral) throw new StationError('UNIT_NOT_FOUND', address, { retryable: true });
    if (this.#links.has(address)) throw new StationError('ALREADY_CONNECTED', address);
    const connected = new Promise<void>((resolve, reject) => {
      peripheral.once('connect', (error?: Error) => {
        if (error) reject(new StationError('CONNECT_FAILED', error.message, { retryable: true, cause: error }));
        else resolve();
      });
      peripheral.connect();
    });
    const onTimeout = () => new StationError('CONNECT_TIMEOUT', address, { retryable: true });
    try {
      await deadline(this.#clock, options.timeoutMs, connected, onTimeout, options.signal);
    } catch (error) {
      if (peripheral.state === 'connecting') peripheral.cancelConnect();
      throw error;
    }
    return this.#newLink(address, peripheral);
  }

  async stop(): Promise<void> {
    this.#listeners.clear();
    this.#noble.stopScanning();
    await Promise.all([...this.#links.values()].map((link) => link.disconnect()));
    this.#noble.removeAllListeners();
    this.#settleEnded(null);
  }

  #newLink(address: string, peripheral: NoblePeripheral): Link {
    const link = new NobleLink(
      peripheral,
      {
        facts: () => ({
          mtu: peripheral.mtu ?? 23,
          phy: null,
          dataLength: null,
          intervalMs: null,
          supervisionTimeoutMs: null,
          security: null,
          intervalChanges: [],
        }),
        evidence: null,
        queued: () => 0,
        writeCommands: async (commands) => {
          const found = commands.map(({ characteristic }) => this.#characteristic(peripheral, characteristic));
          for (const [index, { value }] of commands.entries()) found[index]!.write(value, true);
        },
        listen: (characteristic, onValue) => {
          const noble = this.#characteristic(peripheral, characteristic);
          const onData = (value: Buffer, notification: boolean) => {
            if (notification) onValue(value);
          };
          noble.on('data', onData);
          return () => void noble.off('data', onData);
        },
        rssi: async () => peripheral.rssi,
        expectRestart: () => undefined,
        secure: null,
        disconnect: () => peripheral.disconnect(),
        abandon: () => peripheral.emit('disconnect', 'abandoned'),
      },
      this.#clock,
    );
    this.#links.set(address, link);
    peripheral.once('disconnect', (reason: unknown) => {
      this.#links.delete(address);
      link.end(new StationError('LINK_LOST', String(reason ?? ''), { retryable: true }));
    });
    return link;
  }

  #characteristic(peripheral: NoblePeripheral, { service, uuid }: Characteristic): NobleCharacteristic {
    const characteristics = this.#noble._characteristics[peripheral.id] as
      | Record<string, Record<string, NobleCharacteristic>>
      | undefined;
    const found = characteristics?.[nobleUuid(service)]?.[nobleUuid(uuid)];
    if (!found) throw new StationError('SERVICE_NOT_FOUND', uuid);
    return found;
  }

  #discovered(peripheral: NoblePeripheral): void {
    const address = peripheral.address || peripheral.id;
    this.#heard.set(address, peripheral);
    const { localName, serviceUuids, manufacturerData } = peripheral.advertisement;
    for (const listener of this.#listeners) {
      listener({
        address,
        addressType: 'unknown',
        name: localName ?? null,
        services: (serviceUuids ?? []).map(usualUuid),
        manufacturerData: manufacturerData ?? null,
        rssi: peripheral.rssi,
      });
    }
  }
}
