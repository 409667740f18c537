import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Qualification } from '../contract/qualification.ts';

const FOLDER = 'qualifications';
const SUFFIX = '.json';
/** So many are listed, the latest first. */
const LISTED = 50;

/** Keeps a report with the records: `qualifications/TIME-KIND.json` of the data directory. Returns where. */
export async function keepQualification(directory: string, report: Qualification): Promise<string> {
  const folder = join(directory, FOLDER);
  await mkdir(folder, { recursive: true });
  const path = join(folder, `${report.takenAt.replaceAll(':', '-')}-${report.kind}${SUFFIX}`);
  await writeFile(path, `${JSON.stringify(report, null, 2)}\n`);
  return path;
}

/** The latest reports of a data directory; files that are none of ours are passed over. */
export async function listQualifications(directory: string): Promise<Qualification[]> {
  const names = await readdir(join(directory, FOLDER)).catch(() => []);
  const latest = names
    .filter((name) => name.endsWith(SUFFIX))
    .toSorted()
    .toReversed()
    .slice(0, LISTED);
  const reports = await Promise.all(latest.map((name) => readReport(join(directory, FOLDER, name))));
  return reports.filter((report) => report !== null);
}

async function readReport(path: string): Promise<Qualification | null> {
  try {
    const report = JSON.parse(await readFile(path, 'utf8')) as Qualification;
    return Array.isArray(report.sections) && typeof report.subject === 'string' ? report : null;
  } catch {
    return null;
  }
}
