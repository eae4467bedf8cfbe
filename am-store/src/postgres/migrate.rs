//! From an older version's tables to this one's.

use am_core::{Code, Error, Result};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use super::connect::Address;
use super::errors::explain;
use super::schema::{Fill, MIGRATIONS, Migration, newest};

/// What a schema is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing yet.
    Empty,
    /// A store of this version.
    Version(i32),
}

/// What a schema is; refuses what is not ours or newer.
pub(super) async fn inspect(conn: &mut PgConnection, place: &str, schema: &str) -> Result<Found> {
    let sql = |e| explain("postgres.open", place, e);
    let row = sqlx::query(
        "SELECT to_regclass(format('%I.am_version', $1::text)) IS NOT NULL,
           (SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident($1::text)))",
    )
    .bind(schema)
    .fetch_one(&mut *conn)
    .await
    .map_err(sql)?;
    let (ours, relations): (bool, i64) = (row.try_get(0).map_err(sql)?, row.try_get(1).map_err(sql)?);
    if !ours {
        return match relations {
            0 => Ok(Found::Empty),
            _ => Err(Error::new(
                Code::BAD_STORE_URL,
                format!("{place}: the schema {schema} has tables of another program; give AM one of its own with the option `schema`"),
            )
            .op("postgres.open")),
        };
    }
    let version: Option<i32> =
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT max(version) FROM {schema}.am_version"))).fetch_one(conn).await.map_err(sql)?;
    match version.unwrap_or(0) {
        0 => Ok(Found::Empty),
        v if v > newest() => Err(Error::new(
            Code::STORE_NEWER,
            format!("{place}: the schema {schema} has version {v}, this program knows versions up to {}", newest()),
        )
        .op("postgres.open")),
        v => Ok(Found::Version(v)),
    }
}

/// Brings a schema to the newest version, each step in a transaction of its own; one process at a time.
pub(super) async fn migrate(address: &Address, fill: &Fill<'_>) -> Result<()> {
    let sql = |e| explain("postgres.migrate", &address.place, e);
    let mut conn = PgConnection::connect_with(&address.admin()).await.map_err(sql)?;
    let found = inspect(&mut conn, &address.place, fill.schema).await?;
    if found != Found::Version(newest()) {
        if let Found::Version(from) = found {
            // A copy of a database is its operator's: AM can neither make nor keep one from here.
            tracing::warn!(
                place = address.place,
                from,
                to = newest(),
                "the tables are brought to a newer version; an older AM cannot open them afterwards, except from your backup"
            );
        }
        for m in MIGRATIONS {
            step(&mut conn, address, fill, m).await?;
        }
    }
    conn.close().await.map_err(sql)
}

async fn step(conn: &mut PgConnection, address: &Address, fill: &Fill<'_>, m: &Migration) -> Result<()> {
    let sql = |e| explain("postgres.migrate", &address.place, e);
    let schema = fill.schema;
    let mut tx = conn.begin().await.map_err(sql)?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('am migrate ' || $1::text, 0))")
        .bind(schema)
        .execute(&mut *tx)
        .await
        .map_err(sql)?;
    // Another process may have done it while this one waited for the lock.
    match inspect(&mut tx, &address.place, schema).await? {
        Found::Version(v) if v >= m.version => return tx.rollback().await.map_err(sql),
        _ => {}
    }
    let before = format!(
        "CREATE SCHEMA IF NOT EXISTS {schema};
         CREATE TABLE IF NOT EXISTS {schema}.am_version (version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());"
    );
    sqlx::raw_sql(AssertSqlSafe(before)).execute(&mut *tx).await.map_err(sql)?;
    for part in m.sql {
        let text = fill.fill(part);
        if !text.is_empty() {
            sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *tx).await.map_err(sql)?;
        }
    }
    let note = format!("INSERT INTO {schema}.am_version (version) VALUES ({})", m.version);
    sqlx::raw_sql(AssertSqlSafe(note)).execute(&mut *tx).await.map_err(sql)?;
    tx.commit().await.map_err(sql)
}

/// Lets the application's role use the tables, and nothing else; makes the role where that is allowed.
pub(super) async fn grant(address: &Address, schema: &str, role: &str) -> Result<()> {
    let sql = |e| explain("postgres.migrate", &address.place, e);
    let mut conn = PgConnection::connect_with(&address.admin()).await.map_err(sql)?;
    let row = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1),
           coalesce((SELECT pg_has_role(current_user, oid, 'MEMBER') FROM pg_roles WHERE rolname = $1), false),
           has_schema_privilege(coalesce((SELECT rolname FROM pg_roles WHERE rolname = $1), current_user), $2, 'USAGE')",
    )
    .bind(role)
    .bind(schema)
    .fetch_one(&mut conn)
    .await
    .map_err(sql)?;
    let (there, member): (bool, bool) = (row.try_get(0).map_err(sql)?, row.try_get(1).map_err(sql)?);
    let mut text = String::new();
    if !there {
        text.push_str(&format!("CREATE ROLE {role} NOLOGIN NOBYPASSRLS; "));
    }
    if !there || !member {
        text.push_str(&format!("GRANT {role} TO current_user; "));
    }
    text.push_str(&format!(
        "GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
         GRANT SELECT, USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA {schema} TO {role};
         REVOKE INSERT, UPDATE, DELETE ON {schema}.am_version FROM {role};"
    ));
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut conn).await.map_err(sql)?;
    conn.close().await.map_err(sql)
}
