//! What can be asked.

use am_core::{DeviceId, Timestamp};
use am_schema::Kind;

use super::{Seq, Stored};

/// A closed language of conditions on readings. Backends push down what they can; [`Predicate::matches`] decides the rest.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Predicate {
    /// Every reading.
    True,
    /// Of one of these devices.
    Device(Vec<DeviceId>),
    /// Of one of these kinds.
    Kind(Vec<Kind>),
    /// Recorded in `[from, to)`; spans count when they overlap it.
    Time {
        /// From this time on.
        from: Timestamp,
        /// Before this time.
        to: Timestamp,
    },
    /// The metadata has this entry.
    Metadata {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A field of the payload compares so with a value; the path is of field names, such as `bpm`.
    Field {
        /// The path.
        path: String,
        /// How.
        op: Op,
        /// With what.
        value: Value,
    },
    /// All of them.
    And(Vec<Predicate>),
    /// Any of them.
    Or(Vec<Predicate>),
    /// Not so.
    Not(Box<Predicate>),
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// The text contains the value's text.
    Contains,
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A text, or the name of an enum value.
    Text(String),
    /// True or false.
    Bool(bool),
}

/// Which generations of derived readings are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Generations {
    /// The newest of each slot.
    #[default]
    Newest,
    /// All.
    All,
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Earliest first, by (recorded_at, kind, device, id).
    #[default]
    TimeAscending,
    /// Latest first.
    TimeDescending,
}

/// Where a scan goes on. Opaque; only valid for the query that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub Vec<u8>);

/// A scan over one person's readings.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ScanQuery {
    /// Of which kinds; all when empty.
    pub kinds: Vec<Kind>,
    /// Of which devices; all when empty.
    pub devices: Vec<DeviceId>,
    /// From this time on. Readings whose span reaches in count too.
    pub from: Timestamp,
    /// Before this time.
    pub to: Timestamp,
    /// What else must hold.
    pub filter: Predicate,
    /// Which end comes first.
    pub order: Order,
    /// Which generations.
    pub generations: Generations,
    /// At most so many, 1 to 100,000.
    pub limit: usize,
    /// Where to go on.
    pub cursor: Option<Cursor>,
}

impl Default for ScanQuery {
    fn default() -> Self {
        ScanQuery {
            kinds: Vec::new(),
            devices: Vec::new(),
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            filter: Predicate::True,
            order: Order::default(),
            generations: Generations::default(),
            limit: 1_000,
            cursor: None,
        }
    }
}

/// A page of results.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The results.
    pub items: Vec<T>,
    /// Where to go on; `None` at the end.
    pub cursor: Option<Cursor>,
}

/// The latest reading per device and kind.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LatestQuery {
    /// Of which kinds; all when empty.
    pub kinds: Vec<Kind>,
    /// Of which devices; all when empty.
    pub devices: Vec<DeviceId>,
    /// At or before this time.
    pub at: Timestamp,
}

impl Default for LatestQuery {
    fn default() -> Self {
        LatestQuery { kinds: Vec::new(), devices: Vec::new(), at: Timestamp::MAX }
    }
}

/// How wide the buckets of an aggregate are. All but `Whole` are counted from 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum BucketWidth {
    /// One minute.
    Minute = 0,
    /// Five minutes.
    FiveMinutes = 1,
    /// One hour.
    Hour = 2,
    /// One day.
    Day = 3,
    /// The whole span of the query.
    Whole = 4,
}

impl BucketWidth {
    /// Nanoseconds; 0 for `Whole`.
    pub const fn nanos(self) -> i64 {
        match self {
            BucketWidth::Minute => 60_000_000_000,
            BucketWidth::FiveMinutes => 300_000_000_000,
            BucketWidth::Hour => 3_600_000_000_000,
            BucketWidth::Day => 86_400_000_000_000,
            BucketWidth::Whole => 0,
        }
    }
}

/// Statistics of a scalar kind per bucket.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AggregateQuery {
    /// Of which kind; it must have a scalar.
    pub kind: Kind,
    /// Of which devices; all together when empty.
    pub devices: Vec<DeviceId>,
    /// From this time on, rounded down to a bucket.
    pub from: Timestamp,
    /// Before this time, rounded up to a bucket.
    pub to: Timestamp,
    /// How wide the buckets are.
    pub width: BucketWidth,
}

impl AggregateQuery {
    /// Of all devices.
    pub fn new(kind: Kind, from: Timestamp, to: Timestamp, width: BucketWidth) -> Self {
        AggregateQuery { kind, devices: Vec::new(), from, to, width }
    }
}

/// The numbers of one bucket; merges by Chan, Golub and LeVeque (1979).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Aggregate {
    /// How many readings.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Sum of squared distances from the mean.
    pub m2: f64,
    /// The value of the earliest reading, with its time.
    pub first: (Timestamp, f64),
    /// The value of the latest reading, with its time.
    pub last: (Timestamp, f64),
}

impl Aggregate {
    /// Of one value.
    pub fn of(at: Timestamp, v: f64) -> Self {
        Aggregate { count: 1, sum: v, min: v, max: v, m2: 0.0, first: (at, v), last: (at, v) }
    }

    /// Adds another one's readings to this.
    pub fn merge(&mut self, o: &Aggregate) {
        if o.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *o;
            return;
        }
        let (n, m) = (self.count as f64, o.count as f64);
        let delta = o.sum / m - self.sum / n;
        self.m2 += o.m2 + delta * delta * n * m / (n + m);
        self.count += o.count;
        self.sum += o.sum;
        self.min = self.min.min(o.min);
        self.max = self.max.max(o.max);
        if o.first.0 < self.first.0 {
            self.first = o.first;
        }
        if o.last.0 >= self.last.0 {
            self.last = o.last;
        }
    }

    /// The mean; NaN when empty.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// The sample standard deviation; 0 below two readings.
    pub fn stddev(&self) -> f64 {
        if self.count < 2 { 0.0 } else { (self.m2 / (self.count - 1) as f64).max(0.0).sqrt() }
    }
}

/// One bucket of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Where it begins.
    pub start: Timestamp,
    /// Its numbers.
    pub values: Aggregate,
}

/// What a consumer of the feed wants.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FeedQuery {
    /// Entries after this place.
    pub after: Seq,
    /// Of which kinds; all when empty. Erasures come always.
    pub kinds: Vec<Kind>,
    /// At most so many entries.
    pub limit: usize,
}

impl FeedQuery {
    /// The entries of these kinds after a place, at most 512.
    pub fn after(after: Seq, kinds: Vec<Kind>) -> Self {
        FeedQuery { after, kinds, limit: 512 }
    }
}

/// A search for words.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TextQuery {
    /// Words, of which one must occur and more rank higher; `"..."` for a phrase that must occur, `-word` to exclude.
    pub text: String,
    /// In which kinds; all when empty.
    pub kinds: Vec<Kind>,
    /// From this time on.
    pub from: Timestamp,
    /// Before this time.
    pub to: Timestamp,
    /// At most so many, 1 to 1,000.
    pub limit: usize,
}

impl TextQuery {
    /// The best ten of all times.
    pub fn new(text: impl Into<String>) -> Self {
        TextQuery { text: text.into(), kinds: Vec::new(), from: Timestamp::MIN, to: Timestamp::MAX, limit: 10 }
    }
}

/// One hit.
#[derive(Debug, Clone, PartialEq)]
pub struct TextHit {
    /// Okapi BM25 over the person's own texts; higher is better.
    pub score: f64,
    /// What was found.
    pub stored: Stored,
}

/// The answer to a search; says what it covers (P11).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TextHits {
    /// Best first; equal scores in the order of scans.
    pub hits: Vec<TextHit>,
    /// Which ways of searching ran, such as `text`.
    pub legs: Vec<&'static str>,
    /// The index holds everything up to this place of the feed.
    pub indexed_to: Seq,
}

impl TextHits {
    /// An answer of the text index.
    pub fn text(hits: Vec<TextHit>, indexed_to: Seq) -> Self {
        TextHits { hits, legs: vec!["text"], indexed_to }
    }
}
