/**
 * How long packets occupy the air. Source: Core 5.4, Vol 6 Part B: 2.1 (preamble, access address, CRC), 2.4 (header),
 * 4.1.1 (inter frame space).
 */
export const INTER_FRAME_SPACE_US = 150;

/** A PHY by its symbol rate in megasymbols a second. */
export type Phy = 1 | 2;

/** Duration of one data channel PDU with `octets` of payload, in microseconds. */
export function pduUs(octets: number, phy: Phy): number {
  const preambleOctets = phy;
  const accessAddressOctets = 4;
  const headerOctets = 2;
  const crcOctets = 3;
  return ((preambleOctets + accessAddressOctets + headerOctets + octets + crcOctets) * 8) / phy;
}

/** Octets of the message integrity code that every encrypted PDU with a payload carries (Vol 6 Part B, 2.4). */
const MIC_OCTETS = 4;

/** Duration of one exchange: the central's PDU, the peripheral's, and the space after each. */
export function exchangeUs(centralOctets: number, peripheralOctets: number, phy: Phy, encrypted = false): number {
  const inAir = (octets: number) => (octets > 0 && encrypted ? octets + MIC_OCTETS : octets);
  return (
    pduUs(inAir(centralOctets), phy) + INTER_FRAME_SPACE_US + pduUs(inAir(peripheralOctets), phy) + INTER_FRAME_SPACE_US
  );
}
