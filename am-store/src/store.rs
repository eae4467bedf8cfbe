//! The handle that users hold.

use std::path::PathBuf;
use std::sync::Arc;

use am_core::{Clock, Code, Ctx, Error, Result, Scope};
use am_schema::Catalogue;

use crate::limits;
use crate::lookup::StoreLookup;
use crate::memory::{self, MemoryOptions};
use crate::model::{FeedPage, FeedQuery, Seq, VectorModel};
use crate::scoped::ScopedStore;
use crate::traits::{Backend, KeyValue, Stats, Vectors};

/// Options of every backend; the one that the address names reads its own.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StoreOptions {
    /// For `memory:`.
    pub memory: MemoryOptions,
    /// For `sqlite:PATH`; the path of the address wins over the one in here.
    #[cfg(feature = "sqlite")]
    pub sqlite: crate::sqlite::SqliteOptions,
    /// For `postgres://…`.
    #[cfg(feature = "postgres")]
    pub postgres: crate::postgres::PostgresOptions,
}

/// A store, whichever backend is behind it. Cheap to clone.
///
/// Readings are asked for through [`Store::scoped`]: there is no question without a scope (P08).
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    clock: Arc<dyn Clock>,
    catalogue: Catalogue,
}

/// What a store's address says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Memory,
    Sqlite(PathBuf),
    /// The whole address. It may hold a password, and is never repeated in a message.
    Postgres(String),
}

fn parse(url: &str) -> Result<Address> {
    let bad =
        |why: String| Error::new(Code::BAD_STORE_URL, format!("{why}; there are memory:, sqlite:PATH and postgres://…")).op("store.open");
    match url.split_once(':') {
        Some(("memory", "")) => Ok(Address::Memory),
        Some(("memory", rest)) => Err(bad(format!("memory: takes nothing behind it, found {rest:?}"))),
        Some(("sqlite", "")) => Err(bad("sqlite: needs a path behind it".into())),
        Some(("sqlite", path)) => Ok(Address::Sqlite(path.strip_prefix("//").unwrap_or(path).into())),
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Address::Postgres(url.to_owned())),
        Some(("postgres" | "postgresql", _)) => Err(bad("postgres: needs //USER@HOST/DATABASE behind it".into())),
        Some((scheme, _)) => Err(bad(format!("there is no backend {scheme:?}"))),
        None => Err(bad(format!("{url:?} has no scheme"))),
    }
}

impl Store {
    /// Opens the store at an address: `memory:`, `sqlite:PATH` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
    ///
    /// # Errors
    /// `BAD_STORE_URL` when no backend answers to it; whatever keeps the backend from opening.
    pub async fn open(url: &str, options: StoreOptions, clock: Arc<dyn Clock>, catalogue: Catalogue) -> Result<Store> {
        let backend = match parse(url)? {
            Address::Memory => memory::open(options.memory, clock.clone(), catalogue.clone()),
            Address::Sqlite(path) => open_sqlite(path, options, clock.clone(), catalogue.clone()).await?,
            Address::Postgres(url) => open_postgres(&url, options, clock.clone(), catalogue.clone()).await?,
        };
        Ok(Self::of(backend, clock, catalogue))
    }

    /// Of a backend of your own.
    pub fn of(backend: Backend, clock: Arc<dyn Clock>, catalogue: Catalogue) -> Store {
        Store { backend, clock, catalogue }
    }

    /// The same store with its key-value space elsewhere: on Redis (`am_store::redis`, feature `redis`) or on a bus
    /// ([`crate::entries`]). What was in the space before stays where it is. Values are then not part of the backend's own
    /// transactions and copies.
    #[must_use]
    pub fn with_key_value(self, key_value: Arc<dyn KeyValue>) -> Store {
        Store { backend: Backend { key_value, ..self.backend }, ..self }
    }

    /// The store as one person's readings.
    pub fn scoped(&self, scope: &Scope) -> ScopedStore {
        self.within(Ctx::new(scope.clone(), self.clock.clone()))
    }

    /// The same under a context's scope, deadline, token and trace.
    pub fn within(&self, ctx: Ctx) -> ScopedStore {
        ScopedStore::new(self.clone(), ctx)
    }

    /// A page of the whole feed, for the process's own flows.
    ///
    /// # Errors
    /// `BAD_QUERY` for a limit out of range.
    pub async fn feed(&self, query: &FeedQuery) -> Result<FeedPage> {
        limits::feed(query)?;
        self.backend.feed.read(None, query).await
    }

    /// Ready once something is stored after a place of the feed.
    ///
    /// # Errors
    /// `CLOSED` when the store is closed meanwhile.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn wait(&self, after: Seq) -> Result<()> {
        self.backend.feed.wait(after).await
    }

    /// The store in numbers.
    ///
    /// # Errors
    /// What keeps the backend from answering.
    pub async fn stats(&self) -> Result<Stats> {
        self.backend.maintenance.stats().await
    }

    /// Makes a model of vectors known; true when it is new.
    ///
    /// # Errors
    /// `STORE_UNFIT` when this store keeps no vectors; `BAD_QUERY` for what is out of range; `CLOCK_CONFLICT` when the name is taken
    /// by another model.
    pub async fn register_model(&self, model: VectorModel) -> Result<bool> {
        self.vectors()?.register(model).await
    }

    /// The known models by name; none when this store keeps no vectors.
    ///
    /// # Errors
    /// What keeps the backend from answering.
    pub async fn models(&self) -> Result<Vec<VectorModel>> {
        match &self.backend.vectors {
            Some(v) => v.models().await,
            None => Ok(Vec::new()),
        }
    }

    /// Forgets a model and everybody's vectors of it; true when there was one.
    ///
    /// # Errors
    /// `STORE_UNFIT` when this store keeps no vectors.
    pub async fn retire_model(&self, name: &str) -> Result<bool> {
        self.vectors()?.retire(name).await
    }

    pub(crate) fn vectors(&self) -> Result<&Arc<dyn Vectors>> {
        self.backend.vectors.as_ref().ok_or_else(|| {
            Error::new(Code::STORE_UNFIT, format!("this {} store keeps no vectors: its database lacks pgvector", self.backend.name))
                .op("store.vectors")
        })
    }

    /// History for processors; what it was asked can be named in a lineage.
    pub fn lookup(&self) -> StoreLookup {
        StoreLookup::new(self.backend.clone(), self.clock.clone(), self.catalogue.clone())
    }

    /// Finishes what is in flight and lets go of files. Every handle on this store fails as `CLOSED` afterwards.
    ///
    /// # Errors
    /// What could not be finished.
    pub async fn close(&self) -> Result<()> {
        self.backend.maintenance.close().await
    }

    /// The backend's abilities, for runners and servers.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The kinds it knows.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.backend.name)
    }
}

#[cfg(feature = "sqlite")]
async fn open_sqlite(path: PathBuf, options: StoreOptions, clock: Arc<dyn Clock>, catalogue: Catalogue) -> Result<Backend> {
    let options = crate::sqlite::SqliteOptions { path, ..options.sqlite };
    crate::sqlite::open(options, clock, catalogue).await
}

#[cfg(not(feature = "sqlite"))]
async fn open_sqlite(path: PathBuf, _: StoreOptions, _: Arc<dyn Clock>, _: Catalogue) -> Result<Backend> {
    let text = format!("this program was built without SQLite and cannot open {}; there is memory:", path.display());
    Err(Error::new(Code::BAD_STORE_URL, text).op("store.open"))
}

#[cfg(feature = "postgres")]
async fn open_postgres(url: &str, options: StoreOptions, clock: Arc<dyn Clock>, catalogue: Catalogue) -> Result<Backend> {
    crate::postgres::open(url, options.postgres, clock, catalogue).await
}

#[cfg(not(feature = "postgres"))]
async fn open_postgres(_: &str, _: StoreOptions, _: Arc<dyn Clock>, _: Catalogue) -> Result<Backend> {
    let text = "this program was built without PostgreSQL; build it with the feature `postgres`";
    Err(Error::new(Code::BAD_STORE_URL, text).op("store.open"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_backend_or_is_refused_with_what_there_is() {
        assert_eq!(parse("memory:").unwrap(), Address::Memory);
        assert_eq!(parse("sqlite:/data/am.db").unwrap(), Address::Sqlite("/data/am.db".into()));
        assert_eq!(parse("sqlite:///data/am.db").unwrap(), Address::Sqlite("/data/am.db".into()));
        assert_eq!(parse("sqlite:C:\\am.db").unwrap(), Address::Sqlite("C:\\am.db".into()));
        for url in ["postgres://ada:secret@host/db", "postgresql://host/db"] {
            assert_eq!(parse(url).unwrap(), Address::Postgres(url.into()));
        }
        for bad in ["", "am.db", "memory", "memory:x", "sqlite:", "postgres:host/db", "mysql://host/db", "Memory:"] {
            let e = parse(bad).unwrap_err();
            assert_eq!(e.code(), Code::BAD_STORE_URL, "{bad}");
            assert!(e.message().contains("memory:, sqlite:PATH and postgres://"), "{e}");
        }
    }
}
