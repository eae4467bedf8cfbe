//! Renders `am_schema::spec` tables from descriptors.

use std::collections::BTreeMap;
use std::fmt::Write;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, SourceCodeInfo};

const PACKAGE: &str = ".am.v1.";

/// The text of `generated/shapes.rs`.
///
/// # Errors
/// Names a field whose type the tables do not know.
pub(crate) fn render(set: &FileDescriptorSet) -> Result<String, String> {
    let mut out = String::from("use crate::spec::{Card, EnumSpec, FieldSpec, FieldType, MessageSpec};\n\n");
    let mut names = Vec::new();
    let titles = titles(set);
    for file in set.file.iter().filter(|f| f.package() == "am.v1") {
        let mut docs = Docs::new(file.source_code_info.as_ref());
        docs.describe_members(file, &titles);
        for (i, m) in file.message_type.iter().enumerate() {
            message(&mut out, &mut names, m, "", &docs, &[4, i as i32])?;
        }
        for e in &file.enum_type {
            enumeration(&mut out, e, "");
        }
    }
    names.sort();
    let _ = write!(out, "/// Every message of `am.v1`, sorted by name.\npub static MESSAGES: &[&MessageSpec] = &[");
    for (_, ident) in &names {
        let _ = write!(out, "&{ident}, ");
    }
    out.push_str("];\n\n");
    payloads(&mut out, set);
    Ok(out)
}

/// The members of `Reading.data`: which field carries which message.
fn payloads(out: &mut String, set: &FileDescriptorSet) {
    let reading = set.file.iter().filter(|f| f.package() == "am.v1").flat_map(|f| &f.message_type).find(|m| m.name() == "Reading");
    let mut members: Vec<&FieldDescriptorProto> =
        reading.map(|m| m.field.iter().filter(|f| f.oneof_index.is_some() && !f.proto3_optional()).collect()).unwrap_or_default();
    members.sort_by_key(|f| f.number());
    for f in &members {
        let name = f.type_name().strip_prefix(PACKAGE).unwrap_or_default();
        let _ = writeln!(out, "impl crate::Payload for crate::v1::{name} {{\n    const FIELD: u32 = {};\n}}\n", f.number());
    }
    out.push_str("/// The payload fields of the envelope: number, name and message, sorted by number.\npub static PAYLOADS: &[(u32, &str, &MessageSpec)] = &[");
    for f in &members {
        let _ = write!(out, "({}, {:?}, &{}), ", f.number(), f.name(), ident(f.type_name().strip_prefix(PACKAGE).unwrap_or_default()));
    }
    out.push_str("];\n");
}

/// Comments by path of the source info.
struct Docs(BTreeMap<Vec<i32>, String>);

impl Docs {
    fn new(info: Option<&SourceCodeInfo>) -> Self {
        let mut map = BTreeMap::new();
        for l in info.map(|i| i.location.as_slice()).unwrap_or_default() {
            // A field's comment stands above it or behind it.
            let parts = [l.leading_comments.as_deref(), l.trailing_comments.as_deref()];
            let text = parts.into_iter().flatten().flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
            if !text.is_empty() {
                map.insert(l.path.clone(), text);
            }
        }
        Docs(map)
    }

    /// Members of a oneof without a comment are described by their message.
    fn describe_members(&mut self, file: &FileDescriptorProto, titles: &BTreeMap<String, String>) {
        for (i, m) in file.message_type.iter().enumerate() {
            for (j, f) in m.field.iter().enumerate().filter(|(_, f)| f.oneof_index.is_some()) {
                if let Some(title) = titles.get(f.type_name()) {
                    self.0.entry(vec![4, i as i32, 2, j as i32]).or_insert_with(|| title.clone());
                }
            }
        }
    }

    fn at(&self, path: &[i32]) -> &str {
        self.0.get(path).map(String::as_str).unwrap_or_default()
    }
}

/// What the comment of each message says, by full name.
fn titles(set: &FileDescriptorSet) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for file in set.file.iter().filter(|f| f.package() == "am.v1") {
        let docs = Docs::new(file.source_code_info.as_ref());
        for (i, m) in file.message_type.iter().enumerate() {
            all.insert(format!("{PACKAGE}{}", m.name()), docs.at(&[4, i as i32]).to_owned());
        }
    }
    all
}

fn ident(name: &str) -> String {
    let mut out = String::new();
    let mut before = '_';
    for c in name.chars() {
        match c {
            '.' => out.push_str("__"),
            c => {
                if c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
                    out.push('_');
                }
                out.push(c.to_ascii_uppercase());
            }
        }
        before = c;
    }
    out
}

fn message(
    out: &mut String,
    names: &mut Vec<(String, String)>,
    m: &DescriptorProto,
    outer: &str,
    docs: &Docs,
    path: &[i32],
) -> Result<(), String> {
    if m.options.as_ref().is_some_and(|o| o.map_entry()) {
        return Ok(());
    }
    let name = format!("{outer}{}", m.name());
    let id = ident(&name);
    let mut fields: Vec<(usize, &FieldDescriptorProto)> = m.field.iter().enumerate().collect();
    fields.sort_by_key(|(_, f)| f.number());
    let _ = writeln!(
        out,
        "/// `am.v1.{name}`.\npub static {id}: MessageSpec = MessageSpec {{ name: {name:?}, doc: {:?}, fields: &[",
        docs.at(path)
    );
    for (i, f) in fields {
        let mut p = path.to_vec();
        p.extend([2, i as i32]);
        let card = match () {
            () if f.proto3_optional() => "Card::Optional".to_owned(),
            () if f.oneof_index.is_some() => {
                let group = m.oneof_decl.get(f.oneof_index() as usize).map(|o| o.name()).unwrap_or_default();
                format!("Card::OneOf({group:?})")
            }
            () if f.label() == Label::Repeated => "Card::Repeated".to_owned(),
            () => "Card::Implicit".to_owned(),
        };
        let (ty, card) = match field_type(f, m, &name)? {
            t if t == "FieldType::StringMap" => (t, "Card::Repeated".to_owned()),
            t => (t, card),
        };
        let _ = writeln!(
            out,
            "    FieldSpec {{ number: {}, name: {:?}, json_name: {:?}, doc: {:?}, ty: {ty}, card: {card} }},",
            f.number(),
            f.name(),
            f.json_name(),
            docs.at(&p)
        );
    }
    out.push_str("] };\n\n");
    names.push((name.clone(), id));
    let inner = format!("{name}.");
    for (i, n) in m.nested_type.iter().enumerate() {
        let mut p = path.to_vec();
        p.extend([3, i as i32]);
        message(out, names, n, &inner, docs, &p)?;
    }
    for e in &m.enum_type {
        enumeration(out, e, &inner);
    }
    Ok(())
}

fn field_type(f: &FieldDescriptorProto, m: &DescriptorProto, name: &str) -> Result<String, String> {
    let local = |t: &str| t.strip_prefix(PACKAGE).map(ident);
    Ok(match f.r#type() {
        Type::Double => "FieldType::Double".into(),
        Type::Float => "FieldType::Float".into(),
        Type::Int64 => "FieldType::Int64".into(),
        Type::Uint64 => "FieldType::Uint64".into(),
        Type::Int32 => "FieldType::Int32".into(),
        Type::Fixed64 => "FieldType::Fixed64".into(),
        Type::Fixed32 => "FieldType::Fixed32".into(),
        Type::Bool => "FieldType::Bool".into(),
        Type::String => "FieldType::String".into(),
        Type::Bytes => "FieldType::Bytes".into(),
        Type::Uint32 => "FieldType::Uint32".into(),
        Type::Sfixed32 => "FieldType::Sfixed32".into(),
        Type::Sfixed64 => "FieldType::Sfixed64".into(),
        Type::Sint32 => "FieldType::Sint32".into(),
        Type::Sint64 => "FieldType::Sint64".into(),
        Type::Enum => match local(f.type_name()) {
            Some(id) => format!("FieldType::Enum(&{id})"),
            None => return Err(format!("{name}.{}: unknown enum {}", f.name(), f.type_name())),
        },
        Type::Message if f.type_name() == ".google.protobuf.Timestamp" => "FieldType::Timestamp".into(),
        Type::Message => {
            let entry = m
                .nested_type
                .iter()
                .find(|n| f.type_name().ends_with(&format!(".{}", n.name())) && n.options.as_ref().is_some_and(|o| o.map_entry()));
            match (entry, local(f.type_name())) {
                (Some(e), _) if e.field.iter().all(|x| x.r#type() == Type::String) => "FieldType::StringMap".into(),
                (None, Some(id)) => format!("FieldType::Message(|| &{id})"),
                _ => return Err(format!("{name}.{}: unsupported type {}", f.name(), f.type_name())),
            }
        }
        Type::Group => return Err(format!("{name}.{}: groups are not supported", f.name())),
    })
}

fn enumeration(out: &mut String, e: &EnumDescriptorProto, outer: &str) {
    let name = format!("{outer}{}", e.name());
    let mut values: Vec<(i32, &str)> = e.value.iter().map(|v| (v.number(), v.name())).collect();
    values.sort();
    let _ =
        writeln!(out, "/// `am.v1.{name}`.\npub static {}: EnumSpec = EnumSpec {{ name: {name:?}, values: &{values:?} }};\n", ident(&name));
}
