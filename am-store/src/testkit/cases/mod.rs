//! The cases, by what they are about.

macro_rules! cases {
    ($($id:literal $promise:literal $what:literal => $run:ident $($mark:ident)*;)*) => {
        /// The cases of this group.
        pub(super) static CASES: &[crate::testkit::Case] = &[$(crate::testkit::Case {
            id: $id, promise: $promise, what: $what, durable: cases!(@durable $($mark)*), vectors: cases!(@vectors $($mark)*),
            run: |kit| Box::pin($run(kit)),
        }),*];
    };
    (@durable durable $($rest:ident)*) => { true };
    (@vectors vectors $($rest:ident)*) => { true };
    (@durable $other:ident $($rest:ident)*) => { cases!(@durable $($rest)*) };
    (@vectors $other:ident $($rest:ident)*) => { cases!(@vectors $($rest)*) };
    (@durable) => { false };
    (@vectors) => { false };
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
mod vectors;

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
    vectors::CASES,
    dead_letters::CASES,
    key_value::CASES,
    devices::CASES,
    maintenance::CASES,
    tenants::CASES,
    cancel::CASES,
    reopen::CASES,
];
