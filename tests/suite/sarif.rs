//! `analyze --format sarif` and `verify --format sarif` against the OASIS schema (`tests/sarif/schema-2.1.0.json`), and what the document says.
//!
//! The validator knows the words that the schema uses, save `pattern` and `format`; one that it does not know is a failure.

use serde_json::{Map, Value, json};
use std::process::Command;

struct Schema(Value);

impl Schema {
    fn new() -> Self {
        Self(serde_json::from_str(include_str!("../sarif/schema-2.1.0.json")).unwrap())
    }

    fn complaints(&self, document: &Value) -> Vec<String> {
        let mut complaints = Vec::new();
        self.check(&self.0, document, "$", &mut complaints);
        complaints
    }

    fn holds(&self, rule: &Value, value: &Value) -> bool {
        let mut complaints = Vec::new();
        self.check(rule, value, "", &mut complaints);
        complaints.is_empty()
    }

    fn check(&self, rule: &Value, value: &Value, at: &str, complaints: &mut Vec<String>) {
        for (word, argument) in rule.as_object().unwrap() {
            let right = match word.as_str() {
                "$ref" => {
                    let target = self
                        .0
                        .pointer(argument.as_str().unwrap().trim_start_matches('#'));
                    self.check(target.unwrap(), value, at, complaints);
                    true
                }
                "type" => is_of(argument, value),
                "enum" => argument.as_array().unwrap().contains(value),
                "anyOf" => argument
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|rule| self.holds(rule, value)),
                "oneOf" => {
                    let rules = argument.as_array().unwrap().iter();
                    rules.filter(|rule| self.holds(rule, value)).count() == 1
                }
                "required" => {
                    let names = argument.as_array().unwrap().iter();
                    value.as_object().is_none_or(|object| {
                        names
                            .map(|name| name.as_str().unwrap())
                            .all(|name| object.contains_key(name))
                    })
                }
                "minimum" => value
                    .as_f64()
                    .is_none_or(|number| number >= argument.as_f64().unwrap()),
                "maximum" => value
                    .as_f64()
                    .is_none_or(|number| number <= argument.as_f64().unwrap()),
                "minItems" => value.as_array().is_none_or(|list| {
                    list.len() >= usize::try_from(argument.as_u64().unwrap()).unwrap()
                }),
                "uniqueItems" => value
                    .as_array()
                    .is_none_or(|list| (0..list.len()).all(|i| !list[..i].contains(&list[i]))),
                "items" => {
                    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(argument, item, &format!("{at}[{i}]"), complaints);
                    }
                    true
                }
                "properties" => {
                    for (name, rule) in argument.as_object().unwrap() {
                        if let Some(inner) = value.get(name) {
                            self.check(rule, inner, &format!("{at}.{name}"), complaints);
                        }
                    }
                    true
                }
                "additionalProperties" => {
                    let none = Map::new();
                    let known = rule
                        .get("properties")
                        .and_then(Value::as_object)
                        .unwrap_or(&none);
                    let others = value.as_object().into_iter().flatten();
                    let mut others = others.filter(|(name, _)| !known.contains_key(*name));
                    match argument.as_bool() {
                        Some(allowed) => allowed || others.next().is_none(),
                        None => others.all(|(_, inner)| self.holds(argument, inner)),
                    }
                }
                "pattern" | "format" | "$schema" | "$id" | "$comment" | "definitions" => true,
                other => panic!("the schema uses {other}, which is not checked"),
            };
            if !right {
                complaints.push(format!("{at}: {word} {argument}"));
            }
        }
    }
}

fn is_of(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    };
    types
        .as_array()
        .map_or_else(|| is(types), |list| list.iter().any(is))
}

fn document(arguments: &[&str]) -> (Value, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_flashproof"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["analyze", "--format", "sarif"])
        .args(arguments)
        .output()
        .unwrap();
    (
        serde_json::from_slice(&output.stdout).unwrap(),
        output.status.code(),
    )
}

#[test]
fn documents_are_valid_and_say_what_was_found() {
    let schema = Schema::new();
    let (clean, code) = document(&["block_sparse_sm80"]);
    assert_eq!((schema.complaints(&clean), code), (vec![], Some(0)));
    // Advice alone, which makes no exit code.
    let advice = clean["runs"][0]["results"].as_array().unwrap();
    assert!(
        advice
            .iter()
            .all(|result| result["ruleId"] == "scattered-access"),
        "{advice:?}"
    );
    let (found, code) = document(&[
        "wait_group_off_by_one",
        "cuda/defects/ptx/empty_row_nan.ptx",
        "tests/labelled/ptx/bank_stride_8.ptx",
    ]);
    assert_eq!((schema.complaints(&found), code), (vec![], Some(1)));
    let results = found["runs"][0]["results"].as_array().unwrap();
    let rules = found["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap();
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
    let of = |code: &str| {
        results
            .iter()
            .find(|result| result["ruleId"] == code)
            .unwrap()
    };
    let distance = of("copy-wait-distance");
    assert_eq!(distance["level"], "error");
    assert!(distance["relatedLocations"].as_array().unwrap().len() > 2);
    assert_eq!(of("bank-conflict")["level"], "warning");
    let place = &results
        .iter()
        .find(|result| result["ruleId"].as_str().unwrap().starts_with("unguarded"))
        .unwrap()["locations"][0]["physicalLocation"];
    assert_eq!(
        place["artifactLocation"]["uri"],
        "cuda/defects/ptx/empty_row_nan.ptx"
    );
    assert!(place["region"]["startLine"].as_u64().unwrap() > 1);
}

/// What runs show, in the same words: checkers' findings at their lines, outputs outside their bounds.
#[test]
fn runs_give_documents_too() {
    let schema = Schema::new();
    let runs = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_flashproof"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["verify", "--format", "sarif", "--case"])
            .args(arguments)
            .output()
            .unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(schema.complaints(&document), [] as [&str; 0]);
        (document, output.status.code())
    };
    let (clean, code) = runs(&["kernel=block_sparse_sm80 seqlen_q=16 seqlen_kv=16"]);
    assert_eq!(code, Some(0), "{clean:#}");
    assert_eq!(clean["runs"][0]["results"], json!([]));
    for (defect, rule) in [
        ("copy_barrier_missing", "shared-race"),
        ("window_off_by_one", "output-outside-bound"),
    ] {
        let case = flashproof::kernel::defects()
            .iter()
            .find(|found| found.kernel.name() == defect)
            .unwrap()
            .case;
        let (found, code) = runs(&[&format!("kernel={defect} {case}")]);
        assert_eq!(code, Some(1), "{defect}");
        let results = found["runs"][0]["results"].as_array().unwrap();
        let result = results.iter().find(|result| result["ruleId"] == rule);
        let result = result.unwrap_or_else(|| panic!("{defect}: {found:#}"));
        assert_eq!(result["level"], "error");
        let text = result["message"]["text"].as_str().unwrap();
        assert!(text.contains(&format!("case: kernel={defect}")), "{text}");
    }
}

#[test]
fn an_allowed_finding_is_a_suppressed_result() {
    let text = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/labelled/ptx/race_all_write.ptx"),
    )
    .unwrap();
    let allowed = text.replacen(
        ".visible .entry",
        "// flashproof: allow(interval-race) every thread writes what is read by none\n.visible .entry",
        1,
    );
    let path = std::env::temp_dir().join(format!("flashproof-allow-{}.ptx", std::process::id()));
    std::fs::write(&path, allowed).unwrap();
    let (found, code) = document(&[path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(code, Some(0), "{found:#}");
    assert_eq!(Schema::new().complaints(&found), [] as [&str; 0]);
    let results = found["runs"][0]["results"].as_array().unwrap();
    let race = results
        .iter()
        .find(|result| result["ruleId"] == "interval-race")
        .unwrap();
    assert_eq!(
        race["suppressions"][0]["justification"],
        "every thread writes what is read by none"
    );
}

#[test]
fn the_validator_complains() {
    let schema = Schema::new();
    let (mut document, _) = document(&["tests/labelled/ptx/bank_stride_8.ptx"]);
    document["runs"][0]["results"][0]["level"] = json!("fatal");
    document["runs"][0]["colour"] = json!("red");
    document["runs"][0]["tool"] = json!({});
    assert_eq!(
        schema.complaints(&document).len(),
        3,
        "{:?}",
        schema.complaints(&document)
    );
}
