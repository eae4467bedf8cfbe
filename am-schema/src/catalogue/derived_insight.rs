//! What is found, remembered and said.

use super::{DataClass, KindDef};

fn insight(topic: &str, field: u32, title: &str) -> KindDef {
    KindDef::derived(topic, field).title(title).class(DataClass::Content)
}

/// The kinds, in the order of the docs.
pub(super) fn kinds() -> Vec<KindDef> {
    vec![
        insight("analysis.correlation.found", 170, "Correlation")
            .span()
            .require("left")
            .require("right")
            .require("method")
            .require("n")
            .require("tests")
            .bound("coefficient", -1.0, 1.0, "1")
            .bound("low", -1.0, 1.0, "1")
            .bound("high", -1.0, 1.0, "1")
            .ratios(&["p_value"])
            .text(&["statement"])
            .scalar("coefficient", "1"),
        insight("analysis.pattern.found", 171, "Pattern")
            .span()
            .require("shape")
            .require("statement")
            .require("n")
            .require("tests")
            .ratios(&["p_value", "confidence"])
            .text(&["statement"])
            .scalar("effect", "1"),
        insight("alert.rule.fired", 173, "Alert").require("rule").require("severity").text(&["rule", "message"]),
        // What the agent remembers lasts until it is withdrawn.
        insight("agent.memory.written", 174, "Memory")
            .keep_forever()
            .require("memory_id")
            .require("statement")
            .ratios(&["confidence"])
            .text(&["statement", "tags"]),
        insight("agent.nudge.proposed", 175, "Proposed nudge")
            .require("nudge_id")
            .require("text")
            .require("why")
            .require("decision")
            .bound("expected_value", -1.0, 1.0, "1")
            .text(&["title", "text", "why"]),
        insight("agent.nudge.sent", 176, "Sent nudge").require("nudge_id").require("device_id").require("text").text(&["title", "text"]),
        insight("agent.nudge.reaction", 177, "Reaction to a nudge").require("nudge_id").require("reaction").text(&["action", "comment"]),
    ]
}
