//! Encoded readings from arbitrary bytes: what is taken comes through every other form unchanged.
#![no_main]

use am_core::Timestamp;
use am_schema::{Catalogue, Decoder, Reading};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let now = Timestamp::from_second(1_772_366_400);
    let mut decoder = Decoder::new(Catalogue::builtin()).backfill(true);
    match decoder.decode(bytes.to_vec().into(), now) {
        Err(r) => assert!(!r.findings.is_empty() && r.wire == bytes),
        Ok(r) => {
            assert_eq!(decoder.decode(r.to_wire().into(), now).as_ref().ok(), Some(&r));
            let stored = Reading::from_parts(r.kind(), r.device().clone(), r.recorded_at(), r.id(), r.body().clone());
            assert_eq!(stored.as_ref().ok(), Some(&r));
            let json = decoder.decode_json(&r.to_json(), now).expect("its JSON is a reading");
            assert!(json.id() == r.id() && json.same_content(&r));
            let _ = (r.texts(), r.scalar(), r.normalised(), r.metadata().count());
        }
    }
    let trusting = Decoder::new(Catalogue::builtin()).trusted().decode(bytes.to_vec().into(), now);
    if let Ok(r) = trusting {
        let _ = (r.to_json(), r.texts(), r.scalar(), r.normalised(), r.original_sample());
    }
});
