//! How far a tail misses nothing, although it saw nothing.
//!
//! A reader of a quiet topic stands still while the stream goes on. When old messages are removed then, its own place alone cannot tell
//! whether some were meant for it. So it notes with its consumer: "having seen this place, nothing up to that one was for me".

use std::collections::HashMap;

use am_core::{Code, Error, Result};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::Info;

use super::api::{Api, Nothing, refusal};

const OP: &str = "bus.tail";
/// Where the note is kept.
const NOTE: &str = "am-clear";

/// Nothing that the reader wants lies behind `seen` and up to `upto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Clear {
    /// What the reader had seen.
    pub(super) seen: u64,
    /// At least as far.
    pub(super) upto: u64,
    /// Where the present consumer began.
    pub(super) start: u64,
}

impl Clear {
    pub(super) fn at(place: u64) -> Clear {
        Clear { seen: place, upto: place, start: place }
    }

    /// For a reader that has seen a place: a note counts when it was made at that place or before.
    pub(super) fn behind(self, place: u64) -> Clear {
        let upto = if self.seen <= place { self.upto.max(place) } else { place };
        Clear { seen: place, upto, start: upto }
    }

    pub(super) fn metadata(self) -> HashMap<String, String> {
        [(NOTE.to_owned(), format!("{}:{}", self.seen, self.upto))].into()
    }

    /// The note of a consumer; none is as good as the oldest.
    pub(super) async fn of(api: &Api, stream: &str, consumer: &str) -> Result<Clear> {
        match api.ask::<Info>(OP, format!("CONSUMER.INFO.{stream}.{consumer}"), &Nothing {}).await? {
            Ok(info) => Ok(info.config.metadata.get(NOTE).and_then(|n| Clear::parse(n)).unwrap_or_default()),
            Err(e) if e.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Ok(Clear::default()),
            Err(e) => Err(refusal(OP, &e)),
        }
    }

    fn parse(note: &str) -> Option<Clear> {
        let (seen, upto) = note.split_once(':')?;
        let (seen, upto) = (seen.parse().ok()?, upto.parse().ok()?);
        (seen <= upto).then_some(Clear { seen, upto, start: upto })
    }

    /// Fails when messages that the reader may have wanted are not there any more.
    pub(super) fn check(self, name: &str, stream: &str, first: u64, last: u64) -> Result<()> {
        let trimmed = |why: String| Err(Error::new(Code::BUS_TRIMMED, format!("{name} was at {}, and {why}", self.seen)).op(OP));
        if self.upto > last {
            return trimmed(format!("{stream} ends at {last}: it was made anew"));
        }
        // A reader that never read begins with the oldest there is.
        if self.seen > 0 && first > self.upto + 1 {
            return trimmed(format!("{stream} begins at {first} now"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_counts_for_who_has_seen_its_place_and_for_nobody_else() {
        let note = Clear::parse("10:500").unwrap();
        assert_eq!(note.behind(10).upto, 500);
        assert_eq!(note.behind(20).upto, 500);
        assert_eq!(note.behind(900).upto, 900);
        assert_eq!(note.behind(9).upto, 9);
        assert_eq!(Clear::default().behind(7), Clear::at(7));
        for bad in ["", "5", "9:1", "a:b", "1:2:3"] {
            assert_eq!(Clear::parse(bad), None, "{bad}");
        }
        assert_eq!(Clear::parse(note.metadata().values().next().unwrap()), Some(note));
    }

    #[test]
    fn what_was_removed_before_the_note_is_no_loss() {
        let note = Clear::parse("10:500").unwrap();
        assert!(note.behind(10).check("t", "s", 501, 900).is_ok());
        assert!(note.behind(10).check("t", "s", 502, 900).unwrap_err().message().contains("begins at 502"));
        assert!(Clear::at(10).check("t", "s", 12, 900).is_err());
        assert!(Clear::at(0).check("t", "s", 12, 900).is_ok());
        assert!(Clear::at(901).check("t", "s", 12, 900).unwrap_err().message().contains("made anew"));
    }
}
