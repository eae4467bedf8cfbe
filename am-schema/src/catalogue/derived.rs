//! What is made here from other readings.

use super::KindDef;

/// The derived kinds, in the order of the docs.
pub(super) fn kinds() -> Vec<KindDef> {
    vec![]
}
