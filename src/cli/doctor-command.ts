import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemClock } from '../clock.ts';
import { asStationError, type ErrorCode } from '../contract/errors.ts';
import { kernelAdapters } from '../radio/hci/kernel-adapter.ts';
import { openRadio } from '../radio/open-radio.ts';
import type { Radio } from '../radio/radio.ts';
import { parseRadioSpec } from '../radio/radio-spec.ts';
import { RecordReader } from '../records/record-reader.ts';

const LOW_DISK_BYTES = 500 * 1024 * 1024;
const NODE_MAJOR = 24;

/** One thing that was looked at. */
export interface Finding {
  readonly check: string;
  readonly ok: boolean;
  readonly code: ErrorCode | null;
  readonly detail: string;
}

/** Looks at everything a run needs and changes nothing. */
export async function examine(directory: string, radios: readonly string[]): Promise<Finding[]> {
  return [runtime(), ...(await radioFindings(radios)), await disk(directory), records(directory), bondKeys()];
}

function runtime(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  const detail = `Node ${process.versions.node} on ${process.platform} ${process.arch}`;
  return { check: 'runtime', ok: major >= NODE_MAJOR, code: null, detail };
}

async function radioFindings(named: readonly string[]): Promise<Finding[]> {
  const specs = named.length > 0 ? [...named] : (await kernelAdapters()).map((id) => `hci:${id}`);
  if (specs.length === 0) {
    const detail =
      'no Bluetooth adapter in /sys/class/bluetooth. Plug one in; the station needs CAP_NET_ADMIN and CAP_NET_RAW to open its user channel, and the adapter must be down (hciconfig hci0 down)';
    return [{ check: 'radio', ok: false, code: 'NO_RADIO', detail }];
  }
  const findings: Finding[] = [];
  for (const text of specs) findings.push(await tryRadio(text));
  return findings;
}

async function tryRadio(text: string): Promise<Finding> {
  const check = `radio ${text}`;
  try {
    const spec = parseRadioSpec(text);
    if (spec.kind === 'virtual' || spec.kind === 'replay')
      return { check, ok: true, code: null, detail: 'virtual radios need nothing' };
    const radio = await openRadio(spec, systemClock);
    await radio.stop();
    return { check, ok: true, code: null, detail: controllerText(radio) };
  } catch (error) {
    const { code, message } = asStationError(error);
    return { check, ok: false, code, detail: message };
  }
}

function controllerText({ address, controller, linkLimit }: Radio): string {
  if (!controller) return 'controller of the system';
  const { aclBuffers, aclOctets, encryption, dataLength, phy2M } = controller;
  const can = [encryption && 'encryption', dataLength && 'long packets', phy2M && '2M'].filter(
    (each) => each !== false,
  );
  const links = linkLimit === null ? 'how many links it carries shows when it refuses one' : `${linkLimit} links`;
  return `controller ${address}, ${aclBuffers} buffers of ${aclOctets} octets, ${can.join(', ') || 'no long packets, no 2M'}; ${links}`;
}

/** The command line has no key store to seal with; the desktop program has. */
function bondKeys(): Finding {
  const detail =
    'kept bonds (bond: keep) lie in the data directory as they are; the desktop program seals them by the key store of the system';
  return { check: 'bond keys', ok: true, code: null, detail };
}

async function disk(directory: string): Promise<Finding> {
  let place = directory;
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  const { bavail, bsize } = await statfs(place);
  const free = bavail * bsize;
  const enough = free >= LOW_DISK_BYTES;
  return {
    check: 'disk',
    ok: enough,
    code: enough ? null : 'DISK_FULL',
    detail: `${Math.round(free / 1024 / 1024)} MiB free for ${directory}`,
  };
}

function records(directory: string): Finding {
  try {
    const reader = new RecordReader(directory);
    const [latest] = reader.list({ limit: 1 });
    reader.close();
    const detail = latest ? `latest attempt ${latest.startedAt}, unit ${latest.serial}` : 'no attempts yet';
    return { check: 'database', ok: true, code: null, detail };
  } catch (error) {
    const { code, message } = asStationError(error);
    const fresh = code === 'RECORD_NOT_FOUND';
    return { check: 'database', ok: fresh, code: fresh ? null : code, detail: fresh ? `new: ${directory}` : message };
  }
}
