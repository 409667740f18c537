/**
 * What earlier units taught of the servers of one firmware of a product. Each is a first guess and nothing more: a driver that finds it
 * wrong goes on without it and says so.
 */
export interface LearntFacts {
  /** Whether the server joins the writes of a frame. */
  readonly frames: 'one-write' | 'joined' | null;
  /** The longest frame in octets, where the server takes less than one write and does not say so. */
  readonly longestFrame: number | null;
  /** Requests in flight that uploads ended with. */
  readonly window: number | null;
  /** From the first request of an upload to its answer, in milliseconds: the erase. */
  readonly eraseMs: number | null;
  /** From the request to restart until the unit was connected again, in milliseconds: reset, swap and boot. */
  readonly restartMs: number | null;
}

/** Nothing is known yet. */
export const NOTHING_LEARNT: LearntFacts = {
  frames: null,
  longestFrame: null,
  window: null,
  eraseMs: null,
  restartMs: null,
};

/** What was learnt of a product from units that ran one firmware. */
export interface LearntProduct {
  /** The firmware that they ran: its version and the beginning of its hash. */
  readonly running: string;
  readonly facts: LearntFacts;
  /** Units that taught it. */
  readonly units: number;
  /** When the last did, ISO 8601. */
  readonly learntAt: string;
}
