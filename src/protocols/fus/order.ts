import type { OrderAnomaly, OrderShape } from '../../contract/records.ts';

/**
 * The order of a frame's parts: 1, Data…, 0 (docs/protocols/fus.md). Pure: tokens in, anomalies out. The same analysis runs over what the
 * application saw and over what the controller delivered, so that the two can be held against each other.
 */

/** One notification or indication of a FUS service, as far as its order goes. */
export interface OrderToken {
  readonly kind: 'open' | 'close' | 'data';
  /** For data: whether a frame ends with it. */
  readonly endsFrame: boolean;
  /** Milliseconds, of any one clock. */
  readonly atMs: number;
}

/** So many frames in perfect order after a disturbance end it: what came before is judged. */
const CALM_FRAMES = 3;
/** A disturbance that goes on for longer is judged as it stands. */
const MAX_TOKENS = 256;

interface Placed extends OrderToken {
  readonly number: number;
}

/**
 * Judges tokens as they come. A frame is judged when as many frames have been opened, completed and closed as have begun; a disturbance
 * that never balances (something was lost) when calm has returned, or at `flush`.
 */
export class OrderAnalyser {
  readonly #delimited: boolean;
  #tokens: Placed[] = [];
  #count = 0;
  #frames = 0;

  /** `delimited`: data say themselves where a frame ends. Otherwise a run of data is a frame. */
  constructor(delimited = true) {
    this.#delimited = delimited;
  }

  /** Takes a token; returns what has become certain with it. */
  push(token: OrderToken): OrderAnomaly[] {
    this.#tokens.push({ ...token, number: this.#count++ });
    const tokens = this.#view();
    if (this.#isWhole(token) && balanced(tokens)) return this.#judge(tokens.length);
    const calm = calmFrom(tokens);
    if (calm !== null && calm > 0) return this.#judge(calm);
    return tokens.length >= MAX_TOKENS ? this.#judge(tokens.length) : [];
  }

  /** It has been quiet for longer than anything is late, or nothing more comes. A frame that has only begun, in order, is left to go on. */
  flush(): OrderAnomaly[] {
    const tokens = this.#view();
    return this.#judge(tokens.length - begunInOrder(tokens));
  }

  /** Whether a frame is under way or in disorder. */
  get unsettled(): boolean {
    return this.#tokens.length > 0;
  }

  /** Whether a group may end with this token: a start belongs to what follows, and so may data that do not say that they are the last. */
  #isWhole({ kind, endsFrame }: OrderToken): boolean {
    return kind === 'close' || (kind === 'data' && this.#delimited && endsFrame);
  }

  #view(): Placed[] {
    if (this.#delimited) return this.#tokens;
    return this.#tokens.map((token, index, all) =>
      token.kind === 'data' ? { ...token, endsFrame: all[index + 1]?.kind !== 'data' } : token,
    );
  }

  #judge(length: number): OrderAnomaly[] {
    if (length === 0) return [];
    const judged = this.#view().slice(0, length);
    this.#tokens = this.#tokens.slice(length);
    const { anomalies, frames } = judge(judged, this.#frames);
    this.#frames += frames;
    return anomalies;
  }
}

/** All anomalies of a whole sequence. */
export function analyseOrder(tokens: readonly OrderToken[], delimited = true): OrderAnomaly[] {
  const analyser = new OrderAnalyser(delimited);
  const found = tokens.flatMap((token) => analyser.push(token));
  return [...found, ...analyser.flush()];
}

function counts(tokens: readonly OrderToken[]) {
  const count = (counted: (token: OrderToken) => boolean) => tokens.filter(counted).length;
  return {
    opens: count(({ kind }) => kind === 'open'),
    closes: count(({ kind }) => kind === 'close'),
    ends: count(({ kind, endsFrame }) => kind === 'data' && endsFrame),
  };
}

/** As many starts, frames and ends; and since markers keep their order among themselves, no end before its own start. */
function balanced(tokens: readonly OrderToken[]): boolean {
  const { opens, closes, ends } = counts(tokens);
  if (opens !== closes || opens !== ends) return false;
  let open = 0;
  return tokens.every(({ kind }) => {
    open += kind === 'open' ? 1 : kind === 'close' ? -1 : 0;
    return open >= 0;
  });
}

/** How many tokens at the end are a frame in order that has not ended: a start, and data. */
function begunInOrder(tokens: readonly OrderToken[]): number {
  let at = tokens.at(-1)?.kind === 'data' ? tokens.length - 1 : tokens.length;
  while (tokens[at - 1]?.kind === 'data' && !tokens[at - 1]?.endsFrame) at -= 1;
  return tokens[at - 1]?.kind === 'open' ? tokens.length - at + 1 : 0;
}

/** Where the last `CALM_FRAMES` frames begin, if they are in perfect order; null otherwise. */
function calmFrom(tokens: readonly Placed[]): number | null {
  let at = tokens.length;
  for (let frame = 0; frame < CALM_FRAMES; frame++) {
    if (tokens[--at]?.kind !== 'close') return null;
    const last = tokens[--at];
    if (last?.kind !== 'data' || !last.endsFrame) return null;
    while (tokens[at - 1]?.kind === 'data' && !tokens[at - 1]?.endsFrame) at -= 1;
    if (tokens[--at]?.kind !== 'open') return null;
  }
  return at;
}

/** Matches starts, frames and ends with one another, and says what is not where it belongs. */
function judge(
  tokens: readonly Placed[],
  firstFrame: number,
): { readonly anomalies: OrderAnomaly[]; readonly frames: number } {
  const anomalies: OrderAnomaly[] = [];
  const add = (shape: OrderShape, frame: number, { atMs, number }: Placed) =>
    anomalies.push({ shape, frame: firstFrame + frame, atMs, token: number });
  const frames = dataFrames(tokens);
  const markers = (kind: 'open' | 'close') => {
    const all = tokens.filter((token) => token.kind === kind);
    const { kept, doubled } = withoutDoubles(all, frames.length, tokens[0]?.number ?? 0);
    for (const token of doubled) add('duplicate', framesBefore(frames, token), token);
    return kept;
  };
  const opens = assign(markers('open'), frames, (marker, { begin }) => marker.number < begin.number);
  const closes = assign(markers('close'), frames, (marker, _frame, next) => !next || marker.number < next.end.number);
  frames.forEach(({ begin, end }, frame) => {
    const open = opens.assigned[frame];
    const close = closes.assigned[frame];
    const next = opens.assigned[frame + 1];
    if (!open) add('missing-start', frame, begin);
    else if (begin.number < open.number) add('data-before-start', frame, begin);
    if (!close) add('missing-end', frame, end);
    // The rest of the data may have come later, or never.
    else if (close.number < end.number || !end.endsFrame) add('end-before-data', frame, close);
    else if (next && next.number < close.number) add('interleaved', frame, next);
  });
  const empty = Math.min(opens.left.length, closes.left.length);
  closes.left.forEach((close, index) => {
    // A start and an end without data between or after them: the data never came.
    add(index < empty ? 'end-before-data' : 'duplicate', frames.length + Math.min(index, empty), close);
  });
  for (const open of opens.left.slice(empty)) add('duplicate', frames.length + empty, open);
  return { anomalies, frames: frames.length + empty };
}

interface DataFrame {
  readonly begin: Placed;
  end: Placed;
}

function dataFrames(tokens: readonly Placed[]): DataFrame[] {
  const frames: DataFrame[] = [];
  let fresh = true;
  for (const token of tokens) {
    if (token.kind !== 'data') continue;
    const last = frames.at(-1);
    if (fresh || !last) frames.push({ begin: token, end: token });
    else last.end = token;
    fresh = token.endsFrame;
  }
  return frames;
}

function framesBefore(frames: readonly DataFrame[], { number }: Placed): number {
  return frames.filter(({ end }) => end.number < number).length;
}

/** Of more markers than frames, those that directly follow their like, or are ends with nothing before them, are doubles. */
function withoutDoubles(
  markers: readonly Placed[],
  frames: number,
  first: number,
): { kept: Placed[]; doubled: Placed[] } {
  const kept: Placed[] = [];
  const doubled: Placed[] = [];
  let surplus = markers.length - frames;
  for (const marker of markers) {
    const follows = kept.at(-1)?.number === marker.number - 1 || doubled.at(-1)?.number === marker.number - 1;
    const leads = marker.kind === 'close' && marker.number === first;
    if (surplus > 0 && (follows || leads)) {
      doubled.push(marker);
      surplus -= 1;
    } else kept.push(marker);
  }
  return { kept, doubled };
}

/** Gives each frame its marker; where there are fewer markers than frames, those frames go without to which the next does not belong. */
function assign(
  markers: readonly Placed[],
  frames: readonly DataFrame[],
  belongs: (marker: Placed, frame: DataFrame, next: DataFrame | undefined) => boolean,
): { readonly assigned: readonly (Placed | null)[]; readonly left: readonly Placed[] } {
  let surplus = frames.length - markers.length;
  let at = 0;
  const assigned = frames.map((frame, index) => {
    const marker = markers[at];
    if (!marker) return null;
    if (surplus > 0 && !belongs(marker, frame, frames[index + 1])) {
      surplus -= 1;
      return null;
    }
    at += 1;
    return marker;
  });
  return { assigned, left: markers.slice(at) };
}
