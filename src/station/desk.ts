import { randomUUID } from 'node:crypto';
import type { Clock } from '../clock.ts';
import {
  type CommandAnswer,
  type CommandName,
  type CommandOrder,
  commands,
  type Person,
  type Role,
  roles,
  type Session,
  type Welcome,
} from '../contract/commands.ts';
import { StationError } from '../contract/errors.ts';
import type { RadioShelf } from '../radio/radio-shelf.ts';
import type { AsyncReader } from '../records/async-reader.ts';
import { ChangeLog } from '../records/change-log.ts';
import { LibraryStore } from '../records/library-store.ts';
import { PeopleStore } from '../records/people-store.ts';
import type { RecordWriter } from '../records/record-writer.ts';
import { BoardStore } from './board-store.ts';
import { Comparisons } from './comparisons.ts';
import { attachEvidence } from './evidence.ts';
import { Library } from './library.ts';
import { People } from './people.ts';
import type { Practice } from './practice.ts';
import { listQualifications } from './qualifications.ts';
import { TrayFloor } from './tray-floor.ts';
import { Uploads } from './uploads.ts';

/** What a desk is made of. */
export interface DeskParts {
  readonly records: RecordWriter;
  readonly reader: AsyncReader;
  readonly shelf: RadioShelf;
  readonly practice: Practice | null;
  readonly practiceReason: Welcome['practiceReason'];
  readonly practicePins: Welcome['practicePins'];
  readonly clock: Clock;
  readonly appVersion: string;
}

type Handlers = {
  readonly [Name in CommandName]: (
    order: CommandOrder<Name>,
    actor: string,
  ) => CommandAnswer<Name> | Promise<CommandAnswer<Name>>;
};

/**
 * Everything that can be asked of a station, by whichever window has it. Who may do what is decided here, on the trusted side: one
 * person is signed in at a time, and each command names the least role that may give it.
 */
export class Desk {
  readonly board = new BoardStore();
  readonly library: Library;
  readonly people: People;
  readonly floor: TrayFloor;
  readonly #parts: DeskParts;
  readonly #store: LibraryStore;
  readonly #changes: ChangeLog;
  readonly #uploads = new Uploads();
  readonly #comparisons: Comparisons;
  readonly #handlers: Handlers;
  #session: Session | null = null;

  constructor(parts: DeskParts) {
    const { records, shelf, practice, clock, appVersion } = parts;
    this.#parts = parts;
    this.#changes = new ChangeLog(records.port);
    this.#store = new LibraryStore(records.port);
    this.#comparisons = new Comparisons(parts.reader.directory, clock);
    this.library = new Library(this.#store, this.#changes);
    this.people = new People(new PeopleStore(records.port), this.#changes, clock);
    this.floor = new TrayFloor({
      library: this.library,
      records,
      shelf,
      practice,
      board: this.board,
      clock,
      appVersion,
      findTimeoutMs: () => this.#store.limits().findTimeoutS * 1000,
    });
    this.#handlers = this.#allHandlers();
  }

  get session(): Session | null {
    return this.#session;
  }

  /** What a window is told first; `ticket` brings it back into its session. */
  welcome(ticket: string | null): Welcome {
    const { appVersion, records, practice, practiceReason, practicePins } = this.#parts;
    const { scanner, signOutMinutes } = this.#store.limits();
    const back = this.#session !== null && ticket === this.#session.ticket;
    return {
      appVersion,
      station: records.stationId,
      practice: practice !== null,
      practiceReason,
      needsFirstStart: this.people.needsFirstStart,
      people: this.people
        .list()
        .filter(({ active }) => active)
        .map(({ name }) => name),
      practicePins,
      session: back ? this.#session : null,
      scanner,
      signOutMinutes,
    };
  }

  /**
   * Carries out a command. `ticket` is that of the window's session.
   * @throws StationError MESSAGE_INVALID, INPUT_INVALID, SIGN_IN_REQUIRED, ROLE_INSUFFICIENT and whatever the command throws
   */
  async carryOut(name: string, input: unknown, ticket: string | null): Promise<unknown> {
    if (!Object.hasOwn(commands, name)) throw new StationError('MESSAGE_INVALID', name.slice(0, 40));
    const command = name as CommandName;
    const actor = this.#authorise(commands[command].role, ticket);
    const parsed = commands[command].input.safeParse(input);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw new StationError('INPUT_INVALID', `${issue?.path.join('.') || 'input'}: ${issue?.message}`);
    }
    const handler = this.#handlers[command] as (order: unknown, actor: string) => unknown;
    return (await handler(parsed.data, actor)) ?? null;
  }

  async close(): Promise<void> {
    await this.floor.close();
  }

  #authorise(role: Role | null, ticket: string | null): string {
    if (role === null) return '';
    const session = this.#session;
    if (!session || session.ticket !== ticket) throw new StationError('SIGN_IN_REQUIRED');
    if (roles.indexOf(session.role) < roles.indexOf(role)) throw new StationError('ROLE_INSUFFICIENT', role);
    return session.name;
  }

  #open({ name, role }: Person): Session {
    this.#session = { name, role, ticket: randomUUID() };
    return this.#session;
  }

  #allHandlers(): Handlers {
    const { people, library, floor } = this;
    const { records, reader, practice } = this.#parts;
    return {
      'first-start': async ({ name, pin }) => {
        const { person, recoveryCodes } = await people.firstStart(name, pin);
        return { session: this.#open(person), recoveryCodes };
      },
      'sign-in': async ({ name, pin }) => this.#open(await people.signIn(name, pin)),
      'sign-in-badge': ({ badge }) => this.#open(people.signInBadge(badge)),
      recover: async ({ name, code, pin }) => this.#open(await people.recover(name, code, pin)),
      'sign-out': () => {
        this.#session = null;
        return null;
      },

      'work-orders': ({ closed }) => library.workOrders(closed),
      'load-work-order': ({ code }) => nothing(floor.load(code)),
      unload: () => nothing(floor.unload()),
      scan: ({ code }) => floor.scan(code),
      'select-slot': ({ slot }) => nothing(floor.select(slot)),
      'take-off': ({ slot }) => nothing(floor.takeOff(slot)),
      identify: ({ serial }) => nothing(floor.identify(serial)),
      place: ({ serial, slot }) => floor.place(serial, slot),
      start: (_, actor) => nothing(floor.start(actor)),
      stop: () => nothing(floor.stop()),
      'retry-failed': (_, actor) => nothing(floor.retryFailed(actor)),
      'next-tray': () => nothing(floor.nextTray()),
      'practice-labels': () => practice?.labels() ?? [],

      records: (filter) => reader.ask('list', filter),
      attempt: ({ id }) => reader.ask('show', id),
      frames: ({ id, from, count }) => reader.ask('frameRows', id, from, count),
      throughput: ({ id }) => reader.ask('throughput', id),
      'attach-evidence': ({ upload, id }, actor) => attachEvidence(records.port, actor, id, this.#uploads.take(upload)),
      compare: ({ id, attachment, format, pattern, from, count }) =>
        this.#comparisons.page(id, attachment, { format, pattern }, from, count),
      statistics: ({ from, to, product }) => reader.ask('statistics', from, to, product),

      'upload-begin': ({ fileName, bytes }) => ({ upload: this.#uploads.begin(fileName, bytes) }),
      'upload-chunk': ({ upload, data }) => nothing(this.#uploads.add(upload, Buffer.from(data, 'base64'))),
      'add-firmware': ({ upload, product }, actor) => {
        const { fileName, file } = this.#uploads.take(upload);
        return library.addFirmware(actor, file, fileName, product);
      },
      'library-firmware': () => library.firmwareList(),
      'release-firmware': ({ sha256 }, actor) => nothing(library.releaseFirmware(actor, sha256)),
      'withdraw-firmware': ({ sha256, reason }, actor) => nothing(library.withdrawFirmware(actor, sha256, reason)),
      'library-profiles': () => library.profiles(),
      qualifications: () => listQualifications(reader.directory),
      learnt: ({ product }) => reader.ask('learnt', product),
      'add-profile': ({ yaml }, actor) => ({ sha256: library.addProfile(actor, yaml) }),
      'release-profile': ({ sha256 }, actor) => nothing(library.releaseProfile(actor, sha256)),
      'withdraw-profile': ({ sha256, reason }, actor) => nothing(library.withdrawProfile(actor, sha256, reason)),
      'add-work-order': (order, actor) => nothing(library.addWorkOrder({ ...order, createdBy: actor })),
      'import-work-order': ({ yaml }, actor) => ({ name: library.importWorkOrder(actor, yaml) }),
      'close-work-order': ({ name }, actor) => nothing(library.closeWorkOrder(actor, name)),
      quarantine: () => records.quarantinedUnits(),
      'release-quarantine': ({ serial, reason }, actor) => {
        const change = { actor, action: 'release-quarantine', subject: serial, reason };
        const released = this.#changes.record(change, () => records.releaseQuarantine(serial, actor, reason));
        if (!released) throw new StationError('RECORD_NOT_FOUND', `${serial} is in no quarantine`);
        return null;
      },
      limits: () => this.#store.limits(),
      'set-limits': (after, actor) => {
        const before = this.#store.limits();
        const change = { actor, action: 'set-limits', subject: 'limits', before, after };
        this.#changes.record(change, () => this.#store.setLimits(after));
        return null;
      },
      people: () => people.list(),
      'add-person': (person, actor) => nothing(people.add(actor, person)),
      'change-person': ({ name, ...change }, actor) => nothing(people.change(actor, name, change)),
      changes: ({ before, limit }) => this.#changes.list(before, limit),
    };
  }
}

async function nothing(work: unknown): Promise<null> {
  await work;
  return null;
}
