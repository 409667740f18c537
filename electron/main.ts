import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as electron from 'electron';
import { runShell } from './shell.ts';

void runShell(electron, dirname(fileURLToPath(import.meta.url)), process.argv.slice(1));
