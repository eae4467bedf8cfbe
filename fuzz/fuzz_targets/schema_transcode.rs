//! Any bytes as any message into JSON and back: nothing is lost, even where they are no message.
#![no_main]

use am_schema::json;
use am_schema::shapes::MESSAGES;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (which, bytes) = input;
    let spec = MESSAGES[usize::from(which) % MESSAGES.len()];
    let text = json::canonical(spec, bytes);
    let again = json::read(spec, &text).expect("canonical JSON is JSON");
    assert_eq!(json::canonical(spec, &again), text);
});
