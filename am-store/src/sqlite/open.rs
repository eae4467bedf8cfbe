//! Opening a store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use am_core::{Clock, Code, Error, Result};
use am_schema::Catalogue;
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use tokio::sync::watch;

use super::errors::explain;
use super::lease::Lease;
use super::migrate::{self, Found, inspect, migrate};
use super::options::{SqliteOptions, Synchronous};
use super::pool::{Pool, open_read_only};
use super::queue::Queue;
use super::rollup::Addition;
use super::rollup_plan;
use super::schema::MIGRATIONS;
use super::streams::{Interned, Names};
use super::writer::{Session, Writer};
use super::{Hand, Sqlite};
use crate::model::Seq;
use crate::traits::Backend;

/// Pages of the write-ahead log after which it is folded into the file.
const CHECKPOINT_PAGES: i64 = 4_000;

/// Opens or makes a store in a file.
///
/// # Errors
/// `STORE_LOCKED` names the process that writes to it, `STORE_NEWER` both versions, `STORE_CORRUPT` a file that is no database.
pub async fn open(options: SqliteOptions, clock: Arc<dyn Clock>, catalogue: Catalogue) -> Result<Backend> {
    let opened = tokio::task::spawn_blocking(move || open_blocking(options, clock, catalogue)).await;
    let store = Arc::new(opened.map_err(|e| Error::new(Code::INTERNAL, format!("opening ended without an answer: {e}")))??);
    Ok(Backend {
        name: "sqlite",
        readings: store.clone(),
        feed: store.clone(),
        flows: store.clone(),
        derivations: store.clone(),
        text: store.clone(),
        dead_letters: store.clone(),
        key_value: store.clone(),
        devices: store.clone(),
        maintenance: store.clone(),
        vectors: Some(store),
    })
}

fn open_blocking(options: SqliteOptions, clock: Arc<dyn Clock>, catalogue: Catalogue) -> Result<Sqlite> {
    let path = options.path.clone();
    let cache_kib = options.cache_mib.clamp(1, 4_096) * 1_024;
    let pool = Pool::new(path.clone(), options.vfs.clone(), options.readers, cache_kib);
    let store = |writer| Sqlite {
        path: path.clone(),
        catalogue: catalogue.clone(),
        clock: clock.clone(),
        pool,
        names: Arc::new(Names::default()),
        writer,
        closed: watch::Sender::new(false),
    };
    if options.read_only {
        check_readable(&path, &options)?;
        return Ok(store(None));
    }
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("sqlite.open", folder.display(), e))?;
    }
    let lease = Lease::take(&path)?;
    let sql = |e| explain("sqlite.open", &path, e);
    refuse_foreign(&path, &options)?;
    let mut conn = open_writer(&path, &options).map_err(sql)?;
    migrate(&mut conn, &path, MIGRATIONS)?;
    if options.vfs.is_none() {
        migrate::sync_folder(&path)?;
    }
    identify(&conn, &*clock).map_err(sql)?;
    rollup_plan::align(&conn, &catalogue).map_err(sql)?;
    let number = |query: &str| conn.query_row(query, [], |r| r.get::<_, i64>(0)).map(|n| n as u64).map_err(sql);
    let head = number("SELECT max(coalesce((SELECT max(seq) FROM reading), 0), coalesce((SELECT max(seq) FROM event), 0))")?;
    let batch = number("SELECT coalesce(max(batch), 0) FROM ingest")?;
    let rolled_up =
        (number("SELECT upto FROM projection WHERE name = 'rollup'")?, number("SELECT upto FROM projection WHERE name = 'balance'")?);
    let queue = Arc::new(Queue::new());
    let (sender, receiver) = watch::channel::<Seq>(head);
    let session = Session {
        conn,
        ids: Interned::default(),
        head,
        batch,
        catalogue: catalogue.clone(),
        clock: clock.clone(),
        scratch: Vec::new(),
        path: path.clone(),
        synchronous: options.synchronous,
        rolled_up,
        pending: (rolled_up.0 == head).then(Addition::default),
        relaxed: false,
    };
    let group = options.group_max_readings.clamp(1, 100_000);
    let writer = Writer { session, queue: queue.clone(), head: sender, group_max_readings: group, lease: Some(lease) };
    let thread = std::thread::Builder::new()
        .name("am-store-writer".into())
        .spawn(move || writer.run())
        .map_err(|e| Error::io("sqlite.open", "the writer's thread", e))?;
    Ok(store(Some(Hand { queue, head: receiver, thread: Mutex::new(Some(thread)) })))
}

/// A file of a newer version or of another program is refused before anything could write to it.
fn refuse_foreign(path: &Path, options: &SqliteOptions) -> Result<()> {
    let there = options.vfs.is_some() || std::fs::metadata(path).is_ok_and(|m| m.len() > 0);
    if !there {
        return Ok(());
    }
    match open_read_only(path, options.vfs.as_deref()) {
        Ok(conn) => inspect(&conn, path, newest()).map(|_| ()),
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen) && options.vfs.is_some() => Ok(()),
        Err(e) => Err(explain("sqlite.open", path, e)),
    }
}

fn check_readable(path: &Path, options: &SqliteOptions) -> Result<()> {
    let conn = open_read_only(path, options.vfs.as_deref()).map_err(|e| explain("sqlite.open", path, e))?;
    match inspect(&conn, path, newest())? {
        Found::Version(v) if v == newest() => Ok(()),
        Found::Version(v) => Err(Error::new(
            Code::STORE_READ_ONLY,
            format!("{} has schema version {v} and must be opened for writing once, to be brought to {}", path.display(), newest()),
        )
        .op("sqlite.open")),
        Found::Empty => Err(Error::new(Code::NOT_FOUND, format!("{} holds no store yet", path.display())).op("sqlite.open")),
    }
}

fn newest() -> i32 {
    MIGRATIONS.last().map_or(0, |m| m.version)
}

fn open_writer(path: &Path, options: &SqliteOptions) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = match &options.vfs {
        Some(v) => Connection::open_with_flags_and_vfs(path, flags, v.as_str())?,
        None => Connection::open_with_flags(path, flags)?,
    };
    conn.busy_timeout(Duration::from_secs(5))?;
    if let Some(bytes) = options.page_size {
        conn.pragma_update(None, "page_size", bytes)?;
    }
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    let synchronous = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Off => "OFF",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    // Only macOS tells a sync from a sync that reaches the disk; elsewhere these do nothing.
    conn.pragma_update(None, "fullfsync", true)?;
    conn.pragma_update(None, "checkpoint_fullfsync", true)?;
    conn.pragma_update(None, "cache_size", -i64::from(options.cache_mib.clamp(1, 4_096) * 1_024))?;
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(conn)
}

/// Gives a new store its own id, which backups and replicas keep.
fn identify(conn: &Connection, clock: &dyn Clock) -> rusqlite::Result<()> {
    let there = conn.query_row("SELECT 1 FROM meta WHERE key = 'store_id'", [], |_| Ok(())).optional()?;
    if there.is_none() {
        let tx = conn.unchecked_transaction()?;
        tx.execute("INSERT INTO meta VALUES ('store_id', randomblob(16)), ('created_at', ?1)", [clock.now().as_nanos()])?;
        tx.commit()?;
    }
    Ok(())
}
