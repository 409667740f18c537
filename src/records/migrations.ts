/**
 * The schema, one step a version; `PRAGMA user_version` says how many have been applied. Steps are never edited once released. What is
 * finished is append-only: triggers refuse to change or delete it.
 */
export const migrations: readonly string[] = [
  `
  CREATE TABLE station (id TEXT PRIMARY KEY, created_at TEXT NOT NULL) STRICT;

  CREATE TABLE firmware (
    sha256 TEXT PRIMARY KEY,
    file_name TEXT NOT NULL,
    format TEXT NOT NULL,
    hardware TEXT,
    signature TEXT NOT NULL,
    added_at TEXT NOT NULL,
    file BLOB NOT NULL
  ) STRICT;

  CREATE TABLE firmware_image (
    firmware TEXT NOT NULL REFERENCES firmware,
    image INTEGER NOT NULL,
    version TEXT NOT NULL,
    hash TEXT NOT NULL,
    key_hash TEXT,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (firmware, image)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX firmware_image_hash ON firmware_image (hash);

  CREATE TABLE profile (sha256 TEXT PRIMARY KEY, product TEXT NOT NULL, json TEXT NOT NULL) STRICT;

  CREATE TABLE job (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    profile TEXT NOT NULL REFERENCES profile,
    firmware TEXT NOT NULL REFERENCES firmware,
    operator TEXT,
    practice INTEGER NOT NULL,
    station TEXT NOT NULL REFERENCES station,
    app_version TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    outcome TEXT,
    code TEXT
  ) STRICT;

  CREATE TABLE unit (
    id INTEGER PRIMARY KEY,
    serial TEXT NOT NULL,
    product TEXT NOT NULL,
    first_seen_at TEXT NOT NULL,
    UNIQUE (product, serial)
  ) STRICT;

  CREATE INDEX unit_serial ON unit (serial);
  CREATE INDEX job_firmware ON job (firmware);

  CREATE TABLE attempt (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    job INTEGER NOT NULL REFERENCES job,
    unit INTEGER NOT NULL REFERENCES unit,
    number INTEGER NOT NULL,
    repeats TEXT REFERENCES attempt (id),
    slot TEXT,
    address TEXT,
    radio TEXT,
    radio_address TEXT,
    started_at TEXT NOT NULL,
    started_monotonic_ms REAL NOT NULL,
    ended_at TEXT,
    duration_ms REAL,
    outcome TEXT CHECK (outcome IN ('pass', 'fail', 'error', 'skipped', 'staged', 'aborted')),
    code TEXT,
    detail TEXT,
    images_json TEXT,
    link_json TEXT,
    channels_json TEXT,
    resumed_from INTEGER,
    bytes INTEGER,
    upload_ms REAL
  ) STRICT;
  CREATE INDEX attempt_unit ON attempt (unit, sequence);
  CREATE INDEX attempt_job ON attempt (job, sequence);
  CREATE INDEX attempt_open ON attempt (sequence) WHERE outcome IS NULL;

  CREATE TABLE step (
    attempt INTEGER NOT NULL REFERENCES attempt,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    started_ms REAL NOT NULL,
    duration_ms REAL NOT NULL,
    code TEXT,
    detail TEXT,
    PRIMARY KEY (attempt, number)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE slot_state (
    attempt INTEGER NOT NULL REFERENCES attempt,
    number INTEGER NOT NULL,
    seen TEXT NOT NULL,
    image INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    version TEXT NOT NULL,
    hash TEXT NOT NULL,
    flags TEXT NOT NULL,
    PRIMARY KEY (attempt, number)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE frame_segment (
    attempt INTEGER NOT NULL REFERENCES attempt,
    number INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    packed BLOB NOT NULL,
    PRIMARY KEY (attempt, number)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY,
    unit INTEGER NOT NULL REFERENCES unit,
    attempt TEXT NOT NULL REFERENCES attempt (id),
    code TEXT NOT NULL,
    since TEXT NOT NULL
  ) STRICT;
  CREATE TABLE quarantine_release (
    quarantine INTEGER PRIMARY KEY REFERENCES quarantine,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    released_at TEXT NOT NULL
  ) STRICT;

  CREATE TRIGGER attempt_finished_stays BEFORE UPDATE ON attempt WHEN OLD.outcome IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a finished attempt cannot be changed'); END;
  CREATE TRIGGER attempt_is_kept BEFORE DELETE ON attempt
    BEGIN SELECT RAISE(ABORT, 'an attempt cannot be deleted'); END;
  CREATE TRIGGER job_finished_stays BEFORE UPDATE ON job WHEN OLD.outcome IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a finished job cannot be changed'); END;
  CREATE TRIGGER job_is_kept BEFORE DELETE ON job BEGIN SELECT RAISE(ABORT, 'a job cannot be deleted'); END;
  CREATE TRIGGER firmware_stays BEFORE UPDATE ON firmware BEGIN SELECT RAISE(ABORT, 'firmware cannot be changed'); END;
  CREATE TRIGGER firmware_is_kept BEFORE DELETE ON firmware BEGIN SELECT RAISE(ABORT, 'firmware cannot be deleted'); END;
  CREATE TRIGGER image_stays BEFORE UPDATE ON firmware_image BEGIN SELECT RAISE(ABORT, 'firmware cannot be changed'); END;
  CREATE TRIGGER image_is_kept BEFORE DELETE ON firmware_image BEGIN SELECT RAISE(ABORT, 'firmware cannot be deleted'); END;
  CREATE TRIGGER profile_stays BEFORE UPDATE ON profile BEGIN SELECT RAISE(ABORT, 'a profile cannot be changed'); END;
  CREATE TRIGGER profile_is_kept BEFORE DELETE ON profile BEGIN SELECT RAISE(ABORT, 'a profile cannot be deleted'); END;
  CREATE TRIGGER unit_stays BEFORE UPDATE ON unit BEGIN SELECT RAISE(ABORT, 'a unit cannot be changed'); END;
  CREATE TRIGGER unit_is_kept BEFORE DELETE ON unit BEGIN SELECT RAISE(ABORT, 'a unit cannot be deleted'); END;
  CREATE TRIGGER step_stays BEFORE UPDATE ON step BEGIN SELECT RAISE(ABORT, 'a step cannot be changed'); END;
  CREATE TRIGGER step_is_kept BEFORE DELETE ON step BEGIN SELECT RAISE(ABORT, 'a step cannot be deleted'); END;
  CREATE TRIGGER slot_state_stays BEFORE UPDATE ON slot_state BEGIN SELECT RAISE(ABORT, 'evidence cannot be changed'); END;
  CREATE TRIGGER slot_state_is_kept BEFORE DELETE ON slot_state BEGIN SELECT RAISE(ABORT, 'evidence cannot be deleted'); END;
  CREATE TRIGGER frames_stay BEFORE UPDATE ON frame_segment BEGIN SELECT RAISE(ABORT, 'evidence cannot be changed'); END;
  CREATE TRIGGER frames_are_kept BEFORE DELETE ON frame_segment BEGIN SELECT RAISE(ABORT, 'evidence cannot be deleted'); END;
  CREATE TRIGGER quarantine_stays BEFORE UPDATE ON quarantine BEGIN SELECT RAISE(ABORT, 'a quarantine cannot be changed'); END;
  CREATE TRIGGER quarantine_is_kept BEFORE DELETE ON quarantine BEGIN SELECT RAISE(ABORT, 'a quarantine cannot be deleted'); END;
  CREATE TRIGGER release_stays BEFORE UPDATE ON quarantine_release BEGIN SELECT RAISE(ABORT, 'a release cannot be changed'); END;
  CREATE TRIGGER release_is_kept BEFORE DELETE ON quarantine_release BEGIN SELECT RAISE(ABORT, 'a release cannot be deleted'); END;
  CREATE TRIGGER step_of_open_attempt BEFORE INSERT ON step
    WHEN (SELECT outcome FROM attempt WHERE sequence = NEW.attempt) IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'the attempt is finished'); END;
  CREATE TRIGGER slot_state_of_open_attempt BEFORE INSERT ON slot_state
    WHEN (SELECT outcome FROM attempt WHERE sequence = NEW.attempt) IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'the attempt is finished'); END;
  CREATE TRIGGER frames_of_open_attempt BEFORE INSERT ON frame_segment
    WHEN (SELECT outcome FROM attempt WHERE sequence = NEW.attempt) IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'the attempt is finished'); END;
  `,
  `
  CREATE TABLE person (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    role TEXT NOT NULL CHECK (role IN ('operator', 'engineer', 'administrator')),
    pin TEXT NOT NULL,
    badge TEXT UNIQUE,
    active INTEGER NOT NULL,
    wrong_tries INTEGER NOT NULL DEFAULT 0,
    wrong_at TEXT,
    created_at TEXT NOT NULL
  ) STRICT;
  CREATE TABLE recovery_code (hash TEXT PRIMARY KEY, used_at TEXT) STRICT;

  CREATE TABLE change (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    before_json TEXT,
    after_json TEXT,
    reason TEXT
  ) STRICT;
  CREATE TRIGGER change_stays BEFORE UPDATE ON change BEGIN SELECT RAISE(ABORT, 'a change cannot be changed'); END;
  CREATE TRIGGER change_is_kept BEFORE DELETE ON change BEGIN SELECT RAISE(ABORT, 'a change cannot be deleted'); END;

  CREATE TABLE library_firmware (
    firmware TEXT PRIMARY KEY REFERENCES firmware,
    product TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('draft', 'released', 'withdrawn')),
    author TEXT NOT NULL,
    added_at TEXT NOT NULL,
    released_by TEXT COLLATE NOCASE CHECK (released_by <> author),
    released_at TEXT
  ) STRICT;
  CREATE TABLE library_profile (
    profile TEXT PRIMARY KEY REFERENCES profile,
    product TEXT NOT NULL,
    yaml TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('draft', 'released', 'withdrawn')),
    author TEXT NOT NULL,
    added_at TEXT NOT NULL,
    released_by TEXT COLLATE NOCASE CHECK (released_by <> author),
    released_at TEXT
  ) STRICT;
  CREATE TABLE work_order (
    name TEXT PRIMARY KEY,
    product TEXT NOT NULL,
    firmware TEXT NOT NULL REFERENCES firmware,
    slot_rows INTEGER NOT NULL,
    slot_columns INTEGER NOT NULL,
    units_json TEXT,
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE TABLE setting (name TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;

  ALTER TABLE attempt ADD COLUMN signal_json TEXT;
  CREATE INDEX attempt_started ON attempt (started_at, sequence);
  CREATE INDEX attempt_outcome ON attempt (outcome, sequence);
  CREATE INDEX job_name ON job (name);
  `,
  `
  CREATE TABLE order_anomaly (
    attempt INTEGER NOT NULL REFERENCES attempt,
    number INTEGER NOT NULL,
    shape TEXT NOT NULL,
    frame INTEGER NOT NULL,
    at_ms REAL NOT NULL,
    token INTEGER NOT NULL,
    PRIMARY KEY (attempt, number)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE capture (
    attempt INTEGER PRIMARY KEY REFERENCES attempt,
    packets INTEGER NOT NULL,
    left_out INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    packed BLOB NOT NULL
  ) STRICT;
  ALTER TABLE attempt ADD COLUMN verdict_json TEXT;

  CREATE TRIGGER anomaly_stays BEFORE UPDATE ON order_anomaly BEGIN SELECT RAISE(ABORT, 'evidence cannot be changed'); END;
  CREATE TRIGGER anomaly_is_kept BEFORE DELETE ON order_anomaly BEGIN SELECT RAISE(ABORT, 'evidence cannot be deleted'); END;
  CREATE TRIGGER anomaly_of_open_attempt BEFORE INSERT ON order_anomaly
    WHEN (SELECT outcome FROM attempt WHERE sequence = NEW.attempt) IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'the attempt is finished'); END;
  CREATE TRIGGER capture_stays BEFORE UPDATE ON capture BEGIN SELECT RAISE(ABORT, 'evidence cannot be changed'); END;
  CREATE TRIGGER capture_is_kept BEFORE DELETE ON capture BEGIN SELECT RAISE(ABORT, 'evidence cannot be deleted'); END;
  CREATE TRIGGER capture_of_open_attempt BEFORE INSERT ON capture
    WHEN (SELECT outcome FROM attempt WHERE sequence = NEW.attempt) IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'the attempt is finished'); END;
  `,
  `
  CREATE TABLE attachment (
    id INTEGER PRIMARY KEY,
    attempt INTEGER NOT NULL REFERENCES attempt,
    number INTEGER NOT NULL,
    file_name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('device-log', 'capture')),
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    added_by TEXT NOT NULL,
    added_at TEXT NOT NULL,
    packed BLOB NOT NULL,
    UNIQUE (attempt, number)
  ) STRICT;
  CREATE TRIGGER attachment_stays BEFORE UPDATE ON attachment BEGIN SELECT RAISE(ABORT, 'evidence cannot be changed'); END;
  CREATE TRIGGER attachment_is_kept BEFORE DELETE ON attachment BEGIN SELECT RAISE(ABORT, 'evidence cannot be deleted'); END;

  CREATE TABLE bond (
    own_address TEXT NOT NULL,
    identity_address TEXT NOT NULL,
    sealer TEXT NOT NULL,
    keys BLOB NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (own_address, identity_address)
  ) STRICT;
  `,
  `
  CREATE TABLE remark (
    attempt INTEGER NOT NULL REFERENCES attempt,
    number INTEGER NOT NULL,
    at_ms REAL NOT NULL,
    code TEXT NOT NULL,
    values_json TEXT,
    PRIMARY KEY (attempt, number)
  ) STRICT, WITHOUT ROWID;
  CREATE TRIGGER remark_stays BEFORE UPDATE ON remark BEGIN SELECT RAISE(ABORT, 'evidence cannot be changed'); END;
  CREATE TRIGGER remark_is_kept BEFORE DELETE ON remark BEGIN SELECT RAISE(ABORT, 'evidence cannot be deleted'); END;
  CREATE TRIGGER remark_of_open_attempt BEFORE INSERT ON remark
    WHEN (SELECT outcome FROM attempt WHERE sequence = NEW.attempt) IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'the attempt is finished'); END;

  CREATE TABLE lesson (
    product TEXT NOT NULL,
    running TEXT NOT NULL,
    name TEXT NOT NULL CHECK (name IN ('frames', 'longestFrame', 'window', 'eraseMs', 'restartMs')),
    value TEXT NOT NULL,
    units INTEGER NOT NULL,
    learnt_at TEXT NOT NULL,
    PRIMARY KEY (product, running, name)
  ) STRICT;
  `,
  // A direct-XIP package has an image for each slot of one index.
  `
  ALTER TABLE firmware_image RENAME TO firmware_image_before;
  CREATE TABLE firmware_image (
    firmware TEXT NOT NULL REFERENCES firmware,
    image INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    version TEXT NOT NULL,
    hash TEXT NOT NULL,
    key_hash TEXT,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (firmware, image, slot)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO firmware_image SELECT firmware, image, 0, version, hash, key_hash, size_bytes FROM firmware_image_before;
  DROP TABLE firmware_image_before;
  CREATE INDEX firmware_image_hash ON firmware_image (hash);
  CREATE TRIGGER image_stays BEFORE UPDATE ON firmware_image BEGIN SELECT RAISE(ABORT, 'firmware cannot be changed'); END;
  CREATE TRIGGER image_is_kept BEFORE DELETE ON firmware_image BEGIN SELECT RAISE(ABORT, 'firmware cannot be deleted'); END;
  `,
  `
  CREATE TABLE link_identity (
    attempt INTEGER NOT NULL REFERENCES attempt,
    link INTEGER NOT NULL,
    at_ms REAL NOT NULL,
    address TEXT NOT NULL,
    name TEXT,
    advertised TEXT,
    reported TEXT,
    proof TEXT,
    code TEXT,
    detail TEXT,
    PRIMARY KEY (attempt, link)
  ) STRICT, WITHOUT ROWID;
  CREATE TRIGGER identity_stays BEFORE UPDATE ON link_identity BEGIN SELECT RAISE(ABORT, 'evidence cannot be changed'); END;
  CREATE TRIGGER identity_is_kept BEFORE DELETE ON link_identity BEGIN SELECT RAISE(ABORT, 'evidence cannot be deleted'); END;
  CREATE TRIGGER identity_of_open_attempt BEFORE INSERT ON link_identity
    WHEN (SELECT outcome FROM attempt WHERE sequence = NEW.attempt) IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'the attempt is finished'); END;
  `,
  // A compressed image runs under another hash than it is sent with: units are found by both.
  `
  ALTER TABLE firmware_image ADD COLUMN runs_as TEXT;
  ALTER TABLE firmware_image ADD COLUMN traits_json TEXT;
  CREATE INDEX firmware_image_runs_as ON firmware_image (runs_as);
  `,
];
