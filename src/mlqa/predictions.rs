//! Predicted answers as the official script reads them: one JSON object, question id to answer text.

use std::collections::BTreeMap;

use serde_json::Value;

use super::load::{LoadError, LoadErrorKind, Node};

/// Answer texts by question id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Predictions {
    /// Question id to answer; an empty answer is one.
    pub answers: BTreeMap<String, String>,
}

impl Predictions {
    /// From the text of a JSON file; `name` is for messages. Of two entries with one id the last counts, as in Python.
    ///
    /// # Errors
    /// [`LoadError`] where the text is no JSON object of texts.
    pub fn parse(name: &str, text: &str) -> Result<Self, LoadError> {
        let of_kind = |kind| LoadError {
            file: name.to_owned(),
            kind: Box::new(kind),
        };
        let value: Value = serde_json::from_str(text)
            .map_err(|error| of_kind(LoadErrorKind::Json(error.to_string())))?;
        let root = Node {
            value: &value,
            place: String::new(),
        };
        let answers = root.fields().and_then(|fields| {
            fields
                .into_iter()
                .map(|(id, node)| Ok((id.clone(), node.text()?)))
                .collect()
        });
        Ok(Self {
            answers: answers.map_err(of_kind)?,
        })
    }

    /// As JSON, ids ascending; what [`Self::parse`] and the official script read.
    #[must_use]
    pub fn json(&self) -> String {
        let fields = self.answers.iter();
        let object: serde_json::Map<String, Value> = fields
            .map(|(id, answer)| (id.clone(), Value::String(answer.clone())))
            .collect();
        Value::Object(object).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_read_back() {
        let text = r#"{"b":"\"zwei\" ال","a":""}"#;
        let predictions = Predictions::parse("p.json", text).unwrap();
        assert_eq!(predictions.answers.len(), 2);
        assert_eq!(
            Predictions::parse("again", &predictions.json()),
            Ok(predictions)
        );
    }

    #[test]
    fn what_is_no_object_of_texts_is_named() {
        for (text, want) in [
            ("{", "p.json: not JSON: "),
            ("[\"a\"]", "p.json: the file is [\"a\"], want an object"),
            ("{\"q1\": 7}", "p.json: [\"q1\"] is 7, want a text"),
            ("{\"q1\": null}", "p.json: [\"q1\"] is null, want a text"),
        ] {
            let error = Predictions::parse("p.json", text).unwrap_err().to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }
}
