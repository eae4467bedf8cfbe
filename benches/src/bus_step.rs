//! The bus alone: AM's publisher against async-nats, the same bodies on streams of the same form, every acknowledgement awaited.

use std::future::IntoFuture;
use std::sync::Arc;

use am_core::Ctx;
use am_pipeline::TokioClock;
use am_pipeline::bus::{Area, Bus, Message, Parcel, pack};
use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::harness::{Options, Row, Stopwatch, Target, median, percentile};
use crate::served::{Failed, heart_rates, scope};
use crate::services::Streams;

/// Readings in a parcel.
const PARCEL: usize = 100;
/// Messages of one call, and calls at a time.
const CALL: usize = 32;
const CALLS: usize = 8;

/// Throughput with many in flight, and the wait for one alone.
pub(crate) async fn measure(options: &Options, nats: &str) -> Result<Vec<Row>, Failed> {
    let (ours, raw) = (Streams::new(nats), Streams::new(nats));
    let measured = both(options, nats, &ours, &raw).await;
    ours.remove().await?;
    raw.remove().await?;
    measured
}

/// What one round publishes: parcels as a gateway packs them. Ids differ by round, or the stream would take them for the same.
fn messages(bodies: &[(Message, usize)], round: usize) -> Vec<Message> {
    bodies.iter().map(|(m, n)| Message { id: format!("{round}-{n}"), ..m.clone() }).collect()
}

fn parcels(batches: usize) -> Result<Vec<(Message, usize)>, Failed> {
    let (scope, template) = (scope()?, Parcel { client: "bench".into(), ..Default::default() });
    let batches = heart_rates(batches, false)?;
    let parcels = batches.iter().flat_map(|b| b.chunks(PARCEL)).flat_map(|r| pack(&scope, r, 900_000, Default::default(), &template));
    Ok(parcels.enumerate().map(|(n, (m, _))| (m, n)).collect())
}

async fn both(options: &Options, nats: &str, mine: &Streams, theirs: &Streams) -> Result<Vec<Row>, Failed> {
    let (rounds, batches, singles) = if options.quick { (1, 60, 100) } else { (7, 400, 1_000) };
    let bodies = parcels(batches)?;
    let readings = (bodies.len() * PARCEL) as f64;
    // The second bus only makes the stream.
    let (bus, other) = (mine.open().await?, theirs.open().await?);
    let js = raw(nats).await?;
    let subject = format!("{}.r.acme.ada.device.health.heartrate.raw", theirs.prefix);
    let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
    let (mut alone, mut alone_raw) = (Vec::new(), Vec::new());
    // One more round first, for connections and files.
    for round in 0..=rounds {
        let all = messages(&bodies, round);
        let took = [published(&bus, all.clone()).await?, sent(&js, &subject, &all, true).await?, sent(&js, &subject, &all, false).await?];
        if round > 0 {
            for (into, took) in [&mut a, &mut b, &mut c].into_iter().zip(took) {
                into.push(readings / took);
            }
            singly(&bus, &js, &subject, &bodies, (round, singles), &mut alone, &mut alone_raw).await?;
        }
    }
    other.publisher.close().await?;
    bus.publisher.close().await?;
    let (p99, raw_p99) = (percentile(&mut alone, 0.99), percentile(&mut alone_raw, 0.99));
    let note = format!(
        "async-nats, the same bodies with a message id on a stream of the same form, {CALLS} × {CALL} acknowledgements awaited at a time; \
         without the id, which tells what came twice: {:.0}",
        median(c)
    );
    Ok(vec![
        Row {
            id: "PF6",
            what: "the bus step: parcels of 100 readings published and acknowledged".into(),
            ours: median(a),
            baseline: median(b),
            unit: "readings/s",
            target: Target::RatioAtLeast(0.9),
            note,
        },
        Row {
            id: "PF6",
            what: "publishing one parcel of 100, nothing else in flight: p99".into(),
            ours: p99,
            baseline: raw_p99,
            unit: "ms",
            target: Target::AtMost(1.0),
            note: format!(
                "async-nats, the same bodies with a message id; p50 {:.3} against {:.3}. The server syncs each message before it \
                 acknowledges where it has `sync_interval: always`",
                percentile(&mut alone, 0.5),
                percentile(&mut alone_raw, 0.5)
            ),
        },
    ])
}

async fn raw(nats: &str) -> Result<Context, Failed> {
    let urls: Vec<&str> = nats.split(',').collect();
    Ok(async_nats::jetstream::new(async_nats::connect(urls).await?))
}

/// Seconds until AM's publisher has every acknowledgement.
async fn published(bus: &Bus, all: Vec<Message>) -> Result<f64, Failed> {
    let calls: Vec<Vec<Message>> = all.chunks(CALL).map(<[_]>::to_vec).collect();
    let ctx = Ctx::new(scope()?, Arc::new(TokioClock::default()));
    let (watch, mut running) = (Stopwatch::default(), JoinSet::new());
    for call in calls {
        if running.len() == CALLS {
            running.join_next().await.ok_or("nothing runs")???;
        }
        let (publisher, ctx) = (bus.publisher.clone(), ctx.clone());
        running.spawn(async move {
            for done in publisher.publish(&ctx, call).await {
                if done?.duplicate {
                    return Err(Failed::from("a message was taken for another one"));
                }
            }
            Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(watch.elapsed().as_secs_f64())
}

/// Headers with a message id, or none.
fn headers(id: Option<String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(id) = id {
        headers.insert("Nats-Msg-Id", id);
    }
    headers
}

/// Seconds until async-nats has every acknowledgement.
async fn sent(js: &Context, subject: &str, all: &[Message], with_id: bool) -> Result<f64, Failed> {
    let calls: Vec<Vec<(Option<String>, Bytes)>> =
        all.chunks(CALL).map(|c| c.iter().map(|m| (with_id.then(|| m.id.clone()), m.body.clone())).collect()).collect();
    let (watch, mut running) = (Stopwatch::default(), JoinSet::new());
    for call in calls {
        if running.len() == CALLS {
            running.join_next().await.ok_or("nothing runs")???;
        }
        let (js, subject) = (js.clone(), subject.to_owned());
        running.spawn(async move {
            let mut acks = Vec::with_capacity(CALL);
            for (id, body) in call {
                acks.push(match id {
                    Some(id) => js.publish_with_headers(subject.clone(), headers(Some(id)), body).await?,
                    None => js.publish(subject.clone(), body).await?,
                });
            }
            for ack in acks {
                ack.into_future().await?;
            }
            Ok::<_, Failed>(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(watch.elapsed().as_secs_f64())
}

/// Milliseconds for each message alone, one of ours and one of theirs in turn.
async fn singly(
    bus: &Bus,
    js: &Context,
    subject: &str,
    bodies: &[(Message, usize)],
    (round, many): (usize, usize),
    ours: &mut Vec<f64>,
    raw: &mut Vec<f64>,
) -> Result<(), Failed> {
    let ctx = Ctx::new(scope()?, Arc::new(TokioClock::default()));
    for (m, n) in bodies.iter().cycle().take(many).zip(0..).map(|((m, _), n)| (m, n)) {
        let id = format!("alone-{round}-{n}");
        let watch = Stopwatch::default();
        let done = bus.publisher.publish(&ctx, vec![Message { id: id.clone(), area: Area::Readings, ..m.clone() }]).await;
        ours.push(watch.elapsed().as_secs_f64() * 1e3);
        done.into_iter().next().ok_or("no answer")??;
        let (body, headers, watch) = (m.body.clone(), headers(Some(id)), Stopwatch::default());
        js.publish_with_headers(subject.to_owned(), headers, body).await?.await?;
        raw.push(watch.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
