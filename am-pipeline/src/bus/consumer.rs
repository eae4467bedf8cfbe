//! Off the bus, shared by the members of a group.

use std::time::Duration;

use am_core::{Result, Scope};
use async_trait::async_trait;

use super::{Area, Message};

/// What a group reads.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GroupSpec {
    /// Names the group; durable: what it has not settled is kept for it. Letters, digits, `-` and `_`.
    pub name: String,
    /// From which streams; at least one.
    pub areas: Vec<Area>,
    /// Whose; everybody's when `None`, for the process's own work.
    pub scope: Option<Scope>,
    /// Which topics; all when empty.
    pub topics: Vec<String>,
    /// At most so many messages are with one member at a time.
    pub in_flight: usize,
    /// A message that is not settled for so long comes again.
    pub settle_within: Duration,
    /// From this delivery on a delivery says [`Delivery::last`]; 0 for never.
    pub deliveries: u32,
}

impl GroupSpec {
    /// All topics of some areas; 1,024 messages in flight, 30 s to settle, delivered without end.
    pub fn new(name: impl Into<String>, areas: impl IntoIterator<Item = Area>) -> Self {
        GroupSpec {
            name: name.into(),
            areas: areas.into_iter().collect(),
            scope: None,
            topics: Vec::new(),
            in_flight: 1_024,
            settle_within: Duration::from_secs(30),
            deliveries: 0,
        }
    }

    /// Only of this person.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Only these topics.
    #[must_use]
    pub fn topics(mut self, topics: impl IntoIterator<Item = String>) -> Self {
        self.topics = topics.into_iter().collect();
        self
    }

    /// At most so many messages at a time.
    #[must_use]
    pub fn in_flight(mut self, messages: usize) -> Self {
        self.in_flight = messages;
        self
    }

    /// To be settled within this time.
    #[must_use]
    pub fn settle_within(mut self, d: Duration) -> Self {
        self.settle_within = d;
        self
    }

    /// The delivery that says it is the last one.
    #[must_use]
    pub fn deliveries(mut self, times: u32) -> Self {
        self.deliveries = times;
        self
    }
}

/// A consumer's own name for a delivery. Only valid with the consumer that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u64);

/// A message that was handed to a member of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// By which it is settled.
    pub tag: Tag,
    /// Its place in its stream or partition.
    pub sequence: u64,
    /// 1 the first time.
    pub attempt: u32,
    /// It was tried often enough: park it, then acknowledge it. A member that dies before it does gets it once more, marked like this
    /// again, because a message that nobody acknowledged must not vanish (P02).
    pub last: bool,
    /// What cannot be read as a message of AM: why, with the bytes.
    pub message: std::result::Result<Message, Foreign>,
}

/// Something on the bus that AM did not put there, or not like this.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreign {
    /// The subject or topic it lay under.
    pub subject: String,
    /// Why it is not a message.
    pub why: String,
    /// Its bytes.
    pub body: bytes::Bytes,
}

/// Groups of consumers.
#[async_trait]
pub trait Groups: Send + Sync {
    /// Joins a group, which is made when it is not there; a new one begins with the oldest message that is kept.
    ///
    /// # Errors
    /// `BUS_UNAVAILABLE`; `BUS_MISMATCH` when a group of this name reads something else, or is not named as groups are.
    async fn join(&self, spec: GroupSpec) -> Result<Box<dyn Consumer>>;
}

/// A member of a group.
#[async_trait]
pub trait Consumer: Send {
    /// At most `max` messages; waits up to `wait` for the first one, and for no more. Empty when there was none.
    ///
    /// # Errors
    /// `BUS_UNAVAILABLE`: try again; nothing is lost.
    ///
    /// # Cancel safety
    /// What a dropped call had received comes with a later one, or again after `settle_within`.
    async fn fetch(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>>;

    /// These are done: the group never sees them again once the bus has heard of it. What the bus does not hear of comes again.
    async fn ack(&mut self, tags: &[Tag]) -> Result<()>;

    /// These shall come again, not sooner than `after`.
    async fn again(&mut self, tags: &[Tag], after: Duration) -> Result<()>;

    /// How many messages wait for the group, without those that are with a member.
    async fn lag(&mut self) -> Result<u64>;
}
