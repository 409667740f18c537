import { readdir, readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { sentences } from '../../src/contract/errors.ts';
import { jobFile } from '../../src/contract/job-file.ts';
import { productFile } from '../../src/contract/product-file.ts';
import { trayDevices, trayFile } from '../../src/contract/tray-file.ts';
import { parseRadioSpec } from '../../src/radio/radio-spec.ts';
import { parseYaml, readYamlFile } from '../../src/station/yaml-file.ts';

const refusal = (text: string, schema: Parameters<typeof parseYaml>[2]) => {
  try {
    parseYaml(text, 'file.yaml', schema);
    return 'accepted';
  } catch (error) {
    return error instanceof Error && 'code' in error && 'detail' in error ? `${error.code}: ${error.detail}` : error;
  }
};

describe('a YAML file', () => {
  test.each([
    [
      'an unknown key',
      'job: WO-1\nproduct: x\nunit: 4\n',
      jobFile,
      'FILE_INVALID: file.yaml, line 3, unit: this key is not known',
    ],
    ['a missing key', 'product: x\n', jobFile, /FILE_INVALID: file\.yaml, line 1, job: /],
    ['a wrong value deep inside', 'job: a\ntray:\n  rows: 2\n  columns: none\n', jobFile, /line 4, tray\.columns: /],
    [
      'a wrong item of a list',
      'job: a\nunits:\n  - {slot: A1, serial: x}\n  - {slot: 7, serial: y}\n',
      jobFile,
      /line 4, units\.1\.slot: /,
    ],
    [
      'a serial listed twice',
      'job: a\nunits:\n  - {serial: x}\n  - {serial: x}\n',
      jobFile,
      /line 4, units\.1\.serial: a serial is listed twice/,
    ],
    [
      'a pattern that is none',
      'product: p\nprotocol: smp\nidentity: {from: name, pattern: "("}\n',
      productFile,
      /line 3, identity\.pattern: /,
    ],
    ['a protocol that does not exist', 'product: p\nprotocol: smpp\n', productFile, /line 2, protocol: /],
    ['a fault that does not exist', 'faults:\n  - {unit: 1, do: explode}\n', trayFile, /line 2, faults\.0\.do: /],
    ['an override that is wrong', 'overrides:\n  - {unit: 1, rssi: loud}\n', trayFile, /line 2, overrides\.0\.rssi: /],
    ['syntax', 'job: [a\n', jobFile, /FILE_SYNTAX: file\.yaml, line \d/],
  ])('with %s is refused with line and key', (_, text, schema, expected) => {
    const said = refusal(text, schema);
    if (typeof expected === 'string') expect(said).toBe(expected);
    else expect(said).toMatch(expected);
  });

  test('that does not exist or is a directory is refused', async () => {
    await expect(readYamlFile('nowhere.yaml', jobFile)).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
    await expect(readYamlFile('.', jobFile)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });

  test('of the examples is accepted', async () => {
    await readYamlFile('examples/job.yaml', jobFile);
    await readYamlFile('examples/acme-sensor.product.yaml', productFile);
    await readYamlFile('examples/just-works.product.yaml', productFile);
    const trays = (await readdir('examples')).filter((name) => name.endsWith('.tray.yaml'));
    expect(trays.length).toBeGreaterThan(5);
    for (const name of trays) trayDevices(await readYamlFile(`examples/${name}`, trayFile));
  });

  test('of a tray has each of its keys in its reference', async () => {
    const reference = await readFile('docs/tray-file.md', 'utf8');
    const [device] = trayDevices(trayFile.parse({ units: 1 }));
    const { controller, air } = trayFile.parse({});
    const optional = [
      'wireBytesPerSecond',
      'failsConnects',
      'address',
      'name',
      'disSerial',
      'wantsIntervalMs',
      'images',
      'battery',
      'maxImageBytes',
      'pretends',
    ];
    const radios = [...Object.keys(controller), ...Object.keys(air)];
    const keys = [
      ...radios,
      ...Object.keys(device!),
      ...Object.keys(device!.smp),
      ...Object.keys(device!.smp.list),
      ...optional,
    ];
    const acts = trayFile.shape.faults.unwrap().element.shape.do.options;
    expect([...keys, ...acts].filter((key) => !new RegExp(`\\b${key}\\b`).test(reference))).toEqual([]);
  });

  test('of the documentation is accepted', () => {
    const job =
      'job: WO-1234\nproduct: a.yaml\nfirmware: b.bin\ntray: {rows: 2, columns: 4}\noperator: jdoe\nunits: [{slot: A1, serial: SN0001}]\n';
    expect(refusal(job, jobFile)).toBe('accepted');
    const tray = `units: 8
device: {protocol: smp, security: none, image: 0.9.0, slotKiB: 512, flash: {writeUsPerWord: 43, eraseMsPerPage: 87.5}, bootMs: 1500}
faults:
  - {unit: 3, at: {bytes: 100000}, do: drop-link, times: 1}
  - {unit: 7, at: boot, do: reject-image}
`;
    expect(refusal(tray, trayFile)).toBe('accepted');
  });
});

test('a tray’s devices take what the tray says, and their own where they differ', () => {
  const devices = trayDevices(
    trayFile.parse({ units: 2, device: { mtu: 247 }, overrides: [{ unit: 2, mtu: 100, serial: 'X' }] }),
  );
  expect(devices.map(({ mtu, serial }) => [mtu, serial])).toEqual([
    [247, 'SN0001'],
    [100, 'X'],
  ]);
});

describe('a radio spec', () => {
  test.each([
    ['virtual', { kind: 'virtual', count: 1 }],
    ['virtual:4', { kind: 'virtual', count: 4 }],
    ['hci:0', { kind: 'kernel', id: 0 }],
    ['h4:unix:/tmp/x:y', { kind: 'h4', path: '/tmp/x:y' }],
    ['h4:tcp:localhost:9000', { kind: 'h4', host: 'localhost', port: 9000 }],
    ['h4:serial:/dev/ttyACM0@115200', { kind: 'serial', path: '/dev/ttyACM0', baudRate: 115200 }],
    ['h4:serial:COM3', { kind: 'serial', path: 'COM3', baudRate: 1_000_000 }],
    ['system', { kind: 'system' }],
  ])('%s is understood', (text, expected) => {
    expect(parseRadioSpec(text)).toEqual({ ...expected, name: text });
  });

  test.each(['', 'virtual:0', 'hci', 'h4:tcp:host', 'h4:tcp:host:99999', 'usb:1'])('%j is refused', (text) => {
    expect(() => parseRadioSpec(text)).toThrow(expect.objectContaining({ code: 'RADIO_SPEC_INVALID' }));
  });
});

test('every error code has a sentence that ends', () => {
  for (const [code, sentence] of Object.entries(sentences)) expect(sentence, code).toMatch(/^[A-Z].*\.$/);
});
