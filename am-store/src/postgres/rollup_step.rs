//! One step of the rollups: some entries of the feed, summed up and merged into the buckets that are there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use am_core::Timestamp;
use am_schema::Kind;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::Db;
use super::codec::SUPERSEDED;
use super::errors::Failure;
use super::feed::stretch;
use super::rollup::{COLUMNS, read};
use super::rollup_plan;
use super::stream::next;
use super::streams::named;
use super::types::{At, Micros};
use crate::buckets::{bucket, kept};
use crate::model::{Aggregate, BucketWidth};

/// Stream, width and number of a bucket.
pub(super) type Place = (i32, BucketWidth, i64);

/// The sum of a stream's rows in `[from, to)`, up to a place of the feed.
pub(super) async fn rows(conn: &mut PgConnection, stream: i32, from: i64, to: i64, upto: i64) -> Result<Aggregate, Failure> {
    let (from, to) = (At::of_nanos(from), At::of_nanos(to));
    let mut found = sqlx::query(
        "SELECT at, ns, value FROM reading WHERE stream = $1 AND at >= $2 AND at <= $4 AND (at, ns) >= ($2, $3) AND (at, ns) < ($4, $5)
           AND seq <= $6 AND flags & 4 = 0 AND value IS NOT NULL ORDER BY at, ns, id",
    )
    .bind(stream)
    .bind(from.micros)
    .bind(from.nanos)
    .bind(to.micros)
    .bind(to.nanos)
    .bind(upto)
    .fetch(conn);
    let mut sum = Aggregate::default();
    while let Some(r) = next(&mut found).await? {
        let at = At { micros: r.try_get_unchecked(0)?, nanos: r.try_get_unchecked(1)? };
        sum.merge(&Aggregate::of(at.time(), r.try_get_unchecked(2)?));
    }
    Ok(sum)
}

/// Rolls up a stretch of the feed behind `from`; gives the new watermark.
pub(super) async fn step(conn: &mut PgConnection, db: &Db, from: i64, head: i64) -> Result<i64, Failure> {
    let Some(s) = stretch(conn, from, head).await? else { return Ok(head) };
    let events =
        sqlx::query("SELECT stream, at, ns FROM event WHERE seq > $1 AND seq <= $2").bind(from).bind(s.upto).fetch_all(&mut *conn).await?;
    let readings =
        sqlx::query("SELECT stream, at, ns, flags, value FROM reading WHERE seq > $1 AND seq <= $2 AND at BETWEEN $3 AND $4 ORDER BY seq")
            .bind(from)
            .bind(s.upto)
            .bind(s.min)
            .bind(s.max)
            .fetch_all(&mut *conn)
            .await?;
    let mut streams = BTreeSet::new();
    for r in events.iter().chain(&readings) {
        streams.insert(r.try_get_unchecked::<i32, _>(0)?);
    }
    let names = named(conn, &db.names, &db.catalogue, streams.into_iter()).await?;
    let kinds: HashMap<i32, Kind> = names.iter().filter_map(|(id, n)| Some((*id, n.kind?))).collect();
    let scalar = |stream: i32| kinds.get(&stream).filter(|k| k.scalar().is_some()).copied();
    let mut sums: BTreeMap<Place, Aggregate> = BTreeMap::new();
    let mut again: BTreeSet<Place> = BTreeSet::new();
    let mut counts: BTreeMap<i32, i64> = BTreeMap::new();
    let at = |r: &sqlx::postgres::PgRow| -> Result<i64, Failure> {
        Ok(At { micros: r.try_get_unchecked::<Micros, _>(1)?, nanos: r.try_get_unchecked(2)? }.nanos())
    };
    for r in &events {
        let stream = r.try_get_unchecked(0)?;
        if let Some(kind) = scalar(stream) {
            let at = at(r)?;
            again.extend(kept(kind).iter().map(|w| (stream, *w, bucket(at, *w))));
        }
    }
    // The finest sums first: coarser ones follow from them.
    let mut finest: BTreeMap<(i32, i64), (Kind, Aggregate)> = BTreeMap::new();
    for r in &readings {
        let stream = r.try_get_unchecked(0)?;
        *counts.entry(stream).or_default() += 1;
        let (Some(kind), Some(value)) = (scalar(stream), r.try_get_unchecked::<Option<f64>, _>(4)?) else { continue };
        if r.try_get_unchecked::<i64, _>(3)? & SUPERSEDED != 0 {
            continue;
        }
        let at = at(r)?;
        let width = kept(kind).last().copied().unwrap_or(BucketWidth::Day);
        let sum = finest.entry((stream, bucket(at, width))).or_insert((kind, Aggregate::default()));
        sum.1.merge(&Aggregate::of(Timestamp::from_nanos(at), value));
    }
    for ((stream, n), (kind, sum)) in finest {
        let width = kept(kind).last().copied().unwrap_or(BucketWidth::Day);
        let start = n.saturating_mul(width.nanos());
        for w in kept(kind) {
            sums.entry((stream, *w, bucket(start, *w))).or_default().merge(&sum);
        }
    }
    sums.retain(|p, _| !again.contains(p));
    merge(conn, sums).await?;
    for p in again {
        rebuild(conn, p, s.upto).await?;
    }
    count(conn, &counts).await?;
    let topics: BTreeMap<&str, Kind> = kinds.values().map(|k| (k.topic(), *k)).collect();
    rollup_plan::note(conn, topics.values().copied()).await?;
    sqlx::query("UPDATE projection SET upto = $1 WHERE name = 'rollup'").bind(s.upto).execute(conn).await?;
    Ok(s.upto)
}

/// Merges sums into the buckets that are there.
async fn merge(conn: &mut PgConnection, mut sums: BTreeMap<Place, Aggregate>) -> Result<(), Failure> {
    if sums.is_empty() {
        return Ok(());
    }
    let prefixed = COLUMNS.split(", ").map(|c| format!("r.{c}")).collect::<Vec<_>>().join(", ");
    let held = sqlx::query(AssertSqlSafe(format!(
        "SELECT {prefixed}, r.width FROM unnest($1::int[], $2::smallint[], $3::bigint[]) AS p (stream, width, bucket)
         JOIN rollup r ON r.stream = p.stream AND r.width = p.width AND r.bucket = p.bucket"
    )))
    .bind(sums.keys().map(|p| p.0).collect::<Vec<_>>())
    .bind(sums.keys().map(|p| p.1 as i16).collect::<Vec<_>>())
    .bind(sums.keys().map(|p| p.2).collect::<Vec<_>>())
    .fetch_all(&mut *conn)
    .await?;
    for r in &held {
        let number: i16 = r.try_get_unchecked(11)?;
        let Some(width) = crate::buckets::WIDTHS.into_iter().find(|w| *w as i16 == number) else { continue };
        let (stream, bucket, mut sum) = read(r, width)?;
        if let Some(new) = sums.get_mut(&(stream, width, bucket)) {
            sum.merge(new);
            *new = sum;
        }
    }
    write(conn, &sums).await
}

/// Writes buckets, in place of those that are there.
pub(super) async fn write(conn: &mut PgConnection, sums: &BTreeMap<Place, Aggregate>) -> Result<(), Failure> {
    let offset = |p: &Place, t: Timestamp| t.as_nanos().saturating_sub(p.2.saturating_mul(p.1.nanos()));
    sqlx::query(
        "INSERT INTO rollup (stream, width, bucket, count, sum, min, max, m2, first_at, first, last_at, last)
         SELECT * FROM unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::float8[], $6::float8[], $7::float8[], $8::float8[],
           $9::bigint[], $10::float8[], $11::bigint[], $12::float8[])
         ON CONFLICT (stream, width, bucket) DO UPDATE SET count = excluded.count, sum = excluded.sum, min = excluded.min,
           max = excluded.max, m2 = excluded.m2, first_at = excluded.first_at, first = excluded.first, last_at = excluded.last_at,
           last = excluded.last",
    )
    .bind(sums.keys().map(|p| p.0).collect::<Vec<_>>())
    .bind(sums.keys().map(|p| p.1 as i16).collect::<Vec<_>>())
    .bind(sums.keys().map(|p| p.2).collect::<Vec<_>>())
    .bind(sums.values().map(|a| a.count as i64).collect::<Vec<_>>())
    .bind(sums.values().map(|a| a.sum).collect::<Vec<_>>())
    .bind(sums.values().map(|a| a.min).collect::<Vec<_>>())
    .bind(sums.values().map(|a| a.max).collect::<Vec<_>>())
    .bind(sums.values().map(|a| a.m2).collect::<Vec<_>>())
    .bind(sums.iter().map(|(p, a)| offset(p, a.first.0)).collect::<Vec<_>>())
    .bind(sums.values().map(|a| a.first.1).collect::<Vec<_>>())
    .bind(sums.iter().map(|(p, a)| offset(p, a.last.0)).collect::<Vec<_>>())
    .bind(sums.values().map(|a| a.last.1).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Counts a bucket anew from its rows.
async fn rebuild(conn: &mut PgConnection, (stream, width, bucket): Place, upto: i64) -> Result<(), Failure> {
    let start = bucket.saturating_mul(width.nanos());
    let sum = rows(conn, stream, start, start.saturating_add(width.nanos()), upto).await?;
    if sum.count > 0 {
        return write(conn, &BTreeMap::from([((stream, width, bucket), sum)])).await;
    }
    sqlx::query("DELETE FROM rollup WHERE stream = $1 AND width = $2 AND bucket = $3")
        .bind(stream)
        .bind(width as i16)
        .bind(bucket)
        .execute(conn)
        .await?;
    Ok(())
}

async fn count(conn: &mut PgConnection, counts: &BTreeMap<i32, i64>) -> Result<(), Failure> {
    sqlx::query(
        "INSERT INTO reading_count AS c (stream, readings) SELECT * FROM unnest($1::int[], $2::bigint[])
         ON CONFLICT (stream) DO UPDATE SET readings = c.readings + excluded.readings",
    )
    .bind(counts.keys().copied().collect::<Vec<_>>())
    .bind(counts.values().copied().collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}
