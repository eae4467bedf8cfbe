//! Each keyword, and what is refused.

use serde_json::json;

use super::*;

fn findings(schema: Value, value: Value) -> Vec<String> {
    JsonSchema::parse(&schema.to_string()).unwrap().check(&value).iter().map(ToString::to_string).collect()
}

#[test]
fn every_keyword_refuses_what_breaks_it_and_takes_what_does_not() {
    for (schema, good, bad, why) in [
        (json!({"type": "integer"}), json!(2.0), json!(2.5), " is 2.5, expected integer"),
        (json!({"type": ["string", "null"]}), json!(null), json!(1), " is 1, expected string or null"),
        (json!({"enum": ["a", 1]}), json!(1.0), json!("b"), " is \"b\", expected one of [\"a\",1]"),
        (json!({"const": true}), json!(true), json!(false), " is false, expected one of [true]"),
        (json!({"minimum": 1}), json!(1), json!(0), " is 0, expected at least 1"),
        (json!({"maximum": 1}), json!(1), json!(2), " is 2, expected at most 1"),
        (json!({"exclusiveMinimum": 1}), json!(1.5), json!(1), " is 1, expected more than 1"),
        (json!({"exclusiveMaximum": 1}), json!(0.5), json!(1), " is 1, expected less than 1"),
        (json!({"minLength": 2}), json!("üb"), json!("ü"), " is 1 characters, expected at least 2 characters"),
        (json!({"maxLength": 1}), json!("ü"), json!("ab"), " is 2 characters, expected at most 1 characters"),
        (json!({"minItems": 1}), json!([0]), json!([]), " is 0 items, expected at least 1 items"),
        (json!({"maxItems": 0}), json!([]), json!([1]), " is 1 items, expected at most 0 items"),
        (json!({"items": {"type": "string"}}), json!(["a"]), json!(["a", 1]), "[1] is 1, expected string"),
        (json!({"required": ["a"]}), json!({"a": 1}), json!({}), "a is empty, expected a value"),
        (
            json!({"properties": {"a": {"properties": {"b": {"type": "null"}}}}}),
            json!({"a": {"b": null}}),
            json!({"a": {"b": 1}}),
            "a.b is 1, expected null",
        ),
        (
            json!({"properties": {"a": true}, "additionalProperties": false}),
            json!({"a": 1}),
            json!({"b": 1}),
            "b is 1, expected nothing here",
        ),
        (json!({"anyOf": [{"type": "null"}, {"minimum": 3}]}), json!(3), json!(2), " is 2, expected one of the forms of anyOf"),
        (json!({"oneOf": [{"minimum": 1}, {"minimum": 3}]}), json!(2), json!(4), " is 4, expected exactly one of the forms of oneOf"),
        (json!({"allOf": [{"minimum": 1}, {"maximum": 3}]}), json!(2), json!(4), " is 4, expected at most 3"),
        (json!({"not": {"type": "null"}}), json!(1), json!(null), " is null, expected another form than that of not"),
        (
            json!({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"minimum": 2}}),
            json!("ab"),
            json!(1),
            " is 1, expected at least 2",
        ),
        (json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "null"}}}), json!(null), json!(1), " is 1, expected null"),
    ] {
        assert_eq!(findings(schema.clone(), good), Vec::<String>::new(), "{schema}");
        assert_eq!(findings(schema.clone(), bad), [why], "{schema}");
    }
}

#[test]
fn a_schema_with_a_rule_that_would_be_ignored_is_refused() {
    for (schema, why) in [
        (r#"{"pattern": "^a$"}"#, "#/pattern: this keyword is not supported"),
        (r#"{"properties": {"a": {"uniqueItems": true}}}"#, "#/properties/a/uniqueItems: this keyword is not supported"),
        (r#"{"type": "float"}"#, "no type of JSON"),
        (r##"{"$ref": "#/$defs/x"}"##, "not one of #/$defs"),
        (r#"{"minLength": -1}"#, "#/minLength: not a whole number"),
        ("[]", "an object or a boolean"),
        ("{", "not JSON"),
    ] {
        let e = JsonSchema::parse(schema).unwrap_err();
        assert!(e.contains(why), "{e}");
    }
    assert!(JsonSchema::parse(&" ".repeat(MAX_SCHEMA + 1)).unwrap_err().contains("bytes"));
    let deep = format!("{}{{}}{}", r#"{"not":"#.repeat(40), "}".repeat(40));
    assert!(JsonSchema::parse(&deep).unwrap_err().contains("nested deeper"));
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let tree = json!({"$ref": "#/$defs/t", "$defs": {"t": {"type": "object", "properties": {"next": {"$ref": "#/$defs/t"}}}}});
    assert_eq!(findings(tree.clone(), json!({"next": {"next": {}}})), Vec::<String>::new());
    assert_eq!(findings(tree, json!({"next": {"next": 1}})), ["next.next is 1, expected object"]);
    let circle = json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}});
    assert_eq!(findings(circle, json!(1)).len(), 1);
}
