import { StationError } from '../contract/errors.ts';

/** A radio as the user names it with --radio. */
export type RadioSpec =
  | { readonly kind: 'virtual'; readonly name: string; readonly count: number }
  | { readonly kind: 'kernel'; readonly name: string; readonly id: number }
  | { readonly kind: 'h4'; readonly name: string; readonly path: string }
  | { readonly kind: 'h4'; readonly name: string; readonly host: string; readonly port: number }
  | { readonly kind: 'serial'; readonly name: string; readonly path: string; readonly baudRate: number }
  | { readonly kind: 'system'; readonly name: string }
  | { readonly kind: 'replay'; readonly name: string; readonly path: string };

const DEFAULT_BAUD_RATE = 1_000_000;

/** Reads `virtual[:N]`, `hci:N`, `h4:unix:PATH`, `h4:tcp:HOST:PORT`, `h4:serial:DEV[@BAUD]`, `system` or `replay:CAPTURE`. @throws StationError RADIO_SPEC_INVALID */
export function parseRadioSpec(text: string): RadioSpec {
  const virtual = /^virtual(?::([1-9]\d?))?$/.exec(text);
  if (virtual) return { kind: 'virtual', name: text, count: Number(virtual[1] ?? 1) };
  const kernel = /^hci:(\d{1,3})$/.exec(text);
  if (kernel) return { kind: 'kernel', name: text, id: Number(kernel[1]) };
  const unix = /^h4:unix:(.+)$/.exec(text);
  if (unix) return { kind: 'h4', name: text, path: unix[1]! };
  const tcp = /^h4:tcp:(.+):(\d{1,5})$/.exec(text);
  if (tcp && Number(tcp[2]) <= 65_535) return { kind: 'h4', name: text, host: tcp[1]!, port: Number(tcp[2]) };
  const serial = /^h4:serial:([^@]+)(?:@(\d+))?$/.exec(text);
  if (serial) return { kind: 'serial', name: text, path: serial[1]!, baudRate: Number(serial[2] ?? DEFAULT_BAUD_RATE) };
  const replay = /^replay:(.+)$/.exec(text);
  if (replay) return { kind: 'replay', name: 'replay', path: replay[1]! };
  if (text === 'system') return { kind: 'system', name: text };
  throw new StationError('RADIO_SPEC_INVALID', text);
}
