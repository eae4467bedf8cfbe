//! What a batch will do, decided before anything changes.

use std::collections::{HashMap, HashSet};

use am_core::{Code, Error, ReadingId, Scope, Timestamp};
use am_pipeline::DeadLetter;
use am_schema::{Kind, Reading};

use super::state::{State, cost_of, letter_cost};
use crate::model::PutOutcome;

/// What will become of one reading.
pub(super) enum Fate {
    New,
    Duplicate,
    Conflict(Box<DeadLetter>),
}

type Key<'a> = (&'a Scope, Kind, &'a str, Timestamp, ReadingId);

/// Decides the fates of readings in order, counting what it will cost.
pub(super) struct Plan<'a> {
    state: &'a State,
    seen: HashMap<Key<'a>, &'a Reading>,
    letters: HashSet<String>,
    stage: &'a str,
    now: Timestamp,
    pub(super) cost: usize,
}

impl<'a> Plan<'a> {
    pub(super) fn new(state: &'a State, stage: &'a str, now: Timestamp) -> Self {
        Plan { state, seen: HashMap::new(), letters: HashSet::new(), stage, now, cost: 0 }
    }

    pub(super) fn reading(&mut self, scope: &'a Scope, r: &'a Reading) -> Fate {
        let stored = self.state.scope(scope).and_then(|d| d.row(&r.reference())).map(|row| &row.stored.reading);
        let key: Key<'a> = (scope, r.kind(), r.device().as_str(), r.recorded_at(), r.id());
        match stored.or_else(|| self.seen.get(&key).copied()) {
            None => {
                self.cost += cost_of(r);
                self.seen.insert(key, r);
                Fate::New
            }
            Some(first) if first.same_content(r) => Fate::Duplicate,
            Some(_) => {
                let text = format!("{} of {} at {} was stored before with other content", r.kind(), r.device(), r.recorded_at());
                let e = Error::new(Code::CLOCK_CONFLICT, text);
                let letter = DeadLetter::failed(scope.clone(), self.now, self.stage, r, &e, 1);
                self.letter(scope, &letter);
                Fate::Conflict(Box::new(letter))
            }
        }
    }

    pub(super) fn letter(&mut self, scope: &Scope, letter: &DeadLetter) {
        let there = self.state.scope(scope).is_some_and(|d| d.dead_letters.contains_key(&letter.id));
        if !there && self.letters.insert(letter.id.clone()) {
            self.cost += letter_cost(letter);
        }
    }
}

impl Fate {
    /// For a reading that is not stored.
    pub(super) fn outcome(&self) -> Option<PutOutcome> {
        match self {
            Fate::New => None,
            Fate::Duplicate => Some(PutOutcome::Duplicate),
            Fate::Conflict(l) => Some(PutOutcome::Conflict(l.id.clone())),
        }
    }
}
