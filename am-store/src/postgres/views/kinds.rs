//! A view for each kind: its readings with typed columns.

use std::fmt::Write;

use am_schema::Kind;
use am_schema::spec::{Card, FieldSpec, FieldType, MessageSpec};

use super::messages::{function, quoted};
use super::names::{ident, of};

/// What every view of a kind begins with.
const FIXED: [&str; 8] = ["time", "device_id", "recorded_at", "ended_at", "nanos", "reading_id", "quality", "metadata"];

/// Kinds whose lists make rows of their own, as the documents have it: topic, the list's field, and what its rows are called.
const ROWS: &[(&str, &str)] = &[("media.image.objects_detected", "objects")];

/// Columns that the documents name otherwise than the proto does: topic, field, column.
const RENAMED: &[(&str, &str, &str)] = &[("media.image.objects_detected", "class", "object_class")];

/// A column of a kind's own: its name, and how it is read.
struct Column {
    name: String,
    value: String,
}

/// The columns of a kind's own, and the list whose items are rows of their own.
fn columns(kind: Kind) -> (Vec<Column>, Option<&'static FieldSpec>) {
    let message = kind.message();
    let rows = ROWS.iter().find(|(t, _)| *t == kind.topic()).and_then(|(_, list)| message.field_named(list));
    let mut all: Vec<Column> = Vec::new();
    let mut add = |message: &MessageSpec, json: &str| {
        for f in message.fields.iter().filter(|f| json != "p.j" || rows.is_none_or(|list| list.number != f.number)) {
            let mut name = renamed(kind, f.name).to_owned();
            if FIXED.contains(&name.as_str()) || all.iter().any(|c| c.name == name) {
                name = format!("{}_{name}", if json == "p.j" { "payload" } else { "item" });
            }
            let value = if json == "p.j" && is_number_of(kind, f) { kept(f) } else { column(f, json) };
            all.push(Column { name, value });
        }
    };
    if let Some(FieldType::Message(item)) = rows.map(|f| f.ty) {
        add(item(), "i.j");
    }
    add(message, "p.j");
    (all, rows)
}

/// The names of the columns of a kind's own, for the docs.
#[cfg(test)]
pub(super) fn column_names(kind: Kind) -> Vec<String> {
    columns(kind).0.into_iter().map(|c| c.name).collect()
}

/// The view of a kind.
pub(super) fn view(kind: Kind) -> String {
    let (columns, rows) = columns(kind);
    let own = columns.iter().fold(String::new(), |mut out, c| {
        let _ = write!(out, ",\n  {} AS {}", c.value, ident(&c.name));
        out
    });
    let from =
        rows.map_or(String::new(), |list| format!("\nCROSS JOIN LATERAL jsonb_array_elements(p.j -> {}) AS i(j)", quoted(list.name)));
    format!(
        "CREATE OR REPLACE VIEW {{views}}.{name} WITH (security_barrier) AS
SELECT r.at AS time, st.device AS device_id, r.at AS recorded_at, {{views}}.ended_at(r.body) AS ended_at, r.ns AS nanos,
  r.id AS reading_id, {{views}}.quality(r.body) AS quality, {{views}}.metadata(r.body) AS metadata{own}
FROM {{schema}}.reading AS r
JOIN {{schema}}.stream AS st ON st.id = r.stream
CROSS JOIN LATERAL (SELECT {{views}}.{read}({{views}}.payload(r.body, {field})) AS j OFFSET 0) AS p{from}
WHERE st.topic = {topic} AND st.scope = {{mine}} AND r.flags & 4 = 0;
COMMENT ON VIEW {{views}}.{name} IS {title};
",
        name = ident(&of(kind)),
        read = function(kind.message()),
        field = kind.field(),
        topic = quoted(kind.topic()),
        title = quoted(&format!("{} ({})", kind.title(), kind.topic())),
    )
}

fn renamed(kind: Kind, field: &'static str) -> &'static str {
    RENAMED.iter().find(|(t, f, _)| *t == kind.topic() && *f == field).map_or(field, |(_, _, column)| column)
}

/// Whether the row keeps this field beside the body: the kind's number, where it is kept as it was sent.
fn is_number_of(kind: Kind, f: &FieldSpec) -> bool {
    kind.unit().is_empty() && kind.scalar().is_some_and(|s| s.numbers == [f.number])
}

/// The number beside the body, in the field's type: it costs nothing to read.
fn kept(f: &FieldSpec) -> String {
    let ty = match f.ty {
        FieldType::Double => "double precision",
        FieldType::Float => "real",
        FieldType::Int32 | FieldType::Sint32 | FieldType::Sfixed32 => "int",
        FieldType::Uint64 | FieldType::Fixed64 => "numeric",
        _ => "bigint",
    };
    format!("r.value::{ty}")
}

/// A field of the object `json` as a typed column. Where absence means a default, it is the default.
fn column(f: &FieldSpec, json: &str) -> String {
    use FieldType as T;
    let name = quoted(f.name);
    if f.card == Card::Repeated || matches!(f.ty, T::Message(_) | T::StringMap) {
        return format!("{json} -> {name}");
    }
    let text = format!("{json} ->> {name}");
    let (value, default) = match f.ty {
        T::Double => (format!("({text})::double precision"), "0".to_owned()),
        T::Float => (format!("({text})::real"), "0".to_owned()),
        T::Int32 | T::Sint32 | T::Sfixed32 => (format!("({text})::int"), "0".to_owned()),
        T::Uint32 | T::Fixed32 | T::Int64 | T::Sint64 | T::Sfixed64 => (format!("({text})::bigint"), "0".to_owned()),
        // Beyond what a bigint holds.
        T::Uint64 | T::Fixed64 => (format!("({text})::numeric"), "0".to_owned()),
        T::Bool => (format!("({text})::boolean"), "false".to_owned()),
        T::Bytes => (format!("decode({text}, 'base64')"), "''".to_owned()),
        T::Timestamp => return format!("({text})::timestamptz"),
        T::Enum(e) => {
            // In columns as people write them: `cardio` for ZONE_CARDIO.
            let prefix = e.name_of(0).and_then(|n| n.strip_suffix("UNSPECIFIED")).unwrap_or_default();
            let short = |x: &str| format!("lower(regexp_replace({x}, {}, ''))", quoted(&format!("^{prefix}")));
            (short(&text), short(&quoted(e.name_of(0).unwrap_or_default())))
        }
        _ => (format!("({text})"), "''".to_owned()),
    };
    if f.card == Card::Implicit { format!("coalesce({value}, {default})") } else { value }
}
