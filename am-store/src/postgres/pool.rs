//! Connections that read and do small writes.

use am_core::Scope;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres, Transaction};

use super::errors::{Failure, lost};

/// One view of the database, in which nothing changes: rows, rollups and watermark belong together.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// A transaction that writes; each statement sees what was committed before it.
const CHANGE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// The sessions of a store.
pub(super) struct Pool {
    pool: PgPool,
    size: u32,
    /// Row-level security holds: questions of a person lay down what the program itself may see.
    walled: bool,
}

/// Text as a literal. Sessions have standard_conforming_strings on.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Pool {
    pub(super) fn new(pool: PgPool, size: u32, walled: bool) -> Self {
        Pool { pool, size, walled }
    }

    fn opening(&self, begin: &str, scope: Option<&Scope>) -> String {
        match scope.filter(|_| self.walled) {
            None => begin.to_owned(),
            Some(s) => format!(
                "{begin}; SET LOCAL am.everyone = 'off'; SET LOCAL am.tenant = {}; SET LOCAL am.user_id = {}",
                literal(s.tenant().as_str()),
                literal(s.user().as_str())
            ),
        }
    }

    async fn begin(&self, begin: &str, scope: Option<&Scope>) -> Result<Transaction<'static, Postgres>, Failure> {
        let text = self.opening(begin, scope);
        // After a restart of the server every idle connection is dead, and each says so once.
        let mut left = self.size;
        loop {
            match self.pool.begin_with(AssertSqlSafe(text.clone())).await {
                Err(e) if left > 0 && lost(&e) => left -= 1,
                done => return Ok(done?),
            }
        }
    }

    /// A view of the database for a person's question, or for the program's own.
    pub(super) async fn snapshot(&self, scope: Option<&Scope>) -> Result<Transaction<'static, Postgres>, Failure> {
        self.begin(SNAPSHOT, scope).await
    }

    /// A transaction that writes.
    pub(super) async fn change(&self, scope: Option<&Scope>) -> Result<Transaction<'static, Postgres>, Failure> {
        self.begin(CHANGE, scope).await
    }

    /// The pool itself, for statements alone.
    pub(super) fn plain(&self) -> &PgPool {
        &self.pool
    }

    /// Waits for what is in flight, then closes all connections.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// A connection that is alive, for statements alone.
pub(super) async fn alive(pool: &PgPool) -> Result<PoolConnection<Postgres>, Failure> {
    let mut left = pool.options().get_max_connections();
    loop {
        let mut conn = pool.acquire().await?;
        match conn.ping().await {
            Err(e) if left > 0 && lost(&e) => left -= 1,
            done => return Ok(done.map(|()| conn)?),
        }
    }
}

/// A transaction on a connection that is alive.
pub(super) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, Failure> {
    let mut left = pool.options().get_max_connections();
    loop {
        match pool.begin().await {
            Err(e) if left > 0 && lost(&e) => left -= 1,
            done => return Ok(done?),
        }
    }
}

/// Commits. When the answer is lost, nobody knows whether it happened: that is said, and not tried again here.
pub(super) async fn commit(tx: Transaction<'static, Postgres>, op: &'static str, place: &str) -> Result<(), Failure> {
    match tx.commit().await {
        Err(e) if lost(&e) => Err(Failure::Refused(super::errors::explain(op, place, e))),
        done => Ok(done?),
    }
}

/// The number of a scope that may not be there.
pub(super) async fn scope_id(conn: &mut PgConnection, scope: &Scope) -> Result<Option<i32>, Failure> {
    let found = sqlx::query_scalar("SELECT id FROM scope WHERE tenant_id = $1 AND user_id = $2")
        .bind(scope.tenant().as_str())
        .bind(scope.user().as_str())
        .fetch_optional(conn)
        .await?;
    Ok(found)
}
