#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { basename } from 'node:path';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { systemClock } from '../clock.ts';
import type { LogReading } from '../contract/comparison.ts';
import { logFormats } from '../contract/comparison.ts';
import { asStationError, StationError } from '../contract/errors.ts';
import { visibleJson, visibleLines } from '../contract/foreign-text.ts';
import type { JobEvent } from '../contract/job-events.ts';
import { type Qualification, tally } from '../contract/qualification.ts';
import { type Outcome, outcomes } from '../contract/records.ts';
import { comparisonText } from '../diagnostics/attempt-comparison.ts';
import { dataDirectory } from '../host/data-directory.ts';
import { runRadioProcess } from '../host/radio-process.ts';
import { appVersion } from '../host/version.ts';
import { reportText } from '../qualification/report-text.ts';
import { RecordReader } from '../records/record-reader.ts';
import { RecordWriter } from '../records/record-writer.ts';
import { attachEvidence } from '../station/evidence.ts';
import { compareWithLog, writeComparison } from './compare-command.ts';
import { announcement, runDemo } from './demo-command.ts';
import { examine } from './doctor-command.ts';
import { firmwareJson, firmwareText, inspectFirmware } from './firmware-command.ts';
import {
  type QualifyOptions,
  type QualifyProductOptions,
  type QualifyRadioOptions,
  qualifyProductCommand,
  qualifyRadioCommand,
} from './qualify-command.ts';
import { attemptList, attemptText, frameJson, learntText } from './records-command.ts';
import { executeRun, prepareRun, type RunOptions } from './run-command.ts';
import { RunDisplay } from './run-display.ts';
import { type ServeOptions, serve } from './serve-command.ts';
import { exportTrace, type TraceFormat, traceFormats } from './trace-command.ts';
import { runVirtualTray, type VirtualTrayOptions } from './virtual-tray-command.ts';

const EXIT_CANNOT_START = 2;
const EXIT_INTERRUPTED = 130;
const PROGRESS_EVERY_MS = 250;

const say = (text: string) => void process.stdout.write(`${visibleLines(text)}\n`);
const sayJson = (value: unknown) => void process.stdout.write(`${visibleJson(value)}\n`);

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1000) throw new InvalidArgumentError('a number from 1 to 1000');
  return value;
}

const repeated = (value: string, before: string[]) => [...before, value];

/** Events as JSON lines; of progress only a few lines a second for each unit. */
function jsonEmitter(): (event: JobEvent) => void {
  const saidMs = new Map<string, number>();
  return (event) => {
    if (event.type === 'progress' && event.bytes < event.totalBytes) {
      const ms = performance.now();
      if (ms - (saidMs.get(event.unit) ?? Number.NEGATIVE_INFINITY) < PROGRESS_EVERY_MS) return;
      saidMs.set(event.unit, ms);
    }
    if (event.type !== 'summary') sayJson(event);
  };
}

/** A signal that aborts at the first SIGINT or SIGTERM; the second one ends the process at once. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(EXIT_INTERRUPTED);
      process.stderr.write('Stopping: units finish their frame and stay bootable. Interrupt again to end at once.\n');
      controller.abort(new StationError('STOPPED'));
    });
  }
  return controller.signal;
}

const program = new Command('dfu-station')
  .description('Upgrades trays of BLE devices in parallel, proves what they run, and keeps the record.')
  .version(appVersion)
  .exitOverride();

program
  .command('run')
  .description('upgrade a tray')
  .argument('[job]', 'job file (YAML)')
  .option('--product <file>', 'product profile (YAML)')
  .option('--firmware <file>', 'MCUboot image, dfu_application.zip or Intel HEX')
  .option('--units <n>', 'how many units to expect', positive)
  .option('--radio <spec>', 'radio to use; may be repeated', repeated, [])
  .option('--tray <file>', 'virtual tray (YAML), for virtual radios')
  .option('--no-isolate', 'run radios in this process, not in processes of their own')
  .option('--device-logs <dir>', 'virtual devices write their logs here')
  .option('--data <dir>', 'data directory')
  .option('--practice', 'keep the records apart from production')
  .option('--find-timeout <s>', 'how long to look for units', positive)
  .option('--json', 'one JSON object a line')
  .action(async (jobPath: string | undefined, options: RunOptions & { json?: boolean }) => {
    const prepared = await prepareRun(jobPath, options);
    const signal = interruption();
    const display = new RunDisplay(process.stdout);
    const emit = options.json ? jsonEmitter() : (event: JobEvent) => display.show(event);
    const { summary, followUp } = await executeRun(prepared, options, signal, emit);
    if (options.json) sayJson({ ...summary, followUp });
    else say(`See also: ${followUp}`);
    process.exitCode = signal.aborted ? EXIT_INTERRUPTED : summary.outcome === 'pass' ? 0 : 1;
  });

program
  .command('serve')
  .description('a station with its screens in a browser of this machine')
  .option('--radio <spec>', 'radio to use; may be repeated', repeated, [])
  .option('--port <n>', 'port of the local console; by default any free one', portNumber)
  .option('--practice', 'on a virtual tray, with records of its own')
  .option('--tray <file>', 'virtual tray (YAML) to practise on')
  .option('--no-isolate', 'run radios in this process, not in processes of their own')
  .option('--device-logs <dir>', 'virtual devices write their logs here')
  .option('--data <dir>', 'data directory')
  .action(async (options: ServeOptions) => {
    await serve(options, interruption(), say);
  });

program
  .command('demo')
  .description('a virtual tray through the real stack, no hardware needed')
  .option('--firmware <file>', 'firmware to use instead of one built on the spot')
  .option('--data <dir>', 'data directory')
  .action(async (options: { firmware?: string; data?: string }) => {
    say(announcement);
    const display = new RunDisplay(process.stdout);
    const signal = interruption();
    const { followUp, asAnnounced } = await runDemo(options, signal, (event) => display.show(event));
    say(asAnnounced ? 'As announced.' : 'NOT as announced.');
    const where = `--practice${options.data ? ` --data ${options.data}` : ''}`;
    say(`See the records: npx dfu-station records list ${where}`);
    say(`and one in full: ${followUp}`);
    process.exitCode = signal.aborted ? EXIT_INTERRUPTED : asAnnounced ? 0 : 1;
  });

program
  .command('firmware')
  .description('inspect and verify a firmware file')
  .argument('<file>')
  .option('--key <pem>', 'public key that must have signed every image')
  .option('--json')
  .action(async (file: string, options: { key?: string; json?: boolean }) => {
    const firmware = await inspectFirmware(file, options.key);
    if (options.json) sayJson(firmwareJson(firmware));
    else say(firmwareText(firmware));
  });

const records = program.command('records').description('look at what was recorded, also while a tray runs');
interface RecordsOptions {
  readonly data?: string;
  readonly practice?: boolean;
  readonly json?: boolean;
}

interface CompareOptions extends LogReading {
  readonly output?: string;
  readonly attach?: boolean;
}

/** Lays a file beside an attempt. @throws StationError DATA_DIRECTORY_IN_USE while a station runs on it: attach it there */
function attach(directory: string, attempt: string, file: { fileName: string; file: Buffer }): void {
  const writer = new RecordWriter(directory, systemClock);
  try {
    const { number } = attachEvidence(writer.port, userInfo().username, attempt, file);
    say(`${file.fileName} lies beside the attempt as number ${number}.`);
  } finally {
    writer.close();
  }
}

records
  .command('list')
  .description('attempts, the newest first')
  .option('--serial <serial>', 'a serial or its beginning')
  .addOption(new Option('--outcome <outcome>').choices(outcomes))
  .option('--hash <hash>', "an image's hash or its beginning: every unit that was given it")
  .option('--before <sequence>', 'the page after the one that ended with this sequence', positiveOrLarge)
  .option('--limit <n>', 'rows', positive, 50)
  .option('--practice')
  .option('--data <dir>')
  .option('--json')
  .action(
    (
      options: RecordsOptions & { serial?: string; outcome?: Outcome; hash?: string; before?: number; limit: number },
    ) => {
      withReader(options, (reader) => {
        const rows = reader.list(options);
        if (options.json) for (const row of rows) sayJson({ type: 'attempt', ...row });
        else say(attemptList(rows));
      });
    },
  );

records
  .command('show')
  .description("one attempt by its id, or a unit's latest by its serial")
  .argument('<attempt>')
  .option('--frames', 'with every frame')
  .option('--practice')
  .option('--data <dir>')
  .option('--json')
  .action((key: string, options: RecordsOptions & { frames?: boolean }) => {
    withReader(options, (reader) => {
      const attempt = reader.show(key);
      const frames = [...reader.frames(attempt.id)];
      if (options.json) {
        sayJson({ type: 'attempt', ...attempt });
        if (options.frames) for (const frame of frames) sayJson(frameJson(frame, attempt.channels));
      } else if (options.frames) {
        for (const frame of frames) sayJson(frameJson(frame, attempt.channels));
      } else say(attemptText(attempt, frames));
    });
  });

records
  .command('product')
  .description('what units taught of a product: how its servers take frames, how long it erases and restarts')
  .argument('<name>', 'the product as its profile names it')
  .option('--practice')
  .option('--data <dir>')
  .option('--json')
  .action((name: string, options: RecordsOptions) => {
    withReader(options, (reader) => {
      const learnt = reader.learnt(name);
      if (options.json) for (const each of learnt) sayJson({ type: 'learnt', product: name, ...each });
      else say(learntText(name, learnt));
    });
  });

program
  .command('trace')
  .description("export an attempt's HCI capture, for Wireshark, btmon or scripts")
  .argument('<attempt>', 'its id, or the serial of a unit for its latest')
  .addOption(new Option('--format <format>').choices(traceFormats).default('pcapng'))
  .requiredOption('-o, --output <file>')
  .option('--practice')
  .option('--data <dir>')
  .action(async (attempt: string, options: RecordsOptions & { format: TraceFormat; output: string }) => {
    const reader = openReader(options);
    try {
      say(`${await exportTrace(reader, attempt, options.format, options.output)} packets in ${options.output}`);
    } finally {
      reader.close();
    }
  });

program
  .command('compare')
  .description("hold a device's own log against the station's frame log and the HCI capture")
  .argument('<attempt>', 'its id, or the serial of a unit for its latest')
  .argument(
    '<log>',
    "the device's log as text, or a capture taken on its side or in the air (btsnoop, pcap, pcapng, pklg)",
  )
  .option('--format <name>', `${logFormats.join(', ')}; by default whichever fits`)
  .option(
    '--pattern <expression>',
    'a regular expression with the groups time, event and, where it stands apart, bytes',
  )
  .option('--practice')
  .option('--data <dir>')
  .option('--json')
  .option('--output <file>', 'write the comparison there as well: as JSON if the name ends so, as text otherwise')
  .option('--attach', 'lay the log beside the attempt, where the unit view shows it too')
  .action(async (key: string, path: string, options: RecordsOptions & CompareOptions) => {
    const reader = openReader(options);
    try {
      const { attempt, comparison, file } = await compareWithLog(reader, key, path, options);
      if (options.json) sayJson({ type: 'comparison', ...comparison });
      else say(comparisonText(attempt, comparison));
      if (options.output) await writeComparison(options.output, attempt, comparison);
      if (options.attach) attach(dataDirectory(options), attempt.id, { fileName: basename(path), file });
      process.exitCode = comparison.result === 'agree' ? 0 : 1;
    } finally {
      reader.close();
    }
  });

program
  .command('quarantine')
  .description('units that failed too often')
  .command('release')
  .description('let a unit be upgraded again')
  .argument('<serial>')
  .requiredOption('--reason <text>', 'why; it goes on record')
  .option('--practice')
  .option('--data <dir>')
  .action((serial: string, options: RecordsOptions & { reason: string }) => {
    const writer = new RecordWriter(dataDirectory(options), systemClock);
    try {
      const released = writer.releaseQuarantine(serial, userInfo().username, options.reason);
      if (!released) throw new StationError('RECORD_NOT_FOUND', `${serial} is in no quarantine`);
      say(`${serial} is released.`);
    } finally {
      writer.close();
    }
  });

program
  .command('doctor')
  .description('check radios, permissions, disk and database')
  .option('--radio <spec>', 'radio to try; may be repeated', repeated, [])
  .option('--practice')
  .option('--data <dir>')
  .option('--json')
  .action(async (options: RecordsOptions & { radio: string[] }) => {
    const findings = await examine(dataDirectory(options), options.radio);
    for (const finding of findings) {
      if (options.json) sayJson({ type: 'finding', ...finding });
      else say(`${finding.ok ? 'ok  ' : 'FAIL'}  ${finding.check}: ${finding.detail}`);
    }
    process.exitCode = findings.every((finding) => finding.ok) ? 0 : 1;
  });

const qualify = program.command('qualify').description('what a new radio or product does, held against what it should');

/** The options that both kinds have; events go to the terminal only where the report does not. */
const qualifying = (command: Command) =>
  command
    .requiredOption('--radio <spec>', 'the radio')
    .option('--product <file>', 'product profile (YAML)')
    .option('--unit <serial>', 'the unit that is written to')
    .option('--tray <file>', 'virtual tray (YAML), for a virtual radio')
    .option('-o, --output <file>', 'write the report there: .json, .txt or .pdf')
    .option('--data <dir>', 'data directory')
    .option('--practice', 'keep the records apart from production')
    .option('--json', 'events and report as JSON, one object a line');

async function qualified(
  options: QualifyOptions & { json?: boolean },
  work: (signal: AbortSignal, emit: (event: JobEvent) => void) => Promise<Qualification>,
): Promise<void> {
  const signal = interruption();
  const display = new RunDisplay(process.stderr);
  const report = await work(signal, options.json ? jsonEmitter() : (event) => display.show(event));
  if (options.json) sayJson({ type: 'qualification', ...report });
  else say(reportText(report));
  process.exitCode = signal.aborted ? EXIT_INTERRUPTED : tally(report)['not-held'] === 0 ? 0 : 1;
}

qualifying(qualify.command('radio'))
  .description('what a controller says and does; on replay:CAPTURE what the recording holds of it')
  .option('--firmware <file>', 'upgrade units with it, to see how fast')
  .option('--units <n>', 'how many units, where --unit does not name one', positive)
  .action((options: QualifyRadioOptions & { json?: boolean }) =>
    qualified(options, (signal, emit) => qualifyRadioCommand(options, signal, emit)),
  );

qualifying(qualify.command('product'))
  .description(
    'drive one unit to and fro between two firmwares, with cut links, stops and a bad image; it is left with the second',
  )
  .requiredOption('--firmware <file>', 'the first is A, the second B', repeated, [])
  .option('--no-isolate', 'run the radio in this process')
  .action((options: QualifyProductOptions & { json?: boolean }) =>
    qualified(options, (signal, emit) => qualifyProductCommand(options, signal, emit)),
  );

program
  .command('virtual-tray')
  .description('virtual devices for a station in another process')
  .option('--units <n>', 'how many devices', positive)
  .option('--tray <file>', 'virtual tray (YAML)')
  .option('--device-logs <dir>')
  .option('--attach <spec>', 'each device joins this controller (h4:unix:PATH) as its host')
  .option('--listen <spec>', 'offer controllers at this socket (h4:unix:PATH)')
  .action(async (options: VirtualTrayOptions) => {
    process.exitCode = await runVirtualTray(options, say);
  });

program.command('radio-process', { hidden: true }).argument('<order>').action(runRadioProcess);

function portNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 65_535) throw new InvalidArgumentError('a port number');
  return value;
}

function positiveOrLarge(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('a positive number');
  return value;
}

function withReader(options: RecordsOptions, use: (reader: RecordReader) => void): void {
  const reader = openReader(options);
  try {
    use(reader);
  } finally {
    reader.close();
  }
}

/** The records of the directory that was asked for; without any, those of practice are pointed to. */
function openReader(options: RecordsOptions): RecordReader {
  try {
    return new RecordReader(dataDirectory(options));
  } catch (error) {
    const practice = dataDirectory({ ...options, practice: true });
    if (options.practice || asStationError(error).code !== 'RECORD_NOT_FOUND' || !existsSync(practice)) throw error;
    throw new StationError('RECORD_NOT_FOUND', 'only practice has records here: add --practice', { cause: error });
  }
}

/** An error as the command line tells it: the sentence for people, the code for machines. */
function report(error: unknown): void {
  const { code, message, detail } = asStationError(error);
  process.stderr.write(`${code}: ${visibleLines(message)}\n`);
  if (process.argv.includes('--json')) sayJson({ type: 'error', code, message, detail });
  if (code === 'INTERNAL' && error instanceof Error) process.stderr.write(`${error.stack}\n`);
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_CANNOT_START;
  else {
    report(error);
    process.exitCode = EXIT_CANNOT_START;
  }
}
