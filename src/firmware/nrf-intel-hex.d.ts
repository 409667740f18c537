/** The package's own types are written for a bundler; under Node its CommonJS export is the class itself. */
declare module 'nrf-intel-hex' {
  class MemoryMap {
    static fromHex(text: string, maxBlockSize?: number): MemoryMap;
    join(maxBlockSize?: number): MemoryMap;
    entries(): IterableIterator<[number, Uint8Array]>;
  }
  export = MemoryMap;
}
