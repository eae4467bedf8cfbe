//! The feed when several write at once: a place that was read never gets new entries before it.
#![cfg(feature = "postgres")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "test code may fail loudly")]

mod postgres_server;
mod readings;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use am_core::Clock;
use am_pipeline::TokioClock;
use am_store::model::{FeedEvent, FeedQuery, PutOutcome};
use am_store::traits::Backend;
use sqlx::{Connection, PgConnection};

use postgres_server::{Database, open, options, plain};
use readings::{batch, ctx, heart};

fn pages(after: u64, limit: usize) -> FeedQuery {
    let mut q = FeedQuery::after(after, vec![]);
    q.limit = limit;
    q
}

async fn places(b: &Backend, after: u64) -> Vec<u64> {
    b.feed.read(None, &FeedQuery::after(after, vec![])).await.unwrap().entries.iter().map(|e| e.seq).collect()
}

/// A transaction of another program's that drew `k` numbers and wrote a reading under each, and has not ended.
async fn late(db: &Database, k: i64) -> PgConnection {
    let mut conn = db.connect().await;
    sqlx::raw_sql("SET search_path = am, public; BEGIN").execute(&mut conn).await.unwrap();
    let before: i64 = sqlx::query_scalar("SELECT draw($1)").bind(k).fetch_one(&mut conn).await.unwrap();
    sqlx::query(
        "INSERT INTO reading (seq, at, batch, flags, value, stream, ns, id, body)
         SELECT $1 + n, to_timestamp(n), 0, 0, 60, (SELECT min(id) FROM stream), 0, gen_random_uuid(), (SELECT body FROM reading ORDER BY seq LIMIT 1)
         FROM generate_series(1, $2) AS n",
    )
    .bind(before)
    .bind(k)
    .execute(&mut conn)
    .await
    .unwrap();
    sqlx::query("INSERT INTO feed VALUES ($1 + 1, $1 + $2, to_timestamp(1), to_timestamp($2::float8))")
        .bind(before)
        .bind(k)
        .execute(&mut conn)
        .await
        .unwrap();
    conn
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_what_commits_late_is_not_hidden_behind_a_cursor() {
    let Some(db) = Database::new().await else { return };
    let b = open(&db.url, options("am")).await.unwrap();
    b.readings.put(&ctx("ada"), batch(vec![heart("watch", 1, 60)])).await.unwrap();
    let mut slow = late(&db, 3).await;
    // The later one is durable and answered, and can be asked for; the feed waits with it.
    let out = b.readings.put(&ctx("ada"), batch(vec![heart("watch", 2, 61)])).await.unwrap();
    assert_eq!(out.readings, [PutOutcome::Stored(5)]);
    assert_eq!(b.feed.head().await.unwrap(), 1);
    assert_eq!(places(&b, 0).await, [1]);
    assert_eq!(places(&b, 1).await, [0u64; 0]);
    sqlx::raw_sql("COMMIT").execute(&mut slow).await.unwrap();
    b.feed.wait(1).await.unwrap();
    assert_eq!(places(&b, 1).await, [2, 3, 4, 5]);

    // One that ends without a commit holds nothing back either, however it ends.
    for killed in [false, true] {
        let head = b.feed.head().await.unwrap();
        let mut slow = late(&db, 2).await;
        let out = b.readings.put(&ctx("ada"), batch(vec![heart("watch", 10 + i64::from(killed), 61)])).await.unwrap();
        assert_eq!(out.readings, [PutOutcome::Stored(head + 3)]);
        assert_eq!(b.feed.head().await.unwrap(), head);
        if killed {
            let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut slow).await.unwrap();
            db.sql(&format!("SELECT pg_terminate_backend({pid})")).await;
        } else {
            sqlx::raw_sql("ROLLBACK").execute(&mut slow).await.unwrap();
        }
        b.feed.wait(head).await.unwrap();
        assert_eq!(places(&b, head).await, [head + 3]);
    }
    b.maintenance.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_a_cancelled_draw_leaves_the_gate_open() {
    let Some(db) = Database::new().await else { return };
    let b = open(&db.url, plain("am")).await.unwrap();
    // Someone holds the gate, so that a draw waits at it and is cancelled there.
    let mut gate = db.connect().await;
    sqlx::raw_sql("SELECT pg_advisory_lock(('am.feed_number'::regclass::oid::bigint % 2147483647)::int, 0)")
        .execute(&mut gate)
        .await
        .unwrap();
    let mut waiting = db.connect().await;
    let e = sqlx::raw_sql("SET statement_timeout = 200; SELECT am.draw(1)").execute(&mut waiting).await.unwrap_err();
    assert_eq!(e.as_database_error().and_then(|e| e.code()).as_deref(), Some("57014"));
    gate.close().await.unwrap();
    let out = b.readings.put(&ctx("ada"), batch(vec![heart("watch", 1, 60)])).await.unwrap();
    assert!(matches!(out.readings[..], [PutOutcome::Stored(_)]));
    assert_eq!(places(&b, 0).await.len(), 1);
    drop(waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_p01_two_programs_write_and_no_reader_misses_a_place() {
    let Some(db) = Database::new().await else { return };
    let backends = [open(&db.url, options("am")).await.unwrap(), open(&db.url, options("am")).await.unwrap()];
    let reader = open(&db.url, options("am")).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn({
        let (reader, done) = (reader.clone(), done.clone());
        async move {
            let (mut after, mut seen, mut last_look) = (0, Vec::new(), false);
            loop {
                let page = reader.feed.read(None, &pages(after, 37)).await.unwrap();
                assert!(page.entries.iter().all(|e| e.seq > after && e.seq <= page.next));
                let idle = page.entries.is_empty();
                after = page.next;
                for e in page.entries {
                    let FeedEvent::Put(s) = e.event else { panic!("only readings were put") };
                    seen.push((e.seq, s.reading.id()));
                }
                if idle && last_look {
                    return seen;
                }
                last_look = idle && done.load(Ordering::SeqCst);
            }
        }
    });
    let mut writers = Vec::new();
    for (w, b) in backends.iter().cloned().cycle().take(6).enumerate() {
        writers.push(tokio::spawn(async move {
            for n in 0..40i64 {
                // Every fifth batch comes twice, once from each side.
                let device = if n % 5 == 0 { "both".to_owned() } else { format!("d{w}") };
                let batch_of = (0..(1 + (n * 7 + w as i64) % 9)).map(|i| heart(&device, n * 100 + i, 60)).collect();
                b.readings.put(&ctx("ada"), batch(batch_of)).await.unwrap();
            }
        }));
    }
    for w in writers {
        w.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let seen = reading.await.unwrap();
    assert!(seen.windows(2).all(|w| w[0].0 < w[1].0), "places grow");
    let mut whole = Vec::new();
    let mut after = 0;
    loop {
        let page = reader.feed.read(None, &pages(after, 4_096)).await.unwrap();
        whole.extend(page.entries.iter().map(|e| e.seq));
        after = page.next;
        if page.next >= page.head {
            break;
        }
    }
    assert_eq!(seen.iter().map(|(s, _)| *s).collect::<Vec<_>>(), whole, "what was read along the way is all there is");
    let distinct: HashSet<u64> = whole.iter().copied().collect();
    assert_eq!(distinct.len(), whole.len());
    let counts = reader.maintenance.counts(&ctx("ada")).await.unwrap();
    assert!(counts.balanced() && counts.stored == whole.len() as u64 && counts.duplicate > 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_is_told_of_new_readings_and_rollups_are_taken_over() {
    let Some(db) = Database::new().await else { return };
    let one = open(&db.url, options("am")).await.unwrap();
    let mut o = options("am");
    // Only the word of the other program can wake this one in time.
    o.follow_ms = 60_000;
    let two = open(&db.url, o).await.unwrap();
    let ada = ctx("ada");
    let (woken, put) = tokio::join!(
        async {
            let clock = TokioClock::default();
            tokio::select! {
                w = two.feed.wait(0) => w.is_ok(),
                () = clock.sleep(Duration::from_secs(20)) => false,
            }
        },
        one.readings.put(&ada, batch(vec![heart("watch", 1, 60)])),
    );
    put.unwrap();
    assert!(woken, "the other program was not told");
    // The one that followed with rollups ends without a word; the next one goes on.
    drop(one);
    let three = open(&db.url, options("am")).await.unwrap();
    let head = three.feed.head().await.unwrap();
    let clock = TokioClock::default();
    for _ in 0..400 {
        if three.maintenance.stats().await.unwrap().rolled_up_to >= head {
            return;
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
    panic!("rollups were not taken over");
}
