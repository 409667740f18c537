import type { Clock } from '../clock.ts';
import { StationError } from '../contract/errors.ts';
import type { ProductProfile } from '../contract/product-file.ts';
import type { RadioShelf } from '../radio/radio-shelf.ts';
import { AirWatch } from '../scheduler/air-watch.ts';

const LISTEN_MS = 5000;

/**
 * The serial of the one unit of the product that is heard. Where there are more, nobody has said which may be written.
 * @throws StationError ARGUMENT_INVALID when it has to be named, NO_UNIT_FOUND, NO_RADIO
 */
export async function onlyUnit(
  profile: ProductProfile,
  radios: RadioShelf,
  clock: Clock,
  signal: AbortSignal,
): Promise<string> {
  if (profile.identity.from === 'dis-serial')
    throw new StationError('ARGUMENT_INVALID', 'this product does not advertise its serial: name the unit with --unit');
  const there = radios.places().flatMap(({ radio }) => radio ?? []);
  if (there.length === 0) throw new StationError('NO_RADIO');
  const watch = new AirWatch(profile, clock);
  for (const radio of there) watch.add(radio);
  try {
    await watch.until(() => null, LISTEN_MS, signal);
  } finally {
    watch.stop();
  }
  const serials = [...new Set(watch.devices().flatMap(({ serial }) => serial ?? []))];
  if (serials.length > 1)
    throw new StationError('ARGUMENT_INVALID', `${serials.length} units are heard: name one with --unit`);
  if (!serials[0]) throw new StationError('NO_UNIT_FOUND');
  return serials[0];
}
