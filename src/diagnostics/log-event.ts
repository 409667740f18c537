import type { FusSettings } from '../contract/product-file.ts';

/** An event of the service as a line of a log says it. */
export interface LoggedEvent {
  readonly kind: 'marker' | 'data';
  readonly marker: number | null;
  readonly bytes: number | null;
}

/** Nobody prints an event as long as this. */
const MOST_LENGTH = 400;
const NUMBER = String.raw`0x[\da-f]+|\d+`;
const VERB = String.raw`(?:(?:sen[dt]|sending|notif(?:y|ied|ying)|indicat(?:e|ed|ing)|tx|out)\b[\s:]*)?`;
const MARKER = new RegExp(String.raw`^${VERB}response\s*[=:]?\s*(${NUMBER})(?![\w.])`, 'i');
const DATA = new RegExp(String.raw`^${VERB}data\b(?:\s*(?:out|sent|packet|pkt)\b)?(?<rest>.*)$`, 'i');
/** Numbers that say which one it is: `#3`, `[3]`, `seq=4,`. */
const LABELS = String.raw`[\s:,;([]*(?:(?:(?:#|no\.?|nr\.?|seq|frame|handle|idx)(?:\s*[=:])?\s*)?(?:${NUMBER})(?!\w)[\s:,;)\]]*){0,4}`;
const ends = String.raw`[\s.:;,)\]-]*$`;
const nothing = new RegExp(`^${ends}`);
const lengths = [
  new RegExp(String.raw`^${LABELS}(?<![\w#=])(${NUMBER})\s*(?:bytes?|octets?|b)\b`, 'i'),
  new RegExp(String.raw`^${LABELS}\b(?:len|length|size|bytes|octets)\s*[=:]?\s*(${NUMBER})(?!\w)`, 'i'),
  new RegExp(String.raw`^[\s:=,([]*(${NUMBER})${ends}`, 'i'),
];
const octets = /^[\s:=,([]*((?:[\da-f]{2}[\s:]+)+[\da-f]{2})[\s.)\]]*$/i;

/**
 * The event with which a line begins; null when it begins with anything else. A marker is `Response=1` (`:`, a blank, hexadecimal) with
 * one of the profile's two markers; data are `Data` with nothing, a length, or the octets themselves behind. `data` in front of other
 * words (`data wra: 0, 1c` of a file system) is no event, nor is a response that is no marker.
 */
export function eventIn(text: string, { open, close }: FusSettings['markers']): LoggedEvent | null {
  if (text.length > MOST_LENGTH) return null;
  const marker = MARKER.exec(text);
  if (marker) {
    const value = Number(marker[1]);
    return value === open || value === close ? { kind: 'marker', marker: value, bytes: null } : null;
  }
  const rest = DATA.exec(text)?.groups?.rest;
  if (rest === undefined) return null;
  if (nothing.test(rest)) return { kind: 'data', marker: null, bytes: null };
  const length = lengths.map((each) => each.exec(rest)?.[1]).find((each) => each !== undefined);
  if (length !== undefined) return { kind: 'data', marker: null, bytes: Number(length) };
  const dump = octets.exec(rest)?.[1];
  return dump === undefined ? null : { kind: 'data', marker: null, bytes: dump.split(/[\s:]+/).length };
}
