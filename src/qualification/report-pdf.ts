import PDFDocument from 'pdfkit';
import { visible } from '../contract/foreign-text.ts';
import type { Qualification, QualificationCheck } from '../contract/qualification.ts';
import { reportHead, reportTally, VERDICT_WORDS } from './report-text.ts';

const MARGIN = 48;
const COLUMNS = [76, 110, 150, 163] as const;
const GAP = 6;
const COLOURS = {
  held: '#1b6e3c',
  'not-held': '#b3261e',
  'not-tried': '#5f6368',
  'not-in-recording': '#5f6368',
} as const;

/** A report as a PDF file. Text is what the built-in fonts can show: Latin. */
export function reportPdf(report: Qualification): Promise<Buffer> {
  const document = new PDFDocument({ size: 'A4', margin: MARGIN, info: { Title: reportHead(report)[0]! } });
  const parts: Buffer[] = [];
  const ended = new Promise<Buffer>((resolve, reject) => {
    document.on('data', (part: Buffer) => parts.push(part));
    document.on('end', () => resolve(Buffer.concat(parts)));
    document.on('error', reject);
  });
  const [title, when] = reportHead(report);
  document.font('Helvetica-Bold').fontSize(15).text(title!);
  document
    .font('Helvetica')
    .fontSize(9)
    .fillColor('#5f6368')
    .text(when!)
    .text(reportTally(report))
    .fillColor('#000000');
  for (const section of report.sections) {
    heading(document, section.title);
    for (const each of section.checks) row(document, each);
  }
  if (report.profile) {
    heading(document, 'For the profile');
    document.font('Courier').fontSize(8).text(report.profile.trimEnd());
  }
  if (report.left) document.moveDown().font('Helvetica-Bold').fontSize(10).text(report.left);
  document.end();
  return ended;
}

function heading(document: PDFKit.PDFDocument, title: string): void {
  roomFor(document, 60);
  document.moveDown().font('Helvetica-Bold').fontSize(11).fillColor('#000000').text(title, MARGIN);
  document.moveDown(0.3);
}

function row(document: PDFKit.PDFDocument, { name, expectation, found, verdict, detail }: QualificationCheck): void {
  document.font('Helvetica').fontSize(8);
  const said = [found ?? '-', detail && `(${detail})`].filter(Boolean).join(' ');
  const cells = [VERDICT_WORDS[verdict], name, expectation, said].map((text) => visible(text));
  const height = Math.max(...cells.map((text, i) => document.heightOfString(text, { width: COLUMNS[i]! })));
  roomFor(document, height + GAP);
  const top = document.y;
  let left = MARGIN;
  cells.forEach((text, i) => {
    document.fillColor(i === 0 ? COLOURS[verdict] : '#000000').text(text, left, top, { width: COLUMNS[i]! });
    left += COLUMNS[i]! + GAP;
  });
  document.x = MARGIN;
  document.y = top + height + GAP;
}

function roomFor(document: PDFKit.PDFDocument, height: number): void {
  if (document.y + height > document.page.height - MARGIN) document.addPage();
}
