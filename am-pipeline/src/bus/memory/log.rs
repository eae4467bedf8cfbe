//! The streams and who has read how far.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use am_core::{Code, Error, Result, Scope};

use super::MemoryBusOptions;
use crate::bus::{Area, GroupSpec, Message, Pressure, Published, Sequenced, TailSpec};

/// One stream.
#[derive(Default)]
struct Stream {
    /// Messages that are kept, with their time; the first has the sequence `first`.
    kept: VecDeque<(Duration, Message)>,
    first: u64,
    bytes: usize,
    ids: HashMap<(Scope, String), (Duration, u64)>,
}

impl Stream {
    fn last(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    /// Messages behind a place, with their sequence.
    fn after(&self, place: u64) -> impl Iterator<Item = (u64, &(Duration, Message))> {
        let skip = place.saturating_sub(self.first) as usize;
        (self.first + 1..).zip(&self.kept).skip(skip)
    }
}

/// A message that is with a member, or waits for its next turn.
#[derive(Clone, Copy)]
pub(super) struct Out {
    pub(super) area: Area,
    pub(super) sequence: u64,
    pub(super) attempt: u32,
    /// When it comes again.
    due: Duration,
    /// It was handed out and not settled yet.
    held: bool,
}

/// A group: how far it has come in each stream, and what is not settled.
struct Group {
    spec: GroupSpec,
    read: BTreeMap<Area, u64>,
    out: BTreeMap<u64, Out>,
}

/// A reader in order.
struct TailPlace {
    spec: TailSpec,
    /// Everything up to here is done.
    done: u64,
    /// Which reader has the name.
    reader: u64,
}

/// All streams, groups and tails.
pub(super) struct Log {
    options: MemoryBusOptions,
    streams: BTreeMap<Area, Stream>,
    groups: HashMap<String, Group>,
    tails: HashMap<String, TailPlace>,
    tags: u64,
}

fn wants(message: &Message, scope: Option<&Scope>, topics: &[String]) -> bool {
    scope.is_none_or(|s| *s == message.scope) && (topics.is_empty() || topics.contains(&message.topic))
}

impl Log {
    pub(super) fn new(options: MemoryBusOptions) -> Self {
        Log { options, streams: BTreeMap::new(), groups: HashMap::new(), tails: HashMap::new(), tags: 0 }
    }

    pub(super) fn publish(&mut self, message: Message, now: Duration) -> Result<Published> {
        self.trim(message.area, message.body.len() + 256, now);
        let window = self.options.duplicates;
        let stream = self.streams.entry(message.area).or_default();
        stream.ids.retain(|_, (at, _)| now.saturating_sub(*at) < window);
        let id = (message.scope.clone(), message.id.clone());
        if let Some((_, sequence)) = stream.ids.get(&id) {
            return Ok(Published { sequence: *sequence, duplicate: true });
        }
        let bytes = message.body.len() + 256;
        if stream.bytes + bytes > self.options.bytes {
            let text = format!("the stream holds {} bytes that are not settled and takes no more", stream.bytes);
            return Err(Error::new(Code::OVERLOADED, text).op("bus.publish"));
        }
        stream.bytes += bytes;
        let sequence = stream.last() + 1;
        stream.ids.insert(id, (now, sequence));
        stream.kept.push_back((now, message));
        Ok(Published { sequence, duplicate: false })
    }

    /// The place up to which every reader of a stream is done; `None` when nobody reads it.
    fn settled(&self, area: Area) -> Option<u64> {
        let of_group = |g: &Group| {
            let read = g.read.get(&area)?;
            let open = g.out.values().filter(|o| o.area == area).map(|o| o.sequence - 1).min();
            Some(open.unwrap_or(*read).min(*read))
        };
        let tails = self.tails.values().filter(|t| t.spec.area == area).map(|t| t.done);
        self.groups.values().filter_map(of_group).chain(tails).min()
    }

    /// Removes what everyone has where room is needed, and what is too old unless someone still wants it. A group that comes later finds
    /// what is kept.
    fn trim(&mut self, area: Area, need: usize, now: Duration) {
        let settled = self.settled(area);
        let options = &self.options;
        let Some(stream) = self.streams.get_mut(&area) else { return };
        while let Some((at, m)) = stream.kept.front() {
            let wanted = settled.is_some_and(|s| stream.first >= s);
            let old = now.saturating_sub(*at) > options.age;
            let in_the_way = settled.is_some() && stream.bytes + need > options.bytes;
            if wanted || !(old || in_the_way) {
                break;
            }
            stream.bytes -= m.body.len() + 256;
            stream.first += 1;
            stream.kept.pop_front();
        }
    }

    pub(super) fn pressure(&self, now: Duration) -> Pressure {
        let Some(stream) = self.streams.get(&Area::Readings) else { return Pressure::default() };
        let Some(settled) = self.settled(Area::Readings) else { return Pressure::default() };
        let mut open = stream.after(settled).map(|(_, m)| m).peekable();
        let oldest = open.peek().map_or(Duration::ZERO, |(at, _)| now.saturating_sub(*at));
        let bytes: usize = open.map(|(_, m)| m.body.len() + 256).sum();
        Pressure { age: oldest.as_secs_f64() / self.options.age.as_secs_f64(), bytes: bytes as f64 / self.options.bytes as f64 }
    }

    pub(super) fn join(&mut self, spec: GroupSpec) -> Result<()> {
        let found = self.groups.entry(spec.name.clone()).or_insert_with(|| Group {
            read: spec.areas.iter().map(|a| (*a, 0)).collect(),
            spec: spec.clone(),
            out: BTreeMap::new(),
        });
        if (&found.spec.areas, &found.spec.topics, &found.spec.scope) == (&spec.areas, &spec.topics, &spec.scope) {
            return Ok(());
        }
        Err(Error::new(Code::BUS_MISMATCH, format!("the group {} reads something else", spec.name)).op("bus.join"))
    }

    /// Hands out what is due, oldest first: what comes again, then what is new.
    pub(super) fn take(&mut self, name: &str, max: usize, now: Duration) -> Vec<(u64, Out, Message)> {
        let Some(group) = self.groups.get_mut(name) else { return Vec::new() };
        let again = now.saturating_add(group.spec.settle_within);
        let mut due: Vec<u64> = group.out.iter().filter(|(_, o)| o.due <= now).map(|(tag, _)| *tag).take(max).collect();
        let held = group.out.values().filter(|o| o.held && o.due > now).count();
        let mut room = max.min(group.spec.in_flight.saturating_sub(held));
        due.truncate(room);
        let mut out = Vec::new();
        for tag in due {
            let Some(mut o) = group.out.remove(&tag) else { continue };
            (o.attempt, o.due, o.held) = (o.attempt + 1, again, true);
            let place = o.sequence - 1;
            let found = self.streams.get(&o.area).and_then(|s| s.after(place).next()).filter(|(n, _)| *n == o.sequence);
            if let Some((_, (_, m))) = found {
                self.tags += 1;
                group.out.insert(self.tags, o);
                out.push((self.tags, o, m.clone()));
                room -= 1;
            }
        }
        for area in group.spec.areas.clone() {
            let Some(stream) = self.streams.get(&area) else { continue };
            let read = group.read.entry(area).or_insert(0);
            for (sequence, (_, m)) in stream.after(*read) {
                if room == 0 {
                    break;
                }
                *read = sequence;
                if wants(m, group.spec.scope.as_ref(), &group.spec.topics) {
                    self.tags += 1;
                    let o = Out { area, sequence, attempt: 1, due: again, held: true };
                    group.out.insert(self.tags, o);
                    out.push((self.tags, o, m.clone()));
                    room -= 1;
                }
            }
        }
        out
    }

    pub(super) fn deliveries(&self, name: &str) -> u32 {
        self.groups.get(name).map_or(0, |g| g.spec.deliveries)
    }

    /// Settles; with a time, they come again then.
    pub(super) fn settle(&mut self, name: &str, tags: &[u64], again: Option<Duration>) {
        let Some(group) = self.groups.get_mut(name) else { return };
        for tag in tags {
            match again {
                None => {
                    group.out.remove(tag);
                }
                Some(due) => {
                    if let Some(o) = group.out.get_mut(tag) {
                        (o.due, o.held) = (due, false);
                    }
                }
            }
        }
    }

    pub(super) fn lag(&self, name: &str) -> u64 {
        let Some(g) = self.groups.get(name) else { return 0 };
        let waiting = g.out.values().filter(|o| !o.held).count() as u64;
        let new = g.spec.areas.iter().filter_map(|a| {
            let read = g.read.get(a).copied().unwrap_or(0);
            Some(self.streams.get(a)?.after(read).filter(|(_, (_, m))| wants(m, g.spec.scope.as_ref(), &g.spec.topics)).count() as u64)
        });
        waiting + new.sum::<u64>()
    }

    /// Registers a reader in order; returns its number. The one before is cut off.
    pub(super) fn tail(&mut self, spec: &TailSpec) -> Result<u64> {
        let (first, last) = self.streams.get(&spec.area).map_or((0, 0), |s| (s.first, s.last()));
        if spec.after > last {
            let text = format!("{} was at {}, and the stream ends at {last}: it was made anew", spec.name, spec.after);
            return Err(Error::new(Code::BUS_TRIMMED, text).op("bus.tail"));
        }
        if spec.after < first && spec.after > 0 {
            let text = format!("messages up to {first} are gone, {} wanted to read on after {}", spec.name, spec.after);
            return Err(Error::new(Code::BUS_TRIMMED, text).op("bus.tail"));
        }
        self.tags += 1;
        let place = TailPlace { spec: spec.clone(), done: spec.after.max(first), reader: self.tags };
        self.tails.insert(spec.name.clone(), place);
        Ok(self.tags)
    }

    /// Whether this reader still has the name.
    pub(super) fn owns(&self, name: &str, reader: u64) -> bool {
        self.tails.get(name).is_some_and(|t| t.reader == reader)
    }

    /// What lies behind a place; also how far was looked.
    pub(super) fn read(&self, spec: &TailSpec, after: u64, max: usize) -> (Vec<Sequenced>, u64) {
        let Some(stream) = self.streams.get(&spec.area) else { return (Vec::new(), after) };
        let (mut out, mut seen) = (Vec::new(), after);
        for (sequence, (_, m)) in stream.after(after) {
            if out.len() == max {
                break;
            }
            seen = sequence;
            if wants(m, spec.scope.as_ref(), &spec.topics) {
                out.push(Sequenced { sequence, message: Ok(m.clone()) });
            }
        }
        (out, seen)
    }

    pub(super) fn done(&mut self, name: &str, reader: u64, place: u64) {
        if let Some(t) = self.tails.get_mut(name).filter(|t| t.reader == reader) {
            t.done = t.done.max(place);
        }
    }

    pub(super) fn tail_lag(&self, area: Area, name: &str) -> Option<u64> {
        let t = self.tails.get(name).filter(|t| t.spec.area == area)?;
        let wanted = |(_, (_, m)): &(u64, &(Duration, Message))| wants(m, t.spec.scope.as_ref(), &t.spec.topics);
        Some(self.streams.get(&area).map_or(0, |s| s.after(t.done).filter(wanted).count() as u64))
    }

    pub(super) fn head(&self, area: Area) -> u64 {
        self.streams.get(&area).map_or(0, Stream::last)
    }
}
