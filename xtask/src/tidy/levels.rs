//! Dependencies go strictly downward, and each crate stays ignorant of what its row in `docs/architecture.md` names.

use super::tree::Tree;
use crate::manifest::Manifest;

/// A crate, its level, and the families of packages it knows nothing of (`tokio` also bans `tokio-…`).
struct Row {
    name: &'static str,
    level: u8,
    never: &'static [&'static str],
}

const fn row(name: &'static str, level: u8, never: &'static [&'static str]) -> Row {
    Row { name, level, never }
}

const ROWS: &[Row] = &[
    row("am-core", 0, &["tokio", "async-std", "prost", "tonic", "axum", "hyper", "reqwest", "rusqlite", "sqlx", "ort", "rustls"]),
    row("am-schema", 1, &["tokio", "tonic", "axum", "hyper", "reqwest", "rusqlite", "sqlx", "ort", "rustls"]),
    row("am-pipeline", 2, &["rusqlite", "sqlx", "axum", "hyper", "tonic", "reqwest", "ort", "rustls"]),
    row("am-store", 3, &["axum", "hyper", "tonic", "reqwest", "ort", "rustls"]),
    row("am-ml", 3, &["rusqlite", "sqlx", "axum", "tonic"]),
    row("am-enrich", 4, &["axum", "hyper", "tonic", "reqwest", "rustls"]),
    row("am-connect", 4, &["axum", "tonic", "rusqlite", "sqlx", "ort"]),
    row("am-agent", 4, &["axum", "tonic", "rusqlite", "sqlx"]),
    row("am-client", 5, &["axum", "rusqlite", "sqlx", "ort"]),
    row("am-server", 5, &["rusqlite", "sqlx", "ort"]),
    row("am-cli", 6, &["rusqlite", "sqlx", "ort"]),
    row("am-sdk", 6, &["rusqlite", "sqlx", "axum", "tonic", "ort", "tokio"]),
    row("am-bench", 7, &[]),
    row("xtask", 7, &["tokio", "reqwest"]),
];

pub(super) fn check(tree: &Tree) -> Vec<String> {
    let root = match tree.text("Cargo.toml").map(Manifest::parse) {
        Some(Ok(root)) => root,
        Some(Err(e)) => return vec![format!("Cargo.toml: {e}")],
        None => return vec!["there is no Cargo.toml".into()],
    };
    let mut out = Vec::new();
    let members = root.members.iter().map(|m| format!("{m}/Cargo.toml"));
    for path in std::iter::once("Cargo.toml".to_owned()).chain(members) {
        match tree.text(&path).map(Manifest::parse) {
            Some(Ok(manifest)) => one(&path, &manifest, &mut out),
            Some(Err(e)) => out.push(format!("{path}: {e}")),
            None => out.push(format!("{path} is a member of the workspace but not there")),
        }
    }
    out
}

fn one(path: &str, manifest: &Manifest, out: &mut Vec<String>) {
    let level = |name: &str| ROWS.iter().find(|r| r.name == name).map(|r| r.level);
    let Some(me) = ROWS.iter().find(|r| r.name == manifest.name) else {
        out.push(format!("{path}: {} has no level; add it to xtask/src/tidy/levels.rs and docs/architecture.md", manifest.name));
        return;
    };
    for dependency in manifest.dependencies.keys() {
        match level(dependency) {
            Some(theirs) if theirs >= me.level => {
                out.push(format!(
                    "{path}: {} (level {}) depends on {dependency} (level {theirs}), which is not below it",
                    me.name, me.level
                ));
            }
            Some(_) => {}
            None if dependency.starts_with("am-") => out.push(format!("{path}: {dependency} has no level")),
            None => {
                let family = |f: &&&str| dependency == **f || dependency.strip_prefix(**f).is_some_and(|rest| rest.starts_with('-'));
                if let Some(family) = me.never.iter().find(family) {
                    out.push(format!("{path}: {} depends on {dependency}, but knows nothing of {family}", me.name));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, dependencies: &str) -> Vec<String> {
        let member = format!("[package]\nname = '{name}'\n[dependencies]\n{dependencies}");
        check(&Tree::of(&[("Cargo.toml", "[package]\nname = 'am-sdk'\n[workspace]\nmembers = ['m']"), ("m/Cargo.toml", member.as_str())]))
    }

    #[test]
    fn a_dependency_upward_or_sideways_is_caught() {
        assert_eq!(findings("am-schema", "am-core = '1'"), Vec::<String>::new());
        for (name, dependency) in
            [("am-core", "am-schema"), ("am-pipeline", "am-store"), ("am-enrich", "am-connect"), ("am-client", "am-server")]
        {
            let found = findings(name, &format!("{dependency} = {{ path = '..', optional = true }}"));
            assert!(found.len() == 1 && found[0].contains(&format!("{name} (level")) && found[0].contains(dependency), "{found:?}");
        }
    }

    #[test]
    fn a_family_of_packages_that_a_crate_must_not_know_is_caught() {
        for (name, dependency) in [
            ("am-core", "tokio"),
            ("am-schema", "tokio-stream"),
            ("am-pipeline", "rusqlite"),
            ("am-store", "tonic-health"),
            ("am-pipeline", "x = { package = 'hyper-util', version = '1' }"),
        ] {
            let line = if dependency.contains('=') { dependency.to_owned() } else { format!("{dependency} = '1'") };
            assert_eq!(findings(name, &line).len(), 1, "{name} {dependency}");
        }
        let dev = "serde = '1'\n[dev-dependencies]\ntokio = '1'";
        assert_eq!(findings("am-core", dev), Vec::<String>::new());
        assert_eq!(findings("am-core", "tokioish = '1'"), Vec::<String>::new());
        assert_eq!(findings("am-core", "[target.'cfg(unix)'.dependencies]\ntokio = '1'").len(), 1);
    }

    #[test]
    fn a_crate_without_a_level_or_a_manifest_is_caught() {
        assert!(findings("am-new", "")[0].contains("has no level"));
        assert!(check(&Tree::of(&[("Cargo.toml", "[package]\nname='am-sdk'\n[workspace]\nmembers=['gone']")]))[0].contains("not there"));
        assert_eq!(check(&Tree::of(&[])).len(), 1);
        assert_eq!(check(&Tree::of(&[("Cargo.toml", "[")])).len(), 1);
    }
}
