//! The table of kinds for people.

use std::fmt::Write;

use super::{Cadence, Catalogue, DataClass, Kind, PATTERNS, Retention, vitals::VITALS};
use crate::schema_json;
use crate::spec::{Card, FieldSpec, FieldType, MessageSpec};

/// The catalogue as Markdown: a table of all kinds, then the fields of each payload.
pub fn markdown(catalogue: &Catalogue) -> String {
    let mut out = String::from(
        "# Catalogue of readings\n\n\
         Every kind of reading, in the order of the table in `am-schema/src/catalogue`. Units are UCUM codes; ranges are inclusive.\n\
         What is *kept* is the default and can be set per tenant and user. The class decides what errors and logs may show: values of the\n\
         class *content* never appear there.\n",
    );
    for (title, derived) in [("Raw kinds", false), ("Derived kinds", true)] {
        let _ = write!(
            out,
            "\n## {title}\n\n| topic | is | payload | expected | kept | class | numbers | must be there | searched |\n|---|---|---|---|---|---|---|---|---|\n"
        );
        for kind in catalogue.kinds().filter(|k| k.stage().is_derived() == derived) {
            row(&mut out, kind);
        }
    }
    out.push_str("\n## Patterns\n\nTopics with a free segment; they exist as soon as a processor uses them.\n\n");
    for p in PATTERNS {
        let _ = writeln!(out, "- `{p}`; there from the start: {}", p.known.join(", "));
    }
    out.push_str("- `custom.<vendor>.<name>.<stage>`, registered by an embedder with a JSON Schema\n");
    out.push_str("\n## Topics accepted for another\n\n| sent | means |\n|---|---|\n");
    for (from, to) in catalogue.aliases() {
        let _ = writeln!(out, "| `{from}` | `{to}` |");
    }
    out.push_str("\n## Codes of device.health.vitals.raw\n\n| code | is | unit | range |\n|---|---|---|---|\n");
    for v in VITALS {
        let _ = writeln!(out, "| `{}` | {} | {} | {} to {} |", v.code, v.title, code(v.unit), v.min, v.max);
    }
    out.push_str("\n## Payloads\n");
    let mut seen: Vec<&str> = Vec::new();
    for kind in catalogue.kinds() {
        payload(&mut out, &mut seen, kind.message());
    }
    out
}

fn row(out: &mut String, kind: Kind) {
    let numbers: Vec<String> = kind
        .bounds()
        .iter()
        .map(|b| format!("{} {} to {}{}", b.path, b.min, b.max, unit(b.unit)))
        .chain(kind.signal().map(|s| format!("samples ±{}{}", s.max_abs, unit(s.unit))))
        .chain(kind.max_rate().map(|r| format!("{} at most {} a minute", r.path, r.per_minute)))
        .collect();
    let mut needed: Vec<String> = schema_json::needed(kind).into_iter().map(|n| format!("`{n}`")).collect();
    needed.extend(kind.needs_span().then(|| "`ended_at`".to_owned()));
    if !kind.one_of_names().is_empty() {
        needed.push(format!("one of {}", kind.one_of_names().iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")));
    }
    let _ = writeln!(
        out,
        "| `{}` | {} | {} `{}` = {} | {} | {} | {} | {} | {} | {} |",
        kind.topic(),
        kind.title(),
        kind.message().name,
        kind.field_name(),
        kind.field(),
        cadence(kind.cadence()),
        retention(kind.retention()),
        class(kind.class()),
        numbers.join("; "),
        needed.join(", "),
        kind.text_names().join(", ")
    );
}

/// The fields of a message and of those within it, each message once.
fn payload(out: &mut String, seen: &mut Vec<&'static str>, m: &'static MessageSpec) {
    if seen.contains(&m.name) {
        return;
    }
    seen.push(m.name);
    let _ = write!(out, "\n### {}\n\n{}\n\n", m.name, m.doc);
    out.push_str("| field | number | type | is |\n|---|---|---|---|\n");
    for f in m.fields {
        let _ = writeln!(out, "| `{}` | {} | {} | {} |", f.name, f.number, type_name(f), f.doc.replace('|', "\\|"));
    }
    for f in m.fields {
        if let FieldType::Message(inner) = f.ty {
            payload(out, seen, inner());
        }
    }
}

fn type_name(f: &FieldSpec) -> String {
    let name = match f.ty {
        FieldType::Enum(e) => e.values.iter().map(|v| v.1).collect::<Vec<_>>().join(", "),
        FieldType::Message(m) => m().name.to_owned(),
        FieldType::Timestamp => "time".into(),
        FieldType::StringMap => return "texts by name".into(),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    match f.card {
        Card::Implicit => name,
        Card::Optional => format!("{name}, optional"),
        Card::Repeated => format!("list of {name}"),
        Card::OneOf(group) => format!("{name}, one of {group}"),
    }
}

fn unit(unit: &str) -> String {
    match unit {
        "" | "1" => String::new(),
        u => format!(" {}", code(u)),
    }
}

/// Units hold brackets, which Markdown would take for links.
fn code(unit: &str) -> String {
    format!("`{unit}`")
}

fn cadence(c: Cadence) -> String {
    match c {
        Cadence::OnEvent => "on event".into(),
        Cadence::Every(d) if d.as_secs() >= 86_400 => format!("every {} d", d.as_secs_f64() / 86_400.0),
        Cadence::Every(d) => format!("every {} s", d.as_secs_f64()),
    }
}

fn retention(r: Retention) -> String {
    match r {
        Retention::Forever => "forever".into(),
        Retention::Days(d) => format!("{d} d"),
    }
}

fn class(c: DataClass) -> &'static str {
    match c {
        DataClass::Technical => "technical",
        DataClass::Behaviour => "behaviour",
        DataClass::Location => "location",
        DataClass::Health => "health",
        DataClass::Content => "content",
    }
}
