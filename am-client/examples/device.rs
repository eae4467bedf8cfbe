//! A device that records a heart rate and uploads it: `cargo run --example device -- --endpoint http://127.0.0.1:50051`.
//!
//! Prints `kept N` once reading N is in the outbox, and the status at the end.
#![allow(clippy::print_stdout, reason = "a program that talks to people")]

use am_client::{Client, ClientOptions};
use am_core::{Clock, DeviceId, Secret};
use am_pipeline::TokioClock;
use am_schema::{Catalogue, Reading, v1};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = ClientOptions::default();
    let (mut count, mut flush, mut device) = (60u64, true, "example-watch".to_owned());
    let mut args = std::env::args().skip(1);
    while let Some(a) = args.next() {
        let mut value = || args.next().ok_or(format!("{a} needs a value"));
        match a.as_str() {
            "--folder" => options.folder = value()?.into(),
            "--endpoint" => options.endpoint = value()?,
            "--key" => options.api_key = Some(Secret::new(value()?)),
            "--device" => device = value()?,
            "--count" => count = value()?.parse()?,
            // Push only; the upload goes on in the background for as long as there is something to push.
            "--quiet-upload" => flush = false,
            _ => return Err(format!("unknown argument {a}; known: --folder --endpoint --key --device --count --quiet-upload").into()),
        }
    }
    let clock = TokioClock::default();
    let client = Client::open(options)?;
    let kind = Catalogue::builtin().get("device.health.heartrate.raw").ok_or("the catalogue has no heart rate")?;
    let device = DeviceId::new(device)?;
    for n in 0..count {
        let reading = Reading::builder(kind, device.clone(), clock.now())
            .id(am_core::ReadingId::v7(clock.now())?)
            .payload(&v1::HeartRate { bpm: 60 + (n % 40) as i32, confidence: 0.95, source: "watch".into(), ..Default::default() })
            .sequence(n + 1)
            .build()?;
        println!("kept {}", client.push(&reading)?);
        tokio::task::yield_now().await;
    }
    if flush {
        client.flush().await?;
    }
    let s = client.status();
    println!("pushed {count}, waiting {}, stored {}, duplicate {}, rejected {}", s.depth, s.stored, s.duplicate, s.rejected);
    client.close().await?;
    Ok(())
}
