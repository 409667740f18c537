import { expect, it } from 'vitest';
import { LeastProgress } from '../../src/protocols/least-progress.ts';
import { SteppedClock } from '../support/stepped-clock.ts';

const tooSlow = expect.objectContaining({ code: 'DEVICE_TOO_SLOW', retryable: true });

/** Lets so much time pass. */
function pass(clock: SteppedClock, ms: number): void {
  clock.after(ms, () => undefined);
  clock.step();
}

it('an upload that gets on as it must is let be, however long it takes', () => {
  const clock = new SteppedClock();
  const progress = new LeastProgress(clock, 600);
  progress.resume(0);
  for (let bytes = 0; bytes < 10_000; bytes += 100) {
    progress.check(bytes);
    pass(clock, 10_000);
  }
});

it('one that takes a byte now and then is ended after a minute', () => {
  const clock = new SteppedClock();
  const progress = new LeastProgress(clock, 600);
  progress.resume(0);
  for (let bytes = 0; bytes < 6; bytes++) {
    progress.check(bytes);
    pass(clock, 10_000);
  }
  expect(() => progress.check(6)).toThrow(tooSlow);
});

it('one that loses its link after every byte is ended, too: links count together, the time between them does not', () => {
  const clock = new SteppedClock();
  const progress = new LeastProgress(clock, 600);
  for (let bytes = 0; bytes < 12; bytes++) {
    progress.resume(bytes);
    progress.check(bytes);
    pass(clock, 5_000);
    progress.pause();
    pass(clock, 60_000);
  }
  progress.resume(12);
  expect(() => progress.check(12)).toThrow(tooSlow);
});

it('bytes that were there already count as nothing', () => {
  const clock = new SteppedClock();
  const progress = new LeastProgress(clock, 600);
  progress.resume(50_000);
  pass(clock, 61_000);
  expect(() => progress.check(50_000)).toThrow(tooSlow);
});
