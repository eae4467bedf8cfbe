//! Rules about what is written for readers.

use super::tree::Tree;

const ARCHITECTURE: &str = "docs/architecture.md";
const MAX_ARCHITECTURE: usize = 250;
const MAX_DECISION: usize = 80;

pub(super) fn architecture(tree: &Tree) -> Vec<String> {
    match tree.text(ARCHITECTURE).map(|t| t.lines().count()) {
        None => vec![format!("there is no {ARCHITECTURE}")],
        Some(n) if n > MAX_ARCHITECTURE => vec![format!("{ARCHITECTURE} has {n} lines, more than {MAX_ARCHITECTURE}")],
        Some(_) => Vec::new(),
    }
}

pub(super) fn decisions(tree: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    let mut expected = 1;
    for (path, text) in tree.texts(&[".md"]) {
        let Some(name) = path.strip_prefix("docs/adr/") else { continue };
        let lines = text.lines().count();
        if lines > MAX_DECISION {
            out.push(format!("{path} has {lines} lines, more than {MAX_DECISION}"));
        }
        let number = name.split_once('-').filter(|(n, _)| n.len() == 4).and_then(|(n, _)| n.parse::<u32>().ok());
        match number {
            None => out.push(format!("{path} is not named NNNN-title.md")),
            Some(n) if n != expected => {
                out.push(format!("{path}: the number {expected:04} is expected here"));
                expected = n + 1;
            }
            Some(_) => expected += 1,
        }
    }
    out
}

pub(super) fn errors(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.text("docs/errors.md") else { return vec!["there is no docs/errors.md: run `cargo xtask codegen`".into()] };
    let missing = am_core::CODES.iter().map(|c| c.code.to_string()).filter(|c| !text.contains(c.as_str()));
    missing.map(|c| format!("{c} is missing in docs/errors.md: run `cargo xtask codegen`")).collect()
}

pub(super) fn links(tree: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    for (path, text) in tree.texts(&[".md"]) {
        for (line, target) in targets(text) {
            if target.contains("://") || target.starts_with("mailto:") || target.starts_with('#') {
                continue;
            }
            let file = target.split(['#', '?']).next().unwrap_or_default();
            match resolve(path, file) {
                Some(full) if tree.exists(&full) => {}
                _ => out.push(format!("{path}:{line}: the link {target} leads nowhere")),
            }
        }
    }
    out
}

/// The link targets of a Markdown text with their lines, outside code.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    let mut fenced = false;
    for (n, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("x");
        for (at, _) in prose.match_indices("](") {
            let rest = prose.get(at + 2..).unwrap_or_default();
            if let Some((target, _)) = rest.split_once(')') {
                let target = target.split_whitespace().next().unwrap_or_default();
                out.push((n + 1, target.trim_matches(['<', '>']).to_owned()));
            }
        }
    }
    out
}

/// A path as seen from a file, `..` resolved; `None` when it leaves the project.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_long_architecture_page_is_caught() {
        assert_eq!(architecture(&Tree::of(&[])), ["there is no docs/architecture.md"]);
        assert_eq!(architecture(&Tree::of(&[(ARCHITECTURE, &"x\n".repeat(250))])), Vec::<String>::new());
        assert_eq!(architecture(&Tree::of(&[(ARCHITECTURE, &"x\n".repeat(251))])).len(), 1);
    }

    #[test]
    fn gaps_repeats_wrong_names_and_long_decisions_are_caught() {
        let long = "x\n".repeat(81);
        let of = |names: &[&str]| decisions(&Tree::of(&names.iter().map(|n| (*n, "")).collect::<Vec<_>>())).len();
        assert_eq!(of(&["docs/adr/0001-a.md", "docs/adr/0002-b.md"]), 0);
        assert_eq!(of(&["docs/adr/0001-a.md", "docs/adr/0003-b.md", "docs/adr/0004-c.md"]), 1);
        assert_eq!(of(&["docs/adr/0001-a.md", "docs/adr/0001-b.md"]), 1);
        assert_eq!(of(&["docs/adr/1-a.md"]), 1);
        assert_eq!(decisions(&Tree::of(&[("docs/adr/0001-a.md", &long)])).len(), 1);
    }

    #[test]
    fn a_code_without_a_row_is_caught() {
        let text = crate::error_docs::render();
        let cut = text.replace("AM-3004", "");
        assert_eq!(errors(&Tree::of(&[("docs/errors.md", &cut)])), ["AM-3004 is missing in docs/errors.md: run `cargo xtask codegen`"]);
        assert_eq!(errors(&Tree::of(&[])).len(), 1);
    }

    #[test]
    fn a_link_to_a_missing_file_is_caught_and_code_is_not_read() {
        let text = "[a](docs/x.md) [b](docs/y.md#h)\n```\n[c](gone)\n```\n`[d](gone)` ![e](../out.png)\n[f](https://x.y/z) [g](#h) [h](docs/ \"title\")";
        let found = links(&Tree::of(&[("README.md", text), ("docs/x.md", "[up](../README.md) [no](../READ.md)")]));
        assert_eq!(
            found,
            [
                "README.md:1: the link docs/y.md#h leads nowhere",
                "README.md:5: the link ../out.png leads nowhere",
                "docs/x.md:1: the link ../READ.md leads nowhere"
            ]
        );
    }
}
