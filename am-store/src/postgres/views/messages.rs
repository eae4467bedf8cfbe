//! A function in SQL for each message: its wire bytes as canonical JSON, written from the shape tables.

use std::collections::BTreeMap;
use std::fmt::Write;

use am_schema::Kind;
use am_schema::spec::{Card, EnumSpec, FieldSpec, FieldType, MessageSpec};

/// The fields of the envelope that are read by name in views; its payload is read by the payload's own function.
const ENVELOPE: [&str; 4] = ["metadata", "ended_at", "traceparent", "quality"];

/// Every message that payloads of these kinds are made of, by name.
pub(super) fn reachable(kinds: &[Kind]) -> BTreeMap<&'static str, &'static MessageSpec> {
    let mut found = BTreeMap::new();
    let mut open: Vec<&'static MessageSpec> = kinds.iter().map(|k| k.message()).collect();
    while let Some(m) = open.pop() {
        if found.insert(m.name, m).is_none() {
            open.extend(m.fields.iter().filter_map(|f| match f.ty {
                FieldType::Message(nested) => Some(nested()),
                _ => None,
            }));
        }
    }
    found
}

/// The name of a message's function.
pub(super) fn function(message: &MessageSpec) -> String {
    format!("json_{}", message.name.to_lowercase().replace('.', "__"))
}

/// The functions of these messages, and that of the envelope.
pub(super) fn functions(messages: &BTreeMap<&'static str, &'static MessageSpec>) -> Vec<String> {
    let mut all: Vec<String> = messages.values().map(|m| one(&function(m), &m.fields.iter().collect::<Vec<_>>())).collect();
    let fields: Vec<&FieldSpec> = am_schema::shapes::READING.fields.iter().filter(|f| ENVELOPE.contains(&f.name)).collect();
    all.push(one("json_envelope", &fields));
    all
}

/// A text as SQL writes it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn one(name: &str, fields: &[&FieldSpec]) -> String {
    let mut declared = String::new();
    let mut cases = String::new();
    let mut end = String::new();
    for f in fields {
        declare(f, &mut declared);
        case(f, &mut cases);
        finish(f, &mut end);
    }
    format!(
        "CREATE OR REPLACE FUNCTION {{views}}.{name}(b bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  o jsonb := '{{}}';
  p int := 0;
  n CONSTANT int := length(b);
  t bigint;
  v bigint;
  s bytea;
{declared}BEGIN
  WHILE p < n LOOP
    t := get_byte(b, p);
    p := p + 1;
    IF t > 127 THEN
      SELECT f.v, f.q INTO t, p FROM {{views}}.varint(b, p - 1) AS f;
    END IF;
    CASE t & 7
      WHEN 0, 2 THEN
        EXIT WHEN p >= n;
        v := get_byte(b, p);
        p := p + 1;
        IF v > 127 THEN
          SELECT f.v, f.q INTO v, p FROM {{views}}.varint(b, p - 1) AS f;
        END IF;
        IF t & 7 = 2 THEN
          EXIT WHEN v < 0 OR v > n - p;
          s := substr(b, p + 1, v::int);
          p := p + v::int;
        END IF;
      WHEN 1 THEN
        EXIT WHEN n - p < 8;
        s := substr(b, p + 1, 8);
        p := p + 8;
      WHEN 5 THEN
        EXIT WHEN n - p < 4;
        s := substr(b, p + 1, 4);
        p := p + 4;
      ELSE EXIT;
    END CASE;
    CASE t
{cases}      ELSE NULL;
    END CASE;
  END LOOP;
{end}  RETURN o;
END $$;
"
    )
}

fn is_list(f: &FieldSpec) -> bool {
    f.card == Card::Repeated && !matches!(f.ty, FieldType::StringMap)
}

fn declare(f: &FieldSpec, out: &mut String) {
    let n = f.number;
    let _ = match f.ty {
        _ if is_list(f) => writeln!(out, "  a{n} jsonb[] := '{{}}';"),
        FieldType::StringMap => writeln!(out, "  m{n} jsonb;"),
        FieldType::Message(_) => writeln!(out, "  m{n} bytea;"),
        _ => Ok(()),
    };
}

/// What is done with a field's bytes `s` or number `v`.
fn case(f: &FieldSpec, out: &mut String) {
    let (n, name, wire) = (f.number, quoted(f.name), u32::from(f.ty.wire_type()));
    let tag = n << 3 | wire;
    let held = if wire == 0 { "v" } else { "s" };
    let value = json(f.ty, held);
    let _ = match f.ty {
        _ if is_list(f) => {
            if f.ty.is_packable() {
                let numbers = match wire {
                    0 => "{views}.packed_varints(s)".to_owned(),
                    1 => "{views}.packed_fixed(s, 8)".to_owned(),
                    _ => "{views}.packed_fixed(s, 4)".to_owned(),
                };
                let each = json(f.ty, "x");
                let _ = writeln!(
                    out,
                    "      WHEN {} THEN a{n} := a{n} || coalesce((SELECT array_agg({each} ORDER BY i) FROM unnest({numbers}) WITH ORDINALITY AS u(x, i)), '{{}}');",
                    n << 3 | 2
                );
            }
            writeln!(out, "      WHEN {tag} THEN a{n} := array_append(a{n}, {value});")
        }
        FieldType::StringMap => writeln!(out, "      WHEN {tag} THEN m{n} := coalesce(m{n}, '{{}}') || {{views}}.entry(s);"),
        // Singular messages that stand several times are merged, which is what their bytes one after the other mean.
        FieldType::Message(_) => writeln!(out, "      WHEN {tag} THEN m{n} := coalesce(m{n}, '') || s;"),
        FieldType::Timestamp => writeln!(out, "      WHEN {tag} THEN o := o || jsonb_build_object({name}, {value});"),
        // The last one counts, and a default says no more than its absence would.
        _ if f.card == Card::Implicit => {
            let default = match wire {
                0 => "v = 0",
                1 => "s = '\\x0000000000000000'",
                5 => "s = '\\x00000000'",
                _ => "s = ''",
            };
            writeln!(
                out,
                "      WHEN {tag} THEN o := CASE WHEN {default} THEN o - {name} ELSE o || jsonb_build_object({name}, {value}) END;"
            )
        }
        _ => writeln!(out, "      WHEN {tag} THEN o := o || jsonb_build_object({name}, {value});"),
    };
}

fn finish(f: &FieldSpec, out: &mut String) {
    let (n, name) = (f.number, quoted(f.name));
    let _ = match f.ty {
        _ if is_list(f) => {
            writeln!(out, "  IF cardinality(a{n}) > 0 THEN\n    o := o || jsonb_build_object({name}, to_jsonb(a{n}));\n  END IF;")
        }
        FieldType::StringMap => writeln!(out, "  IF m{n} IS NOT NULL THEN\n    o := o || jsonb_build_object({name}, m{n});\n  END IF;"),
        FieldType::Message(_) => {
            writeln!(
                out,
                "  IF m{n} IS NOT NULL THEN\n    o := o || jsonb_build_object({name}, {});\n  END IF;",
                json(f.ty, &format!("m{n}"))
            )
        }
        _ => Ok(()),
    };
}

/// A value as JSON, from a number for varints and from bytes for everything else.
fn json(ty: FieldType, x: &str) -> String {
    use FieldType as T;
    match ty {
        T::Double => format!("to_jsonb({{views}}.f64({x}))"),
        T::Float => format!("to_jsonb({{views}}.f32({x}))"),
        T::Int32 => format!("to_jsonb({{views}}.signed32({x}))"),
        T::Uint32 => format!("to_jsonb({x})"),
        T::Sint32 => format!("to_jsonb({{views}}.unzigzag({x}))"),
        T::Fixed32 => format!("to_jsonb({{views}}.i32({x}))"),
        T::Sfixed32 => format!("to_jsonb({{views}}.signed32({{views}}.i32({x})))"),
        T::Int64 => format!("to_jsonb(({x})::text)"),
        T::Uint64 => format!("to_jsonb({{views}}.unsigned64({x})::text)"),
        T::Sint64 => format!("to_jsonb({{views}}.unzigzag({x})::text)"),
        T::Fixed64 => format!("to_jsonb({{views}}.unsigned64({{views}}.i64({x}))::text)"),
        T::Sfixed64 => format!("to_jsonb({{views}}.i64({x})::text)"),
        T::Bool => format!("to_jsonb({x} <> 0)"),
        T::String => format!("to_jsonb({{views}}.utf8({x}))"),
        T::Bytes => format!("to_jsonb({{views}}.base64({x}))"),
        T::Enum(e) => enum_name(e, x),
        T::Message(nested) => format!("{{views}}.{}({x})", function(nested())),
        T::Timestamp => format!("to_jsonb({{views}}.instant({x}))"),
        T::StringMap => format!("{{views}}.entry({x})"),
    }
}

fn enum_name(e: &EnumSpec, x: &str) -> String {
    let mut out = format!("CASE {{views}}.signed32({x})");
    for (n, name) in e.values {
        let _ = write!(out, " WHEN {n} THEN to_jsonb({}::text)", quoted(name));
    }
    let _ = write!(out, " ELSE to_jsonb({{views}}.signed32({x})) END");
    out
}
