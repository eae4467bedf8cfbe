//! The key-value space on Redis 6 or newer, or Valkey.
//!
//! For state that can be derived again: what an acknowledgement is worth is the server's setting, see [`Redis::durability`] and
//! `docs/state.md`. Every call is one round trip; a write is one script, so versions and the list of keys are never apart.
//!
//! ```no_run
//! # async fn f(store: am_store::Store) -> am_core::Result<()> {
//! use am_store::redis::{self, RedisOptions};
//! let state = redis::open(RedisOptions::new("redis://127.0.0.1:6379")).await?;
//! let store = store.with_key_value(state);
//! # Ok(()) }
//! ```

mod durability;
mod errors;
mod key_value;
mod link;
mod names;

pub use durability::Durability;

use std::sync::Arc;

use am_core::config::SecretRef;
use am_core::{Code, Ctx, Error, Result, Scope};
use am_pipeline::TokioClock;
use redis::{Client, Cmd, IntoConnectionInfo};

use errors::explain;
use key_value::Scripts;
use link::Link;

/// Where Redis is and how it is used.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisOptions {
    /// `redis://[user@]host[:port][/database]` or `unix:///path`; `redis://127.0.0.1:6379`.
    pub url: String,
    /// The password: `file:/path` or `env:NAME`.
    pub password: Option<SecretRef>,
    /// Before every key, so that several programs can share a server; `am`.
    pub prefix: String,
    /// Milliseconds to connect; 5,000.
    pub connect_ms: u64,
    /// Milliseconds to answer one call; 5,000. A context's deadline may be shorter.
    pub answer_ms: u64,
    /// Calls that wait for the connection at most, before more of them are held back; 1,024.
    pub waiting: usize,
}

impl Default for RedisOptions {
    fn default() -> Self {
        RedisOptions {
            url: "redis://127.0.0.1:6379".into(),
            password: None,
            prefix: "am".into(),
            connect_ms: 5_000,
            answer_ms: 5_000,
            waiting: 1_024,
        }
    }
}

impl RedisOptions {
    /// At an address.
    pub fn new(url: impl Into<String>) -> Self {
        RedisOptions { url: url.into(), ..Default::default() }
    }

    /// With other keys than those of other programs.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }
}

/// The key-value space on a Redis.
pub struct Redis {
    link: Link,
    scripts: Scripts,
    options: RedisOptions,
}

/// Connects, and checks that the server answers and lets this user in.
///
/// # Errors
/// `BAD_STORE_URL`, `BAD_CONFIG` for a password that cannot be read, `STORE_REFUSED`, `STORE_UNAVAILABLE`.
pub async fn open(options: RedisOptions) -> Result<Arc<Redis>> {
    let redis = Redis { link: Link::new(client(&options)?, &options)?, scripts: Scripts::default(), options };
    redis.ready(&Ctx::new(Scope::local(), Arc::new(TokioClock::default()))).await?;
    Ok(Arc::new(redis))
}

impl Redis {
    /// Checks that the server answers now.
    ///
    /// # Errors
    /// What keeps it from that.
    pub async fn ready(&self, ctx: &Ctx) -> Result<()> {
        let mut ping = Cmd::new();
        ping.arg("PING");
        self.link.call(ctx, "redis.ready", false, |mut c| async move { ping.exec_async(&mut c).await }).await
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.options.prefix).finish_non_exhaustive()
    }
}

fn client(options: &RedisOptions) -> Result<Client> {
    let refused = |why: &str| Error::new(Code::BAD_STORE_URL, why.to_owned()).op("redis.open");
    // A prefix ends before the hash tag, so it must have none of its own.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.:/".contains(&b);
    if options.prefix.is_empty() || !options.prefix.bytes().all(plain) {
        return Err(refused("the prefix of the keys has 1 or more letters, digits and _-.:/"));
    }
    let mut info = options.url.as_str().into_connection_info().map_err(|e| explain("redis.open", false, &e))?;
    if let Some(password) = &options.password {
        let secret = password.resolve(|r| match r {
            SecretRef::File(path) => std::fs::read_to_string(path).map_err(|e| e.to_string()),
            SecretRef::Env(name) => std::env::var(name).map_err(|e| e.to_string()),
            _ => Err("it is neither a file nor a variable".into()),
        })?;
        let settings = info.redis_settings().clone().set_password(secret.expose());
        info = info.set_redis_settings(settings);
    }
    Client::open(info).map_err(|e| explain("redis.open", false, &e))
}
