//! Devices and their keys.

use am_core::{Ctx, DeviceId, Result, Scope, Timestamp};
use async_trait::async_trait;

/// A device that registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// Its id.
    pub device: DeviceId,
    /// A name for people.
    pub name: String,
    /// Maker's model.
    pub model: String,
    /// Operating system.
    pub os: String,
    /// Version of the app.
    pub app_version: String,
    /// Topics it records, with the expected nanoseconds between readings (0: on events).
    pub kinds: Vec<(String, u64)>,
    /// When it registered last.
    pub registered_at: Timestamp,
}

/// A device's API key; only its hash is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Public part; names the key in logs and provenance.
    pub id: String,
    /// BLAKE3 of the secret part, which has 256 random bits, so that a slow hash adds nothing.
    pub hash: [u8; 32],
    /// Whose data it writes.
    pub scope: Scope,
    /// Only for this device; any of the scope when `None`.
    pub device: Option<DeviceId>,
    /// Not valid from then on.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Devices of a scope, and the keys of all.
#[async_trait]
pub trait Devices: Send + Sync {
    /// Adds or updates a device; true when it is new.
    async fn register(&self, ctx: &Ctx, device: DeviceRow) -> Result<bool>;

    /// The scope's devices, by id.
    async fn list(&self, ctx: &Ctx) -> Result<Vec<DeviceRow>>;

    /// Adds a key.
    ///
    /// # Errors
    /// `CLOCK_CONFLICT` when the id is taken.
    async fn add_key(&self, key: ApiKey) -> Result<()>;

    /// A key by its public id; revoked and expired ones too.
    async fn key(&self, id: &str) -> Result<Option<ApiKey>>;

    /// The scope's keys, by public id; revoked and expired ones too.
    async fn keys(&self, ctx: &Ctx) -> Result<Vec<ApiKey>>;

    /// Ends a key's life.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is none.
    async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<()>;
}
