import type { Clock } from '../clock.ts';
import type { StationError } from '../contract/errors.ts';
import type { Characteristic, ImageBytes, Link, LinkEvidence, LinkFacts, WriteCommand } from '../radio/radio.ts';
import type { AttemptWriter } from '../records/record-writer.ts';

/** Where the values of a link are written down. */
export type FrameRecord = Pick<AttemptWriter, 'channel' | 'frame'>;

/** A link whose values all go into the attempt's frame log, in the order and at the time they cross it. */
export class RecordedLink implements Link {
  readonly #link: Link;
  readonly #record: FrameRecord;
  readonly #clock: Clock;

  constructor(link: Link, record: FrameRecord, clock: Clock) {
    this.#link = link;
    this.#record = record;
    this.#clock = clock;
  }

  get address(): string {
    return this.#link.address;
  }

  get ended(): Promise<StationError> {
    return this.#link.ended;
  }

  get evidence(): LinkEvidence | null {
    return this.#link.evidence;
  }

  get queued(): number {
    return this.#link.queued;
  }

  facts(): LinkFacts {
    return this.#link.facts();
  }

  characteristic(service: string, uuid: string): Promise<Characteristic> {
    return this.#link.characteristic(service, uuid);
  }

  async read(characteristic: Characteristic): Promise<Buffer> {
    const value = await this.#link.read(characteristic);
    this.#log('from-device', characteristic, value);
    return value;
  }

  write(characteristic: Characteristic, value: Buffer): Promise<void> {
    this.#log('to-device', characteristic, value);
    return this.#link.write(characteristic, value);
  }

  writeCommands(commands: readonly WriteCommand[]): Promise<void> {
    for (const { characteristic, value, imageBytes } of commands) {
      this.#log('to-device', characteristic, value, imageBytes);
    }
    return this.#link.writeCommands(commands);
  }

  subscribe(characteristic: Characteristic, onValue: (value: Buffer) => void): Promise<void> {
    return this.#link.subscribe(characteristic, (value) => {
      this.#log('from-device', characteristic, value);
      onValue(value);
    });
  }

  expectRestart(): void {
    this.#link.expectRestart();
  }

  rssi(): Promise<number | null> {
    return this.#link.rssi();
  }

  disconnect(): Promise<void> {
    return this.#link.disconnect();
  }

  #log(
    direction: 'to-device' | 'from-device',
    characteristic: Characteristic,
    value: Buffer,
    imageBytes?: ImageBytes | null,
  ): void {
    this.#record.frame(this.#clock.now(), {
      direction,
      channel: this.#record.channel(characteristic.uuid),
      length: value.length,
      bytes: imageBytes ? value.subarray(0, imageBytes.at) : value,
      image: imageBytes ? { index: imageBytes.image, offset: imageBytes.offset } : null,
    });
  }
}
