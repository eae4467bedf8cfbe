//! Where a persister's messages come from: in order, where the bus has an order and entries; else shared by a group.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use am_core::{Code, Error, Result, Retry};
use am_pipeline::bus::{Area, Bus, Consumer, Delivery, GroupSpec, Tag, Tail, TailSpec};

use super::lease::{Places, Turn};

/// What is read, the errors last: they are few.
const AREAS: [Area; 2] = [Area::Readings, Area::Errors];
/// How long the errors are listened for beside the readings.
const GLANCE: Duration = Duration::from_millis(1);

pub(super) enum Intake {
    /// One after another; a place is done when everything before it is.
    Ordered(Vec<Lane>, Tags),
    /// What the members of a group share; each message by itself.
    Shared(Box<dyn Consumer>),
}

/// A stream that is read in order.
pub(super) struct Lane {
    area: Area,
    name: String,
    tail: Box<dyn Tail>,
    /// The last that was handed over.
    read: u64,
    /// What was handed over and is not done.
    open: BTreeSet<u64>,
    told: u64,
}

/// What the tags stand for.
#[derive(Default)]
pub(super) struct Tags {
    last: u64,
    held: HashMap<Tag, (usize, u64)>,
}

impl Lane {
    fn done(&self) -> u64 {
        self.open.first().map_or(self.read, |first| first - 1)
    }
}

fn place(area: Area) -> String {
    area.letter().to_owned()
}

impl Intake {
    /// Begins where the last one ended.
    pub(super) async fn open(bus: &Bus, group: &str, in_flight: usize, turn: Option<&Turn>) -> Result<Intake> {
        let (Some(tails), Some(turn)) = (&bus.tails, turn) else {
            let spec = GroupSpec::new(group, AREAS).in_flight(in_flight);
            return Ok(Intake::Shared(bus.groups.join(spec).await?));
        };
        let mut lanes = Vec::new();
        for area in AREAS {
            let after = turn.places().get(&place(area)).copied().unwrap_or(0);
            let name = format!("{group}-{}", area.letter());
            let spec = TailSpec { name: name.clone(), area, scope: None, topics: Vec::new(), after };
            let tail = match tails.open(spec.clone()).await {
                Ok(tail) => tail,
                Err(e) if e.code() == Code::BUS_TRIMMED => {
                    // What is gone is gone: said aloud, and what is left is stored.
                    tracing::error!(group, error = %e, "messages were removed from the bus before they were stored");
                    tails.open(TailSpec { after: 0, ..spec }).await?
                }
                Err(e) => return Err(e),
            };
            lanes.push(Lane { area, name, tail, read: after, open: BTreeSet::new(), told: after });
        }
        Ok(Intake::Ordered(lanes, Tags::default()))
    }

    /// At most `max` messages; waits up to `wait` for the first.
    pub(super) async fn fetch(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let (lanes, tags) = match self {
            Intake::Shared(consumer) => return consumer.fetch(max, wait).await,
            Intake::Ordered(lanes, tags) => (lanes, tags),
        };
        let mut out = Vec::new();
        for (n, lane) in lanes.iter_mut().enumerate() {
            let wait = if n == 0 { wait } else { GLANCE };
            let room = max - out.len().min(max);
            if room == 0 {
                break;
            }
            for s in lane.tail.next(room, wait).await.map_err(cut_off)? {
                tags.last += 1;
                let tag = Tag(tags.last);
                tags.held.insert(tag, (n, s.sequence));
                lane.read = s.sequence;
                lane.open.insert(s.sequence);
                out.push(Delivery { tag, sequence: s.sequence, attempt: 1, last: false, message: s.message });
            }
        }
        Ok(out)
    }

    /// These are stored.
    pub(super) async fn ack(&mut self, done: &[Tag]) -> Result<()> {
        match self {
            Intake::Shared(consumer) => consumer.ack(done).await,
            Intake::Ordered(lanes, tags) => {
                for tag in done {
                    if let Some((n, sequence)) = tags.held.remove(tag)
                        && let Some(lane) = lanes.get_mut(n)
                    {
                        lane.open.remove(&sequence);
                    }
                }
                Ok(())
            }
        }
    }

    /// How far everything is stored; `None` where the bus itself remembers.
    pub(super) fn places(&self) -> Option<Places> {
        match self {
            Intake::Shared(_) => None,
            Intake::Ordered(lanes, _) => Some(lanes.iter().map(|l| (place(l.area), l.done())).collect()),
        }
    }

    /// Tells the bus what was written down as done; never more, so that what is read again is still there.
    pub(super) async fn tell(&mut self, saved: &Places) -> Result<()> {
        let Intake::Ordered(lanes, _) = self else { return Ok(()) };
        for lane in lanes {
            let done = saved.get(&place(lane.area)).copied().unwrap_or(0);
            if done > lane.told {
                lane.tail.done(done).await.map_err(cut_off)?;
                lane.told = done;
            }
        }
        Ok(())
    }

    /// How many messages wait, without those that were handed over.
    pub(super) async fn lag(&mut self, bus: &Bus) -> Result<u64> {
        let lanes = match self {
            Intake::Shared(consumer) => return consumer.lag().await,
            Intake::Ordered(lanes, _) => lanes,
        };
        let Some(tails) = &bus.tails else { return Ok(0) };
        let mut sum = 0;
        for lane in lanes {
            let behind = tails.lag(lane.area, &lane.name).await?.unwrap_or(0);
            // The bus counts what it was not told of yet.
            sum += behind.saturating_sub(if lane.read > lane.told && lane.open.is_empty() { behind.min(lane.read - lane.told) } else { 0 });
        }
        Ok(sum)
    }
}

/// Another persister reads now: this one stands by.
fn cut_off(e: Error) -> Error {
    match e.code() {
        Code::CLOSED => Error::new(Code::STORE_LOCKED, e.to_string()).op("persister").retry(Retry::Safe { after_ms: 500 }),
        _ => e,
    }
}
