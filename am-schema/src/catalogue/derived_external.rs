//! What is made of mail, calendars, the web and other text.

use std::time::Duration;

use super::{DataClass, KindDef};

fn content(topic: &str, field: u32, title: &str) -> KindDef {
    KindDef::derived(topic, field).title(title).class(DataClass::Content)
}

/// Vectors of unit length of a named model.
fn embedded(topic: &str, field: u32, title: &str, of: &str) -> KindDef {
    content(topic, field, title)
        .require(of)
        .require("model")
        .require("dimensions")
        .require("vectors")
        .bound("dimensions", 1.0, 16_384.0, "{dimension}")
        .bound("vectors.values", -1.0, 1.0, "1")
}

/// The kinds, in the order of the docs.
pub(super) fn kinds() -> Vec<KindDef> {
    let century = Duration::from_secs(36_525 * 86_400);
    vec![
        content("external.email.parsed", 150, "Parsed mail").require("message_id").text(&["subject", "from_name", "text"]),
        embedded("external.email.embedded", 151, "Vectors of a mail", "message_id"),
        content("external.calendar.enriched", 152, "Calendar event with its context")
            .require("uid")
            .require("start")
            .future(century)
            .bound("latitude", -90.0, 90.0, "deg")
            .bound("longitude", -180.0, 180.0, "deg")
            .text(&["summary"]),
        embedded("external.calendar.embedded", 153, "Vectors of a calendar event", "uid").future(century),
        content("external.hackernews.content_fetched", 154, "Story with its article")
            .require("story_id")
            .require_one(&["text", "title"])
            .text(&["title", "author", "text", "comments.text"]),
        embedded("external.hackernews.embedded", 155, "Vectors of a story", "story_id"),
        content("task.url.processed.twitter_archived", 156, "Archived post")
            .require("url")
            .require("post_id")
            .text(&["author", "text", "thread"]),
        content("task.url.processed.pdf_extracted", 157, "Text of a PDF").require("url").text(&["title", "authors", "pages"]),
        embedded("text.embedding.computed", 158, "Vectors of a text", "source_type").require("field"),
    ]
}
