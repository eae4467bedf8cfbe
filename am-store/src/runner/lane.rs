//! One part of a flow's input: a person's device, or a person, with processors of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use am_core::{Clock, Code, Ctx, DeviceId, Error, ReadingId, Result, Scope};
use am_pipeline::{DeadLetter, Jitter, Origin, Partition, Processor};
use am_schema::{Catalogue, Reading};
use parking_lot::RwLock;

use super::call::{Panicked, call};
use super::flow::{Flow, FlowStep};
use super::history::History;
use crate::model::{Seq, StateChange};
use crate::traits::Backend;

/// The states as they were last committed, by key.
pub(super) type Saved = Arc<RwLock<HashMap<String, Arc<[u8]>>>>;

/// What lanes share.
pub(super) struct Env {
    pub(super) flow: Flow,
    pub(super) backend: Backend,
    pub(super) catalogue: Catalogue,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) saved: Saved,
}

/// Whose part it is; without a device when the flow takes a person's devices together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    pub(super) scope: Scope,
    pub(super) device: Option<DeviceId>,
}

/// A reading to be processed.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) seq: Seq,
    pub(super) origin: Origin,
    pub(super) reading: Reading,
}

/// What a lane made of a step's input.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) derived: Vec<(Origin, Reading)>,
    pub(super) letters: Vec<DeadLetter>,
    pub(super) state: Vec<StateChange>,
    pub(super) discarded: u64,
    pub(super) failures: u64,
}

pub(super) struct Lane {
    key: LaneKey,
    processors: HashMap<(usize, Option<DeviceId>), Box<dyn Processor>>,
    jitter: Jitter,
}

/// Why a pass over the input ends early.
enum Stop {
    /// A processor panicked on this reading, or on several that must now come one by one.
    Panicked {
        step: usize,
        readings: Vec<Reading>,
        error: Error,
    },
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Stop::Failed(e)
    }
}

/// What earlier passes over the same input found out.
#[derive(Default)]
struct Known {
    poison: HashMap<(usize, ReadingId), DeadLetter>,
    one_by_one: bool,
}

impl Lane {
    pub(super) fn new(key: LaneKey) -> Lane {
        let jitter = Jitter::named(&format!("{key:?}"));
        Lane { key, processors: HashMap::new(), jitter }
    }

    /// Processes the readings, in order.
    ///
    /// # Errors
    /// When a state cannot be read or written; nothing is to be committed then.
    pub(super) async fn process(&mut self, env: &Env, work: &[Given]) -> Result<Made> {
        let mut known = Known::default();
        let mut failures = 0;
        loop {
            match self.pass(env, work, &known).await {
                Ok(mut made) => {
                    made.failures += failures;
                    return Ok(made);
                }
                Err(Stop::Failed(e)) => return Err(e),
                Err(Stop::Panicked { step, readings, error }) => {
                    failures += 1;
                    // Every pass that panics names another reading, so the passes come to an end.
                    match readings.as_slice() {
                        [reading] => {
                            let letter = self.letter(env, step, reading, &error, 1);
                            known.poison.insert((step, reading.id()), letter);
                        }
                        _ => known.one_by_one = true,
                    }
                    // Broken off in the middle: all of the part begins again from what was committed.
                    self.processors.clear();
                }
            }
        }
    }

    async fn pass(&mut self, env: &Env, work: &[Given], known: &Known) -> std::result::Result<Made, Stop> {
        let mut made = Made::default();
        let mut touched: BTreeSet<(usize, Option<DeviceId>)> = BTreeSet::new();
        let mut seen: HashSet<ReadingId> = work.iter().map(|g| g.reading.id()).collect();
        let mut wave: Vec<Given> = work.to_vec();
        for (i, step) in env.flow.steps().iter().enumerate() {
            let mut next = Vec::with_capacity(wave.len());
            for mut group in groups(wave, step, known.one_by_one) {
                let Some(first) = group.first() else { continue };
                if !step.spec.takes(first.reading.kind().topic()) {
                    next.append(&mut group);
                    continue;
                }
                let key = (i, (step.spec.key != Partition::Scope).then(|| first.reading.device().clone()));
                touched.insert(key.clone());
                let emitted = self.one(env, key, group, known, &mut made).await?;
                for given in &emitted {
                    if seen.insert(given.reading.id()) && env.flow.stores(&given.reading) {
                        made.derived.push((given.origin, given.reading.clone()));
                    }
                }
                next.extend(emitted);
            }
            wave = next;
        }
        made.state = self.changes(env, touched)?;
        Ok(made)
    }

    /// Takes readings through a step until each is processed or parked.
    async fn one(
        &mut self,
        env: &Env,
        key: (usize, Option<DeviceId>),
        group: Vec<Given>,
        known: &Known,
        made: &mut Made,
    ) -> std::result::Result<Vec<Given>, Stop> {
        let step = env.flow.steps().get(key.0).ok_or_else(|| Error::new(Code::INTERNAL, "a flow has fewer steps than it had"))?;
        let mut emitted = Vec::new();
        let mut todo: Vec<(Vec<Given>, u32)> = vec![(group, 1)];
        while let Some((group, attempt)) = todo.pop() {
            let Some(last) = group.last() else { continue };
            if let ([only], Some(letter)) = (group.as_slice(), known.poison.get(&(key.0, last.reading.id()))) {
                debug_assert_eq!(Some(only.reading.id()), letter.reading_id);
                made.letters.push(letter.clone());
                continue;
            }
            let (seq, origin) = (last.seq, last.origin);
            let ctx = self.ctx(env, seq);
            let readings: Vec<Reading> = group.iter().map(|g| g.reading.clone()).collect();
            let processor = self.processor(env, step, &key)?;
            let answer = match call(processor, &ctx, &readings, origin, step.attempts.timeout).await {
                Ok(answer) => answer,
                Err(Panicked(error)) => return Err(Stop::Panicked { step: key.0, readings, error }),
            };
            made.discarded += answer.discarded;
            made.failures += answer.failed.len() as u64;
            emitted.extend(answer.emitted.into_iter().map(|(origin, reading)| Given { seq, origin, reading }));
            for (reading, e) in answer.parked {
                let letter = self.letter(env, key.0, &reading, &e, attempt);
                made.letters.push(letter);
            }
            if readings.len() > 1 {
                // Set apart from each other, in order: the last on the stack comes first.
                let alone = answer.failed.iter().rev().filter_map(|(at, _)| group.get(*at)).map(|g| (vec![g.clone()], 1));
                todo.extend(alone);
                continue;
            }
            for (_, e) in answer.failed {
                if attempt < step.attempts.max && e.advice().is_worthwhile() {
                    let wait = step.attempts.backoff.wait(attempt, self.jitter.unit(), e.advice().after());
                    env.clock.sleep(wait).await;
                    todo.push((group.clone(), attempt + 1));
                } else if let Some(reading) = readings.first() {
                    let e = match attempt {
                        1 => e,
                        n => Error::new(Code::GAVE_UP, format!("{} after {n} tries", e.message())).source(e),
                    };
                    let letter = self.letter(env, key.0, reading, &e, attempt);
                    made.letters.push(letter);
                }
            }
        }
        Ok(emitted)
    }

    fn processor<'a>(
        &'a mut self,
        env: &Env,
        step: &FlowStep,
        key: &(usize, Option<DeviceId>),
    ) -> Result<&'a mut (dyn Processor + 'static)> {
        if !self.processors.contains_key(key) {
            let mut fresh = step.spec.make(&step.setup)?;
            let state = env.saved.read().get(&self.state_key(step, key.1.as_ref())).cloned();
            fresh.restore(state.as_deref().unwrap_or_default())?;
            self.processors.insert(key.clone(), fresh);
        }
        let found = self.processors.get_mut(key).map(Box::as_mut);
        found.ok_or_else(|| Error::new(Code::INTERNAL, "a processor was lost").op("store.flow"))
    }

    fn changes(&self, env: &Env, touched: BTreeSet<(usize, Option<DeviceId>)>) -> Result<Vec<StateChange>> {
        let mut changes = BTreeMap::new();
        for key in touched {
            let (Some(step), Some(p)) = (env.flow.steps().get(key.0), self.processors.get(&key)) else { continue };
            let (name, now) = (self.state_key(step, key.1.as_ref()), p.snapshot()?);
            let before = env.saved.read().get(&name).cloned();
            if before.as_deref().unwrap_or_default() != now {
                changes.insert(name, (!now.is_empty()).then_some(now));
            }
        }
        Ok(changes.into_iter().map(|(key, value)| StateChange { key, value }).collect())
    }

    /// `TENANT USER DEVICE PROCESSOR`; ids have no spaces. The device is empty where a person's devices are together.
    fn state_key(&self, step: &FlowStep, device: Option<&DeviceId>) -> String {
        let (scope, device) = (&self.key.scope, device.map_or("", DeviceId::as_str));
        format!("{} {} {device} {}", scope.tenant(), scope.user(), step.spec.name)
    }

    fn ctx(&self, env: &Env, until: Seq) -> Ctx {
        let history = History { backend: env.backend.clone(), catalogue: env.catalogue.clone(), clock: env.clock.clone(), until };
        Ctx::new(self.key.scope.clone(), env.clock.clone()).with_lookup(Arc::new(history))
    }

    fn letter(&self, env: &Env, step: usize, reading: &Reading, error: &Error, attempts: u32) -> DeadLetter {
        let stage = env.flow.steps().get(step).map_or("flow", |s| s.spec.name);
        DeadLetter::failed(self.key.scope.clone(), env.clock.now(), stage, reading, error, attempts)
    }
}

/// Readings that go into one call: one each for processors with state; runs of the same device and origin for those without.
fn groups(wave: Vec<Given>, step: &FlowStep, one_by_one: bool) -> Vec<Vec<Given>> {
    let together = step.spec.key == Partition::None && !one_by_one;
    let mut out: Vec<Vec<Given>> = Vec::new();
    for given in wave {
        let fits = |run: &Vec<Given>| {
            run.last().is_some_and(|g| {
                g.origin == given.origin && g.reading.device() == given.reading.device() && g.reading.kind() == given.reading.kind()
            })
        };
        match out.last_mut() {
            Some(run) if together && fits(run) => run.push(given),
            _ => out.push(vec![given]),
        }
    }
    out
}
