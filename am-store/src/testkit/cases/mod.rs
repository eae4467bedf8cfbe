//! The cases, by what they are about.

macro_rules! cases {
    ($($id:literal $promise:literal $what:literal => $run:ident $($durable:ident)?;)*) => {
        /// The cases of this group.
        pub(super) static CASES: &[crate::testkit::Case] = &[$(crate::testkit::Case {
            id: $id, promise: $promise, what: $what, durable: cases!(@ $($durable)?), run: |kit| Box::pin($run(kit)),
        }),*];
    };
    (@ durable) => { true };
    (@) => { false };
}

mod aggregates;
mod cancel;
mod dead_letters;
mod devices;
mod feed;
mod flows;
mod generations;
mod key_value;
mod lineage;
mod maintenance;
mod order;
mod paging;
mod put;
mod reopen;
mod tenants;
mod text;

use super::Case;

/// Every group, in the order of the report.
pub(super) static GROUPS: &[&[Case]] = &[
    put::CASES,
    order::CASES,
    paging::CASES,
    aggregates::CASES,
    feed::CASES,
    flows::CASES,
    generations::CASES,
    lineage::CASES,
    text::CASES,
    dead_letters::CASES,
    key_value::CASES,
    devices::CASES,
    maintenance::CASES,
    tenants::CASES,
    cancel::CASES,
    reopen::CASES,
];
