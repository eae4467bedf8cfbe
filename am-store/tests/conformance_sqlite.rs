//! `sqlite:` against the conformance kit.
#![cfg(feature = "sqlite")]

use std::sync::Arc;

use am_core::{Error, Result};
use am_pipeline::TokioClock;
use am_store::sqlite::{self, SqliteOptions};
use am_store::testkit::{Setting, Subject, run_all};
use am_store::traits::Backend;
use async_trait::async_trait;

/// A store in a folder of its own.
struct OnDisk {
    setting: Setting,
    folder: tempfile::TempDir,
}

#[async_trait]
impl Subject for OnDisk {
    async fn open(&self) -> Result<Backend> {
        let options = SqliteOptions::new(self.folder.path().join("am.db"));
        sqlite::open(options, self.setting.clock.clone(), self.setting.catalogue.clone()).await
    }

    fn durable(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_every_promise_of_the_kit() {
    let make = |setting: Setting| {
        let folder = tempfile::tempdir().map_err(|e| Error::io("test", "a folder", e))?;
        Ok(OnDisk { setting, folder })
    };
    let report = run_all(make, Arc::new(TokioClock::default())).await;
    println!("{report}");
    assert!(report.passed(), "{report}");
    assert!(report.verdicts.len() >= 60, "the kit has only {} cases", report.verdicts.len());
}
