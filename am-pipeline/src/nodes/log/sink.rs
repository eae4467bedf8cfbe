//! Appends readings to a log.

use std::sync::Arc;

use am_core::{Code, Ctx, Error, Result};
use am_schema::Reading;
use async_trait::async_trait;
use parking_lot::Mutex;

use super::segment::Writer;
use crate::{Sink, Written};

/// Appends to a [`super::Log`]; a reading is safe when the write returns: it survives a power cut.
#[derive(Clone)]
pub struct LogSink(Arc<Mutex<Writer>>);

impl LogSink {
    pub(super) fn new(writer: Arc<Mutex<Writer>>) -> LogSink {
        LogSink(writer)
    }
}

#[async_trait]
impl Sink for LogSink {
    async fn write(&mut self, _: &Ctx, readings: &[Reading]) -> Result<Written> {
        let (writer, readings) = (self.0.clone(), readings.to_vec());
        let joined = tokio::task::spawn_blocking(move || writer.lock().append(&readings)).await;
        joined.map_err(|e| Error::new(Code::INTERNAL, format!("the log's thread ended: {e}")).op("log.write"))??;
        Ok(Written::All)
    }
}
