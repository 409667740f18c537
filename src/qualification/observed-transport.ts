import type { Clock } from '../clock.ts';
import type { StationError } from '../contract/errors.ts';
import type { HciTransport } from '../radio/hci/transport.ts';
import type { ControllerObservation } from './controller-observation.ts';

/** A transport whose every packet an observation sees. Whoever took the packets last has them: first the probe, then a radio. */
export class ObservedTransport implements HciTransport {
  readonly #inner: HciTransport;
  readonly #clock: Clock;
  readonly #observation: ControllerObservation;
  #onPacket: (packet: Buffer) => void = () => undefined;
  #onLost: (reason: StationError) => void = () => undefined;
  #lost: StationError | null = null;

  constructor(inner: HciTransport, clock: Clock, observation: ControllerObservation) {
    this.#inner = inner;
    this.#clock = clock;
    this.#observation = observation;
    inner.onPacket((packet) => {
      observation.take(packet, true, clock.now());
      this.#onPacket(packet);
    });
    inner.onLost((reason) => {
      this.#lost = reason;
      this.#onLost(reason);
    });
  }

  send(packet: Buffer): void {
    this.#observation.take(packet, false, this.#clock.now());
    this.#inner.send(packet);
  }

  onPacket(handler: (packet: Buffer) => void): void {
    this.#onPacket = handler;
  }

  /** One that is gone already says so at once. */
  onLost(handler: (reason: StationError) => void): void {
    this.#onLost = handler;
    if (this.#lost !== null) handler(this.#lost);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
