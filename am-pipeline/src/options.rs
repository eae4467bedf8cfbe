//! The options of a processor: a typed table that checks a step of a flow file and is its JSON Schema.

use std::time::Duration;

use am_core::{Code, Error, Result};
use am_schema::Catalogue;
use serde_json::{Map, Value, json};

use crate::Condition;

/// The type of an option.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptionType {
    /// Any text.
    Text,
    /// A whole number within bounds.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A number within bounds.
    Number {
        /// The least.
        min: f64,
        /// The greatest.
        max: f64,
    },
    /// `true` or `false`.
    Bool,
    /// A time such as `250ms`, `2.5s`, `10m`, `1h` or `7d`.
    Duration,
    /// One of some words.
    OneOf(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A condition on readings.
    Condition,
    /// Anything; the processor checks it.
    Any,
}

/// One option of a processor.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionSpec {
    /// Its name in a flow file.
    pub name: &'static str,
    /// Its type.
    pub ty: OptionType,
    /// Whether it must be given.
    pub required: bool,
    /// What holds when it is not given.
    pub default: Option<Value>,
    /// What it does, for people.
    pub doc: &'static str,
}

impl OptionSpec {
    /// An option that may be left out.
    pub const fn new(name: &'static str, ty: OptionType, doc: &'static str) -> Self {
        OptionSpec { name, ty, required: false, default: None, doc }
    }

    /// It must be given.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// What holds without it.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }
}

/// Something wrong with an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionProblem {
    /// Which one.
    pub name: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// Whether the option is there at all.
    pub present: bool,
}

/// A step's options, checked, with the defaults filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config(Map<String, Value>);

impl Config {
    /// Checks values against a table.
    ///
    /// # Errors
    /// All problems at once.
    pub fn check(specs: &[OptionSpec], given: &Map<String, Value>) -> std::result::Result<Config, Vec<OptionProblem>> {
        let mut problems = Vec::new();
        let mut config = Map::new();
        for name in given.keys().filter(|n| !specs.iter().any(|s| s.name == n.as_str())) {
            let near = nearest(name, specs.iter().map(|s| s.name)).map(|n| format!("; did you mean '{n}'?")).unwrap_or_default();
            let message = format!("there is no option '{name}'{near}");
            problems.push(OptionProblem { name: name.clone(), message, present: true });
        }
        for spec in specs {
            match given.get(spec.name) {
                Some(v) => match spec.ty.check(v) {
                    Ok(()) => {
                        config.insert(spec.name.to_owned(), v.clone());
                    }
                    Err(rule) => {
                        let message = format!("'{}' is {v}, expected {rule}", spec.name);
                        problems.push(OptionProblem { name: spec.name.to_owned(), message, present: true });
                    }
                },
                None if spec.required => {
                    let message = format!("'{}' is missing: {}", spec.name, spec.doc);
                    problems.push(OptionProblem { name: spec.name.to_owned(), message, present: false });
                }
                None => {
                    if let Some(v) = &spec.default {
                        config.insert(spec.name.to_owned(), v.clone());
                    }
                }
            }
        }
        if problems.is_empty() { Ok(Config(config)) } else { Err(problems) }
    }

    /// The canonical text: JSON with sorted keys. Its digest is part of the identity of what is derived.
    pub fn canonical(&self) -> String {
        // Sorted explicitly, so that it does not hang on a feature of the JSON library.
        let sorted: std::collections::BTreeMap<_, _> = self.0.iter().collect();
        let parts: Vec<String> = sorted.into_iter().map(|(k, v)| format!("{}:{v}", Value::from(k.as_str()))).collect();
        format!("{{{}}}", parts.join(","))
    }

    /// A value, if it is given or has a default.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// A whole number.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.get(name)?.as_i64()
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.get(name)?.as_f64()
    }

    /// A truth value.
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.get(name)?.as_bool()
    }

    /// A time.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        self.text(name).and_then(|t| parse_duration(t).ok())
    }

    /// A list of texts.
    pub fn texts(&self, name: &str) -> Vec<&str> {
        self.get(name).and_then(Value::as_array).map(|a| a.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    }
}

impl OptionType {
    fn check(self, v: &Value) -> std::result::Result<(), String> {
        let (ok, rule) = match self {
            OptionType::Text => (v.is_string(), "a text".to_owned()),
            OptionType::Integer { min, max } => {
                (v.as_i64().is_some_and(|n| (min..=max).contains(&n)), format!("a whole number from {min} to {max}"))
            }
            OptionType::Number { min, max } => {
                (v.as_f64().is_some_and(|n| (min..=max).contains(&n)), format!("a number from {min} to {max}"))
            }
            OptionType::Bool => (v.is_boolean(), "true or false".to_owned()),
            OptionType::Duration => (v.as_str().is_some_and(|t| parse_duration(t).is_ok()), "a time such as 250ms, 5s, 10m, 1h".to_owned()),
            OptionType::OneOf(words) => (v.as_str().is_some_and(|t| words.contains(&t)), format!("one of {}", words.join(", "))),
            OptionType::Texts => (v.as_array().is_some_and(|a| a.iter().all(Value::is_string)), "a list of texts".to_owned()),
            OptionType::Condition => {
                let problems = Condition::parse(v, &Catalogue::builtin()).err().unwrap_or_default();
                (problems.is_empty(), problems.first().map(|p| format!("a condition: {}", p.message)).unwrap_or_default())
            }
            OptionType::Any => (true, String::new()),
        };
        if ok { Ok(()) } else { Err(rule) }
    }

    fn schema(self) -> Value {
        match self {
            OptionType::Text => json!({"type": "string"}),
            OptionType::Integer { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            OptionType::Number { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
            OptionType::Bool => json!({"type": "boolean"}),
            OptionType::Duration => json!({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d)$"}),
            OptionType::OneOf(words) => json!({"enum": words}),
            OptionType::Texts => json!({"type": "array", "items": {"type": "string"}}),
            OptionType::Condition => json!({"type": "object"}),
            OptionType::Any => json!({}),
        }
    }
}

/// The table as a JSON Schema (2020-12).
pub(crate) fn schema(specs: &[OptionSpec]) -> Value {
    let mut properties = Map::new();
    for s in specs {
        let mut p = s.ty.schema();
        if let Some(o) = p.as_object_mut() {
            o.insert("description".into(), s.doc.into());
            if let Some(d) = &s.default {
                o.insert("default".into(), d.clone());
            }
        }
        properties.insert(s.name.into(), p);
    }
    let required: Vec<&str> = specs.iter().filter(|s| s.required).map(|s| s.name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// Reads a time such as `250ms`, `2.5s`, `10m`, `1h` or `7d`.
///
/// # Errors
/// `BAD_FLOW` when it is anything else, or longer than a hundred years.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let bad = || Error::new(Code::BAD_FLOW, format!("{text:?} is not a time such as 250ms, 5s, 10m or 1h"));
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
    let (number, unit) = text.split_at_checked(split).ok_or_else(bad)?;
    let seconds = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    let total = number * seconds;
    // Rounded to whole nanoseconds, so that 2.5ms is 2.5ms.
    if (0.0..=3_155_760_000.0).contains(&total) { Ok(Duration::from_nanos((total * 1e9).round() as u64)) } else { Err(bad()) }
}

/// The candidate that a misspelt word probably meant: at most half of its letters differ (Levenshtein, 1966).
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let distance = |a: &str, b: &str| {
        let b: Vec<char> = b.chars().collect();
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.chars().enumerate() {
            let mut before = i;
            let mut left = i + 1;
            for (j, y) in b.iter().enumerate() {
                let above = row.get(j + 1).copied().unwrap_or_default();
                let cost = (before + usize::from(x != *y)).min(above + 1).min(left + 1);
                if let Some(cell) = row.get_mut(j) {
                    *cell = left;
                }
                (before, left) = (above, cost);
            }
            if let Some(cell) = row.last_mut() {
                *cell = left;
            }
        }
        row.last().copied().unwrap_or_default()
    };
    let near = candidates.into_iter().map(|c| (distance(word, c), c)).min()?;
    (near.0 <= (word.chars().count() / 2).max(1)).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit_and_nothing_else() {
        for (text, ms) in [("250ms", 250.0), ("2.5s", 2_500.0), ("10m", 600_000.0), ("1h", 3.6e6), ("7d", 6.048e8), ("0s", 0.0)] {
            assert_eq!(parse_duration(text).unwrap().as_secs_f64() * 1e3, ms, "{text}");
        }
        for bad in ["", "5", "s", "5 s", "-1s", "1.2.3s", "1e9s", "5sec", "99999999999d", "ns"] {
            assert_eq!(parse_duration(bad).unwrap_err().code(), Code::BAD_FLOW, "{bad}");
        }
    }

    #[test]
    fn a_misspelt_word_is_recognised_and_a_strange_one_is_not() {
        assert_eq!(nearest("siez", ["hop", "size", "key"]), Some("size"));
        assert_eq!(nearest("timout", ["timeout", "to"]), Some("timeout"));
        assert_eq!(nearest("banana", ["size", "hop"]), None);
    }

    #[test]
    fn all_problems_of_the_options_are_told_at_once_and_defaults_are_filled_in() {
        let specs = [
            OptionSpec::new("size", OptionType::Duration, "length of a window").required(),
            OptionSpec::new("keep", OptionType::Integer { min: 1, max: 9 }, "how many").default(3),
            OptionSpec::new("mode", OptionType::OneOf(&["a", "b"]), "how"),
        ];
        let given = json!({"siez": "5s", "keep": 10, "mode": "c"});
        let problems = Config::check(&specs, given.as_object().unwrap()).unwrap_err();
        let text: Vec<_> = problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(
            text,
            [
                "there is no option 'siez'; did you mean 'size'?",
                "'size' is missing: length of a window",
                "'keep' is 10, expected a whole number from 1 to 9",
                "'mode' is \"c\", expected one of a, b"
            ]
        );
        let config = Config::check(&specs, json!({"size": "5s"}).as_object().unwrap()).unwrap();
        assert_eq!((config.duration("size"), config.integer("keep")), (Some(Duration::from_secs(5)), Some(3)));
        assert_eq!(config.canonical(), r#"{"keep":3,"size":"5s"}"#);
    }
}
