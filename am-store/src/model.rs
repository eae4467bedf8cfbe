//! The values that go in and out of a store.

mod asking;
mod ingest;
mod query;
mod row;
mod vectors;

pub use ingest::{Derived, DiscardReason, FlowCommit, FlowCommitted, Ingest, IngestOutcome, Origin, Provenance, PutOutcome, StateChange};
pub use query::{
    Aggregate, AggregateQuery, Bucket, BucketWidth, Cursor, FeedQuery, Generations, LatestQuery, Op, Order, Page, Predicate, ScanQuery,
    TextHit, TextHits, TextQuery, Value,
};
pub use row::{FeedEntry, FeedEvent, FeedPage, ReadingKey, Seq, Stored, StreamId};
pub use vectors::{Metric, NewVector, VectorDelete, VectorFault, VectorHit, VectorHits, VectorModel, VectorOutcome, VectorQuery};
