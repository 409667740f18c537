import type { LogFormat } from '../contract/comparison.ts';

/** What stands in front of a device's own line, taken off. */
export interface LineFront {
  /** The stamp nearest to the line, which is the device's own where it has one; null where there is none. */
  readonly stamp: { readonly kind: LogFormat; readonly time: number } | null;
  /** The line itself. */
  readonly rest: string;
}

interface Piece {
  readonly kind: LogFormat | null;
  readonly pattern: RegExp;
  /** The time in milliseconds, of cycles their number. */
  readonly time?: (groups: readonly string[]) => number;
}

const CLOCK = String.raw`(\d{1,3}):(\d\d):(\d\d)(?:[.,](\d+)(?:,(\d{3}))?)?`;
const clockMs = ([, hours = '0', minutes = '0', seconds = '0', fraction = '', more = '']: readonly string[]) =>
  ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000 + fractionMs(fraction + more);
/** The digits behind a second's point, in milliseconds. */
const fractionMs = (digits: string) => Number(digits.slice(0, 9).padEnd(9, '0')) / 1e6;

/**
 * The pieces that come before a line, in any number and order: Zephyr's logging (subsys/logging/log_output.c: time stamps of the kinds
 * `[hh:mm:ss.ms,us]`, `[cycles]`, `[seconds]` and ISO 8601, then `<inf>`, or `I: ` in minimal mode), its shell's prompt, ESP-IDF
 * (`esp_log.h`: `I (ms) tag: `), SEGGER's RTT Viewer (`00> `), and the stamps of terminal programs.
 */
const pieces: readonly Piece[] = [
  { kind: null, pattern: /^\d{1,2}>\s?/ },
  { kind: null, pattern: /^[\w-]+:~[$#]\s?/ },
  { kind: 'esp-idf', pattern: /^[EWIDV] \((\d+)\)\s+/, time: ([, ms]) => Number(ms) },
  { kind: 'clock', pattern: new RegExp(String.raw`^[EWIDV] \(${CLOCK}\)\s+`), time: clockMs },
  { kind: 'zephyr', pattern: /^\[(\d+):(\d\d):(\d\d)\.(\d{3}),(\d{3})\]\s*/, time: clockMs },
  {
    kind: 'iso8601',
    pattern:
      /^[[(]?(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,:](\d+))?(?:,(\d{3}))?\s?(Z|[+-]\d\d:?\d\d)?[\])]?\s*(?:->|[>|:,;-])?\s*/,
    time: ([, date, time, fraction = '', more = '', zone = 'Z']) =>
      Date.parse(`${date}T${time}${zone}`) + fractionMs(fraction + more),
  },
  {
    kind: 'clock',
    pattern: new RegExp(String.raw`^\[(?:\w{3} )?\w{3} +\d{1,2} ${CLOCK}(?: \d{4})?\]\s*`),
    time: clockMs,
  },
  { kind: 'clock', pattern: new RegExp(String.raw`^[[(]?${CLOCK}[\])]?\s*(?:->|[>|:,;-])?\s*`), time: clockMs },
  { kind: 'cycles', pattern: /^\[(\d{6,20})\]\s*/, time: ([, cycles]) => Number(cycles) },
  { kind: 'seconds', pattern: /^\[\s*(\d+(?:\.\d+)?)\]\s*/, time: ([, seconds]) => Number(seconds) * 1000 },
  {
    kind: 'seconds',
    pattern: /^(\d+(?:\.\d+)?)\s*(?:[:\s])\s*(?=[<"a-z[])/i,
    time: ([, seconds]) => Number(seconds) * 1000,
  },
  { kind: null, pattern: /^<(?:err|wrn|inf|dbg)>\s*/i },
  { kind: null, pattern: /^[EWIDV]: / },
];

/** Takes off what stands in front of a device's own line. */
export function lineFront(text: string): LineFront {
  let stamp: LineFront['stamp'] = null;
  let rest = text.trimStart();
  for (let found = true; found; ) {
    found = false;
    for (const { kind, pattern, time } of pieces) {
      const match = pattern.exec(rest);
      if (!match) continue;
      const value = time?.(match.map((group) => group ?? undefined) as string[]);
      if (kind !== null && value !== undefined && Number.isFinite(value)) stamp = { kind, time: value };
      rest = rest.slice(match[0].length).trimStart();
      found = true;
      break;
    }
  }
  return { stamp, rest };
}

/** A module or tag in front of an event: `fus: `, `fus.send_response: `, and behind it a thread's name in brackets. */
export function takeModule(text: string): { readonly module: string; readonly rest: string } | null {
  const match = /^([\w-]+)(?:\.[\w.-]+)?:\s+(?:\([^)]*\):\s+)?(?=\S)/.exec(text);
  return match ? { module: match[1] ?? '', rest: text.slice(match[0].length) } : null;
}
