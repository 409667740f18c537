import { createHash, generateKeyPairSync } from 'node:crypto';
import type { Role } from '../contract/commands.ts';
import type { TrayFile } from '../contract/tray-file.ts';
import { trayFile } from '../contract/tray-file.ts';
import { buildImage } from '../firmware/build-image.ts';
import { type FirmwarePackage, parseFirmware } from '../firmware/firmware-package.ts';
import type { Desk } from '../station/desk.ts';

const ROWS = 2;
const COLUMNS = 4;
const PAYLOAD_BYTES = 180_000;
const PRODUCT = 'dfu-station-virtual';
/** A GTIN of the range for use inside a company (GS1 prefix 02). */
const PRACTICE_GTIN = '02000000000008';

/** The people of a practising station; their PINs are shown beside the sign-in. */
export const practicePins: readonly { readonly name: string; readonly role: Role; readonly pin: string }[] = [
  { name: 'Olga', role: 'operator', pin: '1111' },
  { name: 'Emil', role: 'engineer', pin: '2222' },
  { name: 'Erika', role: 'engineer', pin: '3333' },
  { name: 'Ada', role: 'administrator', pin: '4444' },
];

const profileYaml = ({ protocol, fus }: TrayFile['device']) => `product: ${PRODUCT}
protocol: ${protocol}
discover: { namePrefix: DFU- }
identity: { from: name, pattern: '^DFU-(.+)$' }
label: { gtin: '${PRACTICE_GTIN}', pattern: '^SN\\d{4}$' }
security: none
${protocol === 'fus' ? `fus: ${JSON.stringify(fus)}\n` : ''}`;

/** The tray that stands in front of a practising station: one unit loses its link once, one refuses the image at its first boot. */
export const practiceTray: TrayFile = trayFile.parse({
  units: ROWS * COLUMNS,
  device: { slotKiB: 512, flash: { writeUsPerWord: 20, eraseMsPerPage: 10 }, bootMs: 1200, swapMs: 800 },
  faults: [
    { unit: 3, at: { bytes: PAYLOAD_BYTES / 2 }, do: 'drop-link', times: 1 },
    { unit: 7, at: 'boot', do: 'reject-image', times: 1 },
  ],
});

/** A signed image, made on the spot, that no device runs yet. */
export async function practiceFirmware(): Promise<FirmwarePackage> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const blocks = Array.from({ length: Math.ceil(PAYLOAD_BYTES / 32) }, (_, index) =>
    createHash('sha256').update(`demo ${index}`).digest(),
  );
  const payload = Buffer.concat(blocks).subarray(0, PAYLOAD_BYTES);
  const image = buildImage({ payload, version: { major: 1, minor: 0, revision: 0, build: 0 }, key: privateKey });
  return parseFirmware(image, 'demo-1.0.0.signed.bin');
}

/** Fills an empty practice directory: people of every role, a released product that speaks as the tray does, its firmware, and a work order. */
export async function seedPractice(desk: Desk, tray: TrayFile): Promise<void> {
  if (!desk.people.needsFirstStart) return;
  const [olga, emil, erika, ada] = practicePins;
  if (!olga || !emil || !erika || !ada) return;
  await desk.people.firstStart(ada.name, ada.pin);
  for (const person of [olga, emil, erika]) await desk.people.add(ada.name, person);
  const { library } = desk;
  library.releaseProfile(erika.name, library.addProfile(emil.name, profileYaml(tray.device)));
  const firmware = await practiceFirmware();
  const { sha256 } = await library.addFirmware(emil.name, firmware.file, firmware.fileName, PRODUCT);
  library.releaseFirmware(erika.name, sha256);
  const order = { product: PRODUCT, firmware: sha256, rows: ROWS, columns: COLUMNS, units: null, createdBy: emil.name };
  library.addWorkOrder({ ...order, name: 'WO-1001' });
}
