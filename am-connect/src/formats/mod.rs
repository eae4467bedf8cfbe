//! The formats that can be read, and how a file's format is found.

mod bounded;
pub mod fit;
pub mod gpx;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// GPS Exchange Format 1.0 and 1.1 (Topografix).
    Gpx,
    /// Flexible and Interoperable Data Transfer (Garmin).
    Fit,
}

impl Format {
    /// The format of a file, by its first bytes; 512 of them are enough.
    pub fn detect(head: &[u8]) -> Option<Format> {
        if head.get(8..12) == Some(b".FIT") && matches!(head.first(), Some(12 | 14)) {
            return Some(Format::Fit);
        }
        let text = String::from_utf8_lossy(head);
        let start = text.find("<gpx").or_else(|| text.find(":gpx"))?;
        let before = text.get(..start).unwrap_or_default().trim_start_matches('\u{feff}').trim_start();
        (before.is_empty() || before.starts_with('<')).then_some(Format::Gpx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_first_bytes() {
        assert_eq!(Format::detect(b"\x0e\x10\x00\x00\x00\x00\x00\x00.FIT\x00\x00"), Some(Format::Fit));
        assert_eq!(Format::detect("\u{feff}<?xml version=\"1.0\"?>\n<gpx version=\"1.1\">".as_bytes()), Some(Format::Gpx));
        assert_eq!(Format::detect(b"see <gpx> files"), None);
        assert_eq!(Format::detect(b""), None);
    }
}
