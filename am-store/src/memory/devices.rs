//! Devices and their keys.

use am_core::{Code, Ctx, Error, Result, Timestamp};
use async_trait::async_trait;

use super::Memory;
use super::state::RECORD_BYTES;
use crate::traits::{ApiKey, DeviceRow, Devices};

#[async_trait]
impl Devices for Memory {
    async fn register(&self, ctx: &Ctx, device: DeviceRow) -> Result<bool> {
        ctx.check()?;
        let mut guard = self.change()?;
        let state = &mut *guard;
        let held = state.scope(ctx.scope()).and_then(|d| d.devices.get(&device.device)).map_or(0, cost);
        let more = cost(&device);
        self.room(state, more, held)?;
        state.used = state.used.saturating_sub(held).saturating_add(more);
        Ok(state.scope_mut(ctx.scope()).devices.insert(device.device.clone(), device).is_none())
    }

    async fn list(&self, ctx: &Ctx) -> Result<Vec<DeviceRow>> {
        let state = self.open_for(ctx)?;
        Ok(state.scope(ctx.scope()).into_iter().flat_map(|d| d.devices.values().cloned()).collect())
    }

    async fn add_key(&self, key: ApiKey) -> Result<()> {
        let mut guard = self.change()?;
        let state = &mut *guard;
        if state.keys.contains_key(&key.id) {
            return Err(Error::new(Code::CLOCK_CONFLICT, format!("there is a key {} already", key.id)).op("store.add_key"));
        }
        self.room(state, RECORD_BYTES, 0)?;
        state.used += RECORD_BYTES;
        state.keys.insert(key.id.clone(), key);
        Ok(())
    }

    async fn key(&self, id: &str) -> Result<Option<ApiKey>> {
        Ok(self.open_all()?.keys.get(id).cloned())
    }

    async fn keys(&self, ctx: &Ctx) -> Result<Vec<ApiKey>> {
        let mut keys: Vec<ApiKey> = self.open_for(ctx)?.keys.values().filter(|k| k.scope == *ctx.scope()).cloned().collect();
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(keys)
    }

    async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<()> {
        match self.change()?.keys.get_mut(id) {
            Some(k) => {
                k.revoked_at = Some(k.revoked_at.map_or(at, |old| old.min(at)));
                Ok(())
            }
            None => Err(Error::new(Code::NOT_FOUND, format!("there is no key {id}")).op("store.revoke_key")),
        }
    }
}

fn cost(d: &DeviceRow) -> usize {
    RECORD_BYTES
        + d.name.len()
        + d.model.len()
        + d.os.len()
        + d.app_version.len()
        + d.kinds.iter().map(|(t, _)| t.len() + 32).sum::<usize>()
}
