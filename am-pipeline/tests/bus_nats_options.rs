//! The settings of the bus on NATS as a configuration file has them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use am_core::config::Loader;
use am_pipeline::bus::nats::{NatsOptions, Retention, StreamOptions};
use am_pipeline::bus::{Area, BusOptions};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    bus: BusOptions,
}

fn load(name: &str) -> NatsOptions {
    let path = format!("{}/../deploy/nats/{name}", env!("CARGO_MANIFEST_DIR"));
    let config: Config = Loader::new().toml(name, &std::fs::read_to_string(path).unwrap()).load().unwrap();
    config.bus.nats.check().unwrap();
    config.bus.nats
}

#[test]
fn the_example_says_what_the_defaults_are() {
    let (o, d) = (load("bus.toml"), NatsOptions::default());
    assert_eq!((&o.streams.work, &o.streams.errors), (&d.streams.work, &d.streams.errors));
    assert_eq!(o.streams.readings, {
        let mut s = StreamOptions::of(Area::Readings);
        s.replicas = 3;
        s
    });
    assert_eq!((o.in_flight_bytes, o.publish_within, o.answer_within), (d.in_flight_bytes, d.publish_within, d.answer_within));
    assert_eq!((o.pressure_limit, o.trim_settled_at, o.single_node_sync), (d.pressure_limit, d.trim_settled_at, d.single_node_sync));
    assert_eq!(o.note_every, d.note_every);
}

#[test]
fn streams_of_other_programs_are_taken_with_their_names_subjects_and_limits() {
    let o = load("existing-streams.toml");
    let (r, w) = (&o.streams.readings, &o.streams.work);
    assert_eq!(
        (o.stream(Area::Readings), o.stream(Area::Work), o.stream(Area::Errors)),
        ("sensor-data".into(), "ml-processing".into(), "am-errors".into())
    );
    assert_eq!(r.subjects, ["sensor.>", "wearable.>", "mobile.>"]);
    assert_eq!(
        (r.retention, r.max_age, r.max_bytes, r.max_msg_size, r.replicas),
        (Retention::Limits, Duration::from_secs(604_800), 100_000_000_000, 1_000_000, 3)
    );
    assert_eq!(
        (w.retention, w.max_age, w.ack_wait, w.max_deliver),
        (Retention::WorkQueue, Duration::from_secs(3_600), Some(Duration::from_secs(300)), 3)
    );
}

#[test]
fn a_setting_that_cannot_be_is_refused_by_its_place() {
    for (text, part) in [
        ("[bus.nats]\nurls = []", "no server"),
        ("[bus.nats]\nprefix = \"a.b\"", "prefix"),
        ("[bus.nats]\nurls = [\"nats://me:pw@host\"]", "as references"),
        ("[bus.nats.auth]\ntoken = \"env:A\"\nnkey = \"env:B\"", "exclude"),
        ("[bus.nats.auth]\nuser = \"me\"", "belong together"),
        ("[bus.nats.streams.work]\nmax_msg_size = \"1kB\"", "max_msg_size"),
        ("[bus.nats.streams.work]\nmax_age = \"soon\"", "soon"),
        ("[bus.nats.streams.work]\nmax_bytes = \"1PB\"", "1PB"),
        ("[bus.nats.streams.work]\nmax_ages = \"1h\"", "max_ages"),
        ("[bus.nats.auth]\ntoken = \"hunter2\"", "env:NAME"),
    ] {
        let loaded = Loader::new().toml("am.toml", text).load::<Config>().and_then(|c| c.bus.nats.check());
        let e = loaded.unwrap_err().to_string();
        assert!(e.contains(part) && !e.contains("hunter2") && !e.contains("pw@"), "{text}: {e}");
    }
}
