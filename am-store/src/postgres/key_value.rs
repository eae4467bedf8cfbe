//! Small values with a time to live.

use std::time::Duration;

use am_core::{Code, Ctx, Error, Result, Timestamp};
use async_trait::async_trait;
use sqlx::{PgConnection, Row};

use super::errors::Failure;
use super::pool::scope_id;
use super::{Db, Postgres};
use crate::limits;
use crate::traits::{KeyValue, Versioned};

/// The version of a value that has not expired, 0 when there is none; holds its row, or the place where it would be, until the
/// transaction ends.
async fn version(conn: &mut PgConnection, scope: i32, key: &str, now: Timestamp) -> std::result::Result<u64, Failure> {
    // A row that is not there cannot be locked; its name can.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($2, $1::bigint + ('key_value'::regclass::oid::bigint << 32)))")
        .bind(scope)
        .bind(key)
        .execute(&mut *conn)
        .await?;
    let found: Option<i64> =
        sqlx::query_scalar("SELECT version FROM key_value WHERE scope = $1 AND key = $2 AND (expires_at IS NULL OR expires_at > $3)")
            .bind(scope)
            .bind(key)
            .bind(now.as_nanos())
            .fetch_optional(conn)
            .await?;
    Ok(found.unwrap_or(0) as u64)
}

impl Db {
    /// Writes if the version is as expected, or whatever it is when none is.
    async fn write_value(
        &self,
        ctx: &Ctx,
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> std::result::Result<u64, Failure> {
        self.writable()?;
        let now = ctx.now();
        let scope = self.names.scope(self.pool.plain(), ctx.scope()).await?;
        let mut tx = self.change(Some(ctx.scope())).await?;
        let held = version(&mut tx, scope, key, now).await?;
        if let Some(e) = expected.filter(|e| *e != held) {
            return Err(Error::new(Code::CAS_MISMATCH, format!("{key} is at version {held}, not {e}")).op("store.compare_and_put").into());
        }
        sqlx::query(
            "INSERT INTO key_value (scope, key, version, expires_at, value) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (scope, key) DO UPDATE SET version = excluded.version, expires_at = excluded.expires_at, value = excluded.value",
        )
        .bind(scope)
        .bind(key)
        .bind((held + 1) as i64)
        .bind(ttl.map(|t| now.saturating_add(t).as_nanos()))
        .bind(value)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(held + 1)
    }
}

#[async_trait]
impl KeyValue for Postgres {
    async fn get(&self, ctx: &Ctx, key: &str) -> Result<Option<Versioned>> {
        limits::key(key)?;
        let work = async {
            let mut tx = self.db.snapshot(ctx).await?;
            let found = sqlx::query(
                "SELECT value, version FROM key_value JOIN scope ON scope.id = key_value.scope
                 WHERE tenant_id = $1 AND user_id = $2 AND key = $3 AND (expires_at IS NULL OR expires_at > $4)",
            )
            .bind(ctx.scope().tenant().as_str())
            .bind(ctx.scope().user().as_str())
            .bind(key)
            .bind(ctx.now().as_nanos())
            .fetch_optional(&mut *tx)
            .await?;
            match found {
                Some(r) => Ok(Some(Versioned { value: r.try_get(0)?, version: r.try_get::<i64, _>(1)? as u64 })),
                None => Ok(None),
            }
        };
        self.db.run(Some(ctx), "postgres.key_value", work).await
    }

    async fn put(&self, ctx: &Ctx, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        limits::key(key)?;
        limits::value(&value)?;
        self.db.run(Some(ctx), "postgres.key_value", self.db.write_value(ctx, key, None, &value, ttl)).await
    }

    async fn compare_and_put(&self, ctx: &Ctx, key: &str, expected: u64, value: Vec<u8>, ttl: Option<Duration>) -> Result<u64> {
        limits::key(key)?;
        limits::value(&value)?;
        self.db.run(Some(ctx), "postgres.key_value", self.db.write_value(ctx, key, Some(expected), &value, ttl)).await
    }

    async fn delete(&self, ctx: &Ctx, key: &str) -> Result<bool> {
        limits::key(key)?;
        let work = async {
            let mut tx = self.db.change(Some(ctx.scope())).await?;
            let Some(scope) = scope_id(&mut tx, ctx.scope()).await? else { return Ok(false) };
            let alive = version(&mut tx, scope, key, ctx.now()).await? > 0;
            sqlx::query("DELETE FROM key_value WHERE scope = $1 AND key = $2").bind(scope).bind(key).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(alive)
        };
        self.db.run(Some(ctx), "postgres.key_value", work).await
    }

    async fn keys(&self, ctx: &Ctx, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        limits::keys(limit)?;
        // No key has a NUL, so none begins with one, and what is behind `a\0…` is what is behind `a`.
        if prefix.contains('\0') {
            return Ok(Vec::new());
        }
        let after = after.map(|a| a.split('\0').next().unwrap_or_default());
        let work = async {
            let mut tx = self.db.snapshot(ctx).await?;
            let Some(scope) = scope_id(&mut tx, ctx.scope()).await? else { return Ok(Vec::new()) };
            // Texts compare byte by byte, so all keys with the prefix stand together.
            let rows = sqlx::query_scalar(
                "SELECT key FROM key_value WHERE scope = $1 AND key >= $2 AND starts_with(key, $2)
                   AND ($3::text IS NULL OR key > $3) AND (expires_at IS NULL OR expires_at > $4)
                 ORDER BY key LIMIT $5",
            )
            .bind(scope)
            .bind(prefix)
            .bind(after)
            .bind(ctx.now().as_nanos())
            .bind(limit as i64)
            .fetch_all(&mut *tx)
            .await?;
            Ok(rows)
        };
        self.db.run(Some(ctx), "postgres.key_value", work).await
    }
}
