//! Rules that concern several fields at once, one function per message.
//!
//! They run on payloads that passed the walk: types, texts and numbers are good already.

mod block;
mod body;
mod media;
mod span;
mod web;

use super::{EnvelopeView, REDACTED, push};
use crate::catalogue::DataClass;
use crate::v1;
use crate::wire::{Fields, Value};
use crate::{Finding, Kind, Payload};

/// A payload that is being checked.
struct Item<'a, 'f> {
    kind: Kind,
    bytes: &'a [u8],
    envelope: EnvelopeView,
    findings: &'f mut Vec<Finding>,
}

/// Applies the rules of the kind's message.
pub(super) fn check(kind: Kind, bytes: &[u8], envelope: EnvelopeView, findings: &mut Vec<Finding>) {
    macro_rules! fields {
        ($($name:ident = $message:ident,)*) => { $(const $name: u32 = <v1::$message as Payload>::FIELD;)* };
    }
    fields! {
        AUDIO = AudioChunk, IMAGE = Image, VIDEO_FRAME = VideoFrame, BLOCK = SampleBlock, QUANTITY = Quantity,
        SLEEP = SleepStages, WIFI = Wifi, CAPTURE = CaptureState, VISIT = WebVisit, POST = SocialPost, URL = UrlTask,
        EVENT = CalendarEvent, CUSTOM = Custom, SPEECH = SpeechAudio, TRANSCRIPT = Transcript, STAGED = SleepStaged, EEG = CleanedEeg,
        OCCURRENCE = CalendarEnriched, MAIL_VECTORS = EmailEmbedded, EVENT_VECTORS = CalendarEmbedded, STORY_VECTORS = StoryEmbedded,
        TEXT_VECTORS = TextEmbedding, PREDICTION = Prediction, NUDGE = NudgeProposed, PLACE = NetworkPlace,
    }
    let mut item = Item { kind, bytes, envelope, findings };
    body::one_of(&mut item);
    body::span(&mut item);
    match kind.field() {
        BLOCK => block::check(&mut item, None),
        EEG => {
            block::check(&mut item, Some(1));
            span::nanoseconds(&mut item, "artifacts", 2, 3, 4);
        }
        QUANTITY => body::quantity(&mut item),
        SLEEP => span::stages(&mut item),
        AUDIO => media::not_twice(&mut item, 8, 7),
        IMAGE => media::not_twice(&mut item, 7, 6),
        VIDEO_FRAME => media::not_twice(&mut item, 6, 5),
        SPEECH => span::nanoseconds(&mut item, "segments", 4, 1, 2),
        TRANSCRIPT => span::nanoseconds(&mut item, "words", 3, 2, 3),
        STAGED => span::nanoseconds(&mut item, "segments", 1, 1, 2),
        EVENT => span::times(&mut item, ("start", 3), ("end", 4)),
        OCCURRENCE => span::times(&mut item, ("start", 2), ("end", 3)),
        PREDICTION => span::times(&mut item, ("from", 5), ("to", 6)),
        NUDGE => span::times(&mut item, ("not_before", 9), ("not_after", 10)),
        MAIL_VECTORS | EVENT_VECTORS | STORY_VECTORS => media::vectors(&mut item, 3, 4),
        TEXT_VECTORS => media::vectors(&mut item, 4, 5),
        WIFI => web::mac(&mut item, "bssid", 2),
        PLACE => web::mac(&mut item, "bssid", 3),
        CAPTURE => web::topic(&mut item, "topic", 1),
        VISIT => {
            web::address(&mut item, "url", 1);
            web::address(&mut item, "referrer", 4);
        }
        POST => web::address(&mut item, "url", 4),
        URL => web::address(&mut item, "url", 1),
        CUSTOM => web::custom(&mut item),
        _ => {}
    }
}

impl<'a> Item<'a, '_> {
    /// A finding about the field at this path below the payload.
    fn find(&mut self, path: &str, value: impl std::fmt::Display, rule: impl Into<String>) {
        let field = format!("{}.{path}", self.kind.field_name());
        match self.kind.class() {
            DataClass::Content => push(self.findings, field, REDACTED, rule),
            _ => push(self.findings, field, value, rule),
        }
    }

    /// The last value of a field.
    fn last(&self, number: u32) -> Option<Value<'a>> {
        last(self.bytes, number)
    }

    /// The last text or bytes of a field.
    fn bytes_of(&self, number: u32) -> &'a [u8] {
        bytes_of(self.bytes, number)
    }
}

fn last(message: &[u8], number: u32) -> Option<Value<'_>> {
    let (mut fields, mut found) = (Fields::new(message), None);
    while let Ok(Some(f)) = fields.next() {
        if f.number == number {
            found = Some(f.value);
        }
    }
    found
}

fn bytes_of(message: &[u8], number: u32) -> &[u8] {
    match last(message, number) {
        Some(Value::Len(b)) => b,
        _ => &[],
    }
}

/// The number of an unsigned field, 0 when absent.
fn unsigned(message: &[u8], number: u32) -> u64 {
    match last(message, number) {
        Some(Value::Varint(v)) => v,
        _ => 0,
    }
}

/// The messages of a repeated field, in order.
fn each(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    let mut fields = Fields::new(message);
    std::iter::from_fn(move || fields.next().ok().flatten()).filter_map(move |f| match f.value {
        Value::Len(b) if f.number == number => Some(b),
        _ => None,
    })
}
