import type { SmpAnswer } from '../contract/tray-file.ts';
import type { Request } from './smp-frame.ts';

type Named = Extract<SmpAnswer['to'], string>;
type Asked = { readonly group: number; readonly command: number; readonly op?: 'read' | 'write' | undefined };

/** Sources as for the groups in smp-server.ts. */
const REQUESTS: Record<Named, Asked> = {
  echo: { group: 0, command: 0 },
  'date-time': { group: 0, command: 4 },
  reset: { group: 0, command: 5 },
  params: { group: 0, command: 6 },
  'application-info': { group: 0, command: 7 },
  'bootloader-info': { group: 0, command: 8 },
  'image-list': { group: 1, command: 0, op: 'read' },
  'image-state': { group: 1, command: 0, op: 'write' },
  upload: { group: 1, command: 1 },
  erase: { group: 1, command: 5 },
  'slot-info': { group: 1, command: 6 },
  shell: { group: 9, command: 0 },
};

/** The answers that a tray file puts in place of a server's own, and how often each has still to be given. It outlives restarts. */
export class SmpScript {
  readonly #entries: { readonly answer: SmpAnswer; seen: number; given: number }[];

  constructor(answers: readonly SmpAnswer[]) {
    this.#entries = answers.map((answer) => ({ answer, seen: 0, given: 0 }));
  }

  /** The answer to be given to this request, used up by it; null where the server answers for itself. */
  next(request: Request): SmpAnswer | null {
    let chosen: SmpAnswer | null = null;
    for (const entry of this.#entries) {
      if (!isAsked(entry.answer, request)) continue;
      entry.seen += 1;
      const { nth, every, times = Number.POSITIVE_INFINITY } = entry.answer;
      if (chosen || entry.seen < nth || (entry.seen - nth) % every !== 0 || entry.given >= times) continue;
      entry.given += 1;
      chosen = entry.answer;
    }
    return chosen;
  }
}

function isAsked({ to, query, image, offset }: SmpAnswer, request: Request): boolean {
  const { group, command, op } = typeof to === 'string' ? REQUESTS[to] : to;
  if (request.group !== group || request.command !== command) return false;
  if (op !== undefined && request.write !== (op === 'write')) return false;
  if (query !== undefined && request.body.query !== query) return false;
  if (image !== undefined && (request.body.image ?? 0) !== image) return false;
  return offset === undefined || (typeof request.body.off === 'number' && request.body.off >= offset);
}
