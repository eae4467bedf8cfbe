//! Rules about source files.

use super::tree::Tree;
use crate::manifest::Manifest;

/// Lines of code that a file may have.
const MAX_LINES: usize = 400;
/// Bytes that a committed binary file may have.
const MAX_BINARY: u64 = 100_000;
/// Names that say nothing.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "helper", "misc"];

fn generated(path: &str) -> bool {
    path.split('/').any(|part| part == "generated")
}

/// Lines that are neither blank nor only a comment.
fn code_lines(text: &str) -> usize {
    text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//")).count()
}

pub(super) fn file_size(tree: &Tree) -> Vec<String> {
    let sizes = tree.texts(&[".rs"]).filter(|(p, _)| !generated(p)).map(|(p, t)| (p, code_lines(t)));
    sizes
        .filter(|(_, n)| *n > MAX_LINES)
        .map(|(p, n)| format!("{p} has {n} lines of code, more than {MAX_LINES}: split it by concern"))
        .collect()
}

pub(super) fn names(tree: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    for (path, _) in tree.files() {
        let part = path.split('/').find(|part| EMPTY_NAMES.contains(&part.split('.').next().unwrap_or_default()));
        out.extend(part.map(|part| format!("{path}: {part:?} says nothing about what is inside")));
    }
    for (path, text) in tree.texts(&[".rs"]) {
        for (n, line) in text.lines().enumerate() {
            let name = line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ").strip_prefix("mod ").unwrap_or_default();
            let name = name.trim_end_matches([';', '{', ' ']);
            if EMPTY_NAMES.contains(&name) {
                out.push(format!("{path}:{}: a module named {name:?} says nothing about what is inside", n + 1));
            }
        }
    }
    out
}

pub(super) fn notes(tree: &Tree) -> Vec<String> {
    // Written in halves, or this file would break its own rule.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("to", "do!("), concat!("unimpl", "emented!(")];
    let endings = [".rs", ".proto", ".toml", ".md", ".sh", ".py", ".yaml", ".yml", "/run"];
    let mut out = Vec::new();
    for (path, text) in tree.texts(&endings).filter(|(p, _)| !generated(p)) {
        for (n, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|w| holds_word(line, w)) {
                out.push(format!("{path}:{}: {word}: do it, or name it among the known limits of CHANGELOG.md", n + 1));
            }
        }
    }
    out
}

/// True when the word stands in the line with no letter, digit or `_` before it, nor behind it.
fn holds_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|s| s.chars().next_back());
        let behind = line.get(at + word.len()..).and_then(|s| s.chars().next());
        !before.is_some_and(part_of_name) && (word.ends_with('(') || !behind.is_some_and(part_of_name))
    })
}

pub(super) fn ignored_tests(tree: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    for (path, text) in tree.texts(&[".rs"]) {
        let hit = |l: &str| l.trim_start().starts_with("#[ignore") || (l.trim_start().starts_with("#[cfg_attr") && l.contains(" ignore"));
        let lines = text.lines().enumerate().filter(|(_, l)| hit(l));
        out.extend(lines.map(|(n, _)| format!("{path}:{}: a test that does not run proves nothing", n + 1)));
    }
    out
}

pub(super) fn crate_docs(tree: &Tree) -> Vec<String> {
    let members = tree.text("Cargo.toml").and_then(|t| Manifest::parse(t).ok()).map(|m| m.members).unwrap_or_default();
    let mut out = Vec::new();
    for member in std::iter::once(String::new()).chain(members) {
        let at = |file: &str| if member.is_empty() { file.to_owned() } else { format!("{member}/{file}") };
        match ["src/lib.rs", "src/main.rs"].map(at).iter().find_map(|p| Some((p.clone(), tree.text(p)?))) {
            Some((path, text)) if !text.trim_start().starts_with("//!") => out.push(format!("{path} does not begin with a //! line")),
            Some(_) => {}
            None => {
                out.push(format!("{} has neither src/lib.rs nor src/main.rs", if member.is_empty() { "the root package" } else { &member }))
            }
        }
    }
    out
}

pub(super) fn binaries(tree: &Tree) -> Vec<String> {
    let binary = |bytes: &[u8]| bytes.iter().take(8_192).any(|b| *b == 0);
    let large = tree.files().filter(|(_, f)| f.size > MAX_BINARY && binary(&f.bytes));
    large.map(|(p, f)| format!("{p} is a binary file of {} kB; fetch or generate it instead", f.size / 1_000)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_401_lines_of_code_is_caught_and_comments_do_not_count() {
        let code = |n: usize| "let x = 1;\n// why\n\n/// what\n".repeat(n);
        let (long, fits) = (code(401), code(400));
        let found = file_size(&Tree::of(&[("a/src/x.rs", &long), ("a/src/y.rs", &fits), ("a/src/generated/z.rs", &long), ("a.md", &long)]));
        assert_eq!(found, ["a/src/x.rs has 401 lines of code, more than 400: split it by concern"]);
    }

    #[test]
    fn empty_names_of_files_folders_and_modules_are_caught() {
        let tree = Tree::of(&[
            ("a/src/utils.rs", ""),
            ("a/tests/common/mod.rs", ""),
            ("a/src/uncommon.rs", "mod commons;\npub(crate) mod helpers;\n mod misc {"),
        ]);
        assert_eq!(names(&tree).len(), 4, "{:?}", names(&tree));
    }

    #[test]
    fn notes_for_later_are_caught_as_words_only() {
        let todo = concat!("TO", "DO");
        let bad = format!(
            "// {todo}: later\n{}()\n{}\nfn x() {{ {}\"x\") }}",
            concat!("to", "do!"),
            concat!("FIX", "ME"),
            concat!("unimpl", "emented!(")
        );
        let good = format!("let {todo}S = 1; // {todo}_LIST, MASTO{todo}, xxx");
        assert_eq!(notes(&Tree::of(&[("a.rs", &bad), ("b.md", &good)])).len(), 4);
    }

    #[test]
    fn tests_that_do_not_run_are_caught() {
        let text = "#[test]\n    #[ignore = \"slow\"]\nfn a() {}\n#[cfg_attr(not(unix), ignore)]\nfn b() { let ignore = 1; }";
        assert_eq!(ignored_tests(&Tree::of(&[("a/tests/x.rs", text)])).len(), 2);
    }

    #[test]
    fn a_crate_without_docs_or_sources_is_caught() {
        let manifest = "[package]\nname = 'am-sdk'\n[workspace]\nmembers = ['a', 'b', 'c']";
        let files =
            [("Cargo.toml", manifest), ("src/lib.rs", "//! Yes."), ("a/src/lib.rs", "pub fn x() {}"), ("b/src/main.rs", "//! Yes.")];
        assert_eq!(
            crate_docs(&Tree::of(&files)),
            ["a/src/lib.rs does not begin with a //! line", "c has neither src/lib.rs nor src/main.rs"]
        );
    }

    #[test]
    fn a_large_binary_file_is_caught_and_a_large_text_is_not() {
        let (binary, text) = ("\0".repeat(100_001), "x".repeat(100_001));
        let found = binaries(&Tree::of(&[("a.bin", &binary), ("b.csv", &text), ("c.bin", "\0")]));
        assert!(found.len() == 1 && found[0].starts_with("a.bin is a binary file of 100 kB"), "{found:?}");
    }
}
