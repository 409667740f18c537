/**
 * What the station finds in evidence, as stable codes with the values they speak of. Codes are on record; the sentences beside them (one
 * catalogue per language) may improve. Places in braces take the values.
 */
export const findings = {
  // who broke the order
  DELIVERED_SO:
    'The controller delivered the values in the very order in which the application saw them: they were out of order before they came to this host. Look into the device: its application or its Bluetooth stack. Its own log, or a capture on its side, separates the two.',
  DELIVERED_IN_ORDER:
    'The controller delivered every value in order; they were reordered between it and the application, on this host. The device is not to blame.',
  NOT_HANDED_OVER:
    'The controller delivered values in order that the application never saw, while it saw later ones: they were lost on this host.',
  MISSING_IN_CAPTURE:
    'Values are missing already in what the controller delivered. They were never sent, or were lost before this host: a capture in the air or on the device decides.',
  BOTH_DISTURBED: 'Some of it was out of order when the controller delivered it, and some was reordered on this host.',
  CAPTURE_ABSENT: 'There is no HCI capture of this link: it is switched off, or the transport is not ours.',
  CAPTURE_GAP: 'The HCI capture of this link has a gap of {packets} packets.',
  CAPTURE_SHORT: 'The HCI capture does not hold all that the application saw.',
  AS_WRITTEN: '{text}',

  // where two logs part
  LOGS_AGREE: 'All that the station saw stands in the log, in the same order.',
  LINE_INSTEAD: "Line {line} of the device's log says {said}; the station saw {seen} instead.",
  LINE_AND_NOTHING: "Line {line} of the device's log says {said}; the station saw nothing more.",
  STATION_ONLY: "The station saw {seen}, which the device's log does not have here.",
  HCI_UNKNOWN: 'There is no HCI capture to say where it happened.',
  HCI_COUNTS: 'The controller delivered {delivered} values, the application saw {seen}.',
  HCI_AS_SEEN: 'The controller delivered it as the station saw it: it happened before this host, in the device.',
  HCI_AS_SAID: 'The controller delivered {delivered} there, as the device says: it happened on this host.',
  DEVICE_HOST_SAME:
    "The device's host handed the values to its controller in the very order in which they came here: its application, or what it calls to send, decides the order.",
  DEVICE_HOST_OTHER:
    "The device's host handed the values to its controller in another order than they came here: it happened below the device's host, or the captures are of different links.",
  AIR_SAME:
    'In the air the values had the very order in which they came here: it was decided in the device, before its radio.',
  AIR_OTHER:
    'In the air the values had another order than they came here: it happened in this radio or on this host, or the captures are of different links.',
  LOG_DROPPED: 'The log is incomplete at line {line}: it says itself that messages were dropped there ({messages}).',
  LOG_BEGINS_LATE:
    'The log is incomplete: it begins late, at line {line}. The {missing} values that the station saw before are not in it.',
  LOG_ENDS_EARLY:
    'The log is incomplete: it ends early, after line {line}. The {missing} values that the station saw later are not in it.',
  LOG_LACKS: 'The log is incomplete at line {line}: {missing} values that the station saw behind it are not in it.',
  LOG_MORE_GAPS: 'There are {gaps} more such gaps.',
  PART_AGREES: 'The {values} values that both have came in the same order.',
  LOG_LONGER: 'The log has {values} more events before and after, of another time.',
  LOGS_UNLIKE:
    "Only {alike} of the log's {device} events have their like among the {station} values that the station saw: it seems to be the log of another unit or time. Nothing is said about order.",
  CLOCK_OTHER: "The device's clock runs {rate} times as fast as the station's; the order counts, not the time.",
  ORDER_UNPROVEN: 'Undecided: with lines missing there, the log does not prove another order.',
  NOT_DELIVERED:
    'The controller did not deliver it either: it was never sent, or was lost before this host. A capture in the air or on the device decides.',
  NOT_DELIVERED_UNDECIDED: 'Undecided: what only one side has says nothing about order.',
  HCI_NEITHER: 'Undecided: what the controller delivered is neither what the device says nor what the application saw.',
  CAPTURE_CUT: 'The capture ends in the middle of a packet; the {packets} whole ones before it were used.',
  CAPTURE_LOSES: 'The capture says that {packets} packets are missing or shortened.',

  // what an attempt has to say beside its outcome
  LABEL_BATCH: "The unit's label names batch {batch}.",
  NO_UPLOAD_NEEDED: 'Image {image} lay complete in the second slot already: nothing was sent of it.',
  SERVER_JOINS_NOTHING: 'The device does not join the writes of a frame: it was sent frames of one write.',
  ERRORS_PASSED: 'The device answered an error {count} times that passed when it was asked again ({said}).',
  PENDING_CLEARED:
    'Image {image} {version} was pending in the second slot, and was cleared before anything was judged.',
  TRIAL_ENDED:
    'The device ran an image on trial that was not the one to install; it was restarted before anything was judged.',
  STAYS_PENDING: 'Image {image} {version} stays pending in the device: it starts at the next power-up.',
  VERSION_UNJUDGED:
    'The version of image {image} that runs cannot be read ({said}): whether this is a downgrade was not judged.',
  BYTES_NOT_SENT: 'The device counted {bytes} bytes of image {image} as received that were never sent to it.',
  PROOF_READ: 'Image {image}: the device reports {said}, as expected.',
  PROOF_UNREAD: 'Image {image}: what the product profile names as proof cannot be read ({said}).',
  SLOT_CHOSEN: 'Slot {running} of image {image} runs: the file for slot {slot} was sent.',
} as const;

/** A finding's code. */
export type FindingCode = keyof typeof findings;

/** One finding: its code and what its sentence speaks of. */
export interface Finding {
  readonly code: FindingCode;
  readonly values?: Readonly<Record<string, string | number>>;
}

/** A finding in words. */
export function findingText(
  { code, values = {} }: Finding,
  catalogue: Readonly<Record<FindingCode, string>> = findings,
): string {
  return catalogue[code].replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? '?'));
}
