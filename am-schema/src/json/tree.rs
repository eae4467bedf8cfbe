//! Any JSON as a value, by the same rules as readings: no duplicate keys, at most 32 levels.

use serde_json::{Map, Number, Value};

use super::lexer::{Lexer, Next, Syntax};
use crate::Finding;

/// Parses a text.
///
/// # Errors
/// The finding names the place by line and column; its field is empty.
pub(crate) fn parse(text: &str) -> Result<Value, Finding> {
    let mut lexer = Lexer::new(text);
    let value = value(&mut lexer, 0).and_then(|v| lexer.end().map(|()| v));
    value.map_err(|e| syntax("", e, &lexer))
}

/// What a finding says of a text that is not JSON.
pub(super) fn syntax(field: &str, e: Syntax, lexer: &Lexer<'_>) -> Finding {
    let (line, column) = lexer.line_and_column(e.at);
    Finding::new(field, format!("{} at line {line}, column {column}", e.why), "JSON")
}

fn value(lexer: &mut Lexer<'_>, depth: usize) -> Result<Value, Syntax> {
    let next = lexer.next()?;
    if depth >= super::MAX_DEPTH && matches!(next, Next::Object | Next::Array) {
        return lexer.too_deep();
    }
    let mut first = true;
    Ok(match next {
        Next::Object => {
            lexer.take(b'{');
            let mut object = Map::new();
            while lexer.more(b'}', &mut first)? {
                let at = lexer.at();
                let key = lexer.key()?.into_owned();
                if object.contains_key(&key) {
                    return Err(Syntax { at, why: "a key stands twice" });
                }
                let v = value(lexer, depth + 1)?;
                object.insert(key, v);
            }
            Value::Object(object)
        }
        Next::Array => {
            lexer.take(b'[');
            let mut items = Vec::new();
            while lexer.more(b']', &mut first)? {
                items.push(value(lexer, depth + 1)?);
            }
            Value::Array(items)
        }
        Next::Text => Value::String(lexer.string()?.into_owned()),
        Next::Number => {
            let at = lexer.at();
            let text = lexer.number()?;
            let whole = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok();
            let number = whole.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64));
            Value::Number(number.ok_or(Syntax { at, why: "a number is out of range" })?)
        }
        Next::True => lexer.word("true").map(|()| Value::Bool(true))?,
        Next::False => lexer.word("false").map(|()| Value::Bool(false))?,
        Next::Null => lexer.word("null").map(|()| Value::Null)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serde_json_writes_is_read_the_same() {
        let text = r#" {"a":[1,-2.5e3,18446744073709551615,true,false,null,{}],"ä":"\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00"} "#;
        assert_eq!(parse(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn texts_that_are_not_json_are_refused_with_line_and_column() {
        for (bad, place) in [
            ("", "ends too early at line 1, column 1"),
            ("{\"a\":1,\n \"a\":2}", "twice at line 2, column 2"),
            ("{\"a\" 1}", "colon is expected at line 1, column 6"),
            ("{\"a\":1,}", "key in quotes is expected at line 1, column 8"),
            ("[1 2]", "comma or the closing bracket is expected at line 1, column 4"),
            ("[1,]", "value is expected at line 1, column 4"),
            ("01", "does not begin with 0"),
            ("1.", "ends too early"),
            ("-", "ends too early"),
            ("nul", "null is expected"),
            ("truex", "true, false or null"),
            ("\"a", "ends too early"),
            ("\"\n\"", "control character"),
            ("\"\\x\"", "unknown escape"),
            ("\"\\ud800\"", "surrogate"),
            ("\"\\ud800\\u0041\"", "surrogate"),
            ("\"\\udc00\"", "surrogate"),
            ("\"\\u00g0\"", "hexadecimal"),
            ("1 2", "nothing more"),
            ("1e999", "out of range"),
            (&"[".repeat(40), "32 levels"),
        ] {
            let e = parse(bad).unwrap_err();
            assert!(e.value.contains(place), "{bad}: {}", e.value);
        }
        assert!(parse(&format!("{}{}", "[".repeat(32), "]".repeat(32))).is_ok());
    }
}
