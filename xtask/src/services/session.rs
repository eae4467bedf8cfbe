//! Services for the time that a program runs.

use std::process::Command;

use super::environment;
use super::lifecycle::{self, For, Report};
use super::names::Service;
use super::place::Place;
use super::process::Process;
use super::state::Book;
use crate::exec::CleansUp;

/// Services that are used; [`Session::end`] takes down those that nobody else wants.
pub(crate) struct Session {
    place: Place,
    user: Option<Process>,
    pub(crate) report: Report,
    variables: Vec<(&'static str, Option<String>)>,
    _cleans_up: CleansUp,
}

impl Session {
    /// Brings the services up as far as they can be had.
    pub(crate) fn begin(wanted: &[Service]) -> Result<Self, String> {
        let cleans_up = CleansUp::begin();
        let user = Process::own();
        let mut book = Book::open(Place::of_environment())?;
        let report = lifecycle::up(&mut book, wanted, For::Run(user))?;
        let variables = environment::variables(&report, &book.place, &book.state);
        Ok(Session { place: book.place, user, report, variables, _cleans_up: cleans_up })
    }

    /// Tells a program about the services.
    pub(crate) fn show_to(&self, program: &mut Command) {
        for (name, value) in &self.variables {
            match value {
                Some(value) => program.env(name, value),
                None => program.env_remove(name),
            };
        }
    }

    /// Lets go of the services.
    pub(crate) fn end(self) -> Result<(), String> {
        lifecycle::release(&mut Book::open_to_clean_up(self.place)?, self.user)
    }
}
