//! Sends items different ways.

use am_core::{Ctx, Result};
use am_schema::Reading;
use async_trait::async_trait;

use crate::{Batch, Condition, Output, Processor, Reason};

type Test = Box<dyn Fn(&Reading) -> bool + Send + Sync>;

/// Sends each item the first way whose test it passes.
///
/// ```
/// use am_pipeline::nodes::Router;
/// let router = Router::new()
///     .way("health", |r| r.kind().topic().starts_with("device.health."))
///     .otherwise("rest");
/// ```
#[derive(Default)]
pub struct Router {
    ways: Vec<(String, Test)>,
}

impl Router {
    /// A router without ways: it discards everything for the reason `unrouted`.
    pub fn new() -> Router {
        Router::default()
    }

    /// Adds a way out for what passes a test.
    #[must_use]
    pub fn way(mut self, name: &str, test: impl Fn(&Reading) -> bool + Send + Sync + 'static) -> Router {
        self.ways.push((name.to_owned(), Box::new(test)));
        self
    }

    /// Adds a way out for what a condition holds for.
    #[must_use]
    pub fn when(self, name: &str, condition: Condition) -> Router {
        self.way(name, move |r| condition.holds(r))
    }

    /// Adds the way out for everything else; without it, it is discarded for the reason `unrouted`.
    #[must_use]
    pub fn otherwise(self, name: &str) -> Router {
        self.way(name, |_| true)
    }

    pub(crate) fn ports(&self) -> Vec<String> {
        self.ways.iter().map(|(n, _)| n.clone()).collect()
    }
}

#[async_trait]
impl Processor for Router {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        for item in batch {
            match self.ways.iter().position(|(_, test)| test(item.reading())) {
                Some(port) => out.emit_to(port as u16, item),
                None => out.discard(item, Reason::new("unrouted")),
            }
        }
        Ok(())
    }

    async fn flush(&mut self, _: &Ctx, _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}
