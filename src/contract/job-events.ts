import type { ErrorCode } from './errors.ts';
import type { Outcome, Proof, StepName } from './records.ts';

/** One image's line in the summary. */
export interface ImageSummary {
  readonly index: number;
  readonly hash: string;
  readonly version: string;
  readonly verified: 'read-back' | 'indirect' | 'no';
}

/** One unit's line in the summary: the last attempt's outcome, and what all attempts took. */
export interface UnitSummary {
  readonly unit: string;
  readonly slot: string | null;
  readonly address: string | null;
  readonly outcome: Outcome;
  readonly proof: Proof | null;
  readonly code: ErrorCode | null;
  readonly detail: string | null;
  readonly attempts: number;
  readonly images: readonly ImageSummary[];
  /** Where the last resumed upload went on, in bytes; null when none was resumed. */
  readonly resumedFrom: number | null;
  readonly bytes: number;
  readonly durationMs: number;
  readonly uploadMs: number;
  readonly bytesPerSecond: number | null;
  readonly attemptId: string | null;
}

/** The last line of `run --json`. */
export interface JobSummary {
  readonly type: 'summary';
  readonly job: string;
  readonly practice: boolean;
  readonly outcome: 'pass' | 'fail' | 'aborted';
  /** A code when the tray as a whole was not as wanted: UNITS_MISSING, NO_UNIT_FOUND. */
  readonly code: ErrorCode | null;
  readonly units: readonly UnitSummary[];
}

/** What happens while a job runs, in order. Times in milliseconds since the job began. */
export type JobEvent =
  | {
      readonly type: 'job-started';
      readonly job: string;
      readonly practice: boolean;
      readonly firmware: string;
      readonly radios: readonly string[];
    }
  | {
      readonly type: 'unit-found';
      readonly unit: string;
      readonly slot: string | null;
      readonly address: string;
      readonly rssi: number;
    }
  | {
      readonly type: 'unit-refused';
      readonly unit: string;
      readonly address: string;
      readonly code: ErrorCode;
      readonly detail: string;
    }
  | {
      readonly type: 'attempt-started';
      readonly unit: string;
      readonly attemptId: string;
      readonly number: number;
      readonly radio: string;
    }
  | {
      readonly type: 'linked';
      readonly unit: string;
      readonly radio: string;
      readonly address: string;
      readonly rssi: number | null;
    }
  /** Signal strength in dBm, about once a second while there is a link. */
  | { readonly type: 'signal'; readonly unit: string; readonly rssi: number }
  | { readonly type: 'unlinked'; readonly unit: string }
  | { readonly type: 'step'; readonly unit: string; readonly step: StepName }
  | {
      readonly type: 'progress';
      readonly unit: string;
      readonly image: number;
      readonly bytes: number;
      readonly totalBytes: number;
    }
  | {
      readonly type: 'attempt-ended';
      readonly unit: string;
      readonly attemptId: string;
      readonly outcome: Outcome;
      readonly proof: Proof | null;
      readonly code: ErrorCode | null;
      readonly detail: string | null;
      readonly willRetry: boolean;
    }
  | { readonly type: 'unit-quarantined'; readonly unit: string; readonly code: ErrorCode }
  /** What a radio carries: its links, those of them that upload now, and the links of this job that failed on it. */
  | {
      readonly type: 'radio-load';
      readonly radio: string;
      readonly links: number;
      readonly uploading: number;
      readonly failures: number;
    }
  | { readonly type: 'radio-lost'; readonly radio: string; readonly detail: string }
  | JobSummary;
