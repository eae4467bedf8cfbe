//! Numbers of scopes, streams and clients, kept in memory. A committed number never changes its meaning.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use am_core::{DeviceId, Scope};
use am_schema::Kind;
use parking_lot::RwLock;
use sqlx::postgres::PgPool;
use sqlx::{PgConnection, Row};

use super::errors::{Failure, damaged};
use super::pool::alive;
use super::types::escaped;
use crate::model::Provenance;

/// The most names that are kept, of each sort; beyond it the cache begins anew.
const MAX_CACHED: usize = 131_072;

/// What writers know of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    pub id: i32,
    /// The longest reading that this process knows of, in nanoseconds; the table may have a longer one.
    pub span: i64,
    /// The longest lineage input that names it, likewise.
    pub input_span: i64,
}

/// A stream with its scope, as the feed needs it. `kind` is `None` when the catalogue has it no longer.
#[derive(Debug)]
pub(super) struct Named {
    pub scope: Scope,
    pub kind: Option<Kind>,
    pub device: DeviceId,
}

/// A stream's name within its scope.
pub(super) type StreamName = (i32, Kind, DeviceId);
type ClientName = [String; 4];

/// The names of a store.
#[derive(Default)]
pub(super) struct Names {
    scopes: RwLock<HashMap<Scope, i32>>,
    streams: RwLock<HashMap<StreamName, Stream>>,
    clients: RwLock<HashMap<ClientName, i32>>,
    named: RwLock<HashMap<i32, Arc<Named>>>,
}

fn keep<K: Hash + Eq, V>(cache: &RwLock<HashMap<K, V>>, k: K, v: V) {
    let mut cache = cache.write();
    if cache.len() >= MAX_CACHED {
        cache.clear();
    }
    cache.insert(k, v);
}

fn client_name(p: &Provenance) -> ClientName {
    [&p.client, &p.client_version, &p.key_id, &p.boot_id].map(|s| escaped(s).into_owned())
}

impl Names {
    pub(super) fn named(&self, id: i32) -> Option<Arc<Named>> {
        self.named.read().get(&id).cloned()
    }

    pub(super) fn keep_named(&self, id: i32, n: Arc<Named>) {
        keep(&self.named, id, n);
    }

    /// A stream that is known here.
    pub(super) fn stream(&self, name: &StreamName) -> Option<Stream> {
        self.streams.read().get(name).copied()
    }

    /// Notes that a stream's spans grew; to be called once that is committed.
    pub(super) fn widen(&self, name: &StreamName, span: i64, input_span: i64) {
        if let Some(s) = self.streams.write().get_mut(name) {
            (s.span, s.input_span) = (s.span.max(span), s.input_span.max(input_span));
        }
    }

    /// The number of a scope, which is made when it is new.
    pub(super) async fn scope(&self, pool: &PgPool, scope: &Scope) -> Result<i32, Failure> {
        if let Some(id) = self.scopes.read().get(scope) {
            return Ok(*id);
        }
        let mut conn = alive(pool).await?;
        let (tenant, user) = (scope.tenant().as_str(), scope.user().as_str());
        sqlx::query(
            "INSERT INTO scope (tenant_id, user_id) SELECT $1, $2
             WHERE NOT EXISTS (SELECT 1 FROM scope WHERE tenant_id = $1 AND user_id = $2) ON CONFLICT DO NOTHING",
        )
        .bind(tenant)
        .bind(user)
        .execute(&mut *conn)
        .await?;
        let id = super::pool::scope_id(&mut conn, scope).await?.ok_or_else(|| damaged(format_args!("the scope {scope}")))?;
        keep(&self.scopes, scope.clone(), id);
        Ok(id)
    }

    /// The number of a client program, which is made when it is new.
    pub(super) async fn client(&self, pool: &PgPool, p: &Provenance) -> Result<i32, Failure> {
        let name = client_name(p);
        if let Some(id) = self.clients.read().get(&name) {
            return Ok(*id);
        }
        let mut conn = alive(pool).await?;
        let [a, b, c, d] = &name;
        sqlx::query(
            "INSERT INTO client (name, version, key_id, boot_id) SELECT $1, $2, $3, $4
             WHERE NOT EXISTS (SELECT 1 FROM client WHERE name = $1 AND version = $2 AND key_id = $3 AND boot_id = $4)
             ON CONFLICT DO NOTHING",
        )
        .bind(a)
        .bind(b)
        .bind(c)
        .bind(d)
        .execute(&mut *conn)
        .await?;
        let id = sqlx::query_scalar("SELECT id FROM client WHERE name = $1 AND version = $2 AND key_id = $3 AND boot_id = $4")
            .bind(a)
            .bind(b)
            .bind(c)
            .bind(d)
            .fetch_one(&mut *conn)
            .await?;
        keep(&self.clients, name, id);
        Ok(id)
    }

    /// Makes sure that all these streams have numbers which are known here. Committed by itself, so that no transaction waits for
    /// another's new stream, and a number that is known is there.
    pub(super) async fn streams(&self, pool: &PgPool, wanted: &[StreamName]) -> Result<(), Failure> {
        let missing: Vec<&StreamName> = {
            let known = self.streams.read();
            wanted.iter().filter(|n| !known.contains_key(*n)).collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let mut missing = missing;
        missing.sort();
        missing.dedup();
        let mut conn = alive(pool).await?;
        let found = self.look_up(&mut conn, &missing).await?;
        if found < missing.len() {
            let (scopes, topics, devices) = columns(&missing);
            sqlx::query(
                "INSERT INTO stream (scope, topic, device) SELECT * FROM unnest($1::int[], $2::text[], $3::text[]) AS n (scope, topic, device)
                 WHERE NOT EXISTS (SELECT 1 FROM stream s WHERE s.scope = n.scope AND s.topic = n.topic AND s.device = n.device)
                 ON CONFLICT DO NOTHING",
            )
            .bind(scopes)
            .bind(topics)
            .bind(devices)
            .execute(&mut *conn)
            .await?;
            let found = self.look_up(&mut conn, &missing).await?;
            if found < missing.len() {
                return Err(damaged("a stream that was just made").into());
            }
        }
        Ok(())
    }

    async fn look_up(&self, conn: &mut PgConnection, missing: &[&StreamName]) -> Result<usize, Failure> {
        let (scopes, topics, devices) = columns(missing);
        let rows = sqlx::query(
            "SELECT n.ordinality, s.id, s.span, s.input_span
             FROM unnest($1::int[], $2::text[], $3::text[]) WITH ORDINALITY AS n (scope, topic, device)
             JOIN stream s ON s.scope = n.scope AND s.topic = n.topic AND s.device = n.device",
        )
        .bind(scopes)
        .bind(topics)
        .bind(devices)
        .fetch_all(conn)
        .await?;
        let mut found = 0;
        for r in rows {
            let n = usize::try_from(r.try_get::<i64, _>(0)?.saturating_sub(1)).unwrap_or(usize::MAX);
            if let Some(name) = missing.get(n) {
                let stream = Stream { id: r.try_get(1)?, span: r.try_get(2)?, input_span: r.try_get(3)? };
                keep(&self.streams, (*name).clone(), stream);
                found += 1;
            }
        }
        Ok(found)
    }
}

fn columns<'n>(names: &[&'n StreamName]) -> (Vec<i32>, Vec<&'static str>, Vec<&'n str>) {
    let mut out = (Vec::with_capacity(names.len()), Vec::with_capacity(names.len()), Vec::with_capacity(names.len()));
    for (scope, kind, device) in names.iter().copied() {
        out.0.push(*scope);
        out.1.push(kind.topic());
        out.2.push(device.as_str());
    }
    out
}
