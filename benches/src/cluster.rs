//! The processes of a cluster: a gateway that publishes, and a persister that stores.

use std::net::SocketAddr;
use std::sync::Arc;

use am_core::{CancelToken, Clock};
use am_pipeline::TokioClock;
use am_pipeline::bus::Bus;
use am_schema::Catalogue;
use am_store::Store;
use am_store::bus::{GatewayOptions, Persister, PersisterOptions, gateway};
use am_store::postgres::{self, PostgresOptions};
use am_store::traits::Backend;

use crate::served::{Failed, until_told};
use crate::services::options;

/// Where a cluster's processes find what they share.
pub(crate) struct Cluster {
    pub(crate) nats: String,
    pub(crate) prefix: String,
    pub(crate) postgres: String,
    pub(crate) schema: String,
}

impl Cluster {
    /// What a child is told. Addresses have no spaces.
    pub(crate) fn told(&self) -> String {
        [&*self.nats, &self.prefix, &self.postgres, &self.schema].join(" ")
    }

    /// What a child was told.
    pub(crate) fn heard(text: &str) -> Result<Cluster, Failed> {
        let mut words = text.split(' ').map(str::to_owned);
        let mut next = || words.next().ok_or("a cluster has four parts");
        Ok(Cluster { nats: next()?, prefix: next()?, postgres: next()?, schema: next()? })
    }

    async fn bus(&self, clock: &Arc<dyn Clock>) -> Result<Bus, Failed> {
        Ok(am_pipeline::bus::nats::open(options(&self.nats, &self.prefix), clock.clone()).await?)
    }

    async fn store(&self, clock: &Arc<dyn Clock>, change: impl FnOnce(&mut PostgresOptions)) -> Result<Backend, Failed> {
        let mut options = PostgresOptions::default();
        self.schema.clone_into(&mut options.schema);
        change(&mut options);
        Ok(postgres::open(&self.postgres, options, clock.clone(), Catalogue::builtin()).await?)
    }
}

/// What a gateway's server writes to. The database is asked about keys alone.
pub(crate) async fn front(cluster: &Cluster) -> Result<Backend, Failed> {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::default());
    let inner = cluster.store(&clock, |o| o.upkeep = false).await?;
    Ok(gateway(inner, &cluster.bus(&clock).await?, GatewayOptions::default()))
}

/// Stores what is on the bus until it is told to end.
pub(crate) async fn persist(cluster: &Cluster) -> Result<(), Failed> {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::default());
    let (backend, bus) = (cluster.store(&clock, |_| {}).await?, cluster.bus(&clock).await?);
    let store = Store::of(backend, clock, Catalogue::builtin());
    let mut persister = Persister::new(&store, &bus, PersisterOptions::default());
    let (stop, nobody) = (CancelToken::new(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let told = async {
        let told = until_told(nobody, nobody).await;
        stop.cancel();
        told
    };
    let (ran, told) = tokio::join!(persister.run(&stop), told);
    ran?;
    told?;
    bus.publisher.close().await?;
    store.close().await?;
    Ok(())
}
