//! The project's files, in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::exec;

/// Longer files are not text that a rule looks into.
const MAX_READ: u64 = 4 << 20;

/// Paths below the project root, with `/`, and what the files hold.
pub(super) struct Tree {
    files: BTreeMap<String, File>,
}

/// A file's size and its beginning.
pub(super) struct File {
    pub(super) size: u64,
    pub(super) bytes: Vec<u8>,
}

impl Tree {
    /// Reads what git tracks or would track.
    pub(super) fn load(root: &Path) -> Result<Self, String> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
        let paths: Vec<String> = match exec::capture(&mut git) {
            Ok(list) => list.split('\0').filter(|p| !p.is_empty()).map(str::to_owned).collect(),
            Err(_) => walk(root, "")?,
        };
        let mut files = BTreeMap::new();
        for path in paths {
            let full = root.join(&path);
            // A file that git still knows but that is gone, or a link, is nobody's text.
            let Ok(meta) = std::fs::symlink_metadata(&full) else { continue };
            if !meta.is_file() {
                continue;
            }
            let bytes = if meta.len() <= MAX_READ { std::fs::read(&full).map_err(|e| format!("{path}: {e}"))? } else { vec![0] };
            files.insert(path, File { size: meta.len(), bytes });
        }
        Ok(Tree { files })
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let file = |text: &str| File { size: text.len() as u64, bytes: text.as_bytes().to_vec() };
        Tree { files: files.iter().map(|(p, t)| (p.to_string(), file(t))).collect() }
    }

    /// All files.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(p, f)| (p.as_str(), f))
    }

    /// Text files with one of these endings.
    pub(super) fn texts<'a>(&'a self, endings: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let wanted = |p: &str| endings.iter().any(|e| p.ends_with(e));
        self.files().filter(move |(p, _)| wanted(p)).filter_map(|(p, f)| Some((p, std::str::from_utf8(&f.bytes).ok()?)))
    }

    /// The text of one file.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(&self.files.get(path)?.bytes).ok()
    }

    /// True for a file or a folder.
    pub(super) fn exists(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let folder = format!("{path}/");
        path.is_empty()
            || self.files.contains_key(path)
            || self.files.range(folder.clone()..).next().is_some_and(|(p, _)| p.starts_with(&folder))
    }
}

/// All files below a folder, for a copy of the project without git.
fn walk(root: &Path, below: &str) -> Result<Vec<String>, String> {
    let dir = root.join(below);
    let mut out = Vec::new();
    for entry in std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))? {
        let entry = entry.map_err(|e| format!("{}: {e}", dir.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        let kind = entry.file_type().map_err(|e| format!("{path}: {e}"))?;
        if kind.is_dir() && !matches!(name.as_str(), ".git" | "target" | "models") {
            out.extend(walk(root, &path)?);
        } else if kind.is_file() {
            out.push(path);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_exist_and_half_names_do_not() {
        let tree = Tree::of(&[("docs/adr/0001-a.md", ""), ("README.md", "")]);
        assert!(["docs", "docs/", "docs/adr", "README.md", ""].iter().all(|p| tree.exists(p)));
        assert!(["doc", "docs/ad", "README", "docs/adr/0001"].iter().all(|p| !tree.exists(p)));
    }

    #[test]
    fn with_and_without_git_the_same_manifests_are_found() {
        let root = crate::project_root();
        let walked = walk(&root, "").unwrap();
        let tree = Tree::load(&root).unwrap();
        for path in ["Cargo.toml", "xtask/Cargo.toml", "am-core/src/lib.rs"] {
            assert!(tree.exists(path) && walked.iter().any(|p| p == path), "{path}");
        }
        assert!(!tree.exists(".git"));
    }
}
