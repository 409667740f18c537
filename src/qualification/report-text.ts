import { visible } from '../contract/foreign-text.ts';
import { type Qualification, tally } from '../contract/qualification.ts';
import { textTable } from '../diagnostics/text-table.ts';

/** A verdict in words. */
export const VERDICT_WORDS = {
  held: 'held',
  'not-held': 'NOT HELD',
  'not-tried': 'not tried',
  'not-in-recording': 'not in this recording',
} as const;

/** The report's first lines. */
export function reportHead({ kind, subject, takenAt, appVersion, practice }: Qualification): string[] {
  return [
    `Qualification of ${kind === 'radio' ? 'the radio' : 'the product'} ${visible(subject)}`,
    `${takenAt}, DFU Station ${appVersion}${practice ? ', PRACTICE' : ''}`,
  ];
}

/** How many checks came out in each way, in one line. */
export function reportTally(report: Qualification): string {
  const counts = tally(report);
  const words = (Object.keys(VERDICT_WORDS) as (keyof typeof VERDICT_WORDS)[]).filter((verdict) => counts[verdict] > 0);
  return words.map((verdict) => `${counts[verdict]} ${VERDICT_WORDS[verdict]}`).join(', ');
}

/** A report as text, for a terminal or a file. */
export function reportText(report: Qualification): string {
  const sections = report.sections.map(({ title, checks }) => {
    const rows = checks.map(({ name, expectation, found, verdict, detail }) => [
      VERDICT_WORDS[verdict],
      name,
      expectation,
      found,
      detail,
    ]);
    return `${title}\n\n${textTable(['verdict', 'what', 'expected', 'found', 'remark'], rows)}`;
  });
  return [
    reportHead(report).join('\n'),
    ...sections,
    ...(report.profile ? [`For the profile\n\n${report.profile.trimEnd()}`] : []),
    ...(report.left ? [report.left] : []),
    reportTally(report),
  ].join('\n\n');
}
