//! Small values with a time to live.

use std::time::Duration;

use am_core::{Code, Ctx, Error, Result, Timestamp};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::Sqlite;
use super::queue::{Lane, Size};
use super::streams::scope_id;
use crate::limits;
use crate::traits::{KeyValue, Versioned};

/// The version of a value that has not expired; 0 when there is none.
fn version(conn: &Connection, scope: i64, key: &str, now: Timestamp) -> rusqlite::Result<u64> {
    let found = conn
        .prepare_cached("SELECT version FROM key_value WHERE scope = ?1 AND key = ?2 AND (expires_at IS NULL OR expires_at > ?3)")?
        .query_row((scope, key, now.as_nanos()), |r| r.get::<_, i64>(0))
        .optional()?;
    Ok(found.unwrap_or(0) as u64)
}

impl Sqlite {
    /// Writes if the version is as expected, or whatever it is when none is.
    async fn write_value(&self, ctx: &Ctx, key: &str, expected: Option<u64>, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        limits::key(key)?;
        limits::value(&value)?;
        let (scope, key, now) = (ctx.scope().clone(), key.to_owned(), ctx.now());
        let size = Size { readings: 1, bytes: key.len() + value.len() };
        self.write(ctx, Lane::Live, size, move |s| {
            let known = scope_id(&s.conn, &scope)?;
            let held = match known {
                Some(id) => version(&s.conn, id, &key, now)?,
                None => 0,
            };
            if let Some(e) = expected.filter(|e| *e != held) {
                return Err(Error::new(Code::CAS_MISMATCH, format!("{key} is at version {held}, not {e}"))
                    .op("store.compare_and_put")
                    .into());
            }
            let scope = s.ids.scope(&s.conn, &scope)?;
            let expires = ttl.map(|t| now.saturating_add(t).as_nanos());
            s.conn
                .prepare_cached(
                    "INSERT INTO key_value (scope, key, version, expires_at, value) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT DO UPDATE SET version = excluded.version, expires_at = excluded.expires_at, value = excluded.value",
                )?
                .execute((scope, &key, (held + 1) as i64, expires, &value))?;
            Ok(held + 1)
        })
        .await
    }
}

#[async_trait]
impl KeyValue for Sqlite {
    async fn get(&self, ctx: &Ctx, key: &str) -> Result<Option<Versioned>> {
        limits::key(key)?;
        let (scope, key, now) = (ctx.scope().clone(), key.to_owned(), ctx.now());
        self.read(ctx, "sqlite.key_value", move |c| {
            let Some(scope) = scope_id(c, &scope)? else { return Ok(None) };
            let found = c
                .prepare_cached(
                    "SELECT value, version FROM key_value WHERE scope = ?1 AND key = ?2 AND (expires_at IS NULL OR expires_at > ?3)",
                )?
                .query_row((scope, &key, now.as_nanos()), |r| Ok(Versioned { value: r.get(0)?, version: r.get::<_, i64>(1)? as u64 }))
                .optional()?;
            Ok(found)
        })
        .await
    }

    async fn put(&self, ctx: &Ctx, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        self.write_value(ctx, key, None, value, ttl).await
    }

    async fn compare_and_put(&self, ctx: &Ctx, key: &str, expected: u64, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        self.write_value(ctx, key, Some(expected), value, ttl).await
    }

    async fn delete(&self, ctx: &Ctx, key: &str) -> Result<bool> {
        limits::key(key)?;
        let (scope, key, now) = (ctx.scope().clone(), key.to_owned(), ctx.now());
        self.write(ctx, Lane::Live, Size::default(), move |s| {
            let Some(scope) = scope_id(&s.conn, &scope)? else { return Ok(false) };
            let alive = version(&s.conn, scope, &key, now)? > 0;
            s.conn.prepare_cached("DELETE FROM key_value WHERE scope = ?1 AND key = ?2")?.execute((scope, &key))?;
            Ok(alive)
        })
        .await
    }

    async fn keys(&self, ctx: &Ctx, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        limits::keys(limit)?;
        let (scope, prefix, after, now) = (ctx.scope().clone(), prefix.to_owned(), after.map(str::to_owned), ctx.now());
        self.read(ctx, "sqlite.key_value", move |c| {
            let Some(scope) = scope_id(c, &scope)? else { return Ok(Vec::new()) };
            // Texts compare byte by byte, so all keys with the prefix stand together.
            let mut q = c.prepare_cached(
                "SELECT key FROM key_value WHERE scope = ?1 AND key >= ?2 AND (?3 IS NULL OR key > ?3)
                   AND (expires_at IS NULL OR expires_at > ?4) ORDER BY key",
            )?;
            let mut rows = q.query((scope, &prefix, &after, now.as_nanos()))?;
            let mut out = Vec::new();
            while let Some(r) = rows.next()? {
                let key: String = r.get(0)?;
                if !key.starts_with(&prefix) || out.len() == limit {
                    break;
                }
                out.push(key);
            }
            Ok(out)
        })
        .await
    }
}
