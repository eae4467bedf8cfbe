//! Interned scopes and streams.

use std::sync::Arc;

use am_core::{DeviceId, Scope};
use am_schema::{Catalogue, Kind};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::errors::{Failure, damaged};
use super::names::{Named, Names};

/// A stream of a scope, as readers see it.
#[derive(Debug, Clone)]
pub(super) struct StreamRow {
    pub id: i32,
    pub kind: Kind,
    pub device: DeviceId,
    pub span: i64,
    pub input_span: i64,
}

fn row(catalogue: &Catalogue, r: &PgRow) -> Result<Option<StreamRow>, Failure> {
    let Some(kind) = catalogue.get(r.try_get::<&str, _>(1)?) else { return Ok(None) };
    let device = DeviceId::new(r.try_get::<&str, _>(2)?).map_err(|e| damaged("a stream's device").source(e))?;
    Ok(Some(StreamRow { id: r.try_get(0)?, kind, device, span: r.try_get(3)?, input_span: r.try_get(4)? }))
}

/// A scope's streams of these kinds and devices (all when empty) by (kind, device). Those of kinds that the catalogue no longer
/// has are left out: nothing can read them.
pub(super) async fn of_scope(
    conn: &mut PgConnection,
    catalogue: &Catalogue,
    scope: &Scope,
    kinds: &[Kind],
    devices: &[DeviceId],
) -> Result<Vec<StreamRow>, Failure> {
    let topics: Option<Vec<&str>> = (!kinds.is_empty()).then(|| kinds.iter().map(|k| k.topic()).collect());
    let devices: Option<Vec<&str>> = (!devices.is_empty()).then(|| devices.iter().map(DeviceId::as_str).collect());
    let rows = sqlx::query(
        "SELECT stream.id, topic, device, span, input_span FROM stream JOIN scope ON scope.id = stream.scope
         WHERE tenant_id = $1 AND user_id = $2 AND ($3::text[] IS NULL OR topic = ANY ($3)) AND ($4::text[] IS NULL OR device = ANY ($4))",
    )
    .bind(scope.tenant().as_str())
    .bind(scope.user().as_str())
    .bind(topics)
    .bind(devices)
    .fetch_all(conn)
    .await?;
    let mut out = Vec::with_capacity(rows.len());
    for r in &rows {
        out.extend(row(catalogue, r)?);
    }
    out.sort_by(|a, b| (a.kind, &a.device).cmp(&(b.kind, &b.device)));
    Ok(out)
}

/// One stream of a scope.
pub(super) async fn one(
    conn: &mut PgConnection,
    catalogue: &Catalogue,
    scope: &Scope,
    kind: Kind,
    device: &DeviceId,
) -> Result<Option<StreamRow>, Failure> {
    // A name may carry a kind of another catalogue value; the store's own decides how bodies are read.
    let found = sqlx::query(
        "SELECT stream.id, topic, device, span, input_span FROM stream JOIN scope ON scope.id = stream.scope
         WHERE tenant_id = $1 AND user_id = $2 AND topic = $3 AND device = $4",
    )
    .bind(scope.tenant().as_str())
    .bind(scope.user().as_str())
    .bind(kind.topic())
    .bind(device.as_str())
    .fetch_optional(conn)
    .await?;
    found.map_or(Ok(None), |r| row(catalogue, &r))
}

/// What streams' numbers mean; those that are not known yet are asked for together.
pub(super) async fn named(
    conn: &mut PgConnection,
    names: &Names,
    catalogue: &Catalogue,
    ids: impl Iterator<Item = i32>,
) -> Result<std::collections::HashMap<i32, Arc<Named>>, Failure> {
    let mut known = std::collections::HashMap::new();
    let mut missing = Vec::new();
    for id in ids {
        if known.contains_key(&id) || missing.contains(&id) {
            continue;
        }
        match names.named(id) {
            Some(n) => {
                known.insert(id, n);
            }
            None => missing.push(id),
        }
    }
    if missing.is_empty() {
        return Ok(known);
    }
    let rows = sqlx::query(
        "SELECT stream.id, tenant_id, user_id, topic, device FROM stream JOIN scope ON scope.id = stream.scope WHERE stream.id = ANY ($1)",
    )
    .bind(&missing)
    .fetch_all(conn)
    .await?;
    for r in rows {
        let id: i32 = r.try_get(0)?;
        let broken = |e| damaged(format_args!("stream {id}")).source(e);
        let topic: &str = r.try_get(3)?;
        let kind = catalogue.get(topic);
        if kind.is_none() {
            tracing::warn!(topic, "the catalogue has no such kind; its readings stay stored and are not read");
        }
        let scope = Scope::new(r.try_get::<String, _>(1)?, r.try_get::<String, _>(2)?).map_err(broken)?;
        let device = DeviceId::new(r.try_get::<&str, _>(4)?).map_err(broken)?;
        let named = Arc::new(Named { scope, kind, device });
        names.keep_named(id, named.clone());
        known.insert(id, named);
    }
    match missing.iter().find(|id| !known.contains_key(*id)) {
        Some(id) => Err(damaged(format_args!("stream {id}")).into()),
        None => Ok(known),
    }
}
