import { connect, createServer, type Server, type Socket } from 'node:net';

/** A wire to a controller that can be pulled and plugged in again, and on which a byte can go wrong. */
export class Wire {
  readonly #far: string;
  readonly path: string;
  #server: Server | null = null;
  #near: Socket[] = [];
  #ends: Socket[] = [];

  /** `far` is the controller's socket, `path` the one that this wire offers. */
  constructor(far: string, path: string) {
    this.#far = far;
    this.path = path;
  }

  async plug(): Promise<void> {
    this.#server = createServer((near) => {
      const far = connect(this.#far);
      this.#near.push(near);
      this.#ends.push(near, far);
      near.on('error', () => far.destroy()).on('close', () => far.destroy());
      far.on('error', () => near.destroy()).on('close', () => near.destroy());
      near.pipe(far).pipe(near);
    });
    await new Promise<void>((resolve) => this.#server?.listen(this.path, resolve));
  }

  /** Somebody is at the near end. */
  get connected(): boolean {
    return this.#near.some((near) => !near.destroyed);
  }

  /** The host hears an octet that begins no packet. */
  spoil(): void {
    for (const near of this.#near.splice(0)) near.write(Buffer.of(0x77));
  }

  pull(): void {
    for (const end of this.#ends.splice(0)) end.destroy();
    this.#server?.close();
  }
}
