//! Devices and their keys.

use am_core::{Code, DeviceId};

use crate::testkit::kit::{HEART, Kit, Outcome, refused, same, same_list, scope, t};
use crate::traits::{ApiKey, DeviceRow};

cases! {
    "device.register" "P01" "a device is new once, and updated after that" => register;
    "device.list" "P08" "a person's devices, by id, and nobody else's" => list;
    "key.round_trip" "P01" "a key comes back as it was added; a taken id is refused" => key;
    "key.list" "P08" "a person's keys, by id, and nobody else's" => keys;
    "key.revoke" "P01" "a revoked key says when, and stays known" => revoke;
}

fn device(id: &str, name: &str) -> Result<DeviceRow, am_core::Error> {
    Ok(DeviceRow {
        device: DeviceId::new(id)?,
        name: name.into(),
        model: "Pixel 9".into(),
        os: "Android 16".into(),
        app_version: "1.0".into(),
        kinds: vec![(HEART.into(), 1_000_000_000), ("external.memo.raw".into(), 0)],
        registered_at: t(5),
    })
}

async fn register(kit: Kit) -> Outcome {
    let d = &kit.backend().devices;
    same("the first time", d.register(&kit.ctx(), device("watch", "old")?).await?, true)?;
    let new = DeviceRow { app_version: "2.0".into(), kinds: vec![], registered_at: t(9), ..device("watch", "new")? };
    same("again", d.register(&kit.ctx(), new.clone()).await?, false)?;
    same_list("devices", &d.list(&kit.ctx()).await?, &[new])
}

async fn list(kit: Kit) -> Outcome {
    let d = &kit.backend().devices;
    let bob = kit.ctx_of(scope("acme", "bob"));
    for id in ["watch", "band", "phone"] {
        d.register(&kit.ctx(), device(id, id)?).await?;
    }
    same("bob's watch is new", d.register(&bob, device("watch", "bob's")?).await?, true)?;
    same_list("ada's", &d.list(&kit.ctx()).await?, &[device("band", "band")?, device("phone", "phone")?, device("watch", "watch")?])?;
    same_list("bob's", &d.list(&bob).await?, &[device("watch", "bob's")?])
}

fn api_key(id: &str) -> Result<ApiKey, am_core::Error> {
    Ok(ApiKey {
        id: id.into(),
        hash: [7; 32],
        scope: scope("acme", "ada"),
        device: Some(DeviceId::new("watch")?),
        expires_at: Some(t(100)),
        revoked_at: None,
        created_at: t(1),
    })
}

async fn keys(kit: Kit) -> Outcome {
    let d = &kit.backend().devices;
    let bob = ApiKey { scope: scope("acme", "bob"), ..api_key("k2")? };
    for k in [api_key("k3")?, bob.clone(), api_key("k1")?] {
        d.add_key(k).await?;
    }
    d.revoke_key("k3", t(9)).await?;
    let gone = ApiKey { revoked_at: Some(t(9)), ..api_key("k3")? };
    same_list("ada's", &d.keys(&kit.ctx()).await?, &[api_key("k1")?, gone])?;
    same_list("bob's", &d.keys(&kit.ctx_of(scope("acme", "bob"))).await?, &[bob])
}

async fn key(kit: Kit) -> Outcome {
    let d = &kit.backend().devices;
    same("an unknown key", d.key("k1").await?, None)?;
    let open = ApiKey { device: None, expires_at: None, scope: scope("globex", "eve"), ..api_key("k2")? };
    d.add_key(api_key("k1")?).await?;
    d.add_key(open.clone()).await?;
    same("the first", d.key("k1").await?, Some(api_key("k1")?))?;
    same("the second", d.key("k2").await?, Some(open))?;
    refused("a taken id", d.add_key(ApiKey { hash: [8; 32], ..api_key("k1")? }).await, Code::CLOCK_CONFLICT)?;
    same("the first, still", d.key("k1").await?, Some(api_key("k1")?))
}

async fn revoke(kit: Kit) -> Outcome {
    let d = &kit.backend().devices;
    d.add_key(api_key("k1")?).await?;
    d.revoke_key("k1", t(50)).await?;
    same("the key", d.key("k1").await?.map(|k| k.revoked_at), Some(Some(t(50))))?;
    refused("an unknown key", d.revoke_key("k9", t(50)).await, Code::NOT_FOUND)
}
