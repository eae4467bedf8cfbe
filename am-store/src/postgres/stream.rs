//! Rows of an answer one by one, so that a long answer is never whole in memory.

use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream;
use futures_core::stream::BoxStream;
use sqlx::postgres::PgRow;

use super::errors::Failure;

/// The next row; `None` at the end.
pub(super) async fn next(rows: &mut BoxStream<'_, sqlx::Result<PgRow>>) -> Result<Option<PgRow>, Failure> {
    Ok(poll_fn(|cx| Pin::new(&mut *rows).poll_next(cx)).await.transpose()?)
}
