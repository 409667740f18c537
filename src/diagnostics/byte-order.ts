/** Which octet of a number comes first in a file. */
export type ByteOrder = 'little' | 'big';

/** How numbers are read from a file of that byte order. */
interface Numbers {
  readonly u16: (bytes: Buffer, at: number) => number;
  readonly u32: (bytes: Buffer, at: number) => number;
  readonly u64: (bytes: Buffer, at: number) => bigint;
  readonly i64: (bytes: Buffer, at: number) => bigint;
}

const little: Numbers = {
  u16: (bytes, at) => bytes.readUInt16LE(at),
  u32: (bytes, at) => bytes.readUInt32LE(at),
  u64: (bytes, at) => bytes.readBigUInt64LE(at),
  i64: (bytes, at) => bytes.readBigInt64LE(at),
};
const big: Numbers = {
  u16: (bytes, at) => bytes.readUInt16BE(at),
  u32: (bytes, at) => bytes.readUInt32BE(at),
  u64: (bytes, at) => bytes.readBigUInt64BE(at),
  i64: (bytes, at) => bytes.readBigInt64BE(at),
};

/** Reads numbers in that byte order. */
export function numbersIn(order: ByteOrder): Numbers {
  return order === 'little' ? little : big;
}
