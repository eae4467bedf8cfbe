//! Who waits for the feed is told when something may have come: by this process's writers, by others' notifications, and by the watch
//! when neither comes.

use std::sync::Arc;
use std::time::Duration;

use am_core::Clock;
use sqlx::postgres::{PgListener, PgPool};
use tokio::sync::watch;

/// Notifications of one process come no closer together than this: each takes a lock of the whole server when it commits.
const BETWEEN: Duration = Duration::from_millis(10);
/// How long a listener waits before it connects again.
const AGAIN: Duration = Duration::from_secs(1);

/// Rings when the feed may have grown.
pub(super) struct Bell {
    /// Counts every ring.
    heard: watch::Sender<u64>,
    /// Counts this process's own, which others must be told of.
    own: watch::Sender<u64>,
}

impl Default for Bell {
    fn default() -> Self {
        Bell { heard: watch::Sender::new(0), own: watch::Sender::new(0) }
    }
}

impl Bell {
    /// Something was committed here.
    pub(super) fn ring(&self) {
        self.heard.send_modify(|n| *n = n.wrapping_add(1));
        self.own.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// For who waits.
    pub(super) fn listen(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }

    /// Tells other processes, until the store is closed.
    pub(super) async fn tell(self: Arc<Self>, pool: PgPool, channel: String, watch: Arc<dyn Clock>) {
        let mut own = self.own.subscribe();
        while own.changed().await.is_ok() {
            // Who is not told finds out by the watch, so a failure needs no more than a word.
            if let Err(e) = sqlx::query("SELECT pg_notify($1, '')").bind(&channel).execute(&pool).await {
                if matches!(e, sqlx::Error::PoolClosed) {
                    return;
                }
                tracing::debug!("other processes were not told of new readings: {e}");
            }
            watch.sleep(BETWEEN).await;
        }
    }

    /// Hears what other processes tell, until the store is closed.
    pub(super) async fn hear(self: Arc<Self>, pool: PgPool, channel: String, watch: Arc<dyn Clock>) {
        loop {
            match self.hear_once(&pool, &channel).await {
                sqlx::Error::PoolClosed => return,
                e => tracing::debug!("listening for other processes: {e}"),
            }
            watch.sleep(AGAIN).await;
        }
    }

    async fn hear_once(&self, pool: &PgPool, channel: &str) -> sqlx::Error {
        let listening = async {
            let mut listener = PgListener::connect_with(pool).await?;
            listener.listen(channel).await?;
            loop {
                listener.recv().await?;
                self.heard.send_modify(|n| *n = n.wrapping_add(1));
            }
        };
        let out: Result<(), sqlx::Error> = listening.await;
        out.err().unwrap_or(sqlx::Error::PoolClosed)
    }
}
