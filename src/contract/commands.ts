import { z } from 'zod';
import type { FirmwareLabel } from './board.ts';
import { type Attachment, type ComparisonPage, logFormats } from './comparison.ts';
import type { LearntProduct } from './learnt.ts';
import type { Qualification } from './qualification.ts';
import {
  type AttemptDetail,
  type AttemptRow,
  type FrameRow,
  type ListFilter,
  outcomes,
  type Statistics,
} from './records.ts';
import { serial } from './serial.ts';

/** What a person may do; each role may do what those before it may. */
export const roles = ['operator', 'engineer', 'administrator'] as const;
export type Role = (typeof roles)[number];

/** A person as screens show them. */
export interface Person {
  readonly name: string;
  readonly role: Role;
  readonly active: boolean;
  readonly hasBadge: boolean;
}

/** Who is signed in; `ticket` lets the same window come back after a reload. */
export interface Session {
  readonly name: string;
  readonly role: Role;
  readonly ticket: string;
}

/** What a window is told before anybody signs in. */
export interface Welcome {
  readonly appVersion: string;
  readonly station: string;
  readonly practice: boolean;
  /** Why the station practises although nobody asked for it: there is no radio. */
  readonly practiceReason: 'asked' | 'no-radio' | null;
  readonly needsFirstStart: boolean;
  /** Names to choose from. */
  readonly people: readonly string[];
  /** In practice: everybody's PIN, to show beside the sign-in. */
  readonly practicePins: readonly { readonly name: string; readonly role: Role; readonly pin: string }[];
  readonly session: Session | null;
  readonly scanner: ScannerSetting;
  /** Minutes without input after which the window signs out; 0 never. */
  readonly signOutMinutes: number;
}

/** How the scanner's input is told from typing. Without prefix, by its pace. */
export interface ScannerSetting {
  readonly prefix: string;
  readonly suffix: 'Enter' | 'Tab';
  readonly maxGapMs: number;
}

/** Where something of the library stands. */
export type LibraryState = 'draft' | 'released' | 'withdrawn';

interface LibraryEntry {
  readonly product: string;
  readonly state: LibraryState;
  readonly author: string;
  readonly addedAt: string;
  readonly releasedBy: string | null;
  readonly releasedAt: string | null;
}

/** A firmware package of the library. */
export interface LibraryFirmware extends LibraryEntry, FirmwareLabel {
  readonly format: string;
  readonly hardware: string | null;
}

/** A product profile of the library; the newest released one of a product is the one that is used. */
export interface LibraryProfile extends LibraryEntry {
  readonly sha256: string;
  readonly yaml: string;
}

/** A work order: what goes into which units. */
export interface WorkOrder {
  readonly name: string;
  readonly product: string;
  readonly firmware: FirmwareLabel;
  readonly rows: number;
  readonly columns: number;
  readonly units: readonly { readonly serial: string; readonly slot: string | null }[] | null;
  readonly createdBy: string;
  readonly createdAt: string;
  readonly closed: boolean;
  /** Units that have passed on it. */
  readonly passed: number;
}

/** Settings of the floor. */
export const limits = z.strictObject({
  /** Minutes without input after which an idle station signs out; 0 never. */
  signOutMinutes: z.int().min(0).max(1440).default(30),
  /** How long START looks for the units, in seconds. */
  findTimeoutS: z.int().min(5).max(300).default(15),
  scanner: z
    .strictObject({
      prefix: z.string().max(4).default(''),
      suffix: z.enum(['Enter', 'Tab']).default('Enter'),
      maxGapMs: z.int().min(10).max(200).default(40),
    })
    .prefault({}),
});
export type Limits = z.infer<typeof limits>;

/** A unit in quarantine. */
export interface QuarantinedUnit {
  readonly serial: string;
  readonly product: string;
  readonly code: string;
  readonly since: string;
  readonly attemptId: string;
}

/** One change that somebody made to the station: who, when, what, from what to what, why. */
export interface ChangeRow {
  readonly id: number;
  readonly at: string;
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly before: unknown;
  readonly after: unknown;
  readonly reason: string | null;
}

const name = z.string().trim().min(1).max(60);
const pin = z.string().regex(/^\d{4,12}$/, 'a PIN of 4 to 12 digits');
const scanned = z.string().min(1).max(400);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const reason = z.string().trim().min(3).max(500);
const day = z.iso.date();
const role = z.enum(roles);
const yaml = z.string().max(64 * 1024);
/** Base64 of at most 48 KiB, so that a message stays below the cap. */
const chunk = z.base64().max(64 * 1024);

const nothing = z.strictObject({});

interface CommandSpec<Input extends z.ZodType, Output> {
  /** The least role that may; null when nobody needs to be signed in. */
  readonly role: Role | null;
  readonly input: Input;
  /** Never there at run time: carries the answer's type. */
  readonly output?: Output;
}

const answers = <Output>() => ({
  to: <Input extends z.ZodType>(role: Role | null, input: Input): CommandSpec<Input, Output> => ({ role, input }),
});

/** Every command that a screen can give, with who may and what it takes. Validated where it is carried out, never in the screen. */
export const commands = {
  // signing in
  'first-start': answers<{ session: Session; recoveryCodes: readonly string[] }>().to(
    null,
    z.strictObject({ name, pin }),
  ),
  'sign-in': answers<Session>().to(null, z.strictObject({ name, pin })),
  'sign-in-badge': answers<Session>().to(null, z.strictObject({ badge: scanned })),
  recover: answers<Session>().to(null, z.strictObject({ name, code: z.string().max(40), pin })),
  'sign-out': answers<null>().to('operator', nothing),

  // the tray
  'work-orders': answers<readonly WorkOrder[]>().to('operator', z.strictObject({ closed: z.boolean().default(false) })),
  'load-work-order': answers<null>().to('operator', z.strictObject({ code: scanned })),
  unload: answers<null>().to('operator', nothing),
  scan: answers<{ slot: string; serial: string } | { cursor: string }>().to(
    'operator',
    z.strictObject({ code: scanned }),
  ),
  'select-slot': answers<null>().to('operator', z.strictObject({ slot: z.string().max(4) })),
  'take-off': answers<null>().to('operator', z.strictObject({ slot: z.string().max(4) })),
  identify: answers<null>().to('operator', z.strictObject({ serial: scanned })),
  place: answers<{ slot: string; serial: string }>().to(
    'operator',
    z.strictObject({ serial: scanned, slot: z.string().max(4) }),
  ),
  start: answers<null>().to('operator', nothing),
  stop: answers<null>().to('operator', nothing),
  'retry-failed': answers<null>().to('operator', nothing),
  'next-tray': answers<null>().to('operator', nothing),
  'practice-labels': answers<readonly string[]>().to('operator', nothing),

  // records
  records: answers<readonly AttemptRow[]>().to(
    'operator',
    z.strictObject({
      serial: z.string().max(100).optional(),
      job: z.string().max(100).optional(),
      outcome: z.enum(outcomes).optional(),
      hash: z
        .string()
        .regex(/^[0-9a-f]{1,128}$/i)
        .optional(),
      from: day.optional(),
      to: day.optional(),
      before: z.int().positive().optional(),
      limit: z.int().min(1).max(200).default(50),
    }) satisfies z.ZodType<ListFilter>,
  ),
  attempt: answers<AttemptDetail>().to('operator', z.strictObject({ id: z.string().min(1).max(100) })),
  frames: answers<readonly FrameRow[]>().to(
    'operator',
    z.strictObject({ id: z.uuid(), from: z.int().min(0), count: z.int().min(1).max(500) }),
  ),
  throughput: answers<{ bucketMs: number; bytes: readonly number[] }>().to(
    'operator',
    z.strictObject({ id: z.uuid() }),
  ),
  compare: answers<ComparisonPage>().to(
    'operator',
    z.strictObject({
      id: z.uuid(),
      attachment: z.int().positive(),
      format: z.enum(logFormats).optional(),
      pattern: z.string().min(1).max(400).optional(),
      from: z.int().min(0),
      count: z.int().min(0).max(400),
    }),
  ),
  statistics: answers<Statistics>().to(
    'operator',
    z.strictObject({ from: day, to: day, product: z.string().max(100).optional() }),
  ),

  // engineer mode
  'upload-begin': answers<{ upload: string }>().to(
    'engineer',
    z.strictObject({
      fileName: z.string().min(1).max(200),
      bytes: z
        .int()
        .min(1)
        .max(32 * 1024 * 1024),
    }),
  ),
  'upload-chunk': answers<null>().to('engineer', z.strictObject({ upload: z.uuid(), data: chunk })),
  'attach-evidence': answers<Attachment>().to('engineer', z.strictObject({ upload: z.uuid(), id: z.uuid() })),
  'add-firmware': answers<LibraryFirmware>().to('engineer', z.strictObject({ upload: z.uuid(), product: name })),
  'library-firmware': answers<readonly LibraryFirmware[]>().to('engineer', nothing),
  'release-firmware': answers<null>().to('engineer', z.strictObject({ sha256 })),
  'withdraw-firmware': answers<null>().to('engineer', z.strictObject({ sha256, reason })),
  'library-profiles': answers<readonly LibraryProfile[]>().to('engineer', nothing),
  /** What units taught of a product. */
  /** The latest reports of `dfu-station qualify` that are kept with these records. */
  qualifications: answers<readonly Qualification[]>().to('engineer', nothing),
  learnt: answers<readonly LearntProduct[]>().to('engineer', z.strictObject({ product: name })),
  'add-profile': answers<{ sha256: string }>().to('engineer', z.strictObject({ yaml })),
  'release-profile': answers<null>().to('engineer', z.strictObject({ sha256 })),
  'withdraw-profile': answers<null>().to('engineer', z.strictObject({ sha256, reason })),
  'add-work-order': answers<null>().to(
    'engineer',
    z.strictObject({
      name,
      product: name,
      firmware: sha256,
      rows: z.int().min(1).max(26),
      columns: z.int().min(1).max(32),
      units: z
        .array(z.strictObject({ serial, slot: z.string().max(4).nullable() }))
        .max(832)
        .nullable(),
    }),
  ),
  'import-work-order': answers<{ name: string }>().to('engineer', z.strictObject({ yaml })),
  'close-work-order': answers<null>().to('engineer', z.strictObject({ name })),
  quarantine: answers<readonly QuarantinedUnit[]>().to('engineer', nothing),
  'release-quarantine': answers<null>().to('engineer', z.strictObject({ serial: scanned, reason })),
  limits: answers<Limits>().to('engineer', nothing),
  'set-limits': answers<null>().to('engineer', limits),
  people: answers<readonly Person[]>().to('administrator', nothing),
  'add-person': answers<null>().to('administrator', z.strictObject({ name, role, pin, badge: scanned.optional() })),
  'change-person': answers<null>().to(
    'administrator',
    z.strictObject({
      name,
      role: role.optional(),
      pin: pin.optional(),
      badge: scanned.nullable().optional(),
      active: z.boolean().optional(),
    }),
  ),
  changes: answers<readonly ChangeRow[]>().to(
    'engineer',
    z.strictObject({ before: z.int().positive().optional(), limit: z.int().min(1).max(200).default(50) }),
  ),
} as const;

export type CommandName = keyof typeof commands;
/** What a screen sends with a command. */
export type CommandInput<Name extends CommandName> = z.input<(typeof commands)[Name]['input']>;
/** What the station receives: the same, validated, defaults filled in. */
export type CommandOrder<Name extends CommandName> = z.output<(typeof commands)[Name]['input']>;
/** What a command answers. */
export type CommandAnswer<Name extends CommandName> = Exclude<(typeof commands)[Name]['output'], undefined>;
