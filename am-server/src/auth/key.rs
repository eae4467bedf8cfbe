//! Device API keys: `am_<id>_<secret>`.

use am_core::{Clock, Code, DeviceId, Error, Result, Scope, Secret, Timestamp};
use am_store::traits::{ApiKey, Devices};

/// Random bytes of a key's id and of its secret.
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// A key that was just made. The text is shown once; the store has only its hash.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The public part; names the key in logs and when it is revoked.
    pub id: String,
    /// The whole key, to be given to the device.
    pub key: Secret<String>,
}

/// Who may use a new key.
#[derive(Debug, Clone)]
pub struct KeyGrant {
    /// Whose data it writes.
    pub scope: Scope,
    /// Only for this device; any of the scope when `None`.
    pub device: Option<DeviceId>,
    /// Not valid from then on.
    pub expires_at: Option<Timestamp>,
}

impl KeyGrant {
    /// For any device of a person, without end.
    pub fn new(scope: Scope) -> Self {
        KeyGrant { scope, device: None, expires_at: None }
    }

    /// For one device only.
    #[must_use]
    pub fn device(mut self, device: DeviceId) -> Self {
        self.device = Some(device);
        self
    }

    /// Not valid from then on.
    #[must_use]
    pub fn expires_at(mut self, at: Timestamp) -> Self {
        self.expires_at = Some(at);
        self
    }
}

/// Makes a key and keeps its hash.
///
/// # Errors
/// `INTERNAL` without randomness; those of the store.
pub async fn create_key(devices: &dyn Devices, clock: &dyn Clock, grant: KeyGrant) -> Result<NewKey> {
    let mut random = [0u8; ID_BYTES + SECRET_BYTES];
    getrandom::fill(&mut random).map_err(|e| Error::new(Code::INTERNAL, format!("no randomness: {e}")).op("server.create_key"))?;
    let text = hex(&random);
    let (id, secret) = text.split_at(2 * ID_BYTES);
    let row = ApiKey {
        id: id.to_owned(),
        hash: *blake3::hash(secret.as_bytes()).as_bytes(),
        scope: grant.scope,
        device: grant.device,
        expires_at: grant.expires_at,
        revoked_at: None,
        created_at: clock.now(),
    };
    devices.add_key(row).await?;
    Ok(NewKey { id: id.to_owned(), key: Secret::new(format!("am_{id}_{secret}")) })
}

/// Ends a key's life; servers notice within [`crate::Times::key_cache_ms`].
///
/// # Errors
/// `NOT_FOUND` when there is none under that id.
pub async fn revoke_key(devices: &dyn Devices, clock: &dyn Clock, id: &str) -> Result<()> {
    devices.revoke_key(id, clock.now()).await
}

/// The two parts of a key's text.
pub(crate) struct Presented<'a> {
    pub(crate) id: &'a str,
    secret: &'a str,
}

impl<'a> Presented<'a> {
    /// Reads `Bearer am_<id>_<secret>`.
    pub(crate) fn parse(header: &'a str) -> Option<Self> {
        let (scheme, key) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (id, secret) = key.trim().strip_prefix("am_")?.split_once('_')?;
        let fits = |t: &str, n: usize| t.len() == n && t.bytes().all(|b| b.is_ascii_hexdigit());
        (fits(id, 2 * ID_BYTES) && fits(secret, 2 * SECRET_BYTES)).then_some(Presented { id, secret })
    }

    /// Whether it is this key; in the same time for every wrong one.
    pub(crate) fn opens(&self, row: &ApiKey) -> bool {
        // `blake3::Hash` compares in constant time.
        blake3::hash(self.secret.as_bytes()) == blake3::Hash::from_bytes(row.hash)
    }
}

/// Why a key that was found does not count any more.
pub(crate) fn ended(row: &ApiKey, now: Timestamp) -> Option<&'static str> {
    match row {
        ApiKey { revoked_at: Some(_), .. } => Some("the key was revoked"),
        ApiKey { expires_at: Some(at), .. } if *at <= now => Some("the key has expired"),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_of_a_key_is_read() {
        let key = format!("am_{}_{}", "0123456789abcdef", "f".repeat(64));
        let p = Presented::parse(&format!("Bearer {key}")).map(|p| (p.id.to_owned(), p.secret.len()));
        assert_eq!(p, Some(("0123456789abcdef".into(), 64)));
        assert!(Presented::parse(&format!("bearer {key}")).is_some());
        for bad in ["", "Bearer", "Bearer am__", "Basic am_x_y", &key, &format!("Bearer {key}0"), "Bearer am_0123456789abcdef_"] {
            assert!(Presented::parse(bad).is_none(), "{bad}");
        }
    }
}
