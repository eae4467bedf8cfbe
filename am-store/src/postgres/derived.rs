//! Slots, generations and lineage of the derived readings in a transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use am_core::{DeviceId, Timestamp};
use am_schema::v1;
use sqlx::{PgConnection, Row};

use super::codec::{self, COLUMNS};
use super::errors::Failure;
use super::insert::{self, Inserted, Item, Key, Means, bounds};
use super::names::StreamName;
use super::postings;
use super::types::{At, Id, Micros};
use crate::model::{ReadingKey, StreamId};
use crate::text::Document;

/// The newest generation of a slot before a reading came.
#[derive(Debug, Clone)]
struct Newest {
    generation: u32,
    seq: i64,
    at: Micros,
    /// The item, when it came in this very transaction.
    item: Option<usize>,
    key: Option<ReadingKey>,
}

/// What becomes of one derived reading.
#[derive(Debug)]
struct One {
    generation: u32,
    slot: Vec<u8>,
    older: Option<Newest>,
    gave_way: bool,
}

/// What becomes of the derived readings of a transaction, by item.
#[derive(Debug, Default)]
pub(super) struct Plan(BTreeMap<usize, One>);

impl Plan {
    pub(super) fn contains(&self, n: usize) -> bool {
        self.0.contains_key(&n)
    }

    pub(super) fn generation(&self, n: usize) -> u32 {
        self.0.get(&n).map_or(0, |o| o.generation)
    }

    /// It takes the slot of an older one.
    pub(super) fn supersedes(&self, n: usize) -> bool {
        self.0.get(&n).is_some_and(|o| o.older.is_some())
    }

    /// A newer one of the same transaction took its slot.
    pub(super) fn gave_way(&self, n: usize) -> bool {
        self.0.get(&n).is_some_and(|o| o.gave_way)
    }

    /// The one whose slot it took.
    pub(super) fn older(&self, n: usize) -> Option<ReadingKey> {
        self.0.get(&n)?.older.as_ref()?.key
    }
}

fn item_key(i: &Item<'_>) -> ReadingKey {
    ReadingKey { stream: StreamId(i.stream.id as u32), recorded_at: i.reading.recorded_at(), id: i.reading.id() }
}

/// Decides generations. Holds a lock on each stream that is derived into, so that no two transactions count the same slot.
pub(super) async fn plan(
    conn: &mut PgConnection,
    items: &[Item<'_>],
    firsts: &[(Key, usize)],
    there: &mut HashMap<usize, Vec<u8>>,
) -> Result<Plan, Failure> {
    let derived: Vec<(Key, usize)> =
        firsts.iter().filter(|(_, n)| items.get(*n).is_some_and(|i| i.reading.lineage().is_some())).copied().collect();
    if derived.is_empty() {
        return Ok(Plan::default());
    }
    let streams: BTreeSet<i32> = derived.iter().map(|(k, _)| k.0).collect();
    sqlx::query("SELECT pg_advisory_xact_lock(('derived'::regclass::oid::bigint % 2147483647)::int, s) FROM unnest($1::int[]) AS s")
        .bind(streams.into_iter().collect::<Vec<_>>())
        .execute(&mut *conn)
        .await?;
    insert::bodies(conn, &derived, there).await?;
    let mut new: Vec<usize> = derived.iter().map(|(_, n)| *n).filter(|n| !there.contains_key(n)).collect();
    new.sort_unstable();
    let mut newest = newest_of(conn, items, &new).await?;
    let mut plan = Plan::default();
    for n in new {
        let Some((i, lineage)) = items.get(n).and_then(|i| Some((i, i.reading.lineage()?))) else { continue };
        let slot = (lineage.slot.clone(), i.stream.id);
        let older = newest.remove(&slot);
        let generation = older.as_ref().map_or(lineage.generation, |o| lineage.generation.max(o.generation.saturating_add(1)));
        if let Some(before) = older.as_ref().and_then(|o| o.item).and_then(|o| plan.0.get_mut(&o)) {
            before.gave_way = true;
        }
        let now = Newest { generation, seq: 0, at: At::of(i.reading.recorded_at()).micros, item: Some(n), key: Some(item_key(i)) };
        plan.0.insert(n, One { generation, slot: slot.0.clone(), older, gave_way: false });
        newest.insert(slot, now);
    }
    Ok(plan)
}

type Slots = HashMap<(Vec<u8>, i32), Newest>;

async fn newest_of(conn: &mut PgConnection, items: &[Item<'_>], new: &[usize]) -> Result<Slots, Failure> {
    let slots: BTreeSet<(&[u8], i32)> =
        new.iter().filter_map(|n| items.get(*n)).filter_map(|i| Some((i.reading.lineage()?.slot.as_slice(), i.stream.id))).collect();
    let rows = sqlx::query(
        "SELECT s.slot, s.stream, d.generation, d.seq, d.at, r.ns, r.id FROM unnest($1::bytea[], $2::int[]) AS s (slot, stream)
         CROSS JOIN LATERAL (SELECT generation, seq, at FROM derived WHERE derived.slot = s.slot AND derived.stream = s.stream
                             ORDER BY generation DESC LIMIT 1) AS d
         LEFT JOIN reading r ON r.seq = d.seq AND r.at = d.at",
    )
    .bind(slots.iter().map(|s| s.0).collect::<Vec<_>>())
    .bind(slots.iter().map(|s| s.1).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    let mut out = Slots::new();
    for r in rows {
        let (stream, at): (i32, Micros) = (r.try_get(1)?, r.try_get_unchecked(4)?);
        let found: (Option<i16>, Option<Id>) = (r.try_get(5)?, r.try_get_unchecked(6)?);
        let key = found.0.zip(found.1).map(|(ns, id)| ReadingKey {
            stream: StreamId(stream as u32),
            recorded_at: At { micros: at, nanos: ns }.time(),
            id: id.reading(),
        });
        let generation = u32::try_from(r.try_get::<i64, _>(2)?).unwrap_or(u32::MAX);
        out.insert((r.try_get(0)?, stream), Newest { generation, seq: r.try_get(3)?, at, item: None, key });
    }
    Ok(out)
}

/// Writes generations, lineage and what gave way.
pub(super) async fn write(
    conn: &mut PgConnection,
    means: &Means<'_>,
    items: &[Item<'_>],
    plan: &Plan,
    seq: &impl Fn(usize) -> i64,
    out: &mut Inserted,
) -> Result<(), Failure> {
    if plan.0.is_empty() {
        return Ok(());
    }
    let of = |n: &usize| items.get(*n).map(|i| At::of(i.reading.recorded_at()).micros).unwrap_or(Micros(0));
    sqlx::query(
        "INSERT INTO derived (slot, stream, generation, seq, at)
         SELECT * FROM unnest($1::bytea[], $2::int[], $3::bigint[], $4::bigint[], $5::timestamptz[])",
    )
    .bind(plan.0.values().map(|o| o.slot.as_slice()).collect::<Vec<_>>())
    .bind(plan.0.keys().map(|n| items.get(*n).map_or(0, |i| i.stream.id)).collect::<Vec<_>>())
    .bind(plan.0.values().map(|o| i64::from(o.generation)).collect::<Vec<_>>())
    .bind(plan.0.keys().map(|n| seq(*n)).collect::<Vec<_>>())
    .bind(plan.0.keys().map(of).collect::<Vec<_>>())
    .execute(&mut *conn)
    .await?;
    lineage(conn, means, items, plan, seq, out).await?;
    supersede(conn, items, plan, seq, out).await
}

/// One line of lineage: from an input to its output.
struct Input {
    stream: i32,
    at: i64,
    output: i64,
    ordinal: i32,
    until: i64,
    output_at: Micros,
    id: Option<Id>,
}

/// The stream that a lineage names, unless no store can hold it: then it cannot be asked for either.
pub(super) fn input_stream(catalogue: &am_schema::Catalogue, scope: i32, input: &v1::LineageInput) -> Option<StreamName> {
    Some((scope, catalogue.get(&input.kind)?, DeviceId::new(&input.device_id).ok()?))
}

async fn lineage(
    conn: &mut PgConnection,
    means: &Means<'_>,
    items: &[Item<'_>],
    plan: &Plan,
    seq: &impl Fn(usize) -> i64,
    out: &mut Inserted,
) -> Result<(), Failure> {
    let time =
        |t: &Option<prost_types::Timestamp>| t.as_ref().and_then(|t| Timestamp::from_parts(t.seconds, t.nanos)).map(Timestamp::as_nanos);
    let mut inputs: Vec<Input> = Vec::new();
    let mut longest: BTreeMap<i32, (StreamName, i64)> = BTreeMap::new();
    for n in plan.0.keys() {
        let Some((i, l)) = items.get(*n).and_then(|i| Some((i, i.reading.lineage()?))) else { continue };
        for (ordinal, input) in (0i32..).zip(&l.inputs) {
            let Some(name) = input_stream(means.catalogue, i.scope, input) else { continue };
            let (Some(stream), Some(at)) = (means.names.stream(&name), time(&input.from)) else { continue };
            let until = time(&input.to).unwrap_or(at);
            let span = until.saturating_sub(at);
            if span > stream.input_span {
                let held = longest.entry(stream.id).or_insert((name, span));
                held.1 = held.1.max(span);
            }
            let id = <[u8; 16]>::try_from(input.reading_id.as_slice()).ok().map(Id);
            let output_at = At::of(i.reading.recorded_at()).micros;
            inputs.push(Input { stream: stream.id, at, output: seq(*n), ordinal, until, output_at, id });
        }
    }
    if !longest.is_empty() {
        sqlx::query(
            "UPDATE stream SET input_span = n.span FROM unnest($1::int[], $2::bigint[]) AS n (id, span)
             WHERE stream.id = n.id AND stream.input_span < n.span",
        )
        .bind(longest.keys().copied().collect::<Vec<_>>())
        .bind(longest.values().map(|(_, s)| *s).collect::<Vec<_>>())
        .execute(&mut *conn)
        .await?;
        out.widened.extend(longest.into_values().map(|(name, span)| (name, 0, span)));
    }
    sqlx::query(
        "INSERT INTO lineage (stream, at, output, ordinal, until, output_at, id)
         SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::int[], $5::bigint[], $6::timestamptz[], $7::uuid[])",
    )
    .bind(inputs.iter().map(|i| i.stream).collect::<Vec<_>>())
    .bind(inputs.iter().map(|i| i.at).collect::<Vec<_>>())
    .bind(inputs.iter().map(|i| i.output).collect::<Vec<_>>())
    .bind(inputs.iter().map(|i| i.ordinal).collect::<Vec<_>>())
    .bind(inputs.iter().map(|i| i.until).collect::<Vec<_>>())
    .bind(inputs.iter().map(|i| i.output_at).collect::<Vec<_>>())
    .bind(inputs.iter().map(|i| i.id).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Marks older generations, takes them out of the text index and tells the feed.
async fn supersede(
    conn: &mut PgConnection,
    items: &[Item<'_>],
    plan: &Plan,
    seq: &impl Fn(usize) -> i64,
    out: &mut Inserted,
) -> Result<(), Failure> {
    let pairs: Vec<(usize, &One, &Newest, ReadingKey)> =
        plan.0.iter().filter_map(|(n, o)| o.older.as_ref().and_then(|old| Some((*n, o, old, old.key?)))).collect();
    if pairs.is_empty() {
        return Ok(());
    }
    let before: Vec<&(usize, &One, &Newest, ReadingKey)> = pairs.iter().filter(|(_, _, old, _)| old.item.is_none()).collect();
    let (seqs, ats): (Vec<i64>, Vec<Micros>) = before.iter().map(|(_, _, old, _)| (old.seq, old.at)).unzip();
    let (min, max) = bounds(ats.iter().copied());
    if !seqs.is_empty() {
        sqlx::query(
            "UPDATE reading SET flags = flags | 4 FROM unnest($1::bigint[], $2::timestamptz[]) AS o (seq, at)
             WHERE reading.seq = o.seq AND reading.at = o.at AND reading.at BETWEEN $3 AND $4",
        )
        .bind(&seqs)
        .bind(&ats)
        .bind(min)
        .bind(max)
        .execute(&mut *conn)
        .await?;
    }
    let at = |k: &ReadingKey| At::of(k.recorded_at);
    sqlx::query(
        "INSERT INTO event (seq, kind, at, stream, ns, id, slot) SELECT seq, 1, at, stream, ns, id, slot
         FROM unnest($1::bigint[], $2::timestamptz[], $3::int[], $4::smallint[], $5::uuid[], $6::bytea[]) AS e (seq, at, stream, ns, id, slot)",
    )
    .bind(pairs.iter().map(|(n, ..)| seq(*n) + 1).collect::<Vec<_>>())
    .bind(pairs.iter().map(|(.., k)| at(k).micros).collect::<Vec<_>>())
    .bind(pairs.iter().map(|(.., k)| k.stream.0 as i32).collect::<Vec<_>>())
    .bind(pairs.iter().map(|(.., k)| at(k).nanos).collect::<Vec<_>>())
    .bind(pairs.iter().map(|(.., k)| Id::of(k.id)).collect::<Vec<_>>())
    .bind(pairs.iter().map(|(_, o, ..)| o.slot.as_slice()).collect::<Vec<_>>())
    .execute(&mut *conn)
    .await?;
    let texts: Vec<(i64, Micros, &Item<'_>)> = before
        .iter()
        .filter_map(|(n, _, old, _)| Some((old.seq, old.at, items.get(*n)?)))
        .filter(|(.., i)| !i.reading.kind().text_fields().is_empty())
        .collect();
    if texts.is_empty() {
        return Ok(());
    }
    let by_seq: HashMap<i64, &Item<'_>> = texts.iter().map(|(s, _, i)| (*s, *i)).collect();
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM reading WHERE seq = ANY ($1) AND at = ANY ($2) AND at BETWEEN $3 AND $4"
    )))
    .bind(texts.iter().map(|t| t.0).collect::<Vec<_>>())
    .bind(texts.iter().map(|t| t.1).collect::<Vec<_>>())
    .bind(min)
    .bind(max)
    .fetch_all(&mut *conn)
    .await?;
    let mut gone = Vec::with_capacity(rows.len());
    for r in &rows {
        let row = codec::Row::read(r)?;
        let seq = row.seq as i64;
        let Some(i) = by_seq.get(&seq) else { continue };
        // The slot is of the stream, so the older reading has the newer one's kind and device.
        if let Some(doc) = Document::of(&row.reading(i.reading.kind(), i.reading.device())?) {
            gone.push((i.scope, seq, doc));
        }
    }
    postings::remove(conn, &gone, &mut out.corpus).await
}
