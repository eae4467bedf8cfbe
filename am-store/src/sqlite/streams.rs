//! Interned scopes and streams.

use std::collections::HashMap;
use std::sync::Arc;

use am_core::{DeviceId, Scope};
use am_schema::{Catalogue, Kind};
use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension};

use super::errors::{Failure, damaged};

/// The most streams that are kept in memory, for each direction; beyond it the cache begins anew.
const MAX_CACHED: usize = 65_536;

/// What the writer knows of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub id: i64,
    pub scope: i64,
    /// The longest reading, in nanoseconds.
    pub span: i64,
    /// The longest lineage input that names it, in nanoseconds.
    pub input_span: i64,
}

/// The writer's ids. Forgotten whenever a transaction is lost, because they may be of rows that are gone.
#[derive(Default)]
pub(super) struct Interned {
    scopes: HashMap<Scope, i64>,
    by_name: HashMap<(i64, Kind, DeviceId), Stream>,
    clients: HashMap<[String; 4], i64>,
}

impl Interned {
    pub(super) fn forget(&mut self) {
        *self = Interned::default();
    }

    /// The number of a scope, which is made when it is new.
    pub(super) fn scope(&mut self, conn: &Connection, scope: &Scope) -> rusqlite::Result<i64> {
        if let Some(id) = self.scopes.get(scope) {
            return Ok(*id);
        }
        let id = match scope_id(conn, scope)? {
            Some(id) => id,
            None => {
                conn.prepare_cached("INSERT INTO scope (tenant, user) VALUES (?1, ?2)")?
                    .execute((scope.tenant().as_str(), scope.user().as_str()))?;
                conn.last_insert_rowid()
            }
        };
        if self.scopes.len() >= MAX_CACHED {
            self.scopes.clear();
        }
        self.scopes.insert(scope.clone(), id);
        Ok(id)
    }

    /// A stream, which is made when it is new.
    pub(super) fn stream(&mut self, conn: &Connection, scope: i64, kind: Kind, device: &DeviceId) -> rusqlite::Result<Stream> {
        let name = (scope, kind, device.clone());
        if let Some(s) = self.by_name.get(&name) {
            return Ok(*s);
        }
        let found = conn
            .prepare_cached("SELECT id, span, input_span FROM stream WHERE scope = ?1 AND topic = ?2 AND device = ?3")?
            .query_row((scope, kind.topic(), device.as_str()), |r| {
                Ok(Stream { id: r.get(0)?, scope, span: r.get(1)?, input_span: r.get(2)? })
            })
            .optional()?;
        let stream = match found {
            Some(s) => s,
            None => {
                conn.prepare_cached("INSERT INTO stream (scope, topic, device) VALUES (?1, ?2, ?3)")?.execute((
                    scope,
                    kind.topic(),
                    device.as_str(),
                ))?;
                Stream { id: conn.last_insert_rowid(), scope, span: 0, input_span: 0 }
            }
        };
        self.keep(name, stream);
        Ok(stream)
    }

    fn keep(&mut self, name: (i64, Kind, DeviceId), stream: Stream) {
        if self.by_name.len() >= MAX_CACHED {
            self.by_name.clear();
        }
        self.by_name.insert(name, stream);
    }

    /// Notes a longer reading.
    pub(super) fn widen_span(
        &mut self,
        conn: &Connection,
        s: &mut Stream,
        kind: Kind,
        device: &DeviceId,
        span: i64,
    ) -> rusqlite::Result<()> {
        s.span = span;
        conn.prepare_cached("UPDATE stream SET span = max(span, ?2) WHERE id = ?1")?.execute((s.id, span))?;
        self.keep((s.scope, kind, device.clone()), *s);
        Ok(())
    }

    /// Notes a longer lineage input.
    pub(super) fn widen_input(
        &mut self,
        conn: &Connection,
        s: &mut Stream,
        kind: Kind,
        device: &DeviceId,
        span: i64,
    ) -> rusqlite::Result<()> {
        s.input_span = span;
        conn.prepare_cached("UPDATE stream SET input_span = max(input_span, ?2) WHERE id = ?1")?.execute((s.id, span))?;
        self.keep((s.scope, kind, device.clone()), *s);
        Ok(())
    }

    /// The number of a client program, which is made when it is new.
    pub(super) fn client(&mut self, conn: &Connection, p: &crate::model::Provenance) -> rusqlite::Result<i64> {
        let name = [p.client.clone(), p.client_version.clone(), p.key_id.clone(), p.boot_id.clone()];
        if let Some(id) = self.clients.get(&name) {
            return Ok(*id);
        }
        let found = conn
            .prepare_cached("SELECT id FROM client WHERE name = ?1 AND version = ?2 AND key_id = ?3 AND boot_id = ?4")?
            .query_row((&name[0], &name[1], &name[2], &name[3]), |r| r.get(0))
            .optional()?;
        let id = match found {
            Some(id) => id,
            None => {
                conn.prepare_cached("INSERT INTO client (name, version, key_id, boot_id) VALUES (?1, ?2, ?3, ?4)")?
                    .execute((&name[0], &name[1], &name[2], &name[3]))?;
                conn.last_insert_rowid()
            }
        };
        if self.clients.len() >= MAX_CACHED / 16 {
            self.clients.clear();
        }
        self.clients.insert(name, id);
        Ok(id)
    }
}

/// The number of a scope that may not be there.
pub(super) fn scope_id(conn: &Connection, scope: &Scope) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT id FROM scope WHERE tenant = ?1 AND user = ?2")?
        .query_row((scope.tenant().as_str(), scope.user().as_str()), |r| r.get(0))
        .optional()
}

/// A stream of a scope, as readers see it.
#[derive(Debug, Clone)]
pub(super) struct StreamRow {
    pub id: i64,
    pub kind: Kind,
    pub device: DeviceId,
    pub span: i64,
    pub input_span: i64,
}

/// A scope's streams of these kinds and devices (all when empty) by (kind, device). Those of kinds that the catalogue no longer
/// has are left out: nothing can read them.
pub(super) fn of_scope(
    conn: &Connection,
    catalogue: &Catalogue,
    scope: &Scope,
    kinds: &[Kind],
    devices: &[DeviceId],
) -> Result<Vec<StreamRow>, Failure> {
    let Some(scope) = scope_id(conn, scope)? else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    let mut each = |r: &rusqlite::Row<'_>| -> Result<(), Failure> {
        let Some(kind) = catalogue.get(r.get_ref(1)?.as_str().map_err(|_| damaged("a stream's topic"))?) else { return Ok(()) };
        let device = r.get_ref(2)?.as_str().map_err(|_| damaged("a stream's device"))?;
        if devices.is_empty() || devices.iter().any(|d| d.as_str() == device) {
            let device = DeviceId::new(device).map_err(|e| damaged("a stream's device").source(e))?;
            out.push(StreamRow { id: r.get(0)?, kind, device, span: r.get(3)?, input_span: r.get(4)? });
        }
        Ok(())
    };
    if kinds.is_empty() {
        let mut q = conn.prepare_cached("SELECT id, topic, device, span, input_span FROM stream WHERE scope = ?1")?;
        let mut rows = q.query([scope])?;
        while let Some(r) = rows.next()? {
            each(r)?;
        }
    } else {
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        for k in kinds {
            let mut q = conn.prepare_cached("SELECT id, topic, device, span, input_span FROM stream WHERE scope = ?1 AND topic = ?2")?;
            let mut rows = q.query((scope, k.topic()))?;
            while let Some(r) = rows.next()? {
                each(r)?;
            }
        }
    }
    out.sort_by(|a, b| (a.kind, &a.device).cmp(&(b.kind, &b.device)));
    Ok(out)
}

/// One stream of a scope.
pub(super) fn one(
    conn: &Connection,
    catalogue: &Catalogue,
    scope: i64,
    kind: Kind,
    device: &DeviceId,
) -> Result<Option<StreamRow>, Failure> {
    // A name may carry a kind of another catalogue value; the store's own decides how bodies are read.
    let Some(kind) = catalogue.get(kind.topic()) else { return Ok(None) };
    Ok(conn
        .prepare_cached("SELECT id, span, input_span FROM stream WHERE scope = ?1 AND topic = ?2 AND device = ?3")?
        .query_row((scope, kind.topic(), device.as_str()), |r| {
            Ok(StreamRow { id: r.get(0)?, kind, device: device.clone(), span: r.get(1)?, input_span: r.get(2)? })
        })
        .optional()?)
}

/// A stream with its scope, as the feed needs it. `kind` is `None` when the catalogue has it no longer.
#[derive(Debug)]
pub(super) struct Named {
    pub scope: Scope,
    pub kind: Option<Kind>,
    pub device: DeviceId,
}

/// Streams by number, for all readers. What a committed number means never changes.
#[derive(Default)]
pub(super) struct Names(RwLock<HashMap<i64, Arc<Named>>>);

impl Names {
    /// What a stream's number means.
    pub(super) fn get(&self, conn: &Connection, catalogue: &Catalogue, id: i64) -> Result<Arc<Named>, Failure> {
        if let Some(n) = self.0.read().get(&id) {
            return Ok(n.clone());
        }
        let (tenant, user, topic, device): (String, String, String, String) = conn
            .prepare_cached(
                "SELECT scope.tenant, scope.user, topic, device FROM stream JOIN scope ON scope.id = stream.scope WHERE stream.id = ?1",
            )?
            .query_row([id], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
            .optional()?
            .ok_or_else(|| damaged(format_args!("stream {id}")))?;
        let broken = |e| damaged(format_args!("stream {id}")).source(e);
        let kind = catalogue.get(&topic);
        if kind.is_none() {
            tracing::warn!(topic, "the catalogue has no such kind; its readings stay stored and are not read");
        }
        let named =
            Arc::new(Named { scope: Scope::new(tenant, user).map_err(broken)?, kind, device: DeviceId::new(device).map_err(broken)? });
        let mut cache = self.0.write();
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        cache.insert(id, named.clone());
        Ok(named)
    }
}
