//! Topics and groups by name.
//!
//! Readings lie under the catalogue's topic. Work and errors have a first segment with a dash, which no topic of the catalogue has,
//! so that the areas never meet.

use crate::bus::{Area, GroupSpec};

/// A name that Kafka takes has at most so many bytes.
const LONGEST: usize = 249;

const fn before(area: Area) -> &'static str {
    match area {
        Area::Readings => "",
        Area::Work => "am-work.",
        Area::Errors => "am-errors.",
    }
}

fn segment(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Whether it has the form of a topic: three or four segments; anything with segments in other areas.
fn topic_like(area: Area, topic: &str) -> bool {
    let n = topic.split('.').count();
    match area {
        Area::Readings => (3..=4).contains(&n) && topic.split('.').all(segment),
        Area::Work | Area::Errors => {
            topic.split('.').all(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)))
        }
    }
}

/// Kafka's topic for one of AM's; `None` when Kafka cannot have it.
pub(super) fn name(prefix: &str, area: Area, topic: &str) -> Option<String> {
    let name = format!("{prefix}{}{topic}", before(area));
    (topic_like(area, topic) && name.len() <= LONGEST).then_some(name)
}

/// What one of Kafka's topics is to AM; `None` when it is none of AM's.
pub(super) fn parse<'a>(prefix: &str, name: &'a str) -> Option<(Area, &'a str)> {
    let rest = name.strip_prefix(prefix)?;
    let marked = [Area::Work, Area::Errors].into_iter().find_map(|a| Some((a, rest.strip_prefix(before(a))?)));
    let (area, topic) = marked.unwrap_or((Area::Readings, rest));
    topic_like(area, topic).then_some((area, topic))
}

/// What a member subscribes to: names, or patterns for all topics of an area. `None` when a topic cannot be.
pub(super) fn subscription(prefix: &str, spec: &GroupSpec) -> Option<Vec<String>> {
    let of = |area: Area| match spec.topics.as_slice() {
        [] => {
            let start = format!("{prefix}{}", before(area)).replace('.', "\\.");
            let rest = match area {
                Area::Readings => "[a-z0-9_]+\\.[a-z0-9_]+\\.[a-z0-9_]+(\\.[a-z0-9_]+)?$",
                Area::Work | Area::Errors => ".+$",
            };
            Some(vec![format!("^{start}{rest}")])
        }
        some => some.iter().map(|t| name(prefix, area, t)).collect(),
    };
    Some(spec.areas.iter().map(|a| of(*a)).collect::<Option<Vec<_>>>()?.concat())
}

/// Whether a group reads one of Kafka's topics.
pub(super) fn wanted(prefix: &str, spec: &GroupSpec, name: &str) -> bool {
    parse(prefix, name)
        .is_some_and(|(area, topic)| spec.areas.contains(&area) && (spec.topics.is_empty() || spec.topics.iter().any(|t| t == topic)))
}

/// A group's name in Kafka. Groups keep no settings there, so the name holds a digest of what the group reads: two members that read
/// different things are never in one group, where each would skip what is the other's.
pub(super) fn group(prefix: &str, spec: &GroupSpec) -> String {
    let mut areas = spec.areas.clone();
    let mut topics = spec.topics.clone();
    areas.sort();
    areas.dedup();
    topics.sort();
    topics.dedup();
    let mut h = blake3::Hasher::new_derive_key("am 2026 kafka group v1");
    let mut part = |text: &str| {
        h.update(&(text.len() as u64).to_le_bytes());
        h.update(text.as_bytes());
    };
    for t in &topics {
        part(t);
    }
    if let Some(s) = &spec.scope {
        part("scope");
        part(s.tenant().as_str());
        part(s.user().as_str());
    }
    let letters: String = areas.iter().map(|a| a.letter()).collect();
    let digest: String = h.finalize().to_hex().chars().take(12).collect();
    format!("{}{}.{letters}.{digest}", group_start(prefix), spec.name)
}

/// Before the name of every group of AM.
pub(super) fn group_start(prefix: &str) -> String {
    format!("{prefix}am.")
}

/// The name and the areas of a group of AM; `None` for groups of others.
pub(super) fn parse_group<'a>(prefix: &str, group: &'a str) -> Option<(&'a str, &'a str)> {
    let rest = group.strip_prefix(&group_start(prefix))?;
    let (rest, digest) = rest.rsplit_once('.')?;
    let (name, areas) = rest.rsplit_once('.')?;
    let plain = name_like(name) && !areas.is_empty() && areas.bytes().all(|b| b"rwe".contains(&b));
    (plain && digest.len() == 12 && digest.bytes().all(|b| b.is_ascii_hexdigit())).then_some((name, areas))
}

/// Whether a group may have this name.
pub(super) fn name_like(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use am_core::Scope;

    #[test]
    fn every_area_has_topics_of_its_own_and_they_lead_back() {
        for prefix in ["", "acme.", "test-1."] {
            for (area, topic) in [
                (Area::Readings, "device.sensor.gps.raw"),
                (Area::Work, "task.url.ingest"),
                (Area::Errors, "processing.errors.motion"),
                (Area::Errors, "processing.errors.kit-x"),
            ] {
                let name = name(prefix, area, topic).unwrap();
                assert_eq!(parse(prefix, &name), Some((area, topic)), "{name}");
            }
        }
        for foreign in ["orders", "__consumer_offsets", "a.b", "A.b.c", "a..b.c", "a.b.c.d.e", ""] {
            assert_eq!(parse("", foreign), None, "{foreign}");
        }
        assert_eq!(parse("acme.", "device.sensor.gps.raw"), None);
        assert_eq!(name("", Area::Readings, "../x"), None);
        assert_eq!(name("", Area::Work, &"x".repeat(300)), None);
    }

    #[test]
    fn a_pattern_takes_exactly_the_topics_of_its_area() {
        let spec = GroupSpec::new("g", [Area::Readings, Area::Errors]);
        let patterns = subscription("acme.", &spec).unwrap();
        let hit = |name: &str| patterns.iter().any(|p| regex_lite::Regex::new(p).unwrap().is_match(name));
        assert!(hit("acme.device.sensor.gps.raw") && hit("acme.am-errors.processing.errors.x"));
        for other in
            ["acme.am-work.task.url.ingest", "acmeXdevice.sensor.gps.raw", "device.sensor.gps.raw", "acme.orders", "acme.a.b.c.d.e"]
        {
            assert!(!hit(other) && !wanted("acme.", &spec, other), "{other}");
        }
        let some = spec.topics(["device.sensor.gps.raw".into()]);
        assert_eq!(subscription("acme.", &some).unwrap(), ["acme.device.sensor.gps.raw", "acme.am-errors.device.sensor.gps.raw"]);
        assert!(wanted("acme.", &some, "acme.device.sensor.gps.raw") && !wanted("acme.", &some, "acme.device.sensor.imu.raw"));
    }

    #[test]
    fn groups_that_read_different_things_have_different_names_and_order_does_not_count() {
        let spec = GroupSpec::new("persister", [Area::Readings]);
        let plain = group("acme.", &spec);
        assert_eq!(parse_group("acme.", &plain), Some(("persister", "r")), "{plain}");
        let a = Scope::new("a", "b").unwrap();
        let others = [
            spec.clone().scope(a.clone()),
            spec.clone().topics(["x.y.z".into()]),
            spec.clone().topics(["x.y.z".into()]).scope(a),
            GroupSpec::new("persister", [Area::Readings, Area::Work]),
        ];
        let names: std::collections::BTreeSet<String> = others.iter().map(|s| group("acme.", s)).chain([plain.clone()]).collect();
        assert_eq!(names.len(), 5);
        let (ab, ba) = (["a.b.c".to_owned(), "d.e.f".to_owned()], ["d.e.f".to_owned(), "a.b.c".to_owned()]);
        assert_eq!(group("", &spec.clone().topics(ab)), group("", &spec.clone().topics(ba)));
        assert_eq!(group("acme.", &spec.in_flight(7)), plain);
        for foreign in ["acme.am.x", "acme.am.a.b.c", "am.persister.r.0123456789ab", "acme.am.x.q.0123456789ab"] {
            assert_eq!(parse_group("acme.", foreign), None, "{foreign}");
        }
    }
}
