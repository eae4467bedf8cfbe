//! JSON Schema (draft 2020-12) of the canonical JSON, from the shape tables and the catalogue.
//!
//! Numbers of 64 bits are texts in canonical JSON, as in every protobuf implementation; plain numbers are read as well.

use serde_json::{Map, Value, json};

use crate::catalogue::vitals::VITALS;
use crate::shapes::{QUANTITY, READING};
use crate::spec::{Card, FieldSpec, FieldType, MessageSpec};
use crate::{Catalogue, Kind};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of `am.v1.Reading` with every kind of the catalogue: what a payload must look like follows from `kind`.
pub fn reading(catalogue: &Catalogue) -> Value {
    let mut defs = Map::new();
    collect(&READING, &mut defs);
    let mut rules = Vec::new();
    for kind in catalogue.kinds() {
        defs.insert(kind.topic().to_owned(), payload_rules(kind));
        let mut then = json!({ "required": [kind.field_name()], "properties": { kind.field_name(): reference(kind.topic()) } });
        if kind.needs_span() {
            then["required"] = json!(["ended_at", kind.field_name()]);
        }
        let is = json!({ "required": ["kind"], "properties": { "kind": { "const": kind.topic() } } });
        rules.push(json!({ "if": is, "then": then }));
    }
    if let Some(reading) = defs.get_mut("Reading") {
        reading["required"] = json!(["device_id", "recorded_at"]);
        reading["allOf"] = rules.into();
    }
    json!({ "$schema": DRAFT, "$id": "urn:am:v1:Reading", "title": "am.v1.Reading", "$ref": "#/$defs/Reading", "$defs": defs })
}

/// The schema of one kind's payload, complete in itself.
pub fn payload(kind: Kind) -> Value {
    let mut defs = Map::new();
    collect(kind.message(), &mut defs);
    defs.insert(kind.topic().to_owned(), payload_rules(kind));
    json!({
        "$schema": DRAFT,
        "$id": format!("urn:am:v1:kind:{}", kind.topic()),
        "title": kind.title(),
        "$ref": format!("#/$defs/{}", kind.topic()),
        "$defs": defs,
    })
}

/// The text of a schema: keys sorted, two spaces a level, so that it is the same whatever built it.
pub fn to_text(schema: &Value) -> String {
    let mut out = String::new();
    write(schema, 0, &mut out);
    out.push('\n');
    out
}

fn write(v: &Value, level: usize, out: &mut String) {
    let line = |out: &mut String, level: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", level));
    };
    match v {
        Value::Object(o) if !o.is_empty() => {
            let mut keys: Vec<(&String, &Value)> = o.iter().collect();
            keys.sort_by_key(|k| k.0);
            out.push('{');
            for (i, (k, v)) in keys.into_iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                line(out, level + 1);
                out.push_str(&Value::from(k.as_str()).to_string());
                out.push_str(": ");
                write(v, level + 1, out);
            }
            line(out, level);
            out.push('}');
        }
        Value::Array(a) if a.iter().any(|v| v.is_object() || v.is_array()) => {
            out.push('[');
            for (i, v) in a.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                line(out, level + 1);
                write(v, level + 1, out);
            }
            line(out, level);
            out.push(']');
        }
        // Lists of plain values stay on one line.
        plain => out.push_str(&plain.to_string()),
    }
}

/// A message and all that it holds.
fn collect(m: &'static MessageSpec, defs: &mut Map<String, Value>) {
    if defs.contains_key(m.name) {
        return;
    }
    defs.insert(m.name.to_owned(), message(m));
    for f in m.fields {
        if let FieldType::Message(inner) = f.ty {
            collect(inner(), defs);
        }
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn message(m: &MessageSpec) -> Value {
    let mut properties = Map::new();
    for f in m.fields {
        properties.insert(f.name.to_owned(), field(f));
    }
    let mut out = json!({ "type": "object", "title": m.name, "description": m.doc, "properties": properties });
    // Of a group at most one; the payload of a reading follows from its kind.
    let mut pairs = Vec::new();
    for (i, a) in m.fields.iter().enumerate() {
        for b in m.fields.iter().skip(i + 1) {
            if let (Card::OneOf(x), Card::OneOf(y)) = (a.card, b.card)
                && x == y
                && m.name != READING.name
            {
                pairs.push(json!({ "not": { "required": [a.name, b.name] } }));
            }
        }
    }
    if !pairs.is_empty() {
        out["allOf"] = pairs.into();
    }
    out
}

fn field(f: &FieldSpec) -> Value {
    let mut v = match f.ty {
        FieldType::Double | FieldType::Float => json!({ "type": "number" }),
        FieldType::Int32 | FieldType::Sint32 | FieldType::Sfixed32 => {
            json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX })
        }
        FieldType::Uint32 | FieldType::Fixed32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        FieldType::Int64 | FieldType::Sint64 | FieldType::Sfixed64 => {
            json!({ "type": ["string", "integer"], "pattern": "^-?[0-9]{1,19}$" })
        }
        FieldType::Uint64 | FieldType::Fixed64 => json!({ "type": ["string", "integer"], "pattern": "^[0-9]{1,20}$", "minimum": 0 }),
        FieldType::Bool => json!({ "type": "boolean" }),
        FieldType::String => json!({ "type": "string" }),
        FieldType::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        FieldType::Enum(e) => json!({ "enum": e.values.iter().map(|v| v.1).collect::<Vec<_>>() }),
        FieldType::Message(m) => reference(m().name),
        FieldType::Timestamp => json!({ "type": "string", "format": "date-time" }),
        FieldType::StringMap => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
    };
    if f.card == Card::Repeated && !matches!(f.ty, FieldType::StringMap) {
        v = json!({ "type": "array", "items": v });
    }
    v["description"] = f.doc.into();
    v
}

/// The message of a kind, narrowed by its row of the catalogue.
fn payload_rules(kind: Kind) -> Value {
    let mut rules = json!({});
    let quantity = kind.message().name == QUANTITY.name;
    for b in kind.bounds().iter().filter(|_| !quantity) {
        if let Some(at) = below(&mut rules, kind.message(), &b.path, End::Items) {
            bound(at, b.min, b.max, b.unit);
        }
    }
    for name in needed(kind) {
        let (parent, last) = name.rsplit_once('.').unwrap_or(("", name));
        let Some(at) = (if parent.is_empty() { Some(&mut rules) } else { below(&mut rules, kind.message(), parent, End::Items) }) else {
            continue;
        };
        match at.get_mut("required").and_then(Value::as_array_mut) {
            Some(list) => list.push(last.into()),
            None => at["required"] = json!([last]),
        }
        if let Some(least) = not_empty(kind.message(), name)
            && let Some(at) = below(&mut rules, kind.message(), name, End::List)
        {
            at[least] = 1.into();
        }
    }
    if quantity {
        quantity_rules(kind, &mut rules);
    }
    let one_of = kind.one_of_names();
    if !one_of.is_empty() {
        rules["anyOf"] = one_of.iter().map(|n| json!({ "required": [n] })).collect();
    }
    rules["$ref"] = format!("#/$defs/{}", kind.message().name).into();
    rules["title"] = kind.title().into();
    rules
}

/// The fields that must be there: those the row requires, and numbers whose absence means a 0 that is out of range.
pub(crate) fn needed(kind: Kind) -> Vec<&'static str> {
    let mut all: Vec<&str> = kind.required_names().iter().map(String::as_str).collect();
    for b in kind.bounds().iter().filter(|b| !(b.min..=b.max).contains(&0.0)) {
        let implicit = last_field(kind.message(), &b.path).is_some_and(|f| f.card == Card::Implicit);
        if implicit && !all.contains(&b.path.as_str()) {
            all.push(&b.path);
        }
    }
    all
}

/// The range of a quantity holds for its canonical unit; other units are converted first, which a schema cannot say.
fn quantity_rules(kind: Kind, rules: &mut Value) {
    let canonical = |unit: &str, min: f64, max: f64, code: Option<&str>| {
        let mut is = json!({ "properties": { "unit": { "enum": ["", unit] } } });
        if let Some(code) = code {
            is["properties"]["code"] = json!({ "const": code });
        }
        let mut value = json!({});
        bound(&mut value, min, max, unit);
        json!({ "if": is, "then": { "properties": { "value": value } } })
    };
    let list: Vec<Value> = match kind.bounds() {
        [b] if !kind.unit().is_empty() => vec![canonical(b.unit, b.min, b.max, None)],
        _ => {
            rules["properties"]["code"]["enum"] = VITALS.iter().map(|v| v.code).collect();
            VITALS.iter().map(|v| canonical(v.unit, v.min, v.max, Some(v.code))).collect()
        }
    };
    rules["allOf"] = list.into();
}

fn bound(at: &mut Value, min: f64, max: f64, unit: &str) {
    at["minimum"] = number(min);
    at["maximum"] = number(max);
    if !unit.is_empty() {
        at["x-unit"] = unit.into();
    }
}

/// Whole numbers without a fraction, as people write them.
fn number(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 9e15 { Value::from(x as i64) } else { Value::from(x) }
}

/// Which keyword says that a required field is not empty.
fn not_empty(message: &'static MessageSpec, path: &str) -> Option<&'static str> {
    match last_field(message, path)? {
        FieldSpec { card: Card::Repeated, .. } => Some("minItems"),
        FieldSpec { ty: FieldType::String | FieldType::Bytes, .. } => Some("minLength"),
        _ => None,
    }
}

/// The field at the end of a path.
fn last_field(message: &'static MessageSpec, path: &str) -> Option<&'static FieldSpec> {
    let (mut at, mut found) = (Some(message), None);
    for name in path.split('.') {
        found = at?.field_named(name);
        at = match found?.ty {
            FieldType::Message(m) => Some(m()),
            _ => None,
        };
    }
    found
}

/// Where a path ends that leads to a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    List,
    Items,
}

/// The place of a path within the rules, made on the way; of a list at its end the list itself, or its items.
fn below<'a>(rules: &'a mut Value, message: &'static MessageSpec, path: &str, end: End) -> Option<&'a mut Value> {
    let (mut at, mut m) = (rules, Some(message));
    let steps = path.split('.').count();
    for (i, name) in path.split('.').enumerate() {
        let f = m?.field_named(name)?;
        at = member(member(at, "properties")?, name)?;
        if f.card == Card::Repeated && (end == End::Items || i + 1 < steps) {
            at = member(at, "items")?;
        }
        m = match f.ty {
            FieldType::Message(inner) => Some(inner()),
            _ => None,
        };
    }
    Some(at)
}

fn member<'a>(v: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    Some(v.as_object_mut()?.entry(name).or_insert_with(|| json!({})))
}
