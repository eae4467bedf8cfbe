//! Brings the views up to date.

use am_schema::Catalogue;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::script;
use crate::postgres::connect::Address;
use crate::postgres::errors::explain;

/// Makes the views anew when they are not those of this catalogue. Gives what to tell where that cannot be: a store serves without
/// them, and a role that makes no tables leaves them as their owner made them.
pub(in crate::postgres) async fn align(address: &Address, schema: &str, catalogue: &Catalogue, vectors: bool) -> Option<String> {
    match try_align(address, schema, catalogue, vectors).await {
        Ok(()) => None,
        Err(e) => {
            let why = explain("postgres.views", &address.place, e);
            Some(format!("the SQL views are not up to date: {}; open the store once as the owner of the schema", why.message()))
        }
    }
}

async fn try_align(address: &Address, schema: &str, catalogue: &Catalogue, vectors: bool) -> sqlx::Result<()> {
    let text = script(catalogue, schema, vectors);
    let digest = blake3::hash(text.as_bytes()).to_hex().to_string();
    let mut conn = PgConnection::connect_with(&address.admin()).await?;
    if held(&mut conn, schema).await?.as_deref() != Some(&digest) {
        let mut tx = conn.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('am views ' || $1::text, 0))").bind(schema).execute(&mut *tx).await?;
        // Another process may have made them while this one waited for the lock.
        if held(&mut tx, schema).await?.as_deref() != Some(&digest) {
            sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *tx).await?;
            let note = format!("INSERT INTO {schema}.meta VALUES ('views', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value");
            sqlx::query(AssertSqlSafe(note)).bind(&digest).execute(&mut *tx).await?;
        }
        tx.commit().await?;
    }
    conn.close().await
}

/// Which views were made.
async fn held(conn: &mut PgConnection, schema: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT value FROM {schema}.meta WHERE key = 'views'"))).fetch_optional(conn).await
}
