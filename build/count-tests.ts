// Reads vitest's JSON report and prints its counts as one line: `N passed, N failed`.
import { readFileSync } from 'node:fs';

const report: { numPassedTests: number; numFailedTests: number; numPendingTests: number; success: boolean } =
  JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'));
const skipped = report.numPendingTests > 0 ? `, ${report.numPendingTests} skipped` : '';
console.log(`${report.numPassedTests} passed, ${report.numFailedTests} failed${skipped}`);
if (!report.success || report.numPassedTests === 0) process.exitCode = 1;
