//! GPX and FIT from arbitrary bytes: an import ends, and every item is a reading or says why not.
#![no_main]

use am_connect::formats::{fit::FitImport, gpx::GpxImport};
use am_connect::{ImportOptions, Importer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let options = ImportOptions::default();
    let mut gpx = GpxImport::new("a.gpx", bytes, &options);
    while gpx.next().is_some() {}
    let mut fit = FitImport::new("a.fit", bytes, &options);
    while fit.next().is_some() {}
});
