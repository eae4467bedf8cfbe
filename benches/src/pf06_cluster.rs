//! PF6: gateway, JetStream, persister, TimescaleDB: how much, how soon, and that the database holds exactly what was sent.

use std::time::Duration;

use am_core::Clock;
use am_pipeline::TokioClock;
use sqlx::AssertSqlSafe;
use sqlx::{PgConnection, Row as _};

use crate::cluster::Cluster;
use crate::harness::{Options, Row, Stopwatch, Target, median};
use crate::pf04_timescale::stream_of;
use crate::served::{BATCH, Failed, Serve, Served, frame, heart_rates_from, pump};
use crate::services::{self, Database, Streams};
use crate::{bus_step, pg_baseline};

const WHAT: &str = "gRPC → gateway → JetStream → persister → TimescaleDB, stored";

pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let (postgres, nats) = match (services::postgres(), services::nats()) {
        (Ok(p), Ok(n)) => (p, n),
        (Err(why), _) | (_, Err(why)) => return Ok(vec![Row::unavailable("PF6", WHAT, why)]),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
    let measure = async {
        let mut rows = bus_step::measure(options, &nats).await?;
        rows.splice(0..0, end_to_end(options, &postgres, &nats).await?);
        Ok::<_, Failed>(rows)
    };
    runtime.block_on(measure).map_err(|e| e.to_string())
}

/// What a set of readings comes to, whatever their order: how many, the sum of their numbers, and all bits of their ids and times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    count: i64,
    values: f64,
    ids: [i64; 2],
    times: i64,
}

impl Sum {
    fn add(&mut self, r: &am_schema::Reading) {
        let id = r.id();
        let half = |n: usize| id.as_bytes().get(n..n + 8).and_then(|b| b.first_chunk::<8>()).map_or(0, |b| i64::from_be_bytes(*b));
        self.count += 1;
        self.values += r.scalar().unwrap_or(0.0);
        self.ids = [self.ids[0] ^ half(0), self.ids[1] ^ half(8)];
        self.times ^= r.recorded_at().as_nanos() / 1_000;
    }

    /// Of what is stored.
    async fn stored(conn: &mut PgConnection) -> Result<Sum, Failed> {
        let r = sqlx::query(
            "SELECT count(*), coalesce(sum(value), 0), coalesce(bit_xor(('x' || substr(hex, 1, 16))::bit(64)::bigint), 0),
               coalesce(bit_xor(('x' || substr(hex, 17))::bit(64)::bigint), 0),
               coalesce(bit_xor((extract(epoch FROM at) * 1000000)::bigint), 0)
             FROM (SELECT value, at, replace(id::text, '-', '') AS hex FROM am.reading) AS r",
        )
        .fetch_one(conn)
        .await?;
        Ok(Sum { count: r.try_get(0)?, values: r.try_get(1)?, ids: [r.try_get(2)?, r.try_get(3)?], times: r.try_get(4)? })
    }
}

/// Readings stored so far, as the balance of custody says.
async fn stored(conn: &mut PgConnection) -> Result<i64, Failed> {
    Ok(sqlx::query_scalar("SELECT coalesce(sum(stored), 0)::bigint FROM am.tally").fetch_one(conn).await?)
}

/// Waits until rollups are at the head, so that they take nothing from what is measured next.
async fn rolled_up(conn: &mut PgConnection, clock: &TokioClock) -> Result<(), Failed> {
    for _ in 0..6_000 {
        let asked = sqlx::query_scalar("SELECT upto >= am.head() FROM am.projection WHERE name = 'rollup'");
        if asked.fetch_one(&mut *conn).await? {
            return Ok(());
        }
        clock.sleep(Duration::from_millis(10)).await;
    }
    Err("rollups do not come to the head".into())
}

/// Seconds of processor time of gateway and persister, and of wall time, per reading.
#[derive(Default)]
struct Costs {
    wall: Vec<f64>,
    bare: Vec<f64>,
    answered: Vec<f64>,
    gateway: Vec<f64>,
    persister: Vec<f64>,
}

async fn end_to_end(options: &Options, postgres: &str, nats: &str) -> Result<Vec<Row>, Failed> {
    let db = Database::create(postgres).await?;
    // Makes the tables before two processes want to.
    db.store("am", |o| o.upkeep = false).await?.maintenance.close().await?;
    if !db.has_timescale().await? {
        return Ok(vec![Row::unavailable("PF6", WHAT, "the server has no TimescaleDB")]);
    }
    let streams = Streams::new(nats);
    let measured = through(options, &db, &streams, nats).await;
    streams.remove().await?;
    measured
}

async fn through(options: &Options, db: &Database, streams: &Streams, nats: &str) -> Result<Vec<Row>, Failed> {
    let (rounds, batches) = if options.quick { (1, 60) } else { (5, 800) };
    let cluster = Cluster { nats: nats.into(), prefix: streams.prefix.clone(), postgres: db.url.clone(), schema: "am".into() };
    let (gateway, persister) = (Served::start(&Serve::Gateway(&cluster))?, Served::start(&Serve::Persister(&cluster))?);
    let (clock, mut conn) = (TokioClock::default(), db.connect().await?);
    let (mut sent, mut costs, mut first) = (Sum::default(), Costs::default(), Vec::new());
    // One more round first: connections, chunks and statements are there then.
    for round in 0..=rounds {
        let readings = heart_rates_from(round * batches, batches, false)?;
        readings.iter().flatten().for_each(|r| sent.add(r));
        let frames: Vec<_> = readings.iter().map(|b| frame(b)).collect();
        let n = (batches * BATCH) as f64;
        db.checkpoint().await?;
        let (cpu, watch) = ((gateway.cpu()?, persister.cpu()?), Stopwatch::default());
        let answered = pump(gateway.grpc, &frames, frames.len()).await?;
        while stored(&mut conn).await? < sent.count {
            if watch.elapsed() > Duration::from_secs(300) {
                return Err(format!("{} of {} readings are stored after 300 s", stored(&mut conn).await?, sent.count).into());
            }
            clock.sleep(Duration::from_millis(5)).await;
        }
        let wall = watch.elapsed();
        rolled_up(&mut conn, &clock).await?;
        if round == 0 {
            first = frames;
            continue;
        }
        costs.wall.push(wall.as_secs_f64() / n);
        costs.answered.push(answered.as_secs_f64() / n);
        costs.gateway.push(gateway.cpu()?.saturating_sub(cpu.0).as_secs_f64() / n);
        costs.persister.push(persister.cpu()?.saturating_sub(cpu.1).as_secs_f64() / n);
        costs.bare.push(bare(db, &readings).await?.as_secs_f64() / n);
    }
    again(gateway.grpc, &first).await?;
    drop((gateway, persister));
    let there = Sum::stored(&mut conn).await?;
    if there != sent {
        return Err(format!("what is stored is not what was sent: {there:?} instead of {sent:?}").into());
    }
    let each = |list: Vec<f64>| median(list) * 1e6;
    let (wall, answered, bare) = (median(costs.wall), median(costs.answered), median(costs.bare));
    Ok(vec![
        Row {
            id: "PF6",
            what: WHAT.into(),
            ours: 1.0 / wall,
            baseline: 1.0 / bare,
            unit: "readings/s",
            target: Target::AtLeast(120_000.0),
            note: format!(
                "COPY BINARY of the same rows of `reading` alone over 3 connections. Client, gateway, NATS, persister and PostgreSQL share \
                 this machine; of a reading the gateway takes {:.2} and the persister {:.2} µs of processor time. All {} readings are \
                 there once, those that were sent again too",
                each(costs.gateway),
                each(costs.persister),
                sent.count
            ),
        },
        Row {
            id: "PF6",
            what: "the same, answered: on the stream, stored meanwhile".into(),
            ours: 1.0 / answered,
            baseline: 1.0 / bare,
            unit: "readings/s",
            target: Target::Nothing,
            note: "as above".into(),
        },
    ])
}

/// Sends batches again, as a client does that heard nothing: the stream knows them still.
async fn again(gateway: std::net::SocketAddr, frames: &[bytes::Bytes]) -> Result<(), Failed> {
    let (tx, rx) = tokio::sync::mpsc::channel(8);
    let mut answers = crate::noop::stream_batches(crate::noop::channel(gateway).await?, rx).await?;
    for frame in frames.iter().take(20) {
        tx.send(frame.clone()).await?;
        let answer = answers.message().await?.ok_or("the stream ended early")?;
        if let Some(o) = answer.outcomes.iter().find(|o| **o != am_schema::v1::Outcome::Duplicate as i32) {
            return Err(format!("what was sent twice came to outcome {o}").into());
        }
    }
    Ok(())
}

async fn bare(db: &Database, readings: &[Vec<am_schema::Reading>]) -> Result<Duration, Failed> {
    pg_baseline::create(db, "am", "bare").await?;
    let watch = Stopwatch::default();
    pg_baseline::write(db, "bare", readings, 3, 10_000, stream_of).await?;
    let took = watch.elapsed();
    let drop = "SET client_min_messages = error; DROP SCHEMA bare CASCADE";
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut db.connect().await?).await?;
    Ok(took)
}
