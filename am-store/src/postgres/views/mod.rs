//! What SQL users see: a view for each kind with typed columns, and views over all of them. `docs/sql.md` describes them.
//!
//! The tables keep payloads as the bytes received, so the views read protobuf: the functions for it are written from the shape tables,
//! and the views from the catalogue. They are made anew when either changes; a view keeps its columns, new ones come at its end.

mod align;
mod kinds;
mod messages;
mod names;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use am_schema::catalogue::vitals::VITALS;
use am_schema::{Catalogue, Kind};

pub(super) use align::align;
use messages::{function, functions, quoted, reachable};

/// The role that may read the views and nothing else.
pub const READER: &str = "am_reader";

/// The scope that a session says it is of. Without the settings it is nobody.
const MINE: &str = "(SELECT s.id FROM {schema}.scope AS s WHERE s.tenant_id = current_setting('am.tenant', true)
    AND s.user_id = current_setting('am.user_id', true))";

/// Kinds that tell of something that was noticed.
const EVENTS: [&str; 3] = ["alert.rule.fired", "device.state.usage.anomaly", "motion.events.significant"];

/// The name of the views' schema beside the tables' own.
pub fn schema_of(tables: &str) -> String {
    format!("{tables}_sql")
}

/// Everything that makes the views of a catalogue over the tables in `schema`, to be run in one transaction; those of vectors where
/// the database has them.
pub fn script(catalogue: &Catalogue, schema: &str, vectors: bool) -> String {
    let kinds: Vec<Kind> = catalogue.kinds().collect();
    let messages = reachable(&kinds);
    let mut out = String::from(PRELUDE);
    out.push_str(include_str!("sql/reader.sql"));
    functions(&messages).iter().for_each(|f| out.push_str(f));
    // The reader's functions that use those of messages are checked when they are made, and so come last.
    out.push_str(include_str!("sql/envelope.sql"));
    out.push_str(&payload_json(&kinds));
    out.push_str(&vital_unit());
    out.push_str(&rows(&kinds));
    kinds.iter().for_each(|k| out.push_str(&kinds::view(*k)));
    out.push_str(include_str!("sql/together.sql"));
    if vectors {
        out.push_str(include_str!("sql/vectors.sql"));
    }
    out.push_str(GRANTS);
    let views = schema_of(schema);
    out.replace("{mine}", MINE).replace("{views}", &views).replace("{schema}", schema).replace("{reader}", READER)
}

const PRELUDE: &str = "
CREATE SCHEMA IF NOT EXISTS {views};
CREATE TABLE IF NOT EXISTS {views}.kinds (
  topic text COLLATE \"C\" PRIMARY KEY, reading_type text NOT NULL, field int NOT NULL, title text NOT NULL, unit text, is_event boolean NOT NULL);
";

/// The role is the whole server's: another database may have made it, at this very moment.
const GRANTS: &str = "
DO $$ BEGIN
  CREATE ROLE {reader} NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN NULL;
END $$;
DO $$ BEGIN
  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{reader}') THEN
    GRANT USAGE ON SCHEMA {views} TO {reader};
    GRANT SELECT ON ALL TABLES IN SCHEMA {views} TO {reader};
  END IF;
END $$;
";

fn payload_json(kinds: &[Kind]) -> String {
    let mut cases: Vec<(u32, String)> = kinds.iter().map(|k| (k.field(), function(k.message()))).collect();
    cases.sort();
    cases.dedup();
    let mut out = String::from(
        "CREATE OR REPLACE FUNCTION {views}.payload_json(field int, b bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  CASE field
",
    );
    for (field, name) in cases {
        let _ = writeln!(out, "    WHEN {field} THEN RETURN {{views}}.{name}(b);");
    }
    out.push_str("    ELSE RETURN NULL;\n  END CASE;\nEND $$;\n");
    out
}

fn vital_unit() -> String {
    let mut out = String::from(
        "CREATE OR REPLACE FUNCTION {views}.vital_unit(code text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN CASE code",
    );
    for v in VITALS {
        let _ = write!(out, " WHEN {} THEN {}", quoted(v.code), quoted(v.unit));
    }
    out.push_str(" END;\n");
    out
}

fn rows(kinds: &[Kind]) -> String {
    let mut out = String::from("DELETE FROM {views}.kinds;\nINSERT INTO {views}.kinds VALUES");
    for (n, k) in kinds.iter().enumerate() {
        let unit = k.scalar().map_or("NULL".into(), |s| quoted(s.unit));
        let event = EVENTS.contains(&k.topic()) || k.topic().starts_with("prediction.");
        let (topic, name, title) = (quoted(k.topic()), quoted(&names::of(*k)), quoted(k.title()));
        let _ = write!(out, "{} ({topic}, {name}, {}, {title}, {unit}, {event})", if n == 0 { "" } else { "," }, k.field());
    }
    out.push_str(";\n");
    out
}

/// The views of the kinds as a table for `docs/sql.md`.
#[cfg(test)]
fn listed(catalogue: &Catalogue) -> String {
    let mut lines: Vec<String> =
        catalogue.kinds().map(|k| format!("| `{}` | `{}` | {} |\n", names::of(k), k.topic(), kinds::column_names(k).join(", "))).collect();
    lines.sort();
    format!("| view | kind | columns of its own |\n|---|---|---|\n{}", lines.concat())
}
