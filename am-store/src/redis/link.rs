//! The connection: shared by all calls, made again when it is lost, with an end to every wait.

use std::future::Future;
use std::time::Duration;

use am_core::{Code, Ctx, Error, Result, Retry};
use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, RedisResult};

use super::RedisOptions;
use super::errors::explain;

/// The longest pause between two tries to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One connection that all calls go through; Redis answers in order.
pub(super) struct Link {
    client: Client,
    config: ConnectionManagerConfig,
    manager: Mutex<ConnectionManager>,
}

impl Link {
    /// Without connecting yet.
    pub(super) fn new(client: Client, options: &RedisOptions) -> Result<Link> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_max_delay(LONGEST_PAUSE)
            .set_connection_timeout(Some(Duration::from_millis(options.connect_ms.max(1))))
            .set_response_timeout(Some(Duration::from_millis(options.answer_ms.max(1))))
            .set_pipeline_buffer_size(options.waiting.clamp(1, 65_536));
        let manager = lazy(&client, &config)?;
        Ok(Link { client, config, manager: Mutex::new(manager) })
    }

    /// Makes a call within the deadline and until it is cancelled.
    pub(super) async fn call<T, F: Future<Output = RedisResult<T>>>(
        &self,
        ctx: &Ctx,
        op: &'static str,
        wrote: bool,
        call: impl FnOnce(ConnectionManager) -> F,
    ) -> Result<T> {
        ctx.check().map_err(|e| e.op(op))?;
        let manager = self.manager.lock().clone();
        let late = async {
            match ctx.time_left() {
                Some(left) => ctx.clock().sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            r = call(manager) => r,
            () = late => return Err(ended(Code::TIMED_OUT, "Redis did not answer within the deadline", op, wrote)),
            () = ctx.cancel().cancelled() => return Err(ended(Code::CANCELLED, "cancelled by the caller", op, wrote)),
        };
        result.map_err(|e| {
            // The manager remembers a refused password for ever; the next call shall ask again.
            if e.kind() == ErrorKind::AuthenticationFailed
                && let Ok(fresh) = lazy(&self.client, &self.config)
            {
                *self.manager.lock() = fresh;
            }
            explain(op, wrote, &e)
        })
    }
}

fn lazy(client: &Client, config: &ConnectionManagerConfig) -> Result<ConnectionManager> {
    ConnectionManager::new_lazy_with_config(client.clone(), config.clone()).map_err(|e| explain("redis.open", false, &e))
}

/// A write that nobody waits for any more may have happened.
fn ended(code: Code, text: &'static str, op: &'static str, wrote: bool) -> Error {
    let e = Error::new(code, text).op(op);
    if wrote { e.retry(Retry::IfIdempotent) } else { e }
}
