// The benchmarks: every figure as a ratio to its limit, taken in the same run. `npm run bench [-- NAME] [--json]`.
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { textTable } from '../../src/diagnostics/text-table.ts';
import { capture, cpu, frameLog, memory } from './cost.ts';
import type { Figure } from './figure.ts';
import { disturbed, eightUnits, fourRadios, fus, isolation, oneUnit } from './goodput.ts';
import { history } from './history.ts';
import { order } from './order.ts';
import { peers } from './peers.ts';
import { firstTile, screen } from './screen.ts';
import { tray } from './tray.ts';

const benchmarks: Readonly<Record<string, () => Promise<Figure[]>>> = {
  'one-unit': oneUnit,
  'eight-units': eightUnits,
  'four-radios': fourRadios,
  disturbed,
  isolation,
  tray,
  peers,
  fus,
  order,
  cpu,
  memory,
  'frame-log': frameLog,
  capture,
  history,
  screen,
  'first-tile': firstTile,
};

const rounded = (value: number) => Number(value.toPrecision(5));
const json = process.argv.includes('--json');
const chosen = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
const unknown = chosen.find((name) => !(name in benchmarks));
if (unknown !== undefined) {
  process.stderr.write(`There is no benchmark ${unknown}. Choose from: ${Object.keys(benchmarks).join(', ')}\n`);
  process.exit(2);
}

const figures: Figure[] = [];
for (const [name, run] of Object.entries(benchmarks)) {
  if (chosen.length > 0 && !chosen.includes(name)) continue;
  for (const figure of await run()) {
    figures.push(figure);
    const { unit: _unit, ...line } = {
      ...figure,
      value: rounded(figure.value),
      limit: rounded(figure.limit),
      ratio: rounded(figure.ratio),
    };
    if (json) console.log(JSON.stringify(line));
    else console.log(`${figure.ok ? 'ok  ' : 'MISS'}  ${figure.name}: ${line.ratio} (${figure.goal})`);
  }
}

const table = textTable(
  ['figure', 'value', 'limit', 'unit', 'ratio', 'goal', 'ok'],
  figures.map(({ name, value, limit, unit, ratio, goal, ok }) => [
    name,
    rounded(value),
    rounded(limit),
    unit,
    rounded(ratio),
    goal,
    ok ? 'yes' : 'NO',
  ]),
);
if (!json) console.log(`\n${table}`);
if (chosen.length === 0) {
  const text = `# Benchmarks

The last full run of \`npm run bench\`, on ${cpus().length} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), Node ${process.versions.node}.
Single ones: \`npm run bench -- ${Object.keys(benchmarks).join(' | ')} [--json]\`.
The virtual ether runs in real time in a process of its own. Its controllers are as Zephyr's own was recorded with four units: 7 buffers of
251 octets, anchors of a controller's links 4.81 ms apart, events that end when no packet is queued behind the one on the air, a report for
each packet (\`test/bench/controller.ts\`). A goodput's limit is the perfect sender's (\`src/radio/perfect-sender.ts\`), which has the same
controller: exactly the protocol's frames and answers in whole PDU exchanges, for the interval, PHY and number of links. Beside it stands
the bound with equal slots and buffers without end. Answers may share an event by chance, and the time is taken from answer to answer: that is worth some thousandths. More than what the
air carries when answers weigh nothing, and one frame, fails the bench, because then value or limit is wrong.

\`\`\`
${table}
\`\`\`
`;
  writeFileSync(new URL('../../docs/benchmarks.md', import.meta.url), text);
}
process.exitCode = figures.every(({ ok }) => ok) ? 0 : 1;
