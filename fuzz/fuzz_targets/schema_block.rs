//! Sample blocks from arbitrary bytes: a block that decodes encodes again to samples that are equal to the bit.
#![no_main]

use am_schema::block::{Samples, decode_untrusted, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(block) = decode_untrusted(bytes) else { return };
    let samples: Vec<Samples<'_>> = block.channels.iter().map(|c| c.samples()).collect();
    if let Ok(coded) = encode(block.offsets_ns.as_deref(), &samples) {
        let again = decode_untrusted(&coded).expect("what was encoded decodes");
        let recoded = encode(again.offsets_ns.as_deref(), &again.channels.iter().map(|c| c.samples()).collect::<Vec<_>>());
        assert!(recoded.is_ok_and(|r| r == coded) && again.offsets_ns == block.offsets_ns);
    }
});
