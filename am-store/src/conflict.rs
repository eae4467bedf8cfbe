//! The letter of a reading whose key was taken.

use am_core::{Code, Error, Scope, Timestamp};
use am_pipeline::DeadLetter;
use am_schema::Reading;

/// Says which reading was stored before with other content.
pub(crate) fn conflict(at: Timestamp, scope: &Scope, stage: &str, reading: &Reading) -> DeadLetter {
    let e = Error::new(
        Code::CLOCK_CONFLICT,
        format!("{} of {} at {} was stored before with other content", reading.kind(), reading.device(), reading.recorded_at()),
    );
    DeadLetter::failed(scope.clone(), at, stage, reading, &e, 1)
}
