//! Readings and messages from arbitrary text: what is taken has one canonical text, which gives the same bytes again.
#![no_main]

use am_core::Timestamp;
use am_schema::shapes::MESSAGES;
use am_schema::{Catalogue, Decoder, json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (which, text) = input;
    let now = Timestamp::from_second(1_772_366_400);
    if let Err(r) = Decoder::new(Catalogue::builtin()).decode_json(text, now) {
        assert!(!r.findings.is_empty() && r.wire == text.as_bytes());
    }
    let spec = MESSAGES[usize::from(which) % MESSAGES.len()];
    if let Ok(bytes) = json::read(spec, text) {
        let canonical = json::canonical(spec, &bytes);
        let again = json::read(spec, &canonical).expect("canonical JSON is JSON");
        assert_eq!(json::canonical(spec, &again), canonical);
    }
});
