//! Sentence boundaries by rule, for the languages of MLQA and XQuAD.
//!
//! No dictionary and no model, so it errs, and only cuts where that is cheap: a full stop after a single letter
//! (initials), a number of one to three digits (German ordinals, dates), an inner full stop ("z.B.") or one of a few
//! common abbreviations ends no sentence, nor does any stop before a lower-case letter; hence a sentence that ends in a short number
//! or a letter is glued to the next, and an abbreviation outside the list cuts one in two. A full stop with no space
//! after it ends nothing. Thai marks no sentences: a Thai paragraph is cut at newlines alone.

use std::ops::Range;

/// Ends a sentence with nothing after it: CJK stops, Devanagari danda, Urdu full stop.
const STOPS: &str = "。！？｡।॥۔";
/// Ends a sentence where white space or the end follows.
const STOPS_BEFORE_SPACE: &str = "!?…؟.";
/// Belongs to the sentence that a stop in front of it ended.
const CLOSERS: &str = "\"'”’»)]」』）】›";
/// Abbreviations that are followed by capitals, lower case, without their last full stop.
const ABBREVIATIONS: [&str; 36] = [
    "dr", "mr", "mrs", "ms", "prof", "st", "vs", "etc", "no", "nr", "bzw", "ca", "sr", "sra",
    "srta", "jr", "gen", "col", "lt", "sgt", "capt", "rev", "hon", "vol", "fig", "art", "núm",
    "pág", "approx", "usw", "sog", "inkl", "ing", "hl", "tp", "ths",
];

/// Byte ranges of the sentences of `text`, in order, disjoint, without the white space around them; all other
/// characters lie in exactly one.
#[must_use]
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let mut found = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < chars.len() {
        let (byte, current) = chars[at];
        at += 1;
        let ends = if STOPS.contains(current) || STOPS_BEFORE_SPACE.contains(current) {
            while chars.get(at).is_some_and(|&(_, next)| is_tail(next)) {
                at += 1;
            }
            STOPS.contains(current) || is_end(current, &text[start..byte], &chars[at..])
        } else {
            current == '\n'
        };
        if ends {
            let end = chars.get(at).map_or(text.len(), |&(byte, _)| byte);
            push_trimmed(text, start..end, &mut found);
            start = end;
        }
    }
    push_trimmed(text, start..text.len(), &mut found);
    found
}

fn is_tail(character: char) -> bool {
    STOPS.contains(character)
        || STOPS_BEFORE_SPACE.contains(character)
        || CLOSERS.contains(character)
}

/// Whether `stop`, one that needs white space after it, ends the sentence that begins with `before`.
fn is_end(stop: char, before: &str, after: &[(usize, char)]) -> bool {
    if after
        .first()
        .is_some_and(|&(_, next)| !next.is_whitespace())
    {
        return false;
    }
    let Some(next) = after
        .iter()
        .map(|&(_, next)| next)
        .find(|next| !next.is_whitespace())
    else {
        return true;
    };
    if next.is_lowercase() {
        return false;
    }
    if stop != '.' {
        return true;
    }
    let word = before
        .rsplit(char::is_whitespace)
        .next()
        .unwrap_or_default();
    let word = word.trim_start_matches(|first: char| !first.is_alphanumeric());
    let length = word.chars().count();
    let is_initial = length == 1 && word.chars().all(char::is_alphabetic);
    let is_short_number =
        (1..=3).contains(&length) && word.chars().all(|digit| digit.is_ascii_digit());
    let is_dotted = length <= 5 && word.contains('.');
    let is_abbreviation = ABBREVIATIONS.contains(&word.to_lowercase().as_str());
    !(is_initial || is_short_number || is_dotted || is_abbreviation)
}

fn push_trimmed(text: &str, range: Range<usize>, found: &mut Vec<Range<usize>>) {
    let piece = &text[range.clone()];
    let start = range.start + (piece.len() - piece.trim_start().len());
    let end = start + piece.trim().len();
    if start < end {
        found.push(start..end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(expected: &[&str]) {
        for joint in [" ", "  ", "\n"] {
            let text = expected.join(joint);
            let found: Vec<&str> = sentences(&text)
                .into_iter()
                .map(|range| &text[range])
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn each_language_stops_its_own_way() {
        check(&[
            "It fell.",
            "\"Why?\" she asked.",
            "(No one knew.)",
            "Ten years later, in 1969, it rose!",
        ]);
        check(&[
            "Am 3. Oktober kam er, z. B. aus Bonn, an.",
            "Prof. Lux ging.",
        ]);
        check(&["¿Quién fue?", "El Sr. López.", "¡Bien!"]);
        check(&["أين ولد؟", "ولد في القاهرة."]);
        check(&["वह कहाँ गया?", "वह घर गया।", "फिर लौटा॥"]);
        check(&["Ông là ai?", "Ông là vua."]);
        check(&["他是谁？", "他是国王。", "“对！”"]);
    }

    #[test]
    fn chinese_needs_no_space() {
        let text = "他是谁？他是国王。完";
        let found: Vec<&str> = sentences(text)
            .into_iter()
            .map(|range| &text[range])
            .collect();
        assert_eq!(found, ["他是谁？", "他是国王。", "完"]);
    }

    #[test]
    fn doubtful_stops_do_not_cut() {
        for text in [
            "J. K. Rowling wrote it.",
            "Version 2.5 of e.g. this",
            "India.The disease",
            "Dr. No and Mr. X",
            "3.5%",
        ] {
            let found = sentences(text);
            assert!(
                found.len() == 1 && found[0] == (0..text.len()),
                "{text}: {found:?}"
            );
        }
        assert!(sentences(" \n ").is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn sentences_cover_all_but_white_space(text in "[a-cA-C.?!。।؟ \n\"3é]{0,60}") {
            let found = sentences(&text);
            let mut last = 0;
            for range in &found {
                prop_assert!(text[last..range.start].trim().is_empty());
                prop_assert!(range.start < range.end);
                last = range.end;
            }
            prop_assert!(text[last..].trim().is_empty());
        }
    }
}
