//! What is known of the connection, as its events tell.

use std::collections::VecDeque;

use async_nats::{Event, ServerError};
use tokio::sync::watch;

/// Refusals that are remembered.
const REFUSALS: usize = 64;

/// The connection's state, for those who wait for something to come over it.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Grows with every connection; what was asked over an older one is not answered any more.
    pub(super) generation: u64,
    /// Whether there is one.
    pub(super) up: bool,
    /// Grows with every refusal.
    refusals: u64,
    /// What the server refused lately: the number of the refusal and the subject.
    refused: VecDeque<(u64, String)>,
}

impl State {
    /// The refusals so far, to ask later what came after.
    pub(super) fn mark(&self) -> u64 {
        self.refusals
    }

    /// A subject that was refused after a mark and that `is_it` recognises.
    pub(super) fn refused_since(&self, mark: u64, is_it: impl Fn(&str) -> bool) -> Option<&str> {
        self.refused.iter().find(|(n, s)| *n > mark && is_it(s)).map(|(_, s)| s.as_str())
    }

    fn refuse(&mut self, subject: &str) {
        self.refusals += 1;
        self.refused.push_back((self.refusals, subject.to_owned()));
        if self.refused.len() > REFUSALS {
            self.refused.pop_front();
        }
    }
}

/// Told by the client's event callback.
#[derive(Clone)]
pub(super) struct Link(watch::Sender<State>);

impl Link {
    pub(super) fn new() -> Self {
        Link(watch::Sender::new(State::default()))
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    pub(super) fn state(&self) -> State {
        self.0.borrow().clone()
    }

    /// Grows with every connection.
    pub(super) fn generation(&self) -> u64 {
        self.0.borrow().generation
    }

    pub(super) fn is_up(&self) -> bool {
        self.0.borrow().up
    }

    pub(super) fn hear(&self, event: &Event) {
        match event {
            Event::Connected => self.0.send_modify(|s| (s.generation, s.up) = (s.generation + 1, true)),
            Event::Disconnected | Event::Closed => self.0.send_modify(|s| s.up = false),
            Event::ServerError(ServerError::Other(text)) => {
                if let Some(subject) = violation(text) {
                    tracing::warn!(subject, "the bus refuses a subject");
                    self.0.send_modify(|s| s.refuse(subject));
                } else {
                    tracing::warn!(text, "the bus reports an error");
                }
            }
            Event::ServerError(ServerError::AuthorizationViolation) => tracing::error!("the bus refuses the credentials"),
            Event::SlowConsumer(_) => tracing::warn!("messages arrive faster than they are read; those that were lost come again"),
            Event::LameDuckMode => tracing::info!("a server of the bus is about to stop; the connection moves to another one"),
            _ => {}
        }
    }
}

/// The subject of `Permissions Violation for Publish to "subject"`.
fn violation(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("ermissions Violation for ")?;
    let (_, rest) = rest.split_once('"')?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_subject_and_only_newer_ones_count() {
        let link = Link::new();
        link.hear(&Event::ServerError(ServerError::Other("Permissions Violation for Publish to \"am.r.a.b.t\"".into())));
        let mark = link.state().mark();
        assert!(link.state().refused_since(0, |s| s == "am.r.a.b.t").is_some());
        assert!(link.state().refused_since(mark, |_| true).is_none());
        for i in 0..100 {
            let text = format!("permissions violation for subscription to \"x.{i}\" using queue \"q\"");
            link.hear(&Event::ServerError(ServerError::Other(text.replace("violation", "Violation"))));
        }
        assert!(link.state().refused_since(mark, |s| s == "x.99").is_some());
        assert_eq!(link.state().refused.len(), REFUSALS);
        assert_eq!(violation("maximum connections exceeded"), None);
    }
}
