import { describe, expect, test } from 'vitest';
import { RunDisplay } from '../../src/cli/run-display.ts';
import type { JobEvent, JobSummary } from '../../src/contract/job-events.ts';

const summary: JobSummary = {
  type: 'summary',
  job: 'WO-1',
  practice: true,
  outcome: 'fail',
  code: 'UNITS_MISSING',
  units: [
    {
      unit: 'SN1',
      slot: 'A1',
      address: 'c0:00:00:00:00:01',
      outcome: 'fail',
      proof: null,
      code: 'SWAP_REVERTED',
      detail: null,
      attempts: 2,
      images: [],
      resumedFrom: 4096,
      bytes: 1000,
      durationMs: 12_340,
      uploadMs: 10,
      bytesPerSecond: 100_000,
      attemptId: 'x',
    },
  ],
};

const events: JobEvent[] = [
  { type: 'job-started', job: 'WO-1', practice: true, firmware: 'a.bin', radios: ['virtual'] },
  { type: 'unit-found', unit: 'SN1', slot: 'A1', address: 'c0:00:00:00:00:01', rssi: -50 },
  { type: 'attempt-started', unit: 'SN1', attemptId: 'x', number: 1, radio: 'virtual' },
  { type: 'step', unit: 'SN1', step: 'upload' },
  { type: 'progress', unit: 'SN1', image: 0, bytes: 500, totalBytes: 1000 },
  {
    type: 'attempt-ended',
    unit: 'SN1',
    attemptId: 'x',
    outcome: 'fail',
    proof: null,
    code: 'SWAP_REVERTED',
    detail: null,
    willRetry: false,
  },
  summary,
];

function shown(output: { isTTY?: boolean; columns?: number }): string {
  let text = '';
  const display = new RunDisplay({ ...output, write: (part) => (text += part) });
  for (const event of events) display.show(event);
  return text;
}

describe('a run', () => {
  test('is told in plain lines where the output is no terminal', () => {
    const text = shown({});
    expect(text).toContain('PRACTICE: virtual devices');
    expect(text).toContain('SN1  upload\n');
    expect(text).toContain('SN1  FAIL SWAP_REVERTED\n');
    expect(text).not.toContain('\x1b');
  });

  test('is redrawn in place on a terminal, and ends with the table', () => {
    const text = shown({ isTTY: true, columns: 100 });
    expect(text).toContain('\x1b[1A\x1b[2KSN1');
    const after = text.slice(text.indexOf('attempts'));
    expect(after).not.toContain('\x1b');
    expect(after).toMatch(/SN1 +A1 +FAIL +SWAP_REVERTED +2 +100 +4096 +– +12\.3/);
    expect(after).toContain('PRACTICE. Job WO-1: 1 FAIL. UNITS_MISSING: Fewer units');
  });

  test('is not cut on a terminal that does not know its width', () => {
    expect(shown({ isTTY: true, columns: 0 })).toContain('SN1  FAIL SWAP_REVERTED\n');
  });
});
