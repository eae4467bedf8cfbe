//! What the rollups of a topic hold, so that a catalogue that counts differently makes them again.

use am_core::{DeviceId, Timestamp};
use am_schema::{Catalogue, Kind};
use rusqlite::{Connection, OptionalExtension};

use super::codec::Row;
use super::rollup::{value, watermark, write};
use crate::buckets::{bucket, kept};
use crate::model::{Aggregate, BucketWidth, Seq};

/// The plan of a topic: how many widths of which number; a question mark while the catalogue does not know it.
fn plan_of(kind: Option<Kind>) -> String {
    match kind.map(|k| (k, k.scalar())) {
        None => "?".into(),
        Some((_, None)) => "none".into(),
        Some((k, Some(s))) => format!("{} of {}", kept(k).len(), s.path),
    }
}

/// Notes the plan by which a topic is being rolled up.
pub(super) fn note(conn: &Connection, topic: &str, kind: Option<Kind>) -> rusqlite::Result<()> {
    let plan = plan_of(kind);
    let held = read(conn, topic)?;
    if held.as_deref() != Some(plan.as_str()) {
        conn.prepare_cached("INSERT OR REPLACE INTO rollup_plan VALUES (?1, ?2)")?.execute((topic, &plan))?;
    }
    Ok(())
}

fn read(conn: &Connection, topic: &str) -> rusqlite::Result<Option<String>> {
    conn.prepare_cached("SELECT plan FROM rollup_plan WHERE topic = ?1")?.query_row([topic], |r| r.get(0)).optional()
}

/// Makes the rollups again of topics that this catalogue counts otherwise than the one that made them. Topics that it does not know
/// are left as they are.
pub(super) fn align(conn: &Connection, catalogue: &Catalogue) -> rusqlite::Result<()> {
    let plans: Vec<(String, String)> = conn
        .prepare("SELECT topic, plan FROM rollup_plan")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let upto = watermark(conn)?;
    for (topic, plan) in plans {
        let Some(kind) = catalogue.get(&topic) else { continue };
        if plan_of(Some(kind)) == plan {
            continue;
        }
        tracing::info!(topic, plan, "the catalogue counts this kind differently now: its rollups are made again");
        let tx = conn.unchecked_transaction()?;
        let streams: Vec<(i64, String)> = tx
            .prepare("SELECT id, device FROM stream WHERE topic = ?1")?
            .query_map([&topic], |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (stream, device) in streams {
            tx.execute("DELETE FROM rollup WHERE stream = ?1", [stream])?;
            if let (Some(_), Ok(device)) = (kind.scalar(), DeviceId::new(device)) {
                again(&tx, stream, kind, &device, upto)?;
            }
        }
        note(&tx, &topic, Some(kind))?;
        tx.commit()?;
    }
    Ok(())
}

/// All buckets of a stream, from its rows in order of time: one open bucket per width.
fn again(conn: &Connection, stream: i64, kind: Kind, device: &DeviceId, upto: Seq) -> rusqlite::Result<()> {
    let mut open: Vec<(BucketWidth, Option<(i64, Aggregate)>)> = kept(kind).iter().map(|w| (*w, None)).collect();
    let mut q = conn
        .prepare("SELECT seq, at, id, batch, flags, body FROM reading WHERE stream = ?1 AND seq <= ?2 AND flags & 4 = 0 ORDER BY at, id")?;
    let mut rows = q.query((stream, upto as i64))?;
    while let Some(r) = rows.next()? {
        let row = Row::read(r)?;
        let at = row.at;
        let Some(v) = value(kind, device, row) else { continue };
        let one = Aggregate::of(Timestamp::from_nanos(at), v);
        for (w, sum) in &mut open {
            let n = bucket(at, *w);
            match sum {
                Some((b, sum)) if *b == n => sum.merge(&one),
                _ => {
                    if let Some((b, done)) = sum.replace((n, one)) {
                        write(conn, (stream, *w, b), &done)?;
                    }
                }
            }
        }
    }
    for (w, sum) in open {
        if let Some((b, done)) = sum {
            write(conn, (stream, w, b), &done)?;
        }
    }
    Ok(())
}
