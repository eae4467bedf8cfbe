//! The kit's cases of the key-value space alone, for those that live elsewhere than the readings do.
//!
//! They are the same cases; everything else that they need comes from a store in memory.
//!
//! ```
//! use std::sync::Arc;
//! use am_pipeline::bus::memory::{self, MemoryBusOptions};
//! use am_store::entries::KeyValueOnEntries;
//! use am_store::testkit::key_value;
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let report = key_value::run(
//!     "entries",
//!     |setting| Box::pin(async move {
//!         let bus = memory::open(MemoryBusOptions::default(), setting.clock);
//!         let none = am_core::Error::new(am_core::Code::NOT_FOUND, "this bus has no entries");
//!         Ok(Arc::new(KeyValueOnEntries::new(bus.entries.ok_or(none)?)) as Arc<_>)
//!     }),
//!     Arc::new(am_pipeline::TokioClock::default()),
//! ).await;
//! assert!(report.passed(), "{report}");
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```

use std::sync::Arc;

use am_core::{BoxFuture, Clock, Result};
use async_trait::async_trait;

use super::{Case, Report, Setting, Subject, run_some};
use crate::memory::{self, MemoryOptions};
use crate::traits::{Backend, KeyValue};

/// Makes a key-value space that is empty, however many were made before.
pub type Make = fn(Setting) -> BoxFuture<'static, Result<Arc<dyn KeyValue>>>;

/// Readings in memory, values under test.
struct Elsewhere {
    name: &'static str,
    setting: Setting,
    make: Make,
}

#[async_trait]
impl Subject for Elsewhere {
    async fn open(&self) -> Result<Backend> {
        let Setting { clock, catalogue } = self.setting.clone();
        let memory = memory::open(MemoryOptions::default(), clock, catalogue);
        let key_value = (self.make)(self.setting.clone()).await?;
        Ok(Backend { name: self.name, key_value, ..memory })
    }

    fn durable(&self) -> bool {
        false
    }
}

/// Whether a case is about the key-value space.
pub fn wanted(case: &Case) -> bool {
    case.id.starts_with("kv.") || case.id == "tenant.odd_ids"
}

/// Runs the cases on a fresh space each. `watch` measures how long a case takes.
pub async fn run(name: &'static str, make: Make, watch: Arc<dyn Clock>) -> Report {
    run_some(|setting| Ok(Elsewhere { name, setting, make }), watch, wanted).await
}
