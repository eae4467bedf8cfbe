//! The tables, by version.

use super::capabilities::Level;

/// One step from a version to the next.
pub(super) struct Migration {
    /// The version after it.
    pub version: i32,
    /// What it does, in order.
    pub sql: &'static [&'static str],
}

/// All steps, in order.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        sql: &[include_str!("sql/v1_tables.sql"), HYPERTABLE, KEYS, include_str!("sql/v1_feed.sql"), include_str!("sql/v1_wall.sql")],
    },
    Migration { version: 2, sql: &[include_str!("sql/v2_vectors.sql")] },
];

/// Makes a hypertable of the readings; left out where there is no TimescaleDB.
const HYPERTABLE: &str = "{hypertable}";

/// The unique key leads with the stream and the time, so that a client's random id costs nothing; the other index is the feed.
const KEYS: &str = "
CREATE UNIQUE INDEX reading_key ON {schema}.reading (stream, at, ns, id);
CREATE INDEX reading_seq ON {schema}.reading (seq);
";

/// What fills the places of a migration.
pub(super) struct Fill<'a> {
    /// The schema's name, which is a plain identifier.
    pub schema: &'a str,
    pub level: Level,
    pub chunk_days: u16,
}

impl Fill<'_> {
    /// A step's text for this schema and level.
    pub(super) fn fill(&self, sql: &str) -> String {
        let hypertable = match self.level {
            Level::Plain => String::new(),
            Level::Apache | Level::Community => format!(
                "SELECT create_hypertable('{}.reading', by_range('at', INTERVAL '{} days'), create_default_indexes => false);",
                self.schema,
                self.chunk_days.max(1)
            ),
        };
        // Compression and row-level security exclude each other on a hypertable.
        let walled = if self.level == Level::Community { "" } else { ", 'reading', 'rollup'" };
        sql.replace("{hypertable}", &hypertable).replace("{wall_on_readings}", walled).replace("{schema}", self.schema)
    }
}

/// The newest version.
pub(super) fn newest() -> i32 {
    MIGRATIONS.last().map_or(0, |m| m.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_without_a_gap() {
        assert!(MIGRATIONS.iter().zip(1..).all(|(m, n)| m.version == n));
    }

    #[test]
    fn no_place_stays_open() {
        for level in [Level::Plain, Level::Apache, Level::Community] {
            let fill = Fill { schema: "am", level, chunk_days: 7 };
            for sql in MIGRATIONS.iter().flat_map(|m| m.sql) {
                let text = fill.fill(sql);
                assert!(!text.contains("{schema}") && !text.contains("{hyper") && !text.contains("{wall"), "{text}");
            }
        }
    }
}
