//! Flow files from arbitrary text: the checker answers, it never panics.
#![no_main]

use am_pipeline::Registry;
use am_pipeline::flow::Checker;
use am_schema::Catalogue;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(registry) = Registry::builtin() {
        let _ = Checker::new(registry, Catalogue::builtin()).check(&[("a.yaml", text)]);
    }
});
