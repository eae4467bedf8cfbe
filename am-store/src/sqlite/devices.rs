//! Devices and their keys.

use am_core::{Code, Ctx, DeviceId, Error, Result, Scope, Timestamp};
use async_trait::async_trait;
use rusqlite::OptionalExtension;

use super::Sqlite;
use super::errors::{Failure, damaged};
use super::queue::{How, Lane, Size};
use super::streams::scope_id;
use crate::traits::{ApiKey, DeviceRow, Devices};

fn device(r: &rusqlite::Row<'_>) -> std::result::Result<DeviceRow, Failure> {
    let name: String = r.get(0)?;
    let kinds: String = r.get(5)?;
    Ok(DeviceRow {
        device: DeviceId::new(&name).map_err(|e| damaged(format_args!("device {name}")).source(e))?,
        name: r.get(1)?,
        model: r.get(2)?,
        os: r.get(3)?,
        app_version: r.get(4)?,
        kinds: serde_json::from_str(&kinds).map_err(|e| damaged(format_args!("the kinds of device {name}")).source(e))?,
        registered_at: Timestamp::from_nanos(r.get(6)?),
    })
}

fn api_key(r: &rusqlite::Row<'_>) -> std::result::Result<ApiKey, Failure> {
    let id: String = r.get(0)?;
    let (tenant, user, device): (String, String, Option<String>) = (r.get(2)?, r.get(3)?, r.get(4)?);
    let broken = |e| damaged(format_args!("key {id}")).source(e);
    let time = |n: Option<i64>| n.map(Timestamp::from_nanos);
    Ok(ApiKey {
        hash: r.get(1)?,
        scope: Scope::new(tenant, user).map_err(broken)?,
        device: device.map(DeviceId::new).transpose().map_err(broken)?,
        expires_at: time(r.get(5)?),
        revoked_at: time(r.get(6)?),
        created_at: Timestamp::from_nanos(r.get(7)?),
        id,
    })
}

#[async_trait]
impl Devices for Sqlite {
    async fn register(&self, ctx: &Ctx, d: DeviceRow) -> Result<bool> {
        let scope = ctx.scope().clone();
        let kinds = serde_json::to_string(&d.kinds).map_err(|e| Error::new(Code::INTERNAL, e.to_string()))?;
        let size = Size { readings: 1, bytes: kinds.len() + 512 };
        self.write(ctx, Lane::Live, size, move |s| {
            let scope = s.ids.scope(&s.conn, &scope)?;
            let known = s
                .conn
                .prepare_cached("SELECT 1 FROM device WHERE scope = ?1 AND device = ?2")?
                .query_row((scope, d.device.as_str()), |_| Ok(()))
                .optional()?;
            s.conn
                .prepare_cached(
                    "INSERT INTO device (scope, device, name, model, os, app_version, kinds, registered_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET name = excluded.name, model = excluded.model,
                       os = excluded.os, app_version = excluded.app_version, kinds = excluded.kinds, registered_at = excluded.registered_at",
                )?
                .execute((scope, d.device.as_str(), &d.name, &d.model, &d.os, &d.app_version, &kinds, d.registered_at.as_nanos()))?;
            Ok(known.is_none())
        })
        .await
    }

    async fn list(&self, ctx: &Ctx) -> Result<Vec<DeviceRow>> {
        let scope = ctx.scope().clone();
        self.read(ctx, "sqlite.devices", move |c| {
            let Some(scope) = scope_id(c, &scope)? else { return Ok(Vec::new()) };
            let mut q = c.prepare_cached(
                "SELECT device, name, model, os, app_version, kinds, registered_at FROM device WHERE scope = ?1 ORDER BY device",
            )?;
            let mut rows = q.query([scope])?;
            let mut out = Vec::new();
            while let Some(r) = rows.next()? {
                out.push(device(r)?);
            }
            Ok(out)
        })
        .await
    }

    async fn add_key(&self, key: ApiKey) -> Result<()> {
        self.write_alone(How::Grouped, Size::default(), move |s| {
            let added = s
                .conn
                .prepare_cached(
                    "INSERT INTO api_key (id, hash, tenant, user, device, expires_at, revoked_at, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
                )?
                .execute((
                    &key.id,
                    &key.hash,
                    key.scope.tenant().as_str(),
                    key.scope.user().as_str(),
                    key.device.as_ref().map(DeviceId::as_str),
                    key.expires_at.map(Timestamp::as_nanos),
                    key.revoked_at.map(Timestamp::as_nanos),
                    key.created_at.as_nanos(),
                ))?;
            match added {
                0 => Err(Error::new(Code::CLOCK_CONFLICT, format!("there is a key {} already", key.id)).op("store.add_key").into()),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn key(&self, id: &str) -> Result<Option<ApiKey>> {
        let id = id.to_owned();
        self.read_any("sqlite.devices", move |c| {
            let mut q =
                c.prepare_cached("SELECT id, hash, tenant, user, device, expires_at, revoked_at, created_at FROM api_key WHERE id = ?1")?;
            let mut rows = q.query([&id])?;
            rows.next()?.map(api_key).transpose()
        })
        .await
    }

    async fn keys(&self, ctx: &Ctx) -> Result<Vec<ApiKey>> {
        let scope = ctx.scope().clone();
        self.read(ctx, "sqlite.devices", move |c| {
            let mut q = c.prepare_cached(
                "SELECT id, hash, tenant, user, device, expires_at, revoked_at, created_at FROM api_key
                 WHERE tenant = ?1 AND user = ?2 ORDER BY id",
            )?;
            let mut rows = q.query((scope.tenant().as_str(), scope.user().as_str()))?;
            let mut out = Vec::new();
            while let Some(r) = rows.next()? {
                out.push(api_key(r)?);
            }
            Ok(out)
        })
        .await
    }

    async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<()> {
        let id = id.to_owned();
        self.write_alone(How::Grouped, Size::default(), move |s| {
            let changed = s
                .conn
                .prepare_cached("UPDATE api_key SET revoked_at = min(coalesce(revoked_at, ?2), ?2) WHERE id = ?1")?
                .execute((&id, at.as_nanos()))?;
            match changed {
                0 => Err(Error::new(Code::NOT_FOUND, format!("there is no key {id}")).op("store.revoke_key").into()),
                _ => Ok(()),
            }
        })
        .await
    }
}
