//! Device keys: made, checked, revoked.

mod gate;
mod key;

pub(crate) use gate::{Gate, Grant};
pub use key::{KeyGrant, NewKey, create_key, revoke_key};
