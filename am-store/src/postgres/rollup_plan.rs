//! What the rollups of a topic hold, so that a catalogue that counts differently makes them again.

use std::collections::BTreeMap;

use am_core::DeviceId;
use am_schema::{Catalogue, Kind};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::codec::{COLUMNS, Row};
use super::errors::{Failure, damaged};
use super::rollup::watermark;
use super::rollup_step::{Place, write};
use super::types::{At, Id, Micros};
use crate::buckets::{bucket, kept};
use crate::model::{Aggregate, BucketWidth};

/// So many readings are counted again at once.
const RUN: i64 = 4_096;

/// The plan of a topic: how many widths of which number.
fn plan_of(kind: Kind) -> String {
    match kind.scalar() {
        None => "none".into(),
        Some(s) => format!("{} of {}", kept(kind).len(), s.path),
    }
}

/// Notes the plans by which topics are being rolled up.
pub(super) async fn note(conn: &mut PgConnection, kinds: impl Iterator<Item = Kind>) -> Result<(), Failure> {
    let (topics, plans): (Vec<&str>, Vec<String>) = kinds.map(|k| (k.topic(), plan_of(k))).unzip();
    sqlx::query(
        "INSERT INTO rollup_plan AS p (topic, plan) SELECT * FROM unnest($1::text[], $2::text[])
         ON CONFLICT (topic) DO UPDATE SET plan = excluded.plan WHERE p.plan <> excluded.plan",
    )
    .bind(topics)
    .bind(plans)
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes the rollups again of topics that this catalogue counts otherwise than the one that made them. Topics that it does not know
/// are left as they are.
pub(super) async fn align(conn: &mut PgConnection, catalogue: &Catalogue) -> Result<(), Failure> {
    let rows = sqlx::query("SELECT topic, plan FROM rollup_plan").fetch_all(&mut *conn).await?;
    let upto = watermark(conn).await? as i64;
    for r in rows {
        let (topic, plan): (String, String) = (r.try_get(0)?, r.try_get(1)?);
        let Some(kind) = catalogue.get(&topic).filter(|k| plan_of(*k) != plan) else { continue };
        tracing::info!(topic, plan, "the catalogue counts this kind differently now: its rollups are made again");
        let streams = sqlx::query("SELECT id, device FROM stream WHERE topic = $1").bind(&topic).fetch_all(&mut *conn).await?;
        for s in streams {
            let (stream, device): (i32, String) = (s.try_get(0)?, s.try_get(1)?);
            sqlx::query("DELETE FROM rollup WHERE stream = $1").bind(stream).execute(&mut *conn).await?;
            let device = DeviceId::new(device).map_err(|e| damaged("a stream's device").source(e))?;
            again(conn, stream, kind, &device, upto).await?;
        }
        note(conn, std::iter::once(kind)).await?;
    }
    Ok(())
}

/// Numbers and buckets of a stream, from its bodies in order of time.
async fn again(conn: &mut PgConnection, stream: i32, kind: Kind, device: &DeviceId, upto: i64) -> Result<(), Failure> {
    let mut open: Vec<(BucketWidth, Option<(i64, Aggregate)>)> = kept(kind).iter().map(|w| (*w, None)).collect();
    // PostgreSQL's -infinity.
    let mut edge = (At { micros: Micros(i64::MIN), nanos: 0 }, Id::LEAST);
    loop {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM reading WHERE stream = $1 AND (at, ns, id) > ($2, $3, $4) ORDER BY at, ns, id LIMIT $5"
        )))
        .bind(stream)
        .bind(edge.0.micros)
        .bind(edge.0.nanos)
        .bind(edge.1)
        .bind(RUN)
        .fetch_all(&mut *conn)
        .await?;
        let (mut seqs, mut ats, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let mut done: BTreeMap<Place, Aggregate> = BTreeMap::new();
        for r in &rows {
            let row = Row::read(r)?;
            edge = (row.at, row.id);
            let (seq, at, flags) = (row.seq as i64, row.at, row.flags);
            let value = row.reading(kind, device)?.scalar();
            seqs.push(seq);
            ats.push(at.micros);
            values.push(value);
            let Some(v) = value.filter(|_| flags & super::codec::SUPERSEDED == 0 && seq <= upto) else { continue };
            let one = Aggregate::of(at.time(), v);
            for (w, sum) in &mut open {
                let n = bucket(at.nanos(), *w);
                match sum {
                    Some((b, sum)) if *b == n => sum.merge(&one),
                    _ => done.extend(sum.replace((n, one)).map(|(b, sum)| ((stream, *w, b), sum))),
                }
            }
        }
        write(conn, &done).await?;
        // What SQL sees of a reading is the number that the catalogue means now.
        sqlx::query(
            "UPDATE reading SET value = n.value FROM unnest($1::bigint[], $2::timestamptz[], $3::float8[]) AS n (seq, at, value)
             WHERE reading.seq = n.seq AND reading.at = n.at AND reading.value IS DISTINCT FROM n.value",
        )
        .bind(seqs)
        .bind(ats)
        .bind(values)
        .execute(&mut *conn)
        .await?;
        if (rows.len() as i64) < RUN {
            break;
        }
    }
    let rest = open.into_iter().filter_map(|(w, sum)| sum.map(|(b, sum)| ((stream, w, b), sum))).collect();
    write(conn, &rest).await
}
