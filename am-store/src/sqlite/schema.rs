//! The tables, by version.

/// Marks a file as AM's: `AMst` in ASCII, as SQLite's `application_id`.
pub(super) const APPLICATION_ID: i32 = 0x414d_7374;

/// One step from a version to the next.
pub(super) struct Migration {
    /// The version after it.
    pub version: i32,
    /// What it does.
    pub sql: &'static str,
}

/// All steps, in order.
pub(super) const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: V1 }, Migration { version: 2, sql: V2 }];

/// `reading.rowid` is the place in the feed, so the feed needs no index. The unique key leads with the stream and the time, so a
/// client's random id costs nothing. Flags of an ordinary live reading are 0, which takes no byte.
const V1: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) WITHOUT ROWID;

CREATE TABLE scope (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, user TEXT NOT NULL, UNIQUE (tenant, user));

-- span: longest reading; input_span: longest lineage input that names this stream; both in nanoseconds and only growing.
-- readings: how many there are up to the watermark of the rollups.
CREATE TABLE stream (
  id INTEGER PRIMARY KEY, scope INTEGER NOT NULL, topic TEXT NOT NULL, device TEXT NOT NULL,
  span INTEGER NOT NULL DEFAULT 0, input_span INTEGER NOT NULL DEFAULT 0, readings INTEGER NOT NULL DEFAULT 0,
  UNIQUE (scope, topic, device));

CREATE TABLE client (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, key_id TEXT NOT NULL, boot_id TEXT NOT NULL,
  UNIQUE (name, version, key_id, boot_id));

CREATE TABLE ingest (
  batch INTEGER PRIMARY KEY, scope INTEGER NOT NULL, client INTEGER NOT NULL, batch_id TEXT, traceparent TEXT,
  received_at INTEGER NOT NULL, sent_at INTEGER, monotonic_ns INTEGER NOT NULL, origin INTEGER NOT NULL,
  received INTEGER NOT NULL, stored INTEGER NOT NULL, duplicate INTEGER NOT NULL, discarded INTEGER NOT NULL,
  dead_lettered INTEGER NOT NULL);

CREATE TABLE balance (
  scope INTEGER PRIMARY KEY, received INTEGER NOT NULL, stored INTEGER NOT NULL, duplicate INTEGER NOT NULL,
  discarded INTEGER NOT NULL, dead_lettered INTEGER NOT NULL);

CREATE TABLE reading (
  seq INTEGER PRIMARY KEY, stream INTEGER NOT NULL, at INTEGER NOT NULL, id BLOB NOT NULL,
  batch INTEGER NOT NULL, flags INTEGER NOT NULL, body BLOB NOT NULL,
  UNIQUE (stream, at, id));

-- What the feed tells besides new readings; seq comes from the same counter. kind 1: superseded.
CREATE TABLE event (
  seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, stream INTEGER NOT NULL, at INTEGER NOT NULL, id BLOB NOT NULL, slot BLOB NOT NULL);

CREATE TABLE derived (
  slot BLOB NOT NULL, stream INTEGER NOT NULL, generation INTEGER NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY (slot, stream, generation)) WITHOUT ROWID;

-- From input to output. One reading has `until` = `at` and its id; a span has no id.
CREATE TABLE lineage (
  stream INTEGER NOT NULL, at INTEGER NOT NULL, output INTEGER NOT NULL, ordinal INTEGER NOT NULL,
  until INTEGER NOT NULL, id BLOB,
  PRIMARY KEY (stream, at, output, ordinal)) WITHOUT ROWID;

CREATE TABLE posting (
  scope INTEGER NOT NULL, term BLOB NOT NULL, seq INTEGER NOT NULL, tf INTEGER NOT NULL, len INTEGER NOT NULL,
  PRIMARY KEY (scope, term, seq)) WITHOUT ROWID;
CREATE TABLE corpus (scope INTEGER PRIMARY KEY, texts INTEGER NOT NULL, words INTEGER NOT NULL);

CREATE TABLE flow (name TEXT PRIMARY KEY, cursor INTEGER NOT NULL, epoch INTEGER NOT NULL, version TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE flow_state (flow TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (flow, key));

-- Buckets are counted from 1970 in their own width; times are nanoseconds after the bucket's start.
CREATE TABLE rollup (
  stream INTEGER NOT NULL, width INTEGER NOT NULL, bucket INTEGER NOT NULL, count INTEGER NOT NULL,
  sum REAL NOT NULL, min REAL NOT NULL, max REAL NOT NULL, m2 REAL NOT NULL,
  first_at INTEGER NOT NULL, first REAL NOT NULL, last_at INTEGER NOT NULL, last REAL NOT NULL,
  PRIMARY KEY (stream, width, bucket)) WITHOUT ROWID;

-- Which widths of which number the rollups of a topic hold; a catalogue that says otherwise makes them again.
CREATE TABLE rollup_plan (topic TEXT PRIMARY KEY, plan TEXT NOT NULL) WITHOUT ROWID;

-- How far what follows the feed has come.
CREATE TABLE projection (name TEXT PRIMARY KEY, upto INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO projection VALUES ('rollup', 0), ('balance', 0);

CREATE TABLE dead_letter (
  scope INTEGER NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL, stage TEXT NOT NULL, code INTEGER NOT NULL,
  findings TEXT NOT NULL, message TEXT NOT NULL, device TEXT, kind TEXT, recorded_at INTEGER, reading_id BLOB,
  attempts INTEGER NOT NULL, resolution INTEGER, resolved_at INTEGER, wire BLOB NOT NULL,
  PRIMARY KEY (scope, id));

CREATE TABLE key_value (
  scope INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, expires_at INTEGER, value BLOB NOT NULL,
  PRIMARY KEY (scope, key));
CREATE INDEX key_value_expiry ON key_value (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE device (
  scope INTEGER NOT NULL, device TEXT NOT NULL, name TEXT NOT NULL, model TEXT NOT NULL, os TEXT NOT NULL,
  app_version TEXT NOT NULL, kinds TEXT NOT NULL, registered_at INTEGER NOT NULL, PRIMARY KEY (scope, device));

CREATE TABLE api_key (
  id TEXT PRIMARY KEY, hash BLOB NOT NULL, tenant TEXT NOT NULL, user TEXT NOT NULL, device TEXT,
  expires_at INTEGER, revoked_at INTEGER, created_at INTEGER NOT NULL) WITHOUT ROWID;
";

/// Vectors. A rowid table, because a vector is larger than what a page of an index holds within itself; the key leads with the
/// model and the stream, so that a search reads what was asked for and nothing else.
const V2: &str = "
CREATE TABLE vector_model (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, dimensions INTEGER NOT NULL, metric INTEGER NOT NULL,
  version TEXT NOT NULL, digest BLOB);

-- data: the numbers as little-endian f32.
CREATE TABLE vector (
  model INTEGER NOT NULL, stream INTEGER NOT NULL, at INTEGER NOT NULL, id BLOB NOT NULL, part INTEGER NOT NULL,
  norm REAL NOT NULL, data BLOB NOT NULL,
  UNIQUE (model, stream, at, id, part));

-- The newest reading of a scope that was given a vector.
CREATE TABLE vector_progress (
  model INTEGER NOT NULL, scope INTEGER NOT NULL, upto INTEGER NOT NULL, PRIMARY KEY (model, scope)) WITHOUT ROWID;
";
