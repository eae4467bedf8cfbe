//! What people do on screens and what their accounts hold.

use std::time::Duration;

use super::{DataClass, KindDef};

/// A calendar reaches far ahead.
const CENTURY: Duration = Duration::from_secs(36_525 * 86_400);

/// The kinds, in the order of the docs.
pub(super) fn kinds() -> Vec<KindDef> {
    let content = |topic: &str, field: u32, title: &str| KindDef::raw(topic, field).title(title).class(DataClass::Content);
    let post =
        |topic: &str, title: &str| content(topic, 38, title).require("network").require("post_id").text(&["title", "text", "author"]);
    vec![
        content("digital.clipboard.raw", 33, "Clipboard").every(100.0).require("text").max_text(1 << 20).text(&["text"]),
        content("digital.web_analytics.raw", 34, "Web visit").every(20.0).require("url").max_text(64 << 10).text(&["title", "url"]),
        KindDef::raw("digital.input.raw", 35)
            .title("Keyboard and pointer use")
            .class(DataClass::Behaviour)
            .every(60.0)
            .span()
            .bound("keys", 0.0, 1_000_000.0, "{count}")
            .bound("clicks", 0.0, 1_000_000.0, "{count}")
            .bound("scrolls", 0.0, 1_000_000.0, "{count}")
            .max_per_minute("keys", 6_000.0)
            .scalar("keys", "{count}"),
        content("external.email.events.raw", 36, "Mail").every(100.0).require("message_id").text(&[
            "subject",
            "from",
            "text",
            "attachments.name",
        ]),
        content("external.calendar.events.raw", 37, "Calendar event")
            .every(1_000.0)
            .require("uid")
            .require("start")
            .future(CENTURY)
            .text(&["summary", "location", "text", "attendees"]),
        post("external.twitter.liked.raw", "Liked post"),
        post("external.social.raw", "Social post"),
        post("external.hackernews.liked", "Liked story").every(10_000.0),
        content("external.memo.raw", 39, "Note").require_one(&["title", "text"]).text(&["title", "text", "tags"]),
        content("external.questionnaire.raw", 40, "Questionnaire")
            .require("form_id")
            .require("answers")
            .require("answers.question_id")
            .text(&["answers.question", "answers.text"]),
        content("task.url.ingest", 41, "Address to keep").require("url").max_text(64 << 10).text(&["url", "why"]),
    ]
}
