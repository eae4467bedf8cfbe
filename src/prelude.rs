//! What most programs need: `use am::prelude::*;`.
//!
//! ```
//! use am::prelude::*;
//! let scope = Scope::new("acme", "ada")?;
//! assert_eq!(scope.user().as_str(), "ada");
//! # Ok::<(), am::Error>(())
//! ```

pub use am_core::{Clock, Ctx, DeviceId, Error, ReadingId, Scope, Timestamp, Topic};
pub use am_schema::{Catalogue, Reading, v1};

#[cfg(feature = "client")]
pub use am_client::{Client, ClientOptions};
#[cfg(feature = "connect")]
pub use am_connect::{FolderImport, ImportOptions};
#[cfg(feature = "pipeline")]
pub use am_pipeline::{Batch, Output, Pipeline, Processor, Registry, Sink, Source, TokioClock};
#[cfg(feature = "server")]
pub use am_server::{Server, ServerConfig};
#[cfg(feature = "store")]
pub use am_store::{Store, StoreOptions};
