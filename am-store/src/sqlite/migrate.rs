//! From an older version's tables to this one's.

use std::path::{Path, PathBuf};

use am_core::{Code, Error, Result};
use rusqlite::Connection;

use super::errors::explain;
use super::schema::{APPLICATION_ID, Migration};

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing yet.
    Empty,
    /// A store of this version.
    Version(i32),
}

/// What a file is; refuses what is not ours or newer.
pub(super) fn inspect(conn: &Connection, path: &Path, newest: i32) -> Result<Found> {
    let sql = |e| explain("sqlite.open", path, e);
    let pragma = |name: &str| conn.pragma_query_value(None, name, |r| r.get::<_, i32>(0)).map_err(sql);
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).map_err(sql)?;
    match (application, version) {
        (APPLICATION_ID, v) if v > newest => Err(Error::new(
            Code::STORE_NEWER,
            format!("{} has schema version {v}, this program knows versions up to {newest}", path.display()),
        )
        .op("sqlite.open")),
        (APPLICATION_ID, v) if v > 0 => Ok(Found::Version(v)),
        (0, 0) if tables == 0 => Ok(Found::Empty),
        _ => Err(Error::new(Code::BAD_STORE_URL, format!("{} is a database of another program", path.display())).op("sqlite.open")),
    }
}

/// Brings a file to the newest version, in one transaction; a file that has data is copied first. Gives the copy's path.
pub(super) fn migrate(conn: &mut Connection, path: &Path, migrations: &[Migration]) -> Result<Option<PathBuf>> {
    let sql = |e| explain("sqlite.migrate", path, e);
    let newest = migrations.last().map_or(0, |m| m.version);
    let found = inspect(conn, path, newest)?;
    let from = match found {
        Found::Version(v) if v == newest => return Ok(None),
        Found::Version(v) => v,
        Found::Empty => 0,
    };
    let copy = match found {
        Found::Empty => None,
        Found::Version(v) => Some(back_up(conn, path, v)?),
    };
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(sql)?;
    for m in migrations.iter().filter(|m| m.version > from) {
        tx.execute_batch(m.sql).map_err(sql)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(sql)?;
    tx.pragma_update(None, "user_version", newest).map_err(sql)?;
    tx.commit().map_err(sql)?;
    if from > 0 {
        tracing::info!(path = %path.display(), from, to = newest, "the store was brought to a newer version");
    }
    Ok(copy)
}

/// Copies the file to `PATH.vN.backup`. A copy that is there already stays: it is older and was whole.
fn back_up(conn: &Connection, path: &Path, version: i32) -> Result<PathBuf> {
    let named = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".v{version}.{ending}"));
        PathBuf::from(name)
    };
    let (copy, partial) = (named("backup"), named("partial"));
    if copy.exists() {
        return Ok(copy);
    }
    let io = |e| Error::io("sqlite.migrate", copy.display(), e);
    match std::fs::remove_file(&partial) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    conn.execute("VACUUM INTO ?1", [partial.to_string_lossy()]).map_err(|e| explain("sqlite.migrate", path, e))?;
    std::fs::File::open(&partial).and_then(|f| f.sync_all()).map_err(io)?;
    std::fs::rename(&partial, &copy).map_err(io)?;
    sync_folder(&copy)?;
    Ok(copy)
}

/// Makes names in the file's folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    // Only Unix can sync a folder through a file handle.
    if cfg!(unix) {
        std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io("sqlite.open", folder.display(), e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema::MIGRATIONS;

    const NEXT: &[Migration] = &[
        Migration { version: 1, sql: "CREATE TABLE a (x); INSERT INTO a VALUES (1);" },
        Migration { version: 2, sql: "CREATE TABLE b (x); INSERT INTO b SELECT x + 1 FROM a;" },
    ];

    fn version(conn: &Connection) -> i32 {
        conn.pragma_query_value(None, "user_version", |r| r.get(0)).unwrap()
    }

    #[test]
    fn an_older_file_is_copied_and_then_brought_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("am.db");
        let mut conn = Connection::open(&path).unwrap();
        assert_eq!(migrate(&mut conn, &path, &NEXT[..1]).unwrap(), None);
        let copy = migrate(&mut conn, &path, NEXT).unwrap().unwrap();
        assert_eq!((version(&conn), conn.query_row("SELECT x FROM b", [], |r| r.get::<_, i32>(0)).unwrap()), (2, 2));
        let old = Connection::open(copy).unwrap();
        assert_eq!((version(&old), old.query_row("SELECT x FROM a", [], |r| r.get::<_, i32>(0)).unwrap()), (1, 1));
        assert_eq!(migrate(&mut conn, &path, NEXT).unwrap(), None);
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("am.db");
        let mut conn = Connection::open(&path).unwrap();
        migrate(&mut conn, &path, &NEXT[..1]).unwrap();
        let broken = [Migration { version: 1, sql: "" }, Migration { version: 2, sql: "CREATE TABLE c (x); CREATE TABLE a (x);" }];
        assert!(migrate(&mut conn, &path, &broken).is_err());
        assert_eq!(version(&conn), 1);
        assert_eq!(conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get::<_, i32>(0)).unwrap(), 1);
    }

    #[test]
    fn versions_count_up_without_a_gap() {
        assert!(MIGRATIONS.iter().zip(1..).all(|(m, n)| m.version == n));
    }
}
