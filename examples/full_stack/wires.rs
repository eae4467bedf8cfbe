//! What lies between the server, the flow and the store: nothing, or a bus with a gateway, a worker and a persister.

use std::sync::Arc;
use std::time::Duration;

use am_core::{CancelToken, Code, Error, Result};
use am_pipeline::bus::{self, Area, Bus, BusOptions};
use am_store::Store;
use am_store::bus::{GatewayOptions, Persister, PersisterOptions, PersisterStatus, WorkerOptions, gateway, reader_of, worker};
use indicatif::ProgressBar;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// The store as the server and the flow see it.
pub(crate) struct Wires {
    /// What the server writes to.
    pub(crate) front: Store,
    bus: Option<Cluster>,
}

struct Cluster {
    bus: Bus,
    status: Arc<Mutex<PersisterStatus>>,
    stop: CancelToken,
    task: JoinHandle<Result<()>>,
}

/// Straight to the store, or over the bus at an address.
pub(crate) async fn lay(store: &Store, url: Option<&str>, prefix: &str) -> Result<Wires> {
    let Some(url) = url else { return Ok(Wires { front: store.clone(), bus: None }) };
    let (clock, catalogue) = (store.clock().clone(), store.catalogue().clone());
    let mut options = BusOptions::default();
    prefix.clone_into(&mut options.nats.prefix);
    // A day needs no 100 GB.
    let streams = &mut options.nats.streams;
    for stream in [&mut streams.readings, &mut streams.work, &mut streams.errors] {
        stream.max_bytes = 1 << 30;
    }
    let bus = bus::open(url, options, clock.clone()).await?;
    let front = Store::of(gateway(store.backend().clone(), &bus, GatewayOptions::default()), clock, catalogue);
    let mut persister = Persister::new(store, &bus, PersisterOptions::default());
    let (status, stop) = (persister.status(), CancelToken::new());
    let until = stop.clone();
    let task = tokio::spawn(async move { persister.run(&until).await });
    Ok(Wires { front, bus: Some(Cluster { bus, status, stop, task }) })
}

impl Wires {
    /// The store that a flow runs on.
    pub(crate) fn for_flow(&self, store: &Store, flow: &str) -> Result<Store> {
        let Some(c) = &self.bus else { return Ok(store.clone()) };
        let (clock, catalogue) = (store.clock().clone(), store.catalogue().clone());
        let backend = worker(store.backend().clone(), &c.bus, flow, WorkerOptions::default(), clock.clone(), catalogue.clone())?;
        Ok(Store::of(backend, clock, catalogue))
    }

    /// Whether there is a bus.
    pub(crate) fn has_bus(&self) -> bool {
        self.bus.is_some()
    }

    /// Waits until what is on the bus is derived from and stored, or `stop` is raised. Nothing to wait for without a bus.
    pub(crate) async fn emptied(&self, store: &Store, flow: &str, stop: &CancelToken, bar: &ProgressBar) -> Result<()> {
        let Some(c) = &self.bus else { return Ok(()) };
        let tails = c.bus.tails.clone().ok_or_else(|| Error::new(Code::BUS_MISMATCH, "the bus has no order"))?;
        // What a flow derives is for the persister again: both must be done, and the persister must have looked since.
        let (mut since, mut still) = (c.status.lock().looks, 0);
        while !stop.is_cancelled() && still < 2 {
            if c.task.is_finished() {
                let why = c.status.lock().last_error.clone().unwrap_or_else(|| "it ended".into());
                return Err(Error::new(Code::GAVE_UP, format!("the persister stopped: {why}")).op("full_stack"));
            }
            store.clock().sleep(Duration::from_millis(100)).await;
            let behind = tails.lag(Area::Readings, &reader_of(flow)).await?.unwrap_or(0);
            let s = c.status.lock().clone();
            bar.set_message(format!("{} messages to derive from, {} to store", behind, s.waiting));
            match s.looks > since {
                true if behind == 0 && s.waiting == 0 => (still, since) = (still + 1, s.looks),
                true => (still, since) = (0, s.looks),
                false => {}
            }
        }
        Ok(())
    }

    /// Finishes what was begun.
    pub(crate) async fn finish(self) -> Result<()> {
        let Some(c) = self.bus else { return Ok(()) };
        c.stop.cancel();
        let ended = c.task.await.map_err(|e| Error::new(Code::INTERNAL, e.to_string()).op("full_stack"))?;
        c.bus.publisher.close().await?;
        ended
    }
}
