//! The topic grammar.

use std::fmt;
use std::sync::Arc;

use crate::{Code, Error, Result};

/// A topic: `<category>.<source>[.<datatype>].<stage>`, three or four segments of lower-case letters, digits and `_`.
///
/// The scope is never part of it. Which topics exist is the catalogue's business.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// The longest topic, in bytes.
const MAX_TOPIC: usize = 128;

fn check_segment(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

impl Topic {
    /// Checks the grammar.
    ///
    /// # Errors
    /// `BAD_TOPIC` says which segment is wrong.
    pub fn parse(s: &str) -> Result<Self> {
        let bad = |why: String| Error::new(Code::BAD_TOPIC, why);
        if s.len() > MAX_TOPIC {
            return Err(bad(format!("the topic has {} bytes, more than {MAX_TOPIC}", s.len())));
        }
        let n = s.split('.').count();
        if !(3..=4).contains(&n) {
            return Err(bad(format!("the topic {s:?} has {n} segments, not three or four")));
        }
        match s.split('.').find(|seg| !check_segment(seg)) {
            Some(seg) => Err(bad(format!("the segment {seg:?} of the topic {s:?} is not lower-case letters, digits and _"))),
            None => Ok(Topic(Arc::from(s))),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first segment.
    pub fn category(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }

    /// The last segment: `raw` for what a device or account sent.
    pub fn stage(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or_default()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which topics are meant: segments, `*` for any one segment, `>` last for any rest.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// Checks the pattern.
    ///
    /// # Errors
    /// `BAD_TOPIC` when a segment is neither a topic's segment nor a wildcard, or `>` is not last.
    pub fn parse(s: &str) -> Result<Self> {
        let n = s.split('.').count();
        let ok = n <= 4
            && s.len() <= MAX_TOPIC
            && s.split('.').enumerate().all(|(i, seg)| check_segment(seg) || seg == "*" || (seg == ">" && i + 1 == n));
        match ok {
            true => Ok(TopicFilter(Arc::from(s))),
            false => Err(Error::new(Code::BAD_TOPIC, format!("{s:?} is not a topic pattern"))),
        }
    }

    /// Whether the topic is meant.
    pub fn matches(&self, topic: &str) -> bool {
        let (mut p, mut t) = (self.0.split('.'), topic.split('.'));
        loop {
            match (p.next(), t.next()) {
                (Some(">"), Some(_)) => return true,
                (Some("*"), Some(_)) => {}
                (Some(a), Some(b)) if a == b => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_three_or_four_plain_segments() {
        for ok in ["device.health.heartrate.raw", "analysis.3d_reconstruction.dustr_results", "text.embedding.computed"] {
            assert_eq!(Topic::parse(ok).unwrap().as_str(), ok);
        }
        for bad in ["", "a", "a.b", "a.b.c.d.e", "a..c", "A.b.c", "a.b.c ", "a.b.*", "a.b.ü"] {
            assert_eq!(Topic::parse(bad).unwrap_err().code(), Code::BAD_TOPIC, "{bad}");
        }
    }

    #[test]
    fn filters_match_by_segment_and_by_rest() {
        let m = |f: &str, t: &str| TopicFilter::parse(f).unwrap().matches(t);
        assert!(m("device.*.accelerometer.raw", "device.sensor.accelerometer.raw"));
        assert!(m("device.>", "device.sensor.accelerometer.raw"));
        assert!(!m("device.sensor", "device.sensor.accelerometer.raw"));
        assert!(TopicFilter::parse("device.>.raw").is_err());
    }
}
