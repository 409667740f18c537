import { afterEach, describe, expect, test } from 'vitest';
import { forkOnNode } from '../../src/host/fork.ts';

const { execPath } = process;
afterEach(() => {
  process.execPath = execPath;
});

describe('a process of its own', () => {
  test('that cannot be started has ended, and says why', async () => {
    process.execPath = '/nowhere/node';
    await expect(forkOnNode('main.ts')([]).ended).resolves.toMatch('ENOENT');
  });
});
