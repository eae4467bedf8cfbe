//! Values by key.

use std::collections::BTreeMap;

use am_core::{Code, Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::bus::{Entries, Entry, check_key, check_value};

/// Values by key, and the last revision given.
#[derive(Default)]
pub(super) struct MemoryEntries(Mutex<(u64, BTreeMap<String, Entry>)>);

fn expect(key: &str, found: Option<&Entry>, expected: Option<u64>) -> Result<()> {
    let found = found.map_or(0, |e| e.revision);
    match expected {
        Some(wanted) if wanted != found => {
            Err(Error::new(Code::CAS_MISMATCH, format!("{key} is at revision {found}, not {wanted}")).op("bus.entries"))
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl Entries for MemoryEntries {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        check_key(key)?;
        Ok(self.0.lock().1.get(key).cloned())
    }

    async fn put(&self, key: &str, value: Bytes, expected: Option<u64>) -> Result<u64> {
        check_key(key)?;
        check_value(key, &value)?;
        let mut guard = self.0.lock();
        let (last, all) = &mut *guard;
        expect(key, all.get(key), expected)?;
        *last += 1;
        all.insert(key.to_owned(), Entry { value, revision: *last });
        Ok(*last)
    }

    async fn delete(&self, key: &str, expected: Option<u64>) -> Result<bool> {
        check_key(key)?;
        let mut guard = self.0.lock();
        expect(key, guard.1.get(key), expected)?;
        Ok(guard.1.remove(key).is_some())
    }

    async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        if !prefix.is_empty() {
            check_key(prefix)?;
        }
        let below = |k: &&String| k.strip_prefix(prefix).is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('.'));
        Ok(self.0.lock().1.keys().filter(below).cloned().collect())
    }
}
