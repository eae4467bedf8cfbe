//! Vectors of stored readings: what goes in, what is asked, what comes out.

use std::fmt;

use am_core::{DeviceId, Timestamp};
use am_schema::{Kind, ReadingRef};

use super::{Generations, Predicate, Seq, Stored};

/// What makes two vectors alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Metric {
    /// The cosine of the angle between them, -1 to 1. Their lengths do not count, so none may be zero.
    Cosine = 0,
    /// The inner product.
    Dot = 1,
    /// The Euclidean distance; the score is its negative, so that a higher one is better here too.
    L2 = 2,
}

impl Metric {
    /// From its number; `None` for one that this version does not know.
    pub fn from_u8(n: u8) -> Option<Metric> {
        [Metric::Cosine, Metric::Dot, Metric::L2].into_iter().find(|m| *m as u8 == n)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Metric::Cosine => "cosine",
            Metric::Dot => "dot",
            Metric::L2 => "l2",
        })
    }
}

/// A model that makes vectors. Its vectors are only ever compared with each other: another version of it is another model, under
/// another name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VectorModel {
    /// Its name in this store, such as `all-MiniLM-L6-v2`.
    pub name: String,
    /// How many numbers a vector has.
    pub dimensions: u32,
    /// How they are compared.
    pub metric: Metric,
    /// The model's own version, as text for people.
    pub version: String,
    /// BLAKE3 of the model's file, if it has one.
    pub digest: Option<[u8; 32]>,
}

impl VectorModel {
    /// A model without a version or a file.
    pub fn new(name: impl Into<String>, dimensions: u32, metric: Metric) -> Self {
        VectorModel { name: name.into(), dimensions, metric, version: String::new(), digest: None }
    }

    /// The same in a version.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// The same with the digest of its file.
    #[must_use]
    pub fn digest(mut self, digest: [u8; 32]) -> Self {
        self.digest = Some(digest);
        self
    }
}

/// A vector of a reading, or of a part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewVector {
    /// Which reading; it must be stored.
    pub reading: ReadingRef,
    /// Which part of it, where a long text was cut: 0, 1, ...
    pub part: u32,
    /// The numbers.
    pub values: Vec<f32>,
}

impl NewVector {
    /// Of a whole reading.
    pub fn new(reading: ReadingRef, values: Vec<f32>) -> Self {
        NewVector { reading, part: 0, values }
    }

    /// Of a part of it.
    #[must_use]
    pub fn part(mut self, part: u32) -> Self {
        self.part = part;
        self
    }
}

/// What became of one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorOutcome {
    /// It is new.
    Added,
    /// It took the place of the one before.
    Replaced,
    /// It was not taken; the others of the batch were.
    Refused(VectorFault),
}

/// Why a vector is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VectorFault {
    /// The scope has no such reading.
    UnknownReading,
    /// It has another number of dimensions than its model.
    Dimensions {
        /// How many it has.
        got: usize,
        /// How many the model has.
        want: u32,
    },
    /// The number at this place is not finite, or beyond what can be multiplied without overflow.
    Value {
        /// Counted from 0.
        at: usize,
    },
    /// It is so short that it points nowhere, and its model compares directions.
    NoDirection,
    /// The number of the part is out of range.
    Part(u32),
}

impl fmt::Display for VectorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VectorFault::UnknownReading => write!(f, "there is no such reading; store it before its vector"),
            VectorFault::Dimensions { got, want } => write!(f, "the vector has {got} dimensions, its model has {want}"),
            VectorFault::Value { at } => {
                write!(f, "the number at {at} is not finite or larger than {:e}", crate::vectors::MAX_VALUE)
            }
            VectorFault::NoDirection => write!(f, "the vector is zero, and has no direction that cosine could compare"),
            VectorFault::Part(n) => write!(f, "part {n} is out of range, expected 0 to {}", crate::limits::MAX_PART),
        }
    }
}

/// A search for what is alike.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VectorQuery {
    /// Among the vectors of this model.
    pub model: String,
    /// Alike to this one.
    pub vector: Vec<f32>,
    /// Of which kinds; all when empty.
    pub kinds: Vec<Kind>,
    /// Of which devices; all when empty.
    pub devices: Vec<DeviceId>,
    /// From this time on. Readings whose span reaches in count too.
    pub from: Timestamp,
    /// Before this time.
    pub to: Timestamp,
    /// What else must hold of the reading.
    pub filter: Predicate,
    /// Which generations of derived readings.
    pub generations: Generations,
    /// At most so many, 1 to 1,000.
    pub limit: usize,
    /// Compare with every vector, even where there is an index that guesses.
    pub exact: bool,
}

impl VectorQuery {
    /// The ten most alike of all times.
    pub fn new(model: impl Into<String>, vector: Vec<f32>) -> Self {
        VectorQuery {
            model: model.into(),
            vector,
            kinds: Vec::new(),
            devices: Vec::new(),
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            filter: Predicate::True,
            generations: Generations::Newest,
            limit: 10,
            exact: false,
        }
    }
}

/// One hit.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorHit {
    /// By the model's metric; higher is more alike.
    pub score: f64,
    /// Which part of the reading.
    pub part: u32,
    /// What was found.
    pub stored: Stored,
}

/// The answer to a search; says how it came about (P11).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VectorHits {
    /// Best first; equal scores in the order of scans, then by part.
    pub hits: Vec<VectorHit>,
    /// True when every vector that was asked for was compared; otherwise an index may have missed some.
    pub exact: bool,
    /// How many vectors were compared; `None` where an index chose them.
    pub searched: Option<u64>,
    /// The newest place of the feed whose reading was given a vector of this model. Readings after it have none yet.
    pub indexed_to: Seq,
}

impl VectorHits {
    /// An answer that compared everything.
    pub fn exact(hits: Vec<VectorHit>, searched: u64, indexed_to: Seq) -> Self {
        VectorHits { hits, exact: true, searched: Some(searched), indexed_to }
    }

    /// An answer of an index.
    pub fn approximate(hits: Vec<VectorHit>, indexed_to: Seq) -> Self {
        VectorHits { hits, exact: false, searched: None, indexed_to }
    }
}

/// Which vectors of a scope to remove.
#[derive(Debug, Clone, PartialEq)]
pub enum VectorDelete {
    /// Those of these readings, all parts; of one model, or of all.
    Readings {
        /// Which readings.
        names: Vec<ReadingRef>,
        /// Of which model.
        model: Option<String>,
    },
    /// All of a model.
    Model(String),
}
