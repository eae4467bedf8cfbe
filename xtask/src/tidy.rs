//! `cargo xtask tidy`: the project's own rules, each a function from the files to what breaks it.

mod docs;
mod levels;
mod sources;
mod traits;
mod tree;

use crate::project_root;
use tree::Tree;

/// One rule: its name and its check, which says what breaks it and where.
type Rule = (&'static str, fn(&Tree) -> Vec<String>);

const RULES: &[Rule] = &[
    ("levels", levels::check),
    ("file size", sources::file_size),
    ("names", sources::names),
    ("left-over notes", sources::notes),
    ("ignored tests", sources::ignored_tests),
    ("crate docs", sources::crate_docs),
    ("binary files", sources::binaries),
    ("backend traits", traits::check),
    ("architecture page", docs::architecture),
    ("decision records", docs::decisions),
    ("error table", docs::errors),
    ("links", docs::links),
];

/// Checks all rules and prints what breaks them.
pub(crate) fn run() -> Result<(), String> {
    let tree = Tree::load(&project_root())?;
    let mut total = 0;
    for (name, check) in RULES {
        for finding in check(&tree) {
            println!("tidy: {name}: {finding}");
            total += 1;
        }
    }
    if total == 0 {
        println!("tidy: {} rules hold", RULES.len());
        return Ok(());
    }
    Err(format!("tidy found {total} things to put right"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_in_order_breaks_no_rule() {
        let errors = crate::error_docs::render();
        let files = [
            ("Cargo.toml", "[workspace]\nmembers = ['am-core', 'am-schema']\n[package]\nname = 'am-sdk'\n[dependencies]\nam-core = '1'\n"),
            ("src/lib.rs", "//! Facade.\n"),
            ("am-core/Cargo.toml", "[package]\nname = 'am-core'\n[dependencies]\nserde = '1'\n[dev-dependencies]\ntokio = '1'\n"),
            ("am-core/src/lib.rs", "//! Core.\n"),
            ("am-schema/Cargo.toml", "[package]\nname = 'am-schema'\n[dependencies]\nam-core = '1'\nprost = '1'\n"),
            ("am-schema/src/lib.rs", "//! Schema.\n"),
            ("am-store/src/traits/feed.rs", "pub trait Feed: Send { fn head(&self) -> u64; }\n"),
            ("docs/architecture.md", "# Architecture\n"),
            ("docs/adr/0001-rust.md", "# Rust\n"),
            ("docs/errors.md", errors.as_str()),
            ("README.md", "[a](docs/architecture.md#top) [b](https://example.org) `[c](nowhere)` [d](docs)\n"),
        ];
        let tree = Tree::of(&files);
        for (name, check) in RULES {
            assert_eq!(check(&tree), Vec::<String>::new(), "{name}");
        }
    }
}
