//! Layouts as JSON, version 1.
//!
//! `{"version":1,"seqlen_q":..,"seqlen_kv":..,"block_q":..,"block_kv":..,"heads":[{"row_ptr":[..],"col_idx":[..]}]|null,
//! "causal":bool,"window":[L|null,R|null],"sinks":n,"global":[..]}`. Every key is required, no other is accepted. One
//! entry of `heads` is shared by all heads.

use super::{BlockPattern, Extents, Layout, LayoutError, Window};
use serde::{Deserialize, Serialize};

const VERSION: u64 = 1;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LayoutText {
    version: u64,
    seqlen_q: usize,
    seqlen_kv: usize,
    block_q: usize,
    block_kv: usize,
    // Named so that a missing key is an error: serde would otherwise read it as null.
    #[serde(deserialize_with = "Option::deserialize")]
    heads: Option<Vec<PatternText>>,
    causal: bool,
    window: (Option<usize>, Option<usize>),
    sinks: usize,
    global: Vec<usize>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PatternText {
    row_ptr: Vec<usize>,
    col_idx: Vec<usize>,
}

/// What any version must have.
#[derive(Deserialize)]
struct VersionText {
    version: u64,
}

impl Layout {
    /// The layout that version 1 JSON describes; see the module's comment for the format.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// let text = r#"{"version":1,"seqlen_q":1,"seqlen_kv":2,"block_q":64,"block_kv":64,"heads":null,
    ///     "causal":false,"window":[null,null],"sinks":0,"global":[]}"#;
    /// assert_eq!(Layout::from_json(text)?, Layout::dense(1, 2));
    /// assert_eq!(
    ///     Layout::from_json("{").unwrap_err().to_string(),
    ///     "layout JSON, line 1, column 1: EOF while parsing an object"
    /// );
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn from_json(text: &str) -> Result<Self, LayoutError> {
        let parsed: LayoutText = serde_json::from_str(text).map_err(|error| {
            // A later version may have other keys: its number is the better explanation.
            match serde_json::from_str::<VersionText>(text) {
                Ok(VersionText { version }) if version != VERSION => version_error(version),
                Ok(_) | Err(_) => json_error(&error),
            }
        })?;
        if parsed.version != VERSION {
            return Err(version_error(parsed.version));
        }
        for (index, pair) in parsed.global.windows(2).enumerate() {
            if pair[0] >= pair[1] {
                return Err(LayoutError::GlobalOrder {
                    index: index + 1,
                    previous: pair[0],
                    token: pair[1],
                });
            }
        }
        let extents = Extents {
            seqlen_q: parsed.seqlen_q,
            seqlen_kv: parsed.seqlen_kv,
            block_q: parsed.block_q,
            block_kv: parsed.block_kv,
        };
        let layout = Self::from_extents(extents)?
            .with_causal(parsed.causal)
            .with_window(Window {
                left: parsed.window.0,
                right: parsed.window.1,
            })
            .with_sinks(parsed.sinks)
            .with_global(parsed.global)?;
        let Some(heads) = parsed.heads else {
            return Ok(layout);
        };
        layout.with_heads(
            heads
                .into_iter()
                .map(|PatternText { row_ptr, col_idx }| BlockPattern { row_ptr, col_idx })
                .collect(),
        )
    }

    /// The layout as version 1 JSON, on one line.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// let layout = Layout::dense(1, 2);
    /// assert_eq!(Layout::from_json(&layout.to_json())?, layout);
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn to_json(&self) -> String {
        let text = LayoutText {
            version: VERSION,
            seqlen_q: self.seqlen_q(),
            seqlen_kv: self.seqlen_kv(),
            block_q: self.block_q(),
            block_kv: self.block_kv(),
            heads: self.heads.as_ref().map(|heads| {
                heads
                    .iter()
                    .cloned()
                    .map(|BlockPattern { row_ptr, col_idx }| PatternText { row_ptr, col_idx })
                    .collect()
            }),
            causal: self.causal,
            window: (self.window.left, self.window.right),
            sinks: self.sinks,
            global: self.global.clone(),
        };
        serde_json::to_string(&text)
            .expect("only numbers, booleans and lists: nothing that JSON cannot hold")
    }
}

fn version_error(found: u64) -> LayoutError {
    LayoutError::Version {
        found,
        supported: VERSION,
    }
}

fn json_error(error: &serde_json::Error) -> LayoutError {
    let message = error.to_string();
    // The parser ends its message with the place, which has fields of its own here.
    let place = format!(" at line {} column {}", error.line(), error.column());
    LayoutError::Json {
        line: error.line(),
        column: error.column(),
        message: message.strip_suffix(&place).unwrap_or(&message).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"version":1,"seqlen_q":3,"seqlen_kv":4,"block_q":2,"block_kv":2,"heads":[{"row_ptr":[0,1,2],"col_idx":[1,0]}],"causal":true,"window":[3,null],"sinks":1,"global":[0,2]}"#;

    #[test]
    fn the_format_is_fixed() {
        let layout = Layout::from_json(GOOD).unwrap();
        assert_eq!(layout.to_json(), GOOD);
        assert_eq!(
            layout.window(),
            Window {
                left: Some(3),
                right: None
            }
        );
        assert_eq!(
            (layout.sinks(), layout.global(), layout.causal()),
            (1, [0, 2].as_slice(), true)
        );
        assert_eq!(layout.pattern(0).unwrap().row(0), [1]);
    }

    #[test]
    fn malformed_text_is_refused_with_its_place() {
        let check = |from: &str, to: &str, expected: &str| {
            assert!(GOOD.contains(from), "{from} is not in the text");
            let error = Layout::from_json(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(
            "\"version\":1",
            "\"version\":2",
            "layout JSON has version 2, but only version 1 is known: was it written by a later release?",
        );
        check(
            "\"version\":1,",
            "\"version\":2,\"spin\":1,",
            "layout JSON has version 2, but only version 1 is known: was it written by a later release?",
        );
        check(
            "\"sinks\":1",
            "\"sink\":1",
            "layout JSON, line 1, column 149: unknown field `sink`, expected one of `version`, `seqlen_q`, `seqlen_kv`, `block_q`, `block_kv`, `heads`, `causal`, `window`, `sinks`, `global`",
        );
        check(
            "\"sinks\":1,",
            "",
            "layout JSON, line 1, column 158: missing field `sinks`",
        );
        check(
            "\"heads\":[{\"row_ptr\":[0,1,2],\"col_idx\":[1,0]}],",
            "",
            "layout JSON, line 1, column 122: missing field `heads`",
        );
        check(
            "\"sinks\":1",
            "\"sinks\":-1",
            "layout JSON, line 1, column 153: invalid value: integer `-1`, expected usize",
        );
        check(
            "\"sinks\":1",
            "\n\"sinks\":x",
            "layout JSON, line 2, column 9: expected value",
        );
        check(
            "[3,null]",
            "[3]",
            "layout JSON, line 1, column 137: invalid length 1, expected a tuple of size 2",
        );
        check(
            "[0,2]",
            "[2,0]",
            "global[1] = 0 follows 2: global tokens must ascend without repetition",
        );
        check(
            "[0,2]",
            "[0,4]",
            "global[1] = 4, but the sequences have 3 queries and 4 keys",
        );
        check(
            "\"block_q\":2",
            "\"block_q\":0",
            "block_q is 0, but a sparsity block needs at least one token a side",
        );
        check(
            "\"col_idx\":[1,0]",
            "\"col_idx\":[1,2]",
            "col_idx[1] = 2 in block row 1 of head 0, but the layout has 2 block columns",
        );
        check(
            "\"seqlen_q\":3",
            "\"seqlen_q\":3000000000",
            "seqlen_q is 3000000000, above the limit of 2147483647",
        );
        check(
            "\"causal\":true",
            "\"causal\":true,\"causal\":true",
            "layout JSON, line 1, column 133: duplicate field `causal`",
        );
    }
}
