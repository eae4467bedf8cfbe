//! The ready-made processors as flow files see them.

use am_core::{Code, Error, Result};

use super::{Dedupe, Throttle, filter};
use crate::options::{OptionSpec, OptionType};
use crate::{Condition, Partition, ProcessorSpec, Registry, Setup};

/// How many keys the ready-made processors remember.
const CAPACITY: i64 = 65_536;

fn missing(name: &str) -> Error {
    Error::new(Code::BAD_FLOW, format!("the option '{name}' is missing"))
}

fn capacity() -> OptionSpec {
    OptionSpec::new("capacity", OptionType::Integer { min: 1, max: 10_000_000 }, "how many keys are remembered").default(CAPACITY)
}

fn remembered(setup: &Setup) -> usize {
    setup.config.integer("capacity").and_then(|n| usize::try_from(n).ok()).unwrap_or(CAPACITY as usize)
}

impl Registry {
    /// The processors that work on any kind: `filter`, `dedupe`, `throttle`.
    ///
    /// # Errors
    /// Never in practice: the names differ.
    pub fn builtin() -> Result<Registry> {
        let mut r = Registry::new();
        r.add(
            ProcessorSpec::new("filter", "1", "Passes readings for which a condition holds; the others are discarded.", |setup| {
                let when = setup.config.get("when").ok_or_else(|| missing("when"))?;
                let condition = Condition::parse(when, &setup.catalogue).map_err(|problems| {
                    let text: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.path.join("."), p.message)).collect();
                    Error::new(Code::BAD_FLOW, text.join("; "))
                })?;
                Ok(Box::new(filter("filter", move |r| condition.holds(r))))
            })
            .key(Partition::None)
            .options(vec![OptionSpec::new("when", OptionType::Condition, "the condition").required()]),
        )?;
        r.add(
            ProcessorSpec::new("dedupe", "1", "Discards repetitions of the same device, kind and payload.", |setup| {
                let horizon = setup.config.duration("horizon").ok_or_else(|| missing("horizon"))?;
                Ok(Box::new(Dedupe::new(horizon, remembered(setup))))
            })
            .options(vec![OptionSpec::new("horizon", OptionType::Duration, "how far apart repetitions may lie").required(), capacity()]),
        )?;
        r.add(
            ProcessorSpec::new("throttle", "1", "Passes at most one reading per device, kind and interval.", |setup| {
                let every = setup.config.duration("every").ok_or_else(|| missing("every"))?;
                Ok(Box::new(Throttle::new(every, remembered(setup), setup.catalogue.clone())))
            })
            .options(vec![OptionSpec::new("every", OptionType::Duration, "the interval").required(), capacity()]),
        )?;
        Ok(r)
    }
}
