//! Every public function of the reference shows an example in its documentation.

use super::{assert_none, files, without_tests};

/// Public functions of a file without an example, attributes between documentation and function skipped.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut has_example, mut in_attribute) = (false, false);
    for line in without_tests(text).lines().map(str::trim) {
        if in_attribute {
            in_attribute = !line.ends_with(']');
        } else if line.starts_with("///") {
            has_example |= line.contains("```");
        } else if line.starts_with("#[") {
            in_attribute = !line.ends_with(']');
        } else {
            let name = line.strip_prefix("pub const fn ");
            if let Some(name) = name.or_else(|| line.strip_prefix("pub fn "))
                && !has_example
            {
                let name: String = name.chars().take_while(|&c| c != '(' && c != '<').collect();
                found.push(format!("{path}: {name} has no example"));
            }
            has_example = false;
        }
    }
    found
}

#[test]
fn every_public_function_of_the_reference_has_an_example() {
    let sources = files(&["reference/src"], &["rs"]);
    assert!(sources.len() > 20);
    let found = sources.iter();
    assert_none(
        found
            .flat_map(|(path, text)| complaints(path, text))
            .collect(),
    );
    let bare = "/// One.\n#[inline]\npub fn one() {}\n/// ```\n/// ```\n#[expect(\n  x\n)]\npub fn two<T>() {}\n";
    assert_eq!(complaints("a.rs", bare), ["a.rs: one has no example"]);
}
