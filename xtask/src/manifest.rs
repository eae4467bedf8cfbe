//! The workspace's manifests, as far as the commands need them.

use std::collections::BTreeMap;

/// What a `Cargo.toml` says.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) features: Vec<String>,
    /// Normal dependencies, of all targets: the real package name and whether it is optional.
    pub(crate) dependencies: BTreeMap<String, bool>,
    /// Folders of the workspace's members.
    pub(crate) members: Vec<String>,
}

impl Manifest {
    /// Reads the text of a manifest.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let root: toml::Table = text.parse().map_err(|e: toml::de::Error| e.message().to_owned())?;
        let at = |table: &str, key: &str| root.get(table).and_then(|t| t.get(key)).cloned();
        let mut out = Manifest {
            name: at("package", "name").and_then(|n| n.as_str().map(str::to_owned)).unwrap_or_default(),
            features: root.get("features").and_then(|f| f.as_table()).map(|f| f.keys().cloned().collect()).unwrap_or_default(),
            ..Manifest::default()
        };
        if let Some(members) = at("workspace", "members").and_then(|m| m.as_array().cloned()) {
            out.members = members.iter().filter_map(|m| m.as_str().map(str::to_owned)).collect();
        }
        let targets = root.get("target").and_then(|t| t.as_table()).into_iter().flat_map(|t| t.values());
        for table in std::iter::once(root.get("dependencies")).chain(targets.map(|t| t.get("dependencies"))).flatten() {
            for (key, spec) in table.as_table().into_iter().flatten() {
                let package = spec.get("package").and_then(|p| p.as_str()).unwrap_or(key);
                let optional = spec.get("optional").and_then(toml::Value::as_bool).unwrap_or(false);
                out.dependencies.insert(package.to_owned(), optional);
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_all_targets_are_found_under_their_real_names() {
        let text = "[package]\nname = 'x'\n[features]\nb = []\n[dependencies]\na = '1'\nrenamed = { package = 'tokio', version = '1', optional = true }\n\
                    [target.'cfg(unix)'.dependencies]\nrustix = '1'\n[dev-dependencies]\nproptest = '1'\n[workspace]\nmembers = ['m']";
        let m = Manifest::parse(text).unwrap();
        let names: Vec<(&str, bool)> = m.dependencies.iter().map(|(n, o)| (n.as_str(), *o)).collect();
        assert_eq!(names, [("a", false), ("rustix", false), ("tokio", true)]);
        assert_eq!((m.name.as_str(), m.features.as_slice(), m.members.as_slice()), ("x", &["b".to_owned()][..], &["m".to_owned()][..]));
    }
}
