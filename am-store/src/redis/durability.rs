//! How durable what is acknowledged is, as far as Redis tells.

use std::collections::HashMap;

use am_core::{Ctx, Result};
use redis::Cmd;

use super::Redis;

/// What a Redis does with what it acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Its log is synced before every answer (`appendonly yes`, `appendfsync always`).
    Synced,
    /// Its log is synced once a second: a power cut takes the last second, a kill of the process nothing.
    EverySecond,
    /// The system writes its log out when it likes (`appendfsync no`).
    Unsynced,
    /// There is no log (`appendonly no`): a restart takes everything since the last snapshot, or everything.
    Volatile,
    /// The server does not tell: `CONFIG` is not allowed, as hosted ones do.
    Untold,
}

impl Redis {
    /// Asks the server for its settings.
    ///
    /// # Errors
    /// What keeps it from answering; that it does not tell its settings is no error.
    pub async fn durability(&self, ctx: &Ctx) -> Result<Durability> {
        let mut log = HashMap::new();
        for name in ["appendonly", "appendfsync"] {
            let mut ask = Cmd::new();
            ask.arg("CONFIG").arg("GET").arg(name);
            let told = self.link.call(ctx, "redis.durability", false, |mut c| async move {
                match ask.query_async::<HashMap<String, String>>(&mut c).await {
                    // A refused or renamed command.
                    Err(e) if !e.is_io_error() && e.kind() != redis::ErrorKind::AuthenticationFailed => Ok(HashMap::new()),
                    other => other,
                }
            });
            log.extend(told.await?);
        }
        Ok(judge(log.get("appendonly").map(String::as_str), log.get("appendfsync").map(String::as_str)))
    }
}

fn judge(log: Option<&str>, sync: Option<&str>) -> Durability {
    match (log, sync) {
        (Some("yes"), Some("always")) => Durability::Synced,
        (Some("yes"), Some("everysec")) => Durability::EverySecond,
        (Some("yes"), Some("no")) => Durability::Unsynced,
        (Some("no"), _) => Durability::Volatile,
        _ => Durability::Untold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_judged_by_what_a_power_cut_takes() {
        for (log, sync, want) in [
            (Some("yes"), Some("always"), Durability::Synced),
            (Some("yes"), Some("everysec"), Durability::EverySecond),
            (Some("yes"), Some("no"), Durability::Unsynced),
            (Some("no"), Some("always"), Durability::Volatile),
            (Some("yes"), None, Durability::Untold),
            (None, None, Durability::Untold),
        ] {
            assert_eq!(judge(log, sync), want, "{log:?} {sync:?}");
        }
    }
}
