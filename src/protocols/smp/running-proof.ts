import { StationError } from '../../contract/errors.ts';
import { quoted } from '../../contract/foreign-text.ts';
import type { ImageProof } from '../../contract/product-file.ts';
import type { FirmwareImage } from '../../firmware/firmware-package.ts';
import { compareVersions, formatVersion, type ImageVersion, parseVersion } from '../../firmware/mcuboot-image.ts';
import type { SlotState } from '../driver.ts';
import { GROUP, OP, OS, SHELL } from './codec.ts';
import type { SmpClient } from './smp-client.ts';

/** No more of what a device says is looked at for its version. */
const LONGEST_TEXT = 500;

/** What a proof has come to. */
export interface ProofReading {
  readonly image: number;
  /** What the device says, cut to where the version stands; null when it cannot be read, and `why`. */
  readonly said: string | null;
  readonly why: string;
  readonly expected: string;
  readonly holds: boolean;
  /** Null when what it says is no version. */
  readonly version: ImageVersion | null;
}

/** What is read has not the form that the profile says, or is not there. */
class Unreadable extends Error {}

/**
 * Reads by the profile's way what an image runs, and compares it with the package's. That it cannot be read is an answer, too.
 * @throws StationError the link's end, or the signal's reason
 */
export async function readProof(
  client: SmpClient,
  proof: ImageProof,
  image: FirmwareImage,
  slots: readonly SlotState[],
  signal: AbortSignal,
): Promise<ProofReading> {
  const expected = expectedText(proof.expected, image);
  const reading = { image: proof.image, expected, said: null, why: '', holds: false, version: null };
  try {
    const said = cut(await readText(client, proof, slots, signal), proof.pattern);
    const version = parseVersion(said);
    const wanted = parseVersion(expected);
    const holds = version && wanted ? compareVersions(version, wanted) === 0 : said === expected;
    return { ...reading, said, holds, version };
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    return { ...reading, why: error.message };
  }
}

function cut(text: string, pattern: string | undefined): string {
  const whole = text.slice(0, LONGEST_TEXT).trim();
  if (pattern === undefined) return whole;
  const match = new RegExp(pattern).exec(whole);
  if (!match) throw new Unreadable(`${quoted(whole)} does not match the pattern`);
  return match[1] ?? match[0];
}

async function readText(
  client: SmpClient,
  proof: ImageProof,
  slots: readonly SlotState[],
  signal: AbortSignal,
): Promise<string> {
  const { characteristic, shell, info, entry } = proof;
  if (characteristic) {
    const value = await readCharacteristic(client, characteristic);
    if (characteristic.format === 'hex') return value.toString('hex');
    if (characteristic.format === 'text') return value.toString('utf8').replace(/\0+$/, '');
    if (value.length < 8) throw new Unreadable(`${value.length} octets`);
    const [major, minor] = value;
    return formatVersion({
      major: major!,
      minor: minor!,
      revision: value.readUInt16LE(2),
      build: value.readUInt32LE(4),
    });
  }
  if (entry) {
    const found = slots.find(({ image, slot }) => image === entry.image && slot === entry.slot);
    if (!found) throw new Unreadable(`image ${entry.image}, slot ${entry.slot} is not listed`);
    return found.version;
  }
  const body = shell
    ? await client.ask({ op: OP.WRITE, group: GROUP.SHELL, command: SHELL.EXECUTE, body: { argv: shell } }, signal)
    : await client.ask({ op: OP.READ, group: GROUP.OS, command: OS.INFO, body: { format: info } }, signal);
  // Sources of the keys: Zephyr "Shell management" (`o`, `ret`) and "OS/Application information" (`output`); the Python library `smp`.
  const said = shell ? body?.o : body?.output;
  if (typeof said !== 'string') throw new Unreadable('no answer that tells it');
  if (shell && typeof body?.ret === 'number' && body.ret !== 0) {
    throw new Unreadable(`the command returns ${body.ret}: ${quoted(said)}`);
  }
  return said;
}

async function readCharacteristic(
  client: SmpClient,
  { service, uuid }: { readonly service: string; readonly uuid: string },
): Promise<Buffer> {
  try {
    return await client.link.read(await client.link.characteristic(service, uuid));
  } catch (error) {
    if (error instanceof StationError && (error.code === 'SERVICE_NOT_FOUND' || error.code === 'ATT_ERROR')) {
      throw new Unreadable(error.message);
    }
    throw error;
  }
}

function expectedText(template: string, { image }: FirmwareImage): string {
  const { major, minor, revision, build } = image.version;
  const values: Readonly<Record<string, string | number>> = {
    version: formatVersion(image.version),
    hash: image.hash,
    major,
    minor,
    revision,
    build,
  };
  return template.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}
