//! Devices and their keys.

use am_core::{Code, Ctx, DeviceId, Error, Result, Scope, Timestamp};
use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::Postgres;
use super::errors::{Failure, damaged};
use super::pool::scope_id;
use super::types::{escaped, plain};
use crate::traits::{ApiKey, DeviceRow, Devices};

fn device(r: &PgRow) -> std::result::Result<DeviceRow, Failure> {
    let name: &str = r.try_get(0)?;
    let text = |n: usize| r.try_get::<String, _>(n).map(plain);
    Ok(DeviceRow {
        device: DeviceId::new(name).map_err(|e| damaged(format_args!("device {name}")).source(e))?,
        name: text(1)?,
        model: text(2)?,
        os: text(3)?,
        app_version: text(4)?,
        // JSON writes a NUL as an escape of its own.
        kinds: serde_json::from_str(r.try_get(5)?).map_err(|e| damaged(format_args!("the kinds of device {name}")).source(e))?,
        registered_at: Timestamp::from_nanos(r.try_get(6)?),
    })
}

fn api_key(r: &PgRow) -> std::result::Result<ApiKey, Failure> {
    let id = plain(r.try_get(0)?);
    let broken = |e| damaged(format_args!("key {id}")).source(e);
    let time = |n: Option<i64>| n.map(Timestamp::from_nanos);
    let hash: &[u8] = r.try_get(1)?;
    Ok(ApiKey {
        hash: hash.try_into().map_err(|_| damaged(format_args!("the hash of key {id}")))?,
        scope: Scope::new(r.try_get::<String, _>(2)?, r.try_get::<String, _>(3)?).map_err(broken)?,
        device: r.try_get::<Option<String>, _>(4)?.map(DeviceId::new).transpose().map_err(broken)?,
        expires_at: time(r.try_get(5)?),
        revoked_at: time(r.try_get(6)?),
        created_at: Timestamp::from_nanos(r.try_get(7)?),
        id,
    })
}

#[async_trait]
impl Devices for Postgres {
    async fn register(&self, ctx: &Ctx, d: DeviceRow) -> Result<bool> {
        let kinds = serde_json::to_string(&d.kinds).map_err(|e| Error::new(Code::INTERNAL, e.to_string()))?;
        let db = &self.db;
        let work = async {
            db.writable()?;
            let scope = db.names.scope(db.pool.plain(), ctx.scope()).await?;
            let mut tx = db.change(Some(ctx.scope())).await?;
            // A row that was inserted has no older version of itself.
            let new = sqlx::query_scalar(
                "INSERT INTO device (scope, device, name, model, os, app_version, kinds, registered_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT (scope, device) DO UPDATE SET name = excluded.name, model = excluded.model, os = excluded.os,
                   app_version = excluded.app_version, kinds = excluded.kinds, registered_at = excluded.registered_at
                 RETURNING xmax = 0",
            )
            .bind(scope)
            .bind(d.device.as_str())
            .bind(&*escaped(&d.name))
            .bind(&*escaped(&d.model))
            .bind(&*escaped(&d.os))
            .bind(&*escaped(&d.app_version))
            .bind(&kinds)
            .bind(d.registered_at.as_nanos())
            .fetch_one(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(new)
        };
        db.run(Some(ctx), "postgres.devices", work).await
    }

    async fn list(&self, ctx: &Ctx) -> Result<Vec<DeviceRow>> {
        let work = async {
            let mut tx = self.db.snapshot(ctx).await?;
            let Some(scope) = scope_id(&mut tx, ctx.scope()).await? else { return Ok(Vec::new()) };
            let rows = sqlx::query(
                "SELECT device, name, model, os, app_version, kinds, registered_at FROM device WHERE scope = $1 ORDER BY device",
            )
            .bind(scope)
            .fetch_all(&mut *tx)
            .await?;
            rows.iter().map(device).collect()
        };
        self.db.run(Some(ctx), "postgres.devices", work).await
    }

    async fn add_key(&self, key: ApiKey) -> Result<()> {
        let work = async {
            let mut tx = self.db.change(None).await?;
            let done = sqlx::query(
                "INSERT INTO api_key (id, hash, tenant_id, user_id, device, expires_at, revoked_at, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            )
            .bind(&*escaped(&key.id))
            .bind(&key.hash[..])
            .bind(key.scope.tenant().as_str())
            .bind(key.scope.user().as_str())
            .bind(key.device.as_ref().map(DeviceId::as_str))
            .bind(key.expires_at.map(Timestamp::as_nanos))
            .bind(key.revoked_at.map(Timestamp::as_nanos))
            .bind(key.created_at.as_nanos())
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            match done.rows_affected() {
                0 => Err(Error::new(Code::CLOCK_CONFLICT, format!("there is a key {} already", key.id)).op("store.add_key").into()),
                _ => Ok(()),
            }
        };
        self.db.run(None, "postgres.devices", work).await
    }

    async fn key(&self, id: &str) -> Result<Option<ApiKey>> {
        let work = async {
            let mut tx = self.db.pool.snapshot(None).await?;
            let found =
                sqlx::query("SELECT id, hash, tenant_id, user_id, device, expires_at, revoked_at, created_at FROM api_key WHERE id = $1")
                    .bind(&*escaped(id))
                    .fetch_optional(&mut *tx)
                    .await?;
            found.map(|r| api_key(&r)).transpose()
        };
        self.db.run(None, "postgres.devices", work).await
    }

    async fn keys(&self, ctx: &Ctx) -> Result<Vec<ApiKey>> {
        let work = async {
            let mut tx = self.db.snapshot(ctx).await?;
            let rows = sqlx::query(
                "SELECT id, hash, tenant_id, user_id, device, expires_at, revoked_at, created_at FROM api_key
                 WHERE tenant_id = $1 AND user_id = $2 ORDER BY id",
            )
            .bind(ctx.scope().tenant().as_str())
            .bind(ctx.scope().user().as_str())
            .fetch_all(&mut *tx)
            .await?;
            rows.iter().map(api_key).collect()
        };
        self.db.run(Some(ctx), "postgres.devices", work).await
    }

    async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<()> {
        let work = async {
            let mut tx = self.db.change(None).await?;
            let done = sqlx::query("UPDATE api_key SET revoked_at = least(revoked_at, $2) WHERE id = $1")
                .bind(&*escaped(id))
                .bind(at.as_nanos())
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            match done.rows_affected() {
                0 => Err(Error::new(Code::NOT_FOUND, format!("there is no key {id}")).op("store.revoke_key").into()),
                _ => Ok(()),
            }
        };
        self.db.run(None, "postgres.devices", work).await
    }
}
