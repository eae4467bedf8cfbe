//! Cases for buses.
//!
//! The cases share a bus, as programs do: each has people, groups and names of its own. Run them against a fresh bus with small limits, so
//! that the pressure moves: some ten megabytes per stream.

mod apart;
mod bench;
mod entries;
mod foreign;
mod groups;
mod pressure;
mod publish;
mod settle;
mod tails;

use std::future::Future;

use super::Verdict;
use crate::bus::Bus;
use bench::Bench;

pub use foreign::foreign;

/// Runs the cases for buses. `make` gives a handle to the same bus every time, over a connection of its own where there are connections.
/// What the bus says it has not – tails, entries – is not asked for.
pub async fn bus<F: Future<Output = Bus>>(make: impl Fn() -> F) -> Vec<Verdict> {
    Box::pin(bus_only(make, |_| true)).await
}

/// Runs those of the cases whose id is wanted.
pub async fn bus_only<F: Future<Output = Bus>>(make: impl Fn() -> F, wanted: impl Fn(&str) -> bool) -> Vec<Verdict> {
    let mut out = Vec::new();
    macro_rules! cases {
        ($($id:literal, $fact:literal, $case:path;)*) => { $(
            if wanted($id) {
                let bench = Bench::new(&make, $id).await;
                out.push(Verdict::of($id, $fact, bench.patient(Box::pin($case(&bench))).await));
            }
        )* };
    }
    cases! {
        // First, while nobody else has anything unsettled.
        "pressure.moves", "the pressure rises with what is not settled and falls when it is", pressure::moves;
        "publish.order", "the messages of a device arrive in the order they were published in", publish::order;
        "publish.again", "the same id of the same person again adds nothing and says so", publish::again;
        "publish.people", "the same id of two people are two messages", publish::people;
        "publish.large", "a message that is too large is refused and its neighbours go on", publish::large;
        "publish.cancel", "a publish dropped at any await and made again gives each message once", publish::cancel;
        "publish.over", "a call that is cancelled, or has no time left, publishes nothing and ends", publish::over;
        "publish.whole", "everything that a message says arrives, odd ids included", publish::whole;
        "group.shares", "the members of a group share the messages, each comes once", groups::shares;
        "group.each", "every group gets every message", groups::each;
        "group.filters", "a group gets the topics that it asked for and no other", groups::filters;
        "group.areas", "a group over several areas gets all of them, and none starves the others", groups::areas;
        "group.durable", "a member that leaves loses nothing: another one goes on", groups::durable;
        "group.mismatch", "a member that reads something else is refused", groups::mismatch;
        "group.in_flight", "a member has no more messages than it may hold", groups::in_flight;
        "group.cancel", "a fetch dropped at any await loses nothing", groups::cancel;
        "group.lag", "the lag counts what waits", groups::lag;
        "group.wait", "a fetch ends when it has waited, and as soon as there is something", groups::wait;
        "settle.late", "what is not settled in time comes again, what is settled does not", settle::late;
        "settle.again", "what is sent back comes again, not sooner than asked", settle::again;
        "settle.last", "the last delivery says so, and comes until it is acknowledged", settle::last;
        "settle.strange", "settling twice, or what never came, changes nothing", settle::strange;
        "apart.group", "a group of a person never gets a message of another one, whatever their ids look like", apart::group;
    }
    if Bench::new(&make, "tails").await.bus.tails.is_some() {
        cases! {
            "tail.order", "a tail gives each message once, in order", tails::order;
            "tail.filters", "a tail gives the topics and the person that it asked for", tails::filters;
            "tail.resume", "a tail opened behind any place gives what is behind it and nothing else", tails::resume;
            "tail.takeover", "a second reader cuts the first one off and misses nothing", tails::takeover;
            "tail.cancel", "a read dropped at any await skips and repeats nothing", tails::cancel;
            "tail.head", "the head is the place of the newest message", tails::head;
            "tail.lag", "the lag counts what a tail is not done with", tails::lag;
            "tail.beyond", "a place behind the end of the stream is refused", tails::beyond;
            "tail.live", "a tail that waits gets what is published then", tails::live;
            "apart.tail", "a tail of a person never gets a message of another one", apart::tail;
        }
    }
    if Bench::new(&make, "entries").await.bus.entries.is_some() {
        cases! {
            "entries.value", "a value is there after it was written, by any handle", entries::value;
            "entries.cas", "a write over another revision is refused and changes nothing", entries::cas;
            "entries.race", "of many writers over the same revision one wins", entries::race;
            "entries.delete", "a removed key is gone, can be made anew, and is removed only at the revision asked for", entries::delete;
            "entries.keys", "keys are found by whole segments, in order, without the removed ones", entries::keys;
            "entries.limits", "a key or a value that is none is refused", entries::limits;
        }
    }
    out
}
