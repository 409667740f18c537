/** Which unit each address of a job belongs to, as far as that is known: an address never belongs to two. */
export class AddressBook {
  readonly #owners = new Map<string, string>();

  /** Notes who was found there, or proven to be there; who came first stays. */
  enter(address: string, serial: string): void {
    if (!this.#owners.has(address)) this.#owners.set(address, serial);
  }

  /** The unit's serial; null when nobody is known there. */
  owner(address: string): string | null {
    return this.#owners.get(address) ?? null;
  }

  /** Whether a serial is that of a unit that was found. */
  knows(serial: string): boolean {
    return [...this.#owners.values()].includes(serial);
  }
}
