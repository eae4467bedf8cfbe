//! PF5: questions to a store with five million readings, against the SQL that a program would write over bare tables.

use std::sync::Arc;
use std::time::Duration;

use am_core::{Ctx, DeviceId, ReadingId, Timestamp};
use am_pipeline::TokioClock;
use am_schema::{Catalogue, Kind, Reading, v1};
use am_store::model::{AggregateQuery, BucketWidth, LatestQuery, PutOutcome, ScanQuery};
use am_store::sqlite::{SqliteOptions, Synchronous};
use am_store::traits::Backend;

use crate::bare_queries::Bare;
use crate::harness::{Options, Row, Stopwatch, Target, percentile};
use crate::pf04_timescale::put_all;
use crate::served::{BATCH, Failed, heart_rates_from, scope};
use crate::services::{self, Database};

pub(crate) const DEVICES: usize = 20;
/// The device that has a year.
pub(crate) const YEAR: &str = "watch-year";
const YEAR_FROM: i64 = 1_735_689_600;
const DAY: i64 = 86_400;
/// Batches that are made and put at a time.
const GROUP: usize = 200;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Question {
    /// All readings of a device in `[from, to)`.
    Span,
    /// The latest reading of each device.
    Latest,
    /// Five-minute buckets of a device in `[from, to)`.
    Buckets,
    /// Days of [`YEAR`] in `[from, to)`.
    Days,
}

/// Of what.
pub(crate) struct Of {
    pub(crate) device: DeviceId,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// How much there is.
struct Size {
    batches: usize,
    /// Seconds between two readings of the year.
    year_step: i64,
    rounds: usize,
}

impl Size {
    fn readings(&self) -> usize {
        self.batches * BATCH + self.year()
    }

    fn year(&self) -> usize {
        (365 * DAY / self.year_step) as usize
    }

    /// Behind the last reading of the many.
    fn end(&self) -> Timestamp {
        Timestamp::from_second(1_772_323_200 + (self.batches / DEVICES * BATCH) as i64)
    }

    fn of(&self, q: Question, n: usize) -> Result<Of, Failed> {
        let device = DeviceId::new(format!("watch-{}", n * 7 % DEVICES))?;
        // Not always the same hour.
        let end = self.end().saturating_sub(Duration::from_secs(n as u64 % 16 * 60));
        let back = |seconds: u64| end.saturating_sub(Duration::from_secs(seconds));
        Ok(match q {
            Question::Span | Question::Latest => Of { device, from: back(3_600), to: end },
            Question::Buckets => {
                let to = self.end().as_nanos() / 300_000_000_000 * 300;
                Of { device, from: Timestamp::from_second(to - DAY), to: Timestamp::from_second(to) }
            }
            Question::Days => Of {
                device: DeviceId::new(YEAR)?,
                from: Timestamp::from_second(YEAR_FROM),
                to: Timestamp::from_second(YEAR_FROM + 365 * DAY),
            },
        })
    }
}

fn kind() -> Result<Kind, Failed> {
    Catalogue::builtin().get("device.health.heartrate.raw").ok_or_else(|| "no heart rate kind".into())
}

/// A device's year, in batches.
fn year(size: &Size) -> Result<Vec<Vec<Reading>>, Failed> {
    let (kind, device) = (kind()?, DeviceId::new(YEAR)?);
    let one = |n: usize| -> Result<Reading, Failed> {
        let at = Timestamp::from_second(YEAR_FROM + n as i64 * size.year_step);
        let payload = v1::HeartRate { bpm: 50 + (n * 7 % 90) as i32, confidence: 0.97, ..Default::default() };
        let id = ReadingId::v7_from(at, (n as u128).to_le_bytes());
        Ok(Reading::builder(kind, device.clone(), at).id(id).payload(&payload).build()?)
    };
    let all: Vec<usize> = (0..size.year()).collect();
    all.chunks(BATCH).map(|c| c.iter().map(|n| one(*n)).collect()).collect()
}

/// Puts everything into a store, and into a bare one that is not the store's own tables.
async fn load(size: &Size, b: &Backend, bare: &mut Bare) -> Result<(), Failed> {
    for from in (0..size.batches).step_by(GROUP) {
        let batches = heart_rates_from(from, GROUP.min(size.batches - from), false)?;
        put_all(b, &batches, |o| matches!(o, PutOutcome::Stored(_))).await?;
        bare.load(&batches)?;
    }
    for batches in year(size)?.chunks(GROUP) {
        put_all(b, batches, |o| matches!(o, PutOutcome::Stored(_))).await?;
        bare.load(batches)?;
    }
    b.maintenance.tidy().await?;
    Ok(())
}

/// Asks a store; gives how many readings the answer is or counts.
async fn ask(b: &Backend, ctx: &Ctx, q: Question, of: &Of, kind: Kind) -> Result<u64, Failed> {
    let devices = vec![of.device.clone()];
    let width = if q == Question::Days { BucketWidth::Day } else { BucketWidth::FiveMinutes };
    Ok(match q {
        Question::Span => {
            let query = ScanQuery::of([kind]).devices(devices).between(of.from, of.to).limit(10_000);
            b.readings.scan(ctx, &query).await?.items.len() as u64
        }
        Question::Latest => b.readings.latest(ctx, &LatestQuery::of([kind])).await?.len() as u64,
        Question::Buckets | Question::Days => {
            let query = AggregateQuery::new(kind, of.from, of.to, width).devices(devices);
            b.readings.aggregate(ctx, &query).await?.iter().map(|b| b.values.count).sum()
        }
    })
}

/// Times of a question, milliseconds.
struct Times {
    ours: Vec<f64>,
    bare: Vec<f64>,
}

async fn time(size: &Size, b: &Backend, bare: &mut Bare, q: Question) -> Result<Times, Failed> {
    let (ctx, kind) = (Ctx::new(scope()?, Arc::new(TokioClock::default())), kind()?);
    let mut times = Times { ours: Vec::new(), bare: Vec::new() };
    for n in 0..size.rounds + 5 {
        let of = size.of(q, n)?;
        let watch = Stopwatch::default();
        let found = ask(b, &ctx, q, &of, kind).await?;
        let ours = watch.elapsed();
        // A year of rows takes long to count.
        let sparse = q == Question::Days && !n.is_multiple_of(10);
        let theirs = if sparse { None } else { Some((Stopwatch::default(), bare.ask(q, &of).await?)) };
        let theirs = theirs.map(|(watch, n)| (watch.elapsed(), n));
        if found == 0 || theirs.is_some_and(|(_, n)| n != found) {
            return Err(format!("{q:?}: the answer has {found} readings, the bare one {:?}", theirs.map(|t| t.1)).into());
        }
        // The first ones make statements and connections.
        if n >= 5 {
            times.ours.push(ours.as_secs_f64() * 1e3);
            times.bare.extend(theirs.map(|(took, _)| took.as_secs_f64() * 1e3));
        }
    }
    Ok(times)
}

async fn rows(size: &Size, b: &Backend, bare: &mut Bare, place: &str) -> Result<Vec<Row>, Failed> {
    let mut rows = Vec::new();
    let of = format!("{place}, {:.1} M readings", size.readings() as f64 / 1e6);
    for q in [Question::Span, Question::Latest, Question::Buckets, Question::Days] {
        let mut t = time(size, b, bare, q).await?;
        let (what, rolled_up) = match q {
            Question::Span => ("one device, one hour (3,600 readings)", false),
            Question::Latest => ("latest of 21 devices", false),
            Question::Buckets => ("5-minute buckets of a device's day", true),
            Question::Days => ("a device's year by day", true),
        };
        let mut row = |share, name: &str, target| {
            let (ours, baseline) = (percentile(&mut t.ours, share), percentile(&mut t.bare, share));
            let note = format!("{}{}", bare.note(), if rolled_up { "; counts rows, where AM has rollups" } else { "" });
            rows.push(Row { id: "PF5", what: format!("{of}: {what}, {name}"), ours, baseline, unit: "ms", target, note });
        };
        match rolled_up {
            true => {
                row(0.5, "p50", Target::AtMost(1.0));
                row(0.99, "p99", Target::AtMost(10.0));
            }
            false => row(0.5, "p50", Target::RatioAtMost(1.5)),
        }
    }
    Ok(rows)
}

pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())?;
    let size = match options.quick {
        true => Size { batches: 4_000, year_step: 3_600, rounds: 20 },
        false => Size { batches: 10_000, year_step: 60, rounds: 300 },
    };
    let both = async {
        let mut rows = sqlite(&size).await?;
        rows.extend(match services::postgres() {
            Ok(url) => timescale(&size, &url).await?,
            Err(why) => vec![Row::unavailable("PF5", "the same on TimescaleDB", why)],
        });
        Ok::<_, Failed>(rows)
    };
    runtime.block_on(both).map_err(|e| e.to_string())
}

async fn sqlite(size: &Size) -> Result<Vec<Row>, Failed> {
    let folder = tempfile::tempdir()?;
    let mut options = SqliteOptions::new(folder.path().join("am.db"));
    // Only questions are measured here.
    options.synchronous = Synchronous::Off;
    let b = am_store::sqlite::open(options, Arc::new(TokioClock::default()), Catalogue::builtin()).await?;
    let mut bare = Bare::sqlite(&folder.path().join("bare.db"))?;
    load(size, &b, &mut bare).await?;
    rows(size, &b, &mut bare, "SQLite").await
}

async fn timescale(size: &Size, server: &str) -> Result<Vec<Row>, Failed> {
    let db = Database::create(server).await?;
    let b = db.store("am", |_| {}).await?;
    if !db.has_timescale().await? {
        return Ok(vec![Row::unavailable("PF5", "the same on TimescaleDB", "the server has no TimescaleDB")]);
    }
    let mut bare = Bare::postgres(db.connect().await?);
    load(size, &b, &mut bare).await?;
    // As autovacuum does in time.
    sqlx::raw_sql("ANALYZE").execute(&mut db.connect().await?).await?;
    db.checkpoint().await?;
    let rows = rows(size, &b, &mut bare, "TimescaleDB").await?;
    b.maintenance.close().await?;
    Ok(rows)
}
