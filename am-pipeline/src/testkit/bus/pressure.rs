//! How full the bus is.

use bytes::Bytes;

use super::bench::{Bench, collect, tags};
use crate::bus::{Message, Parcel, Parcels};

/// Bytes that are published: they must show on a bus with small limits.
const BYTES: usize = 2 << 20;
const EACH: usize = 32 << 10;

async fn until(b: &Bench, what: &str, holds: impl Fn(f64) -> bool) -> Result<f64, String> {
    let mut share = f64::NAN;
    for _ in 0..40 {
        share = b.bus.publisher.pressure().await.map_err(|e| format!("pressure: {e}"))?.share();
        if !(0.0..=1_000.0).contains(&share) {
            return Err(format!("the pressure is {share}"));
        }
        if holds(share) {
            return Ok(share);
        }
        b.sleep(200).await;
    }
    Err(format!("the pressure is {share}, and should have {what}"))
}

pub(super) async fn moves(b: &Bench) -> Result<(), String> {
    let mut c = b.join(b.spec()).await?;
    b.sleep(1_100).await;
    let before = until(b, "a value", |_| true).await?;
    let body: Bytes = Parcel { client: "7".repeat(EACH), ..Default::default() }.to_body();
    let messages: Vec<Message> = (0..(BYTES / EACH) as u64).map(|n| Message { body: body.clone(), ..b.message(n) }).collect();
    let n = messages.len();
    b.publish(messages).await?;
    let risen = until(b, "risen", |share| share > before + 0.02).await?;
    let got = collect(&mut c, n).await?;
    c.ack(&tags(&got)).await.map_err(|e| format!("ack: {e}"))?;
    until(b, "fallen", |share| share < risen - (risen - before) / 2.0).await.map(drop)
}
