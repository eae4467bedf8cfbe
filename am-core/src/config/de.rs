//! Reads any serde type from the tree: the error knows its node, unknown keys are collected on the way.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::node::{Entry, Node, Step, Value, dotted};
use super::parse::parse_inline;
use super::problem::{Problem, suggestion};

/// Why a value cannot be read, and the way to it once known.
#[derive(Debug)]
pub(super) struct DeError {
    pub(super) message: String,
    pub(super) path: Option<Vec<Step>>,
}

impl fmt::Display for DeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DeError {}

impl de::Error for DeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DeError { message: message.to_string(), path: None }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        DeError::custom(format!("there is no {variant:?} here{}", suggestion(variant, expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        DeError::custom(unknown_key(field, expected))
    }
}

fn unknown_key(key: &str, known: &[&str]) -> String {
    format!("there is no key {key:?} here{}", suggestion(key, known))
}

/// The way from the root, as a chain on the stack. Values written inside a variable or flag have no way of their own.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Option<&'a Step>,
    inside_text: bool,
}

impl Path<'_> {
    pub(super) const ROOT: Path<'static> = Path { parent: None, step: None, inside_text: false };

    fn child<'b>(&'b self, step: &'b Step) -> Path<'b> {
        Path { parent: Some(self), step: Some(step), inside_text: self.inside_text }
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        let mut out = self.parent.map(Path::steps).unwrap_or_default();
        out.extend(self.step.cloned());
        out
    }

    fn locate(&self, mut e: DeError) -> DeError {
        if e.path.is_none() && !self.inside_text {
            e.path = Some(self.steps());
        }
        e
    }
}

/// A deserialiser at one node.
#[derive(Clone, Copy)]
pub(super) struct De<'a> {
    pub(super) node: &'a Node,
    pub(super) path: Path<'a>,
    pub(super) unknown: &'a RefCell<Vec<Problem>>,
}

type Out<T> = Result<T, DeError>;

impl<'a> De<'a> {
    fn at<'b>(self, node: &'b Node, path: Path<'b>) -> De<'b>
    where
        'a: 'b,
    {
        De { node, path, unknown: self.unknown }
    }

    /// Reads an untyped text that is written like TOML.
    fn inline<T>(self, text: &str, read: impl FnOnce(De<'_>) -> Out<T>) -> Out<T> {
        let value = parse_inline(text, &self.node.origin).map_err(DeError::custom)?;
        let node = Node { value, origin: self.node.origin.clone() };
        let path = Path { inside_text: true, ..self.path };
        read(De { node: &node, path, unknown: self.unknown })
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        match &self.node.value {
            Value::Untyped(text) => match text.trim().replace('_', "").parse::<i128>() {
                Ok(n) => visit_int(n, visitor),
                Err(_) => visitor.visit_str(text),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn float<'de, V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        match &self.node.value {
            Value::Untyped(text) => match text.trim().replace('_', "").parse::<f64>() {
                Ok(n) => visitor.visit_f64(n),
                Err(_) => visitor.visit_str(text),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn report_unknown(&self, table: &BTreeMap<String, Entry>, known: &'static [&'static str]) {
        for (key, entry) in table.iter().filter(|(k, e)| !known.contains(&k.as_str()) && !matches!(e.node.value, Value::Removed)) {
            let step = Step::Key(key.clone());
            let key = dotted(&self.path.child(&step).steps());
            let last = if let Step::Key(k) = &step { k.as_str() } else { "" };
            let problem = Problem { origin: entry.key_origin.clone(), key, message: unknown_key(last, known) };
            let mut all = self.unknown.borrow_mut();
            if !all.contains(&problem) {
                all.push(problem);
            }
        }
    }
}

fn visit_int<'de, V: Visitor<'de>>(n: i128, visitor: V) -> Out<V::Value> {
    match (i64::try_from(n), u64::try_from(n)) {
        (Ok(n), _) => visitor.visit_i64(n),
        (_, Ok(n)) => visitor.visit_u64(n),
        _ => visitor.visit_i128(n),
    }
}

/// The value of a text that nobody asked for a type of: the narrowest that fits.
fn visit_guess<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Out<V::Value> {
    let plain = text.trim();
    if let Some(b) = as_bool(plain).filter(|_| plain.len() > 1) {
        return visitor.visit_bool(b);
    }
    match (plain.parse::<i128>(), plain.parse::<f64>()) {
        (Ok(n), _) => visit_int(n, visitor),
        (_, Ok(x)) if plain.starts_with(|c: char| c.is_ascii_digit() || c == '-') => visitor.visit_f64(x),
        _ => visitor.visit_str(text),
    }
}

fn as_bool(text: &str) -> Option<bool> {
    match text.trim() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

macro_rules! forward {
    ($($from:ident => $to:ident),*) => { $(
        fn $from<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
            self.$to(visitor)
        }
    )* };
}

impl<'de> Deserializer<'de> for De<'_> {
    type Error = DeError;

    forward!(
        deserialize_i8 => number, deserialize_i16 => number, deserialize_i32 => number, deserialize_i64 => number,
        deserialize_i128 => number, deserialize_u8 => number, deserialize_u16 => number, deserialize_u32 => number,
        deserialize_u64 => number, deserialize_u128 => number, deserialize_f32 => float, deserialize_f64 => float,
        deserialize_char => deserialize_str, deserialize_string => deserialize_str, deserialize_identifier => deserialize_str,
        deserialize_bytes => deserialize_str, deserialize_byte_buf => deserialize_str
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        match &self.node.value {
            Value::Untyped(t) if t.trim_start().starts_with(['[', '{']) => self.inline(t, |d| d.deserialize_any(visitor)),
            Value::Untyped(t) => visit_guess(t, visitor),
            Value::Text(t) => visitor.visit_str(t),
            Value::Int(n) => visit_int(*n, visitor),
            Value::Float(x) => visitor.visit_f64(*x),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::List(items) => visitor.visit_seq(Items { de: self, items, next: 0 }),
            Value::Table(t) => visitor.visit_map(Entries { de: self, entries: t.iter(), known: None, value: None }),
            Value::Removed => visitor.visit_unit(),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        match &self.node.value {
            Value::Untyped(t) => visitor.visit_str(t),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        match &self.node.value {
            Value::Untyped(t) => match as_bool(t) {
                Some(b) => visitor.visit_bool(b),
                None => Err(DeError::custom(format!("{t:?} is neither true nor false"))),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        match &self.node.value {
            Value::Untyped(t) if t.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        let Value::Untyped(text) = &self.node.value else { return self.deserialize_any(visitor) };
        if text.trim_start().starts_with('[') {
            return self.inline(text, |d| d.deserialize_any(visitor));
        }
        let item = |t: &str| Node { value: Value::Untyped(t.trim().to_owned()), origin: self.node.origin.clone() };
        let items: Vec<Node> = if text.trim().is_empty() { Vec::new() } else { text.split(',').map(item).collect() };
        let path = Path { inside_text: true, ..self.path };
        visitor.visit_seq(Items { de: self.at(self.node, path), items: &items, next: 0 })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        match &self.node.value {
            Value::Untyped(t) if !t.trim_start().starts_with('{') => visitor.visit_str(t),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(self, name: &'static str, known: &'static [&'static str], visitor: V) -> Out<V::Value> {
        match &self.node.value {
            Value::Table(t) => {
                self.report_unknown(t, known);
                visitor.visit_map(Entries { de: self, entries: t.iter(), known: Some(known), value: None })
            }
            Value::Untyped(t) if t.trim_start().starts_with('{') => self.inline(t, |d| d.deserialize_struct(name, known, visitor)),
            _ => self.deserialize_map(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(self, name: &'static str, known: &'static [&'static str], visitor: V) -> Out<V::Value> {
        match &self.node.value {
            Value::Untyped(t) if t.trim_start().starts_with('{') => self.inline(t, |d| d.deserialize_enum(name, known, visitor)),
            Value::Untyped(t) | Value::Text(t) => visitor.visit_enum(t.trim().into_deserializer()),
            Value::Table(t) => match t.iter().next() {
                Some((key, entry)) if t.len() == 1 => visitor.visit_enum(OneVariant { de: self, key, entry }),
                _ => Err(DeError::custom(format!("a table with exactly one of these keys is expected: {}", known.join(", ")))),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Out<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Out<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, visitor: V) -> Out<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Out<V::Value> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Out<V::Value> {
        visitor.visit_unit()
    }
}

struct Items<'a> {
    de: De<'a>,
    items: &'a [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Out<Option<T::Value>> {
        while let Some(node) = self.items.get(self.next) {
            let step = Step::Index(self.next);
            self.next += 1;
            if !matches!(node.value, Value::Removed) {
                let path = self.de.path.child(&step);
                return seed.deserialize(self.de.at(node, path)).map(Some).map_err(|e| path.locate(e));
            }
        }
        Ok(None)
    }
}

struct Entries<'a> {
    de: De<'a>,
    entries: std::collections::btree_map::Iter<'a, String, Entry>,
    known: Option<&'static [&'static str]>,
    value: Option<(&'a String, &'a Node)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = DeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Out<Option<K::Value>> {
        for (key, entry) in self.entries.by_ref() {
            if matches!(entry.node.value, Value::Removed) || self.known.is_some_and(|known| !known.contains(&key.as_str())) {
                continue;
            }
            self.value = Some((key, &entry.node));
            let name = Node { value: Value::Untyped(key.clone()), origin: entry.key_origin.clone() };
            let step = Step::Key(key.clone());
            let path = self.de.path.child(&step);
            return seed.deserialize(self.de.at(&name, path)).map(Some).map_err(|e| path.locate(e));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Out<V::Value> {
        let (key, node) = self.value.take().ok_or_else(|| DeError::custom("a value was asked for before its key"))?;
        let step = Step::Key(key.clone());
        let path = self.de.path.child(&step);
        seed.deserialize(self.de.at(node, path)).map_err(|e| path.locate(e))
    }
}

struct OneVariant<'a> {
    de: De<'a>,
    key: &'a str,
    entry: &'a Entry,
}

impl<'de, 'a> EnumAccess<'de> for OneVariant<'a> {
    type Error = DeError;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Out<(V::Value, Content<'a>)> {
        let variant = seed.deserialize(self.key.into_deserializer())?;
        Ok((variant, Content { de: self.de, key: self.key.to_owned(), node: &self.entry.node }))
    }
}

struct Content<'a> {
    de: De<'a>,
    key: String,
    node: &'a Node,
}

impl Content<'_> {
    fn read<T>(self, read: impl FnOnce(De<'_>) -> Out<T>) -> Out<T> {
        let step = Step::Key(self.key);
        let path = self.de.path.child(&step);
        read(self.de.at(self.node, path)).map_err(|e| path.locate(e))
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = DeError;

    fn unit_variant(self) -> Out<()> {
        Err(DeError::custom(format!("{:?} takes no values: write it as a text", self.key)))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Out<T::Value> {
        self.read(|d| seed.deserialize(d))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Out<V::Value> {
        self.read(|d| d.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, known: &'static [&'static str], visitor: V) -> Out<V::Value> {
        self.read(|d| d.deserialize_struct("", known, visitor))
    }
}
